"""Calls native code with drawn wrong arguments: `python -m tests.kernels.wrong_arguments 0 9000`.

The seed, and how many. In a process of its own, as what is looked for would end it. Each call may
raise what it likes; and through the functions of `kernels` array code has to raise as well, or to
give the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_rnn import kernels
from tinygrad_rnn.kernels import products
from tinygrad_rnn.kernels.cpu import functions as cpu

Random = np.random.Generator
T, B, I, H, V, C = 3, 2, 4, 5, 6, 7
HUGE = 2**45


def reals(rng: Random, *shape: int) -> Any:
    return rng.normal(size=shape).astype("float32")


def layer(rng: Random, name: str, gates: int) -> list[Any]:
    """An operation's arrays: those of the contract, with ids half of the time."""
    states = [reals(rng, B, H)] * (2 if name == "lstm" else 1)
    weights = [reals(rng, gates * H, I), reals(rng, gates * H, H), reals(rng, gates * H)]
    more = [None, None] if name == "lstm" else []
    rest = [np.array([3, 1]), rng.random((T, B)) < 0.5, reals(rng, B, H), rng.random((T, B, H))]
    rest[-1] = rest[-1].astype("float32")
    zones = [*rest, reals(rng, 1, 1, 1)] if name == "lstm" else rest
    ids = rng.integers(0, V, (T, B)) if rng.random() < 0.5 else None
    x = reals(rng, T, B, I) if ids is None else reals(rng, V, I)
    lengths, reset, h_mask, *zoneout = zones
    options = (lengths, reset, h_mask, tuple(zoneout), ids, False, True)
    return [x, *states, *weights, None, *more, options]


def positions(name: str, a: list[Any]) -> list[Any]:
    """The same as `native.forward` takes them."""
    if name == "lstm":
        return [4, *a, None]
    return [{"rnn": 0, "gru": 2}[name], *a[:2], None, *a[2:6], None, None, a[6], None]


def sequence(name: str, *given: Any) -> Any:
    """The outputs of a layer. **Arguments** given: its inputs, and last its options."""
    options = kernels.SequenceOptions(*given[-1])
    return getattr(kernels, f"{name}_forward")(np, *given[:-1], options=options)[0]


def backward(rng: Random) -> list[Any]:
    given = positions("lstm", layer(rng, "lstm", 4))
    y, h, c, _, *saved = cpu.native.forward(*given, True)
    return [*given, 511, reals(rng, T, B, H), h, c, None, y, *saved]


def chain(rng: Random) -> list[Any]:
    code = bytes([0, 0, 1, 3, 2, 3, 2, 3])  # (a + b) * 2
    x = reals(rng, 4, 3)
    return [code, 4, (2.0,), b"\3", b"\1", 0, b"", (x, reals(rng, 4, 3)), (None,)]


def infer_stack(rng: Random) -> list[Any]:
    weights = (reals(rng, 4 * H, I), reals(rng, 4 * H, H), reals(rng, 4 * H), reals(rng, 4 * H))
    state = reals(rng, 1, B, H)
    return [4, 1, reals(rng, T, B, I), state, state, weights, None]


# Of each native function arguments that are right.
NATIVE: dict[str, Callable[[Random], list[Any]]] = {
    "forward": lambda rng: [*positions("lstm", layer(rng, "lstm", 4)), True],
    "forward ": lambda rng: [*positions("gru", layer(rng, "gru", 3)), True],
    "backward": backward,
    "infer_stack": infer_stack,
    "supports": lambda rng: [(reals(rng, 3), None), (reals(rng, 3),)],
    "cross_entropy": lambda rng: [
        reals(rng, T, C), np.array([0, 1, 2]), reals(rng, T), 0.1, reals(rng, T), reals(rng, T, C),
        reals(rng, C),
    ],
    "add_rows": lambda rng: [reals(rng, V, I), np.array([0, -1, 3]), reals(rng, 3, I)],
    "sum_of_squares": lambda rng: [reals(rng, 3, 4)],
    "adam": lambda rng: [*(reals(rng, 3, 4) for _ in range(4)), *[0.5] * 9],
    "product": lambda rng: [reals(rng, 9, 8), reals(rng, 8, 7), 0, reals(rng, 7)],
    "product ": lambda rng: [
        reals(rng, 9, 8), cpu.native.pack(reals(rng, 8, 7)), 7, reals(rng, 7),
    ],
    "add_product": lambda rng: [reals(rng, 9, 7), reals(rng, 9, 8), reals(rng, 8, 7)],
    "sum_of_products": lambda rng: [
        (reals(rng, 3, 4), reals(rng, 2, 4)), (reals(rng, 3, 5), reals(rng, 2, 5)),
    ],
    "pack": lambda rng: [reals(rng, 8, 7)],
    "evaluate": chain,
    "set_num_threads": lambda rng: [1],
}  # fmt: skip

SETTINGS: dict[str, Any] = {
    "step": 3, "lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-3, "decay": 0.1, "decoupled": False,
}  # fmt: skip

# And of functions that array code has, too: those that write give what they have written.
EITHER: dict[str, tuple[Callable[..., Any], Callable[[Random], list[Any]]]] = {
    "rnn": (lambda *a: sequence("rnn", *a), lambda rng: layer(rng, "rnn", 1)),
    "gru": (lambda *a: sequence("gru", *a), lambda rng: layer(rng, "gru", 3)),
    "lstm": (lambda *a: sequence("lstm", *a), lambda rng: layer(rng, "lstm", 4)),
    "cross_entropy": (
        lambda *a: kernels.cross_entropy(np, *a),
        lambda rng: [reals(rng, T, C), np.array([0, 1, 2])],
    ),
    "gradient": (
        lambda *a: kernels.cross_entropy_gradient(np, *a),
        lambda rng: [reals(rng, T, C), np.array([0, 1, 2]), reals(rng, T)],
    ),
    "linear": (
        lambda *a: kernels.linear_cross_entropy(np, *a)[0],
        lambda rng: [
            reals(rng, T, I), reals(rng, C, I), np.array([0, 1, 2]), reals(rng, T), reals(rng, C),
        ],
    ),
    "add_rows": (lambda *a: kernels.add_rows(np, *a), NATIVE["add_rows"]),
    "sum_of_squares": (kernels.sum_of_squares, NATIVE["sum_of_squares"]),
    "adam": (
        lambda *a: (kernels.adam(np, *a, **SETTINGS), *a)[1:],
        lambda rng: [np.abs(reals(rng, 3, 4)) for _ in range(4)],
    ),
    "product": (products.product, lambda rng: [reals(rng, 9, 8), reals(rng, 8, 7), reals(rng, 7)]),
}  # fmt: skip


def unaligned(a: Any) -> Any:
    """The same numbers one byte beside where they should lie."""
    room = np.empty(a.nbytes + 1, "uint8")
    moved = room[1:].view(a.dtype).reshape(a.shape)
    moved[...] = a
    return moved


def read_only(a: Any) -> Any:
    a = a.copy()
    a.flags.writeable = False
    return a


# What lies elsewhere or otherwise, and is the same.
LAYOUTS: list[Callable[[Any], Any]] = [
    np.asfortranarray,
    lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    lambda a: a[..., ::-1].copy()[..., ::-1],
    lambda a: a.astype(a.dtype.newbyteorder()),
    unaligned,
    read_only,
    lambda a: a.copy().view(type("Other", (np.ndarray,), {})),
]
# What is not.
SHAPES: list[Callable[[Any], Any]] = [
    lambda a: a[..., None],
    lambda a: a[0],
    lambda a: a[:0],
    lambda a: a[:1],
    lambda a: a[..., :-1],
    lambda a: np.concatenate([a, a]),
    lambda a: a.T,
    lambda a: a.reshape(-1),
    lambda a: np.zeros(()),
    lambda a: np.zeros((1,) * 30, a.dtype),
]
KINDS = ["float16", "float64", "int32", "uint64", "bool", "complex64", "object", "U8", "M8[s]"]
NUMBERS = [None, -1, 0, 1, 255, 2**31, 2**63 - 1, -(2**63), 2**70, 1.5, float("nan"), "x", [1.0]]


def wrong(rng: Random, value: Any, others: list[Any], raw: bool) -> Any:
    """Another value in place of one that was right."""
    if isinstance(value, np.ndarray) and 0 < value.size < HUGE and rng.random() < 0.9:
        if value.dtype.kind not in "biufc":
            return None
        pick = rng.integers(0, 6 if raw else 4)
        if pick == 0:
            return LAYOUTS[rng.integers(len(LAYOUTS))](value) if value.ndim else value
        if pick == 1:
            return SHAPES[rng.integers(len(SHAPES))](value) if value.ndim else None
        if pick == 2 and value.dtype == np.int64:
            changed = value.copy()
            changed.flat[0] = [-1, -7, 10**6, 2**62][rng.integers(4)]
            return changed if rng.random() < 0.5 else changed.astype("uint64")
        if pick == 4:
            return np.broadcast_to(value.reshape(-1)[:1], (HUGE, *value.shape[1:]))
        if pick == 5:
            return others[rng.integers(len(others))]
        kind = KINDS[rng.integers(len(KINDS) if raw else 6)]
        if value.dtype.kind not in "biuf":
            return None
        if kind == "M8[s]":
            return value.astype(int).astype(kind)
        return value.astype(kind)
    if isinstance(value, tuple) and value and rng.random() < 0.8:
        at = int(rng.integers(len(value)))
        changed = wrong(rng, value[at], others, raw)
        return [(*value[:at], changed, *value[at + 1 :]), value[:at], (*value, value[at])][
            rng.integers(3)
        ]
    if isinstance(value, bytes) and rng.random() < 0.9:
        return [rng.bytes(len(value)), value + b"\1", value[:-1], rng.bytes(int(rng.integers(40)))][
            rng.integers(4)
        ]
    return NUMBERS[rng.integers(len(NUMBERS))]


def corrupted(rng: Random, given: list[Any], raw: bool) -> list[Any]:
    given = list(given)
    for _ in range(rng.integers(1, 3)):
        at = int(rng.integers(len(given)))
        given[at] = wrong(rng, given[at], given, raw)
    if raw and rng.random() < 0.03:
        given = given[: rng.integers(len(given))]
    return given


def outcome(function: Callable[..., Any], given: list[Any]) -> Any:
    """What a call gives; None if it raises."""
    try:
        found = function(*given)
    except Exception:
        return None
    return found if isinstance(found, tuple) else (found,)


def copied(a: Any) -> Any:
    """A copy that lies as the array does."""
    if not isinstance(a, np.ndarray):
        return a
    if not a.flags.writeable:
        return read_only(a)
    return unaligned(a) if not a.flags.aligned else a.copy(order="K")


def either(name: str, rng: Random) -> None:
    """One call natively and in array code."""
    function, right = EITHER[name]
    given = corrupted(rng, right(rng), raw=False)
    native, copies = cpu.native, [copied(a) for a in given]
    with np.errstate(all="ignore"):
        found = outcome(function, given)
        try:
            cpu.native = None
            true = outcome(function, copies)
        finally:
            cpu.native = native
    what = [
        (a.dtype, a.shape, a.flags.writeable) if isinstance(a, np.ndarray) else a for a in given
    ]
    assert (found is None) == (true is None), (name, what, found, true)
    for a, b in zip(found or (), true or (), strict=True):
        if b is not None:
            np.testing.assert_allclose(a, b, 2e-3, 2e-3, err_msg=f"{name} {what}")


def main(seed: int, count: int) -> None:
    for k in range(count):
        rng = np.random.default_rng([seed, k])
        print(k, end=" ", flush=True)  # the last one printed is the one that crashed
        if k % 2:
            either(list(EITHER)[k // 2 % len(EITHER)], rng)
        else:
            name = list(NATIVE)[k // 2 % len(NATIVE)]
            outcome(getattr(cpu.native, name.strip()), corrupted(rng, NATIVE[name](rng), True))
    print("done")


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore")
    main(int(sys.argv[1]), int(sys.argv[2]))
