"""Derivatives of every order: of values of no axes as of others, whichever function takes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.tensor.graph import Traced
from tinygrad_rnn.testing import OPERATIONS, OpInfo, Sample, SeededSampler
from tinygrad_rnn.testing.elementwise import ELEMENTWISE
from tinygrad_rnn.testing.indexing import INDEXING
from tinygrad_rnn.testing.movement import MOVEMENT
from tinygrad_rnn.testing.products import PRODUCTS
from tinygrad_rnn.testing.reductions import REDUCTIONS

from ..drawing import HypothesisSampler

ORDER = 4


def real(value: Any, *, requires_grad: bool = False) -> tg.Tensor:
    return tg.tensor(np.asarray(value, np.float64), requires_grad=requires_grad)


def repeated(fn: Callable[[Any], Any], at: float, order: int) -> float:
    """The derivative of an order, by one `tg.grad` upon another."""
    x = real(at, requires_grad=True)
    y = fn(x)
    for _ in range(order):
        (y,) = tg.grad(y, [x], create_graph=True)
    return float(y)


# ---------------------------------------------------------------- known values


def test_derivatives_of_a_number_by_repeated_grad() -> None:
    t, s, c = math.tanh(0.5), math.sin(0.5), math.cos(0.5)
    assert repeated(tg.sqrt, 0.5, 3) == pytest.approx(3 / 8 * 0.5**-2.5)
    assert repeated(tg.tanh, 0.5, 3) == pytest.approx((1 - t * t) * (6 * t * t - 2))
    fourth = math.exp(s) * (c**4 - 6 * c * c * s + 3 * s * s - 4 * c * c + s)
    assert repeated(lambda x: tg.exp(tg.sin(x)), 0.5, 4) == pytest.approx(fourth)


def test_jvp_of_jvp_of_a_number() -> None:
    x, v, one = real(0.5), real(0.7), real(1.0)
    found = tg.jvp(lambda z: tg.jvp(tg.exp, z, v)[1], x, one)[1]
    assert found.item() == pytest.approx(0.7 * math.exp(0.5))


def test_value_and_grad_of_a_jvp() -> None:
    w, ones = real([0.3, -0.2]), real([1.0, 1.0])

    def slope(w: Any) -> Any:
        return tg.jvp(lambda w: tg.exp((w * w).sum()), w, ones)[1]

    a = w.numpy()
    true = math.exp(a @ a) * (2 + 4 * a.sum() * a)
    np.testing.assert_allclose(tg.value_and_grad(slope)(w)[1].numpy(), true)


# ---------------------------------------------------------------- drawn compositions


class Dual:
    """A value and its derivatives along several directions, each taken at most once.

    The part at a set of directions, a bit for each, is the mixed derivative along all of them.
    """

    def __init__(self, parts: dict[int, Any]) -> None:
        self.parts = parts

    def __add__(self, other: Dual) -> Dual:
        keys = self.parts.keys() | other.parts.keys()
        return Dual({k: self.parts.get(k, 0) + other.parts.get(k, 0) for k in keys})

    def __mul__(self, other: Dual) -> Dual:
        parts: dict[int, Any] = {}
        for i, a in self.parts.items():
            for k, b in other.parts.items():
                if not i & k:
                    parts[i | k] = parts.get(i | k, 0) + a * b
        return Dual(parts)

    def sum(self) -> Dual:
        return Dual({k: np.sum(v) for k, v in self.parts.items()})

    def through(self, derivatives: Sequence[Any]) -> Dual:
        """A function of it, by Taylor's formula, from the function's derivatives at its value."""
        rest = Dual({k: v for k, v in self.parts.items() if k})
        total, power = Dual({0: derivatives[0]}), Dual({0: np.ones_like(self.parts[0])})
        for n, d in enumerate(derivatives[1:], 1):
            power = power * rest
            total = total + Dual({k: v * d / math.factorial(n) for k, v in power.parts.items()})
        return total


def tower_of_tanh(x: Any) -> list[Any]:
    """tanh and its derivatives: polynomials in y = tanh(x), with y' = 1 - y^2."""
    y, p = np.tanh(x), np.polynomial.Polynomial([0, 1])
    found = []
    for _ in range(ORDER + 1):
        found.append(p(y))
        p = p.deriv() * np.polynomial.Polynomial([1, 0, -1])
    return found


def tower_of_power(x: Any, p: float) -> list[Any]:
    """x^p and its derivatives."""
    return [math.prod(p - i for i in range(n)) * x ** (p - n) for n in range(ORDER + 1)]


FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], list[Any]]]] = {
    "sin": (tg.sin, lambda x: [np.sin(x + n * np.pi / 2) for n in range(ORDER + 1)]),
    "cos": (tg.cos, lambda x: [np.cos(x + n * np.pi / 2) for n in range(ORDER + 1)]),
    "exp(x/2)": (lambda x: tg.exp(x / 2), lambda x: [np.exp(x / 2) / 2**n for n in range(5)]),
    "tanh": (tg.tanh, tower_of_tanh),
    "square": (tg.square, lambda x: [x * x, 2 * x, 2 + 0 * x, 0 * x, 0 * x]),
    "x**3": (lambda x: x**3, lambda x: [x**3, 3 * x * x, 6 * x, 6 + 0 * x, 0 * x]),
    "sqrt(x+9)": (lambda x: tg.sqrt(x + 9), lambda x: tower_of_power(x + 9, 0.5)),
    "1/(x+9)": (lambda x: 1 / (x + 9), lambda x: tower_of_power(x + 9, -1)),
}
JOINED: dict[str, Callable[[Any, Any, Any], Any]] = {
    "f(y)": lambda x, y, z: z,
    "x f(y)": lambda x, y, z: x * z,
    "y f(y)": lambda x, y, z: y * z,
    "y + f(y)": lambda x, y, z: y + z,
}


def program(steps: Sequence[tuple[str, str]], early: bool) -> Callable[[Any], Any]:
    """A scalar function of Tensors or Duals; `early` sums before the last function."""

    def run(x: Any) -> Any:
        y = x
        for i, (name, how) in enumerate(steps):
            if early and i == len(steps) - 1:
                x, y = x.sum(), y.sum()
            of_tensors, tower = FUNCTIONS[name]
            z = y.through(tower(y.parts[0])) if isinstance(y, Dual) else of_tensors(y)
            y = JOINED[how](x, y, z)
        return y.sum()

    return run


def dot(a: Any, b: Any) -> Any:
    return (a * b).sum()


def by_grad(f: Any, v: Any) -> Any:
    return lambda x: dot(tg.grad(f(x), [x], create_graph=True)[0], v)


def by_hessian(f: Any, v: Any, w: Any) -> Any:
    if not v.ndim:
        return lambda x: tg.hessian(f, x) * v * w
    return lambda x: v @ tg.hessian(f, x) @ w


ONCE: dict[str, Callable[[Any, Any], Any]] = {
    "grad": by_grad,
    "value_and_grad": lambda f, v: lambda x: dot(tg.value_and_grad(f)(x)[1], v),
    "jvp": lambda f, v: lambda x: tg.jvp(f, x, v)[1],
    "vjp": lambda f, v: lambda x: dot(tg.vjp(f, x)[1](tg.ones((), dtype="float64"))[0], v),
    "jacobian": lambda f, v: lambda x: dot(tg.jacobian(f, x), v),
}
TWICE: dict[str, Callable[[Any, Any, Any], Any]] = {
    "hessian": by_hessian,
    "hvp": lambda f, v, w: lambda x: dot(tg.hvp(f, x, v), w),
}


@settings(max_examples=max(200, settings().max_examples))
@given(
    steps=st.lists(
        st.tuples(st.sampled_from([*FUNCTIONS]), st.sampled_from([*JOINED])), min_size=1, max_size=3
    ),
    early=st.booleans(),
    takers=st.lists(st.sampled_from([*ONCE, *TWICE]), min_size=1, max_size=ORDER),
    shape=st.sampled_from([(), (1,), (3,)]),
    seed=st.integers(0, 2**32 - 1),
)
def test_drawn_compositions_are_the_mixed_derivatives(
    steps: list[tuple[str, str]], early: bool, takers: list[str], shape: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x, *directions = rng.uniform(-1, 1, (1 + ORDER, *shape))
    f = taken = program(steps, early)
    order = 0
    for taker in takers:
        if order + 1 + (taker in TWICE) > ORDER:
            break
        if taker in TWICE:
            taken = TWICE[taker](taken, *map(real, directions[order : order + 2]))
        else:
            taken = ONCE[taker](taken, real(directions[order]))
        order += 1 + (taker in TWICE)
    parts = {0: np.asarray(x)} | {1 << i: np.asarray(v) for i, v in enumerate(directions[:order])}
    true = f(Dual(parts)).parts.get((1 << order) - 1, 0.0)
    found = taken(real(x, requires_grad=True) + 0)  # computed: value_and_grad records its gradient
    assert found.shape == ()
    assert found.item() == pytest.approx(float(true), rel=1e-8, abs=1e-9)


# What cells and loops are composed of; they themselves have graphs too large to nest four times.
TABLES = [*ELEMENTWISE, *REDUCTIONS, *MOVEMENT, *INDEXING, *PRODUCTS]
PLAIN = [info for info in TABLES if info.kind != "constant"]


@pytest.mark.parametrize("info", PLAIN, ids=lambda info: info.name)
@settings(max_examples=8)
@given(data=st.data())
def test_orders_of_forwards_and_backwards_agree(info: OpInfo, data: st.DataObject) -> None:
    """The second derivative along two directions, each forwards or backwards, in four ways."""
    sample: Sample = info.draw(HypothesisSampler(data))
    rng = np.random.default_rng(0)
    xs = [real(x) for x in sample.inputs]
    us, vs = ([real(rng.normal(size=x.shape)) for x in sample.inputs] for _ in range(2))

    def fn(*xs: Any) -> Any:
        """A scalar in which every output is weighted."""
        ys = sample.call(info.function, *xs)
        ys = [y for y in several(ys) if y.dtype == np.float64]
        weighted = [(y * real(np.cos(np.arange(y.size)).reshape(y.shape))).sum() for y in ys]
        return sum(weighted, xs[0].sum() * 0)

    def forwards(f: Any, v: Any) -> Any:
        return lambda *xs: tg.jvp(f, xs, tuple(v))[1]

    def backwards(f: Any, v: Any) -> Any:
        def run(*xs: Any) -> Any:
            gs = tg.value_and_grad(f, tuple(range(len(xs))), create_graph=True)(*xs)[1]
            return sum((dot(g, d) for g, d in zip(gs, v, strict=True)), xs[0].sum() * 0)

        return run

    if not any(x.size for x in sample.inputs):
        return
    ways = [
        one(other(fn, us), vs) for one in (forwards, backwards) for other in (forwards, backwards)
    ]
    found = [way(*xs).item() for way in ways]
    for a, b in pairwise(found):
        assert a == pytest.approx(b, rel=1e-9, abs=1e-9)


# ---------------------------------------------------------------- arrays of no axes


def several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


@pytest.mark.parametrize("info", OPERATIONS, ids=lambda info: info.name)
def test_what_is_given_and_kept_are_arrays(info: OpInfo) -> None:
    for seed in range(25):
        sample = info.draw(SeededSampler(seed))
        raw = sample.call(info.function, *sample.inputs)
        ys = sample.call(info.function, *(real(x, requires_grad=True) for x in sample.inputs))
        for y in several(raw):
            assert isinstance(y, np.ndarray)
        for y in several(ys):
            assert isinstance(y.array, np.ndarray)
            node = y.edge and y.edge[0]
            if node and node.op and "y" in node.op.kept_names:
                kept = dict(zip(node.op.kept_names, node.kept, strict=True))["y"]
                assert all(isinstance(v, np.ndarray) for v in several(kept))


def test_what_a_users_operation_gives_may_be_a_number() -> None:
    total = tg.Op("total", lambda xp, x: float(x.sum())).vjp(x=lambda g, shapes: g)
    assert isinstance(total(tg.tensor([1.0, 2.0])).array, np.ndarray)
    assert isinstance(total(np.ones(2)), np.ndarray)


def test_cotangents_of_no_axes_are_arrays() -> None:
    seen: list[Any] = []
    x = real(0.5, requires_grad=True)
    y = x * x
    y.register_hook(lambda g: seen.append(g.array))
    rule_saw: list[Any] = []

    def rule(g: Any) -> Any:
        rule_saw.append(g)
        return g * g  # NumPy gives a scalar here

    z = tg.Op("probe", lambda xp, x: x * 1).vjp(x=rule)(y)
    (z * y + z).backward()
    assert all(type(g) is np.ndarray for g in [*seen, *rule_saw])
    assert x.grad is not None
    assert type(x.grad.array) is np.ndarray


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_number_is_read_and_written_by_index(order: int) -> None:
    def fn(x: Any, v: Any) -> Any:
        y = x + x + x[None].sum() * x[...] + x[None, None].sum()
        y[...] = v * y
        return tg.exp(y[()]) + tg.index_add(y, v, index=...)

    assert tg.gradcheck(fn, [np.array(0.3), np.array(-0.2)], order=order)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_carry_may_be_a_number(fused: bool, order: int) -> None:
    def fn(h: Any, w: Any, xs: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            a, b = tg.unstack(x)
            h = tg.tanh(w * h + a) * b + h[None].sum()
            return h, h * a

        return tg.scan(step, h, xs, fused=fused)

    xs = np.linspace(-0.5, 0.7, 6).reshape(3, 2)
    assert tg.gradcheck(fn, [np.array(0.3), np.array(0.8), xs], order=order, tolerance=1e-5)


def test_operations_give_arrays_as_they_are_to_who_watches() -> None:
    assert isinstance(tg.tanh(np.array(0.5)), np.ndarray)
    assert all(isinstance(v, np.ndarray) for v in tg.unstack(np.ones(2)))
    assert isinstance(tg.tensor(2.0), Traced)
