"""Chains of elementwise arithmetic: to the bit what NumPy makes of them, however arrays lie."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.kernels.cpu import functions as cpu
from tinygrad_rnn.kernels.elementwise import (
    FUNCTIONS,
    ElementwiseProgram,
    Symbol,
    compile_elementwise,
)

from ..drawing import HypothesisSampler

pytestmark = pytest.mark.skipif(cpu.native is None, reason=cpu.describe())
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])

ODD = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, 1.0]


def written(function: Any, count: int) -> ElementwiseProgram:
    tape: list[Symbol] = []
    code = compile_elementwise(
        tape, [(y,) for y in function(*(Symbol(tape) for _ in range(count)))]
    )
    assert code is not None
    return code


def laid_out(d: HypothesisSampler, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same numbers, lying otherwise in memory."""
    wide = np.concat([x, x], axis=-1)
    return [x, x.T.copy().T, wide[..., : x.shape[-1]], np.repeat(x, 2, 0)[::2]][d.integer(0, 3)]


@dtypes
@given(data=st.data())
def test_drawn_chains_on_drawn_arrays(dtype: str, data: st.DataObject) -> None:
    d = HypothesisSampler(data)
    shape = d.one_of([(1,), (5,), (300,), (3, 1), (7, 16), (4, 300), (2, 3, 20)])
    rng = np.random.default_rng(d.integer(0, 99))
    inputs = [rng.normal(size=shape).astype(dtype) for _ in range(3)]
    inputs[0].flat[: inputs[0].size // 3] = rng.choice(ODD, inputs[0].size // 3)
    inputs = [laid_out(d, x) for x in inputs]
    inputs.append(rng.normal(size=d.one_of([shape, shape[-1:]])).astype(dtype))  # a row for all
    # Of 0.0 and -0.0 either is the larger one, and tanh is not NumPy's.
    arithmetic = [f for f in FUNCTIONS if f not in (np.tanh, np.maximum, np.minimum)]
    plan = [
        (d.one_of(arithmetic), d.integer(0, 99), d.one_of([d.integer(0, 99), 0.5, -0.0]))
        for _ in range(d.integer(2, 40))
    ]

    def function(*xs: Any) -> list[Any]:
        values = [xs[0] + xs[3], *xs[:3]]
        for f, i, k in plan:
            a, b = values[i % len(values)], k if type(k) is float else values[k % len(values)]
            values.append(f(a, b) if f.nin == 2 else f(a))
        return [values[0], values[-1], values[len(values) // 2]]

    code = written(function, 4)
    with np.errstate(all="ignore"):
        true = function(*inputs)
    found = code(tuple(inputs[n] for n in code.inputs))
    assert found is not None
    for a, b in zip(found, true, strict=True):
        assert a.dtype == dtype
        np.testing.assert_array_equal(a, b)


@dtypes
@given(data=st.data())
def test_columns_go_in_and_come_out_side_by_side(dtype: str, data: st.DataObject) -> None:
    d = HypothesisSampler(data)
    width, rows = d.one_of([1, 5, 16, 300]), d.one_of([(), (1,), (4,), (2, 3)])
    rng = np.random.default_rng(d.integer(0, 99))
    starts = [d.integer(0, 20) for _ in range(3)]
    shapes = [(*rows, s + width + d.integer(0, 3)) for s in starts]
    shapes[2] = d.one_of([shapes[2], shapes[2][-1:]])  # a row for all
    wide = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    x = rng.normal(size=(*rows, width)).astype(dtype)
    tape: list[Symbol] = []
    a, b, c, whole = [Symbol(tape) for _ in range(4)]
    total = a * b + c
    results = [(total,), (whole, total, a), (total - whole,)]
    code = compile_elementwise(tape, results, dict(enumerate(starts)), width)
    assert code is not None
    inputs = [laid_out(d, w) for w in wide] + [laid_out(d, x)]
    found = code(tuple(inputs[n] for n in code.inputs))
    a, b, c = (w[..., s : s + width] for w, s in zip(wide, starts, strict=True))
    total = a * b + c
    true = [total, np.concat([x, total, a], axis=-1), total - x]
    assert found is not None
    for y, t in zip(found, true, strict=True):
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, t)


@dtypes
def test_odd_numbers_and_the_last_places_of_tanh(dtype: str) -> None:
    x = np.array(ODD, dtype)
    for f in (lambda x: [-x, abs(x)], lambda x: [x * -0.0, x + 0.0], lambda x: [x / -1, x - 0.0]):
        with np.errstate(invalid="ignore"):
            found, true = written(f, 1)((x,)), f(x)
        assert found is not None
        for a, b in zip(found, true, strict=True):
            numbers = ~np.isnan(b)
            np.testing.assert_array_equal(np.signbit(a[numbers]), np.signbit(b[numbers]))
    y = x[::-1].copy()
    found = written(lambda x, y: [np.maximum(x, y), np.minimum(x, y)], 2)((x, y))
    assert found is not None
    np.testing.assert_array_equal(found, [np.maximum(x, y), np.minimum(x, y)])
    x = np.linspace(-9, 9, 1001).astype(dtype)
    found = written(lambda x: [np.tanh(x) * 1.0], 1)((x,))
    assert found is not None
    np.testing.assert_allclose(found[0], np.tanh(x.astype("float64")), rtol=4 * np.finfo(dtype).eps)


def test_what_goes_in_is_left_as_it_was_and_what_comes_out_is_ones_own() -> None:
    x, y = np.ones((4, 5)), np.full((4, 5), 2.0)
    code = written(lambda x, y: [x + y, x, -x * y, x], 2)
    found = code((x, y))
    assert found is not None
    assert [float(a[0, 0]) for a in found] == [3, 1, -2, 1]
    for a in found:
        a += 1
    assert (x == 1).all()
    assert len({id(a) for a in found}) == 4


def test_results_are_put_into_rooms_that_fit_them() -> None:
    x = np.arange(12.0).reshape(3, 4)
    code = written(lambda x: [x * 2 + 1, -x * 3], 1)
    whole = np.zeros((2, 3, 4))
    found = code((x,), (whole[1], None))
    assert found is not None
    assert found[0].base is whole
    np.testing.assert_array_equal(whole, [np.zeros((3, 4)), x * 2 + 1])
    np.testing.assert_array_equal(found[1], x * -3)
    fixed = np.zeros((3, 4))
    fixed.setflags(write=False)
    for room in [
        np.zeros((4, 3)),
        np.zeros((3, 4), "f"),
        np.zeros((4, 3)).T,
        fixed,
        np.zeros(12),
        1,
    ]:
        found = code((x,), (room,))
        assert found is not None
        assert found[0] is not room
        np.testing.assert_array_equal(found[0], x * 2 + 1)
        assert not np.any(np.asarray(room) == 3)


def test_arrays_that_it_does_not_take() -> None:
    code = written(lambda x, y: [x * y + 1], 2)
    x = np.ones((3, 4))
    for pair in [
        (x, None), (x, 2.0), (x, x.astype("float32")), (x, x[:2]), (x, np.ones(3)),
        (x, np.ones((3, 1))), (x, np.ones((1, 4))), (x[:0], x[:0]), (x > 0, x > 0),
        (x.astype(int), x.astype(int)), (x.astype("float16"), x.astype("float16")),
        (x.view(np.matrix), x),
    ]:  # fmt: skip
        assert code(pair) is None
    swapped = x.astype(">f8")
    found = code((swapped, swapped))
    assert found is not None
    assert (found[0] == 2).all()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.exp(x),
        lambda x: np.where(x, x, 0),
        lambda x: x > 0,
        lambda x: x if x else -x,
        lambda x: np.add.reduce(x),
        lambda x: np.add(x, x, dtype="float64"),
        lambda x: x + np.float64(1),
        lambda x: x + np.ones(3),
        lambda x: x.shape,
        lambda x: x[0],
    ],
)
def test_what_a_symbol_cannot_stand_for(function: Any) -> None:
    with pytest.raises((TypeError, AttributeError)):
        function(Symbol([]))


def test_what_is_not_worth_a_chain_or_too_long_for_one() -> None:
    tape: list[Symbol] = []
    x = Symbol(tape)
    assert compile_elementwise(tape, [(x,)]) is None
    assert compile_elementwise(tape, [(x + 1,)]) is None
    assert compile_elementwise(tape, [((x + 1) * 2,)]) is not None
    many = [x * (i + 0.5) for i in range(300)]
    assert compile_elementwise(tape, [(y,) for y in many]) is None
    total = many[0]
    for _ in range(300):
        total = total * 0.5 + 1
    assert compile_elementwise(tape, [(total,)]) is not None  # registers are used again


def test_memory_is_safe_whatever_the_code() -> None:
    x = np.ones(3)
    for steps, registers, results in [
        (bytes([0, 0, 9, 1]), 2, b"\x01"),
        (bytes([0, 0, 0, 9]), 2, b"\x01"),
        (bytes([0, 0, 0, 0]), 2, b"\x01"),
        (bytes([99, 0, 0, 1]), 2, b"\x01"),
        (b"", 2, b"\x09"),
        (b"", 0, b""),
        (b"", 256, b""),
    ]:
        widths = bytes([1] * len(results))
        with pytest.raises(ValueError, match="registers"):
            cpu.native.evaluate(steps, registers, (), results, widths, 0, b"", (x,), ())
    step = bytes([0, 0, 0, 1])
    for results, widths, columns, starts in [
        (b"\x01", b"\x02", 0, b""),
        (b"\x01\x01", b"\x01", 0, b""),
        (b"\x01", b"\x01", -1, b""),
        (b"\x01", b"\x01", 2, b"\x00"),
    ]:
        with pytest.raises(ValueError, match="layout"):
            cpu.native.evaluate(step, 2, (), results, widths, columns, starts, (x,), ())
    for columns, start in [(2, 2), (4, 0), (2, 2**62), (2, -1), (0, 1)]:
        starts = array("l", [start]).tobytes()
        found = cpu.native.evaluate(step, 2, (), b"\x01", b"\x01", columns, starts, (x,), ())
        assert found is None, (columns, start)
    one = np.ones(())
    assert cpu.native.evaluate(step, 2, (), b"\x01\x01", b"\x02", 0, b"", (one,), ()) is None
