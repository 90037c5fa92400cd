"""Declaring operations: what a rule may read, what is kept, and the errors of wrong calls."""

from __future__ import annotations

import functools
import gc
import inspect
import tracemalloc
import weakref
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg


def test_what_no_rule_names_is_not_kept() -> None:
    x = tg.tensor(np.ones(10), requires_grad=True)
    source = weakref.ref(doubled := x * 2.0)
    y = tg.tanh(doubled)  # its rule reads the output only
    del doubled
    assert source() is None
    assert y.edge is not None
    assert y.edge[0].kept is not None
    assert [a is y.data for a in y.edge[0].kept] == [True]


class Power:
    """A forward function and a rule that are methods: `self` is not among what they declare."""

    exponent = 3

    def forward(self, xp: Any, x: Any, scale: Any = 1.0, *, shift: float = 0.0) -> Any:
        return scale * x**self.exponent + shift

    def rule(self, g: Any, x: Any, scale: Any) -> Any:
        return g * scale * self.exponent * x ** (self.exponent - 1)

    def __call__(self, xp: Any, x: Any, scale: Any = 1.0, *, shift: float = 0.0) -> Any:
        return self.forward(xp, x, scale, shift=shift)


def decorated(function: Any) -> Any:
    return functools.wraps(function)(lambda *args, **kwargs: function(*args, **kwargs))


@pytest.mark.parametrize(
    "forward",
    [
        Power().forward,
        Power(),
        functools.partial(Power.forward, Power()),
        decorated(Power().forward),
    ],
    ids=["method", "object", "partial", "decorated"],
)
def test_a_forward_function_may_be_any_callable(forward: Any) -> None:
    op = tg.Op("power", forward).vjp(x=Power().rule)
    assert (op.inputs, op.parameters) == (("x", "scale"), {"shift": 0.0})
    assert [*inspect.signature(op).parameters] == ["x", "scale", "shift"]
    x = tg.tensor(2.0, requires_grad=True)
    y = op(x, shift=1.0)
    y.backward()
    assert (y.item(), x.grad.item()) == (9.0, 12.0)
    tg.gradcheck(lambda x: op(x, 2.0), [np.array([1.0, 2.0])])
    assert "forward" in str(inspect.signature(tg.Op))  # of the class: its constructor's


def test_memory_falls_when_the_last_tensor_goes_with_the_collector_off() -> None:
    x = tg.tensor(np.ones((1000, 100)), requires_grad=True)

    def work() -> None:
        y = x
        for _ in range(20):
            y = tg.tanh(y) * y
        (g,) = tg.grad(y.sum(), [x], create_graph=True)
        tg.grad(g.sum(), [x])
        x.grad = None

    work()
    gc.collect()
    gc.disable()
    try:
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        work()
        assert tracemalloc.get_traced_memory()[0] - before < 400_000  # a single array is 800 kB
        assert gc.collect() == 0  # no cycles
    finally:
        tracemalloc.stop()
        gc.enable()


@pytest.mark.parametrize("name", ["g", "y", "xp", "shapes", "needs", "saved"])
def test_names_of_the_engine_are_refused_as_inputs(name: str) -> None:
    scope: dict[str, Any] = {}
    exec(f"def forward(module, {name}): return {name}", scope)
    with pytest.raises(TypeError, match=f"'{name}'.*are reserved"):
        tg.Op("bad", scope["forward"])


def test_a_rule_that_reads_what_nothing_provides_is_refused() -> None:
    with pytest.raises(TypeError, match=r"reads \['z'\]"):
        tg.Op("bad", lambda xp, x: x).vjp(x=lambda g, z: g)


def test_a_rule_that_reads_inputs_whose_number_varies_is_refused() -> None:
    with pytest.raises(TypeError, match="their number varies"):
        tg.Op("bad", lambda xp, *xs: xs[0]).vjp(lambda g, xs: [g for _ in xs])


def test_a_singular_matrix_is_not_a_matter_of_shapes() -> None:
    with pytest.raises(np.linalg.LinAlgError, match=r"inv: .*Singular"):
        tg.linalg.inv(tg.zeros((2, 2)))


def test_a_rule_for_an_input_that_is_not_there_is_refused() -> None:
    with pytest.raises(TypeError, match=r"no inputs \['z'\]"):
        tg.Op("bad", lambda xp, x: x).vjp(z=lambda g: g)


def test_parameters_may_be_given_by_position_and_inputs_by_name() -> None:
    x = tg.tensor([[1.0, 2.0]])
    assert tg.sum(x, 1).tolist() == [3.0]
    assert tg.add(a=x, b=x).tolist() == [[2.0, 4.0]]
    assert x.sum(0).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: x @ tg.zeros((4, 2)), tg.ShapeError, "matmul: expected a's last axis"),
        (lambda x: x + tg.zeros((7,)), tg.ShapeError, r"a float32\[2, 3\], b float32\[7\]"),
        (lambda x: tg.sum(x, axis=5), tg.ShapeError, "sum: .*axis=5"),
        (lambda x: x.reshape(4), tg.ShapeError, "reshape: .*shape=4"),
        (lambda x: x[9], IndexError, "getitem: expected an index within the shape"),
        (lambda x: tg.concat([x, tg.zeros((2, 2, 2))]), tg.ShapeError, "concat: expected"),
        (lambda x: tg.stack([x, tg.zeros((2, 2))]), tg.ShapeError, "stack: expected equal shapes"),
        (lambda x: tg.tanh(x, 1, 2), TypeError, "got 3 positional"),
        (lambda x: tg.tanh(), TypeError, "got 0 positional"),
        (lambda x: x + "a", TypeError, "add: "),
        (lambda x: tg.lstm(x, x, x, x, x, None, None, None, None), tg.ShapeError, "lstm: expected"),
    ],
)
def test_a_wrong_call_is_told_the_operation_what_was_expected_and_what_came(
    call: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call(tg.zeros((2, 3)))


def test_an_operation_explains_itself() -> None:
    assert repr(tg.sum) == "<operation sum(x, *, axis=None, keepdims=False)>".replace(
        "x, *, axis=None, keepdims=False",
        "x: 'Array', *, axis: 'Axis' = None, keepdims: 'bool' = False",
    )
    assert "logistic" in (tg.sigmoid.__doc__ or "")


def test_a_users_operation_is_declared_as_ours_are() -> None:
    cube = tg.Op("cube", lambda xp, x: x**3).vjp(x=lambda g, x: 3 * g * x**2)
    assert tg.gradcheck(cube, [np.array([-1.0, 0.5, 2.0])], order=3)


# ---------------------------------------------------------------- shapes are blamed for shapes only


@pytest.mark.parametrize(
    "operator", [tg.add, tg.subtract, tg.divide, tg.pow, tg.matmul, tg.maximum, tg.linear]
)
@pytest.mark.parametrize("operand", [None, "a", {}, object()])
def test_an_operand_that_is_no_number_is_named(operator: Any, operand: Any) -> None:
    x = tg.ones((2,))
    name = operator.inputs[1]
    with pytest.raises(tg.errors.InvalidTypeError) as refusal:
        operator(x, operand)
    said = str(refusal.value)
    assert said.startswith(f"{operator.name}: {name}")
    assert type(operand).__name__ in said
    assert "shapes" not in said


def test_one_of_several_operands_is_named_by_its_place() -> None:
    for join in (tg.stack, tg.concat):
        with pytest.raises(TypeError, match=rf"{join.__name__}: xs\[1\]: .*got NoneType"):
            join([tg.ones((2,)), None])


def test_dtypes_without_an_operation_are_told_apart_from_shapes() -> None:
    flags = tg.tensor([True, False])
    for call in (lambda: flags - flags, lambda: -flags, lambda: tg.tensor([2]) ** -1):
        with pytest.raises(tg.errors.InvalidTypeError) as refusal:
            call()
        assert "shapes" not in str(refusal.value)
    with pytest.raises(TypeError, match=r"integers have no negative powers .*astype\('float32'\)"):
        tg.tensor([2, 3]) ** tg.tensor([1, -1])
    with pytest.raises(tg.errors.ShapeError, match="expected shapes that broadcast together"):
        flags + tg.ones((3,))


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: tg.abs(x * 1j),
        lambda x: x + np.array([1j, 2.0]),
        lambda x: x @ tg.as_tensor(np.array([1j, 2.0])),
        lambda x: tg.where(np.array([True, False]), x, 1j),
        lambda x: tg.Op("turn", lambda xp, x: x * 1j).vjp(x=lambda g: g)(x),
        lambda x: tg.Op("two", lambda xp, x: (x, x * 1j)).vjp(x=lambda g: g[0])(x)[0],
    ],
)
def test_complex_numbers_are_refused_where_a_gradient_would_lose_a_part(fn: Any) -> None:
    with pytest.raises(tg.errors.InvalidTypeError, match="complex numbers have no gradients here"):
        fn(tg.tensor([1.0, 2.0], requires_grad=True))
    fn(tg.tensor([1.0, 2.0]))


def test_a_complex_cotangent_is_refused() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(tg.errors.InvalidTypeError, match="cotangent of reals, got complex128"):
        (x * x).backward(np.array([1j, 1.0]))


def test_a_real_tensor_is_no_parameter_of_an_operation() -> None:
    x = tg.ones((2, 3), requires_grad=True)
    smoothing = tg.tensor(0.5, requires_grad=True)
    with pytest.raises(TypeError, match=r"smoothing: expected a Python value.*smoothing.item\(\)"):
        tg.softmax_cross_entropy(x, [0, 1], smoothing=smoothing)
    assert tg.softmax_cross_entropy(x, [0, 1], smoothing=smoothing.item()).shape == (2,)
    assert x[tg.tensor([1])].shape == (1, 3)
