"""What native code takes, converts or leaves to array code: a test sees which of them ran.

Wherever an array comes from (a file in the other byte order, another process, a memory map), its
numbers are the same, and a slow path does not go unnoticed.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import kernels
from tinygrad_rnn.kernels import products
from tinygrad_rnn.kernels.cpu import functions as cpu
from tinygrad_rnn.kernels.elementwise import Symbol, compile_elementwise

native = pytest.mark.skipif(cpu.native is None, reason=cpu.describe())
T, B, I, H, V, C = 3, 2, 4, 5, 6, 7


class Spy:
    """Native code that notes which of its functions gave something."""

    def __init__(self, module: Any) -> None:
        self.module, self.ran = module, list[str]()

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            found = getattr(self.module, name)(*args)
            if name != "supports" and (found is not None or name in ("adam", "add_rows", WRITES)):
                self.ran.append(name)
            return found

        return call


WRITES = "cross_entropy"  # like adam and add_rows it returns None, having written


class Named(np.ndarray):
    """A subclass without arithmetic of its own."""


def unaligned(a: Any) -> Any:
    room = np.empty(a.nbytes + 1, "uint8")
    moved = room[1:].view(a.dtype).reshape(a.shape)
    moved[...] = a
    return moved


def read_only(a: Any) -> Any:
    a = a.copy()
    a.flags.writeable = False
    return a


def mapped(a: Any) -> Any:
    with tempfile.TemporaryFile() as file:
        there = np.memmap(file, a.dtype, "w+", shape=a.shape)
    there[...] = a
    return there


def masked(a: Any) -> Any:
    return np.ma.MaskedArray(a.copy(), mask=False)


# The same numbers, as they may come.
READ: dict[str, Callable[[Any], Any]] = {
    "fresh": lambda a: a.copy(),
    "unpickled": lambda a: pickle.loads(pickle.dumps(a)),
    "swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "unaligned": unaligned,
    "read-only": read_only,
    "memmap": mapped,
    "subclass": lambda a: a.copy().view(Named),
    "fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "backwards": lambda a: a[..., ::-1].copy()[..., ::-1],
}
LEFT: dict[str, Callable[[Any], Any]] = {
    "float16": lambda a: a.astype("float16") if a.dtype.kind == "f" else a,
    "masked": masked,
    "matrix": lambda a: a.view(np.matrix) if a.ndim == 2 else masked(a),
}
IN_PLACE = {"fresh", "unpickled", "memmap", "subclass"}  # what native code writes to as it lies


def drawn(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype("float32")


def layer(name: str, gates: int) -> list[Any]:
    states = [drawn(B, H, seed=k) for k in range(2 if name == "lstm" else 1)]
    weights = [drawn(gates * H, I), drawn(gates * H, H), drawn(gates * H)]
    extras = [drawn(H, H, seed=3), drawn(3 * H)] if name == "lstm" else []
    b_hh = None if name == "gru" else drawn(gates * H, seed=1)
    more = [np.array([3, 1]), np.eye(T, B, dtype=bool), drawn(B, H, seed=2), drawn(T, B, H)]
    zones = [drawn(1, 1, 1)] if name == "lstm" else []
    return [drawn(T, B, I), *states, *weights, b_hh, *extras, *more, *zones]


def over_time(name: str) -> Callable[..., Any]:
    """Forwards, and natively backwards."""

    def run(*arrays: Any) -> list[Any]:
        forward = getattr(kernels, f"{name}_forward")
        count = 9 if name == "lstm" else 6
        inputs, (lengths, reset, h_mask, *zoneout) = arrays[:count], arrays[count:]
        options = kernels.SequenceOptions(lengths, reset, h_mask, tuple(zoneout))
        ys, saved = forward(np, *inputs, options=options)
        needs = [True] * count
        native = saved[0].__module__ == cpu.__name__
        return [*ys, *(kernels.backward(np, ys, saved, needs) if native else ())]

    return run


def chain(*arrays: Any) -> Any:
    tape: list[Symbol] = []
    x, y = Symbol(tape), Symbol(tape)
    code = compile_elementwise(tape, [[np.tanh(x * y + 1.0)]])
    assert code is not None
    return code(arrays)


def inferred(*arrays: Any) -> Any:
    x, h, c, *weights = arrays
    return kernels.infer_stack("lstm", 1, x, h, c, tuple(weights))


ADAM: dict[str, Any] = {
    "step": 3, "lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-3, "decay": 0.1, "decoupled": False,
}  # fmt: skip

# What is read: a call, its arrays, and which functions of native code are to run.
READERS: dict[str, tuple[Callable[..., Any], list[Any], list[str]]] = {
    "rnn": (over_time("rnn"), layer("rnn", 1), ["forward", "backward"]),
    "gru": (over_time("gru"), layer("gru", 3), ["forward", "backward"]),
    "lstm": (over_time("lstm"), layer("lstm", 4), ["forward", "backward"]),
    "infer_stack": (
        inferred,
        [drawn(T, B, I), drawn(1, B, H), drawn(1, B, H, seed=1), drawn(4 * H, I), drawn(4 * H, H),
         drawn(4 * H), drawn(4 * H, seed=1)],
        ["infer_stack"],
    ),
    "product": (products.product, [drawn(9, 8), drawn(8, 7), drawn(7)], ["product"]),
    "multiplier": (
        lambda a, b, bias: products.Multiplier(np, b)(a, bias),
        [drawn(9, 8), drawn(8, 7), drawn(7)],
        ["pack", "product"],
    ),
    "sum_of_products": (
        lambda a, b, c, d: products.sum_of_products(np, [a, b], [c, d]),
        [drawn(3, 4), drawn(2, 4), drawn(3, 5), drawn(2, 5)],
        ["sum_of_products"],
    ),
    "chain": (chain, [drawn(4, 3), drawn(4, 3, seed=1)], ["evaluate"]),
    "cross_entropy": (
        lambda x, t: kernels.cross_entropy(np, x, t), [drawn(T, C), np.array([0, 6, 2])], [WRITES],
    ),
    "gradient": (
        lambda x, t, w: kernels.cross_entropy_gradient(np, x, t, w),
        [drawn(T, C), np.array([0, 6, 2]), drawn(T)],
        [WRITES],
    ),
    "linear": (
        lambda *a: kernels.linear_cross_entropy(np, *a)[0],
        [drawn(T, I), drawn(C, I), np.array([0, 6, 2]), drawn(T), drawn(C)],
        ["pack", "pack", "product", WRITES, "product", "product"],
    ),
    "sum_of_squares": (kernels.sum_of_squares, [drawn(3, 4)], ["sum_of_squares"]),
    "add_rows": (
        lambda ids, rows: kernels.add_rows(np, drawn(V, I), ids, rows),
        [np.array([1, -1, 1]), drawn(3, I)],
        ["add_rows"],
    ),
    "add_product": (
        lambda a, b: products.add_product(c := drawn(9, 7), a, b) or c,
        [drawn(9, 8), drawn(8, 7)],
        ["add_product"],
    ),
    "adam": (
        lambda g: kernels.adam(np, p := drawn(3, 4), g, drawn(3, 4), drawn(3, 4) ** 2, **ADAM) or p,
        [drawn(3, 4, seed=1)],
        ["adam"],
    ),
}  # fmt: skip

# What is written to: the arrays that a call works on, all of them written, with what it reads.
WRITERS: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "adam": (
        lambda p, m, v: kernels.adam(np, p, drawn(3, 4, seed=1), m, v, **ADAM),
        [drawn(3, 4), drawn(3, 4, seed=2), drawn(3, 4) ** 2],
    ),
    "add_rows": (
        lambda table: kernels.add_rows(np, table, np.array([1, -1, 1]), drawn(3, I)),
        [drawn(V, I)],
    ),
    "add_product": (
        lambda c: products.add_product(c, drawn(9, 8), drawn(8, 7)), [drawn(9, 7)],
    ),
}  # fmt: skip


def flat(found: Any) -> list[Any]:
    return [a for a in (found if isinstance(found, (tuple, list)) else [found]) if a is not None]


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    spy = Spy(cpu.native)
    monkeypatch.setattr(cpu, "native", spy)
    return spy


@native
@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("name", READERS)
def test_what_is_read_may_lie_as_it_likes(name: str, kind: str, spy: Spy) -> None:
    call, arrays, wanted = READERS[name]
    writes = name in ("add_product", "adam", "add_rows")  # to what is of float32 here
    for dtype in ("float32",) if writes else ("float32", "float64"):
        same = [a if a is None or a.dtype.kind != "f" else a.astype(dtype) for a in arrays]
        expected = flat(call(*same))
        together = pickle.loads(pickle.dumps(same)) if kind == "unpickled" else None
        each = [None if a is None else READ[kind](a) for a in same]
        mixed = [READ[kind](a) if k == 0 else a for k, a in enumerate(same)]
        for given in (each, mixed, *([together] if together else [])):
            spy.ran.clear()
            found = flat(call(*given))
            assert spy.ran == wanted
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_allclose(a, b, 1e-6, 1e-6)
                assert np.asarray(a).dtype.isnative


@native
@pytest.mark.parametrize("kind", LEFT)
@pytest.mark.parametrize("name", READERS)
def test_what_is_left_to_array_code(name: str, kind: str, spy: Spy) -> None:
    call, arrays, _ = READERS[name]
    given = [None if a is None or a.dtype.kind != "f" else LEFT[kind](a) for a in arrays]
    given = [a if b is None else b for a, b in zip(arrays, given, strict=True)]
    if kind == "float16" and name not in ("infer_stack", "chain"):
        assert flat(call(*given))
    else:  # a matrix's arithmetic is another: no more than that native code keeps off
        assert not cpu.supports(given[0] if given[0].dtype.kind == "f" else given[-1])
        if name in ("infer_stack", "chain"):
            assert call(*given) is None
    assert spy.ran == []


@native
@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("name", WRITERS)
def test_what_is_written_to_lies_in_order_or_array_code_writes(
    name: str, kind: str, spy: Spy
) -> None:
    call, arrays = WRITERS[name]
    expected = [a.copy() for a in arrays]
    call(*expected)
    given = [READ[kind](a) for a in arrays]
    spy.ran.clear()
    if kind == "read-only":
        with pytest.raises(ValueError, match="read-only"):
            call(*given)
        expected = arrays
    else:
        call(*given)
        assert spy.ran == ([name] if kind in IN_PLACE else [])
    for a, b in zip(given, expected, strict=True):
        np.testing.assert_allclose(a, b, 1e-6, 1e-6)


@native
def test_arrays_that_share_memory_are_left_to_array_code(spy: Spy) -> None:
    room = drawn(20)
    cases = [
        (room[:12].reshape(3, 4), room[8:].reshape(3, 4)),  # the gradient lies within the weight
        (room[:12].reshape(3, 4), room[:12].reshape(3, 4)),
    ]
    for p, g in cases:
        expected, apart = p.copy(), g.copy()
        kernels.adam(np, expected, apart, np.zeros((3, 4), "f"), np.zeros((3, 4), "f"), **ADAM)
        assert spy.ran == ["adam"]
        spy.ran.clear()
        m, v = np.zeros((3, 4), "f"), np.zeros((3, 4), "f")
        kernels.adam(np, p, g, m, v, **{**ADAM, "decay": 0.0})
        assert spy.ran == []
        with pytest.raises(ValueError, match="shares memory"):
            cpu.native.adam(p, g, m, v, *[0.5] * 9)
        spy.ran.clear()
    c = drawn(8, 8)
    expected = c + c @ c
    products.add_product(c, c, c)
    assert "add_product" not in spy.ran
    np.testing.assert_allclose(c, expected, 1e-5, 1e-5)


@native
@pytest.mark.parametrize("what", ["model", "input", "both"])
def test_an_unpickled_model_trains_natively(what: str, spy: Spy) -> None:
    model: Any = tg.nn.LSTM(I, H, num_layers=2, generator=tg.Generator(0))
    x = drawn(T, B, I)
    runs = []
    for model_, x_ in [
        (model, x),
        (
            model if what == "input" else pickle.loads(pickle.dumps(model)),
            x if what == "model" else pickle.loads(pickle.dumps(x)),
        ),
    ]:
        spy.ran.clear()
        y, _ = model_(tg.as_tensor(x_))
        (y * y).sum().backward()
        tg.optim.Adam(model_.parameters()).step()
        runs.append(list(spy.ran))
    assert runs[0] == runs[1]
    assert {"forward", "backward", "adam"} <= {*runs[0]}


# ---------------------------------------------------------------- the other byte order

X = np.arange(12.0, dtype="float32").reshape(3, 4)


def swapped(a: Any) -> Any:
    return tg.as_tensor(a.astype(a.dtype.newbyteorder(">")))


def norm(g: tg.Tensor) -> tg.Tensor:
    p = tg.Tensor(np.zeros_like(X), requires_grad=True)
    p.grad = g
    return tg.tensor(float(tg.optim.clip_grad_norm_([p], 1.0)))


@pytest.mark.parametrize(
    ("function", "arrays"),
    [
        (lambda x: tg.nn.cross_entropy(x, [0, 1, 2]), [X]),
        (lambda x, v: tg.index_add(x, v, index=np.array([0, 2])), [X, X[:2]]),
        (norm, [X]),
    ],
    ids=["cross_entropy", "index_add", "clipping"],
)
def test_numbers_in_the_other_byte_order(
    function: Callable[..., tg.Tensor], arrays: list[Any]
) -> None:
    expected = function(*map(tg.as_tensor, arrays))
    found = function(*map(swapped, arrays))
    np.testing.assert_allclose(np.asarray(found.numpy(), "float64"), expected.numpy(), rtol=1e-6)


# ---------------------------------------------------------------- whatever Python passes


@native
@pytest.mark.parametrize("seed", [0, 1])
def test_wrong_arguments_raise_and_never_crash(seed: int) -> None:
    """In a process of its own: the last number printed is that of the call which ended it."""
    run = [sys.executable, "-m", "tests.kernels.wrong_arguments", str(seed), "3000"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout[-5:]) == (0, "done\n"), done.stdout[-20:] + done.stderr
