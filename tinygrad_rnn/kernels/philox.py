"""Random bits from a counter: Philox4x32-10 (Salmon et al. 2011), the same on every device.

Word i of a call is word i % 4 of the block that the counter (first + i // 4, call) and the key
give. It depends on nothing else: any part can be computed anywhere, in any order, by any thread.
The arithmetic is that of 32-bit integers, so NumPy, C++ and CUDA give the same bits.
"""

from __future__ import annotations

from math import prod
from types import ModuleType
from typing import Any

import numpy as np

from . import cuda
from .cpu import functions as cpu

Array = Any

RANGE = 2**32  # of a word
BLOCKS = 1 << 13  # computed at a time, in the cache


def keep_mask(xp: ModuleType, shape: tuple[int, ...], p: float, key: int, call: int) -> Array:
    """Booleans, true with probability 1 - p, to 32 bits: where a word is at least p * 2**32."""
    out = xp.empty(prod(shape), bool)
    fill(xp, out, key, call, least=int(p * RANGE))
    return out.reshape(shape)


def fill(
    xp: ModuleType, out: Array, key: int, call: int, *, first: int = 0, least: int = 0
) -> None:
    """Fills a contiguous (n,) array of uint32 with words, or of bool: whether they are >= least.

    **Arguments** key, call, first: of 64 bits.
    """
    if xp is np and cpu.native is not None:
        cpu.native.philox(out, key, call, first, least)
    elif xp is not np and cuda.compiles(xp):
        cuda.random_words(xp, out, key, call, first, least)
    else:
        words = _words(out.size, key, call, first)
        out[...] = xp.asarray(words if out.dtype == np.uint32 else words >= least)


def _words(count: int, key: int, call: int, first: int) -> Array:
    words = np.empty((-(-count // 4), 4), np.uint32)
    for start in range(0, len(words), BLOCKS):
        part = words[start : start + BLOCKS]
        counter = np.arange(len(part), dtype=np.uint64) + np.uint64((first + start) % 2**64)
        _blocks(counter, key, call, part)
    return words.reshape(-1)[:count]


def _blocks(counter: Array, key: int, call: int, words: Array) -> None:
    """Writes the words (n, 4) of blocks. The factors are as wide as their products."""
    low, half = np.uint64(RANGE - 1), np.uint64(32)
    x0, x1 = counter & low, counter >> half
    x2, x3 = (np.full(counter.shape, word, np.uint64) for word in (call % RANGE, call // RANGE))
    k0, k1 = key % RANGE, key // RANGE
    for _ in range(10):
        x0 *= np.uint64(0xD2511F53)
        x2 *= np.uint64(0xCD9E8D57)
        for x, k, product in ((x1, k0, x2), (x3, k1, x0)):
            x ^= np.uint64(k)
            x ^= product >> half
            product &= low
        x0, x1, x2, x3 = x1, x2, x3, x0
        k0, k1 = (k0 + 0x9E3779B9) % RANGE, (k1 + 0xBB67AE85) % RANGE
    for i, x in enumerate((x0, x1, x2, x3)):
        words[:, i] = x
