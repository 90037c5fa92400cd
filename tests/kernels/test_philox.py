"""Random bits from a counter: the published ones, and the same from every implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.kernels import philox
from tinygrad_rnn.kernels.cpu import functions as cpu
from tinygrad_rnn.tensor import backend

from ..strict import strict_device

# Random123's kat_vectors, philox4x32 10: counter, key, words.
VECTORS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip

NATIVE = pytest.mark.skipif(cpu.native is None, reason=cpu.describe())
IMPLEMENTATIONS = [
    "numpy",
    pytest.param("native", marks=NATIVE),
    "strict",
    pytest.param("cuda", marks=pytest.mark.gpu),
]


@pytest.fixture(params=IMPLEMENTATIONS)
def xp(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The array module of an implementation."""
    if request.param == "numpy":
        monkeypatch.setattr(cpu, "native", None)
    device = request.param if request.param in ("strict", "cuda") else "cpu"
    with strict_device(), backend.placed(device) as module:
        yield module


def number(words: str) -> int:
    low, high = (int(w, 16) for w in words.split())
    return low | high << 32


@pytest.mark.parametrize(("counter", "key", "words"), VECTORS)
def test_published_vectors(xp: Any, counter: str, key: str, words: str) -> None:
    out = xp.empty(4, "uint32")
    philox.fill(xp, out, number(key), number(counter[18:]), first=number(counter[:17]))
    assert [f"{w:08x}" for w in backend.to_host(out)] == words.split()


@pytest.mark.parametrize("count", [0, 1, 3, 4, 127, 128, 129, 5000, 4 * philox.BLOCKS + 5])
def test_any_number_of_words_and_masks(xp: Any, count: int) -> None:
    reference = philox._words(count, 2**63 + 5, 7, 2**64 - 3)  # the counter wraps
    words, mask = xp.empty(count, "uint32"), xp.empty(count, bool)
    least = int(0.3 * 2**32)
    for out in (words, mask):
        philox.fill(xp, out, 2**63 + 5, 7, first=2**64 - 3, least=least)
    np.testing.assert_array_equal(backend.to_host(words), reference)
    np.testing.assert_array_equal(backend.to_host(mask), reference >= least)


@NATIVE
def test_threads_do_not_change_the_bits() -> None:
    def mask() -> Any:
        return philox.keep_mask(np, (700, 601), 0.5, 1, 2)

    before, many = tg.get_num_threads(), mask()
    tg.set_num_threads(3)
    try:
        np.testing.assert_array_equal(mask(), many)
    finally:
        tg.set_num_threads(before)


@NATIVE
@pytest.mark.parametrize(
    "wrong",
    [
        (np.empty(4, np.float32), 0, 0, 0, 0),
        (np.empty(8, bool)[::2], 0, 0, 0, 0),
        ([0], 0, 0, 0, 0),
        (np.empty(4, bool), -1, 0, 0, 0),
        (np.empty(4, bool), 2**64, 0, 0, 0),
        (np.empty(4, bool), 0, 0, 0, 2**32),
        (np.empty(4, bool), 0, "a", 0, 0),
        (np.empty(4, bool), 0, 0, 0),
    ],
)
def test_native_code_refuses_wrong_arguments(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError, OverflowError)):
        cpu.native.philox(*wrong)


def test_masks_keep_what_they_should_and_differ_from_each_other() -> None:
    generator = tg.Generator(3)
    n = 200_000
    masks = [generator.keep_mask((n,), 0.3) for _ in range(3)] + [
        tg.Generator(4).keep_mask((n,), 0.3)
    ]
    for i, a in enumerate(masks):
        assert abs(a.mean() - 0.7) < 5 * (0.21 / n) ** 0.5
        for b in masks[:i]:  # independent: both kept with probability 0.49
            assert abs((a & b).mean() - 0.49) < 5 * (0.25 / n) ** 0.5
    assert generator.keep_mask((1000,), 0.0).all()


def test_a_state_holds_key_and_count_and_restores_the_masks() -> None:
    generator = tg.Generator(5)
    generator.keep_mask((3,), 0.5)
    state = generator.state
    assert state["masks"]["call"] == 1
    first = generator.keep_mask((50,), 0.5)
    other = tg.Generator(6)
    other.state = state
    np.testing.assert_array_equal(other.keep_mask((50,), 0.5), first)
    with pytest.raises(ValueError, match="masks: expected key and call of 64 bits"):
        other.state = {**state, "masks": {"key": -1, "call": 0}}
    assert other.state == generator.state  # unchanged by what was refused


def test_masks_do_not_move_the_numbers_that_are_drawn() -> None:
    a, b = tg.Generator(0), tg.Generator(0)
    a.keep_mask((1000,), 0.5)
    assert a.random() == b.random()


@pytest.mark.parametrize("device", ["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_dropout_has_the_same_bits_on_every_device(device: str) -> None:
    def run(on: str) -> Any:
        return tg.nn.dropout(tg.ones((5, 7), device=on), 0.4, tg.Generator(1)).tolist()

    with strict_device():
        assert run(device) == run("cpu")
