"""Derivatives of functions: against each other, against differences, and in each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.testing import OPERATIONS, OpInfo, Sample

from ..drawing import HypothesisSampler, share
from ..strict import strict_device

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(2, 3, 2))
V, W = RNG.normal(size=(2, 3, 2))


def tensors(*arrays: Any, **settings: Any) -> Any:
    made = tuple(tg.tensor(a, **settings) for a in arrays)
    return made[0] if len(made) == 1 else made


def several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def dot(xs: Any, ys: Any) -> float:
    pairs = zip(several(xs), several(ys), strict=True)
    return float(sum((x.numpy() * y.numpy()).sum() for x, y in pairs))


def close(x: Any, y: Any) -> None:
    np.testing.assert_allclose(
        x.detach().numpy(), y.detach().numpy() if isinstance(y, tg.Tensor) else y, 1e-9, 1e-11
    )


def energy(a: Any, b: Any) -> Any:
    """A scalar in which a and b meet, with no symmetry to hide behind."""
    return (tg.tanh(a * b) * a + tg.exp(b) * a**2).sum()


# ---------------------------------------------------------------- forwards against backwards


@pytest.mark.parametrize("info", OPERATIONS, ids=lambda info: info.name)
@share(3)
@given(data=st.data())
def test_forwards_and_backwards_are_transposes(info: OpInfo, data: st.DataObject) -> None:
    """<w, J v> = <J' w, v> for every operation, and both give the value itself."""
    sample: Sample = info.draw(HypothesisSampler(data))

    def fn(*xs: Any) -> Any:
        return sample.call(info.function, *xs)

    xs = [tg.tensor(x) for x in sample.inputs]
    vs = tuple(tg.tensor(RNG.normal(size=x.shape)) for x in xs)
    y, pull = tg.vjp(fn, *xs)
    flat = several(y)
    ws = [tg.tensor(RNG.normal(size=v.shape)) for v in flat]
    forwards, dy = tg.jvp(fn, tuple(xs), vs)
    for found, true in zip(several(forwards), several(fn(*xs)), strict=True):
        np.testing.assert_array_equal(found.numpy(), true.numpy())
    back = pull(tuple(ws) if isinstance(y, tuple) else ws[0])
    assert [g.shape for g in back] == [x.shape for x in xs]
    assert [d.shape for d in several(dy)] == [v.shape for v in flat]
    assert dot(ws, dy) == pytest.approx(dot(back, vs), rel=1e-9, abs=1e-9)


def test_jvp_is_the_derivative_along_a_direction() -> None:
    y, dy = tg.jvp(energy, tensors(A, B), tensors(V, W))
    step = 1e-6
    ahead, behind = (energy(*tensors(A + s * V, B + s * W)) for s in (step, -step))
    assert y.item() == energy(*tensors(A, B)).item()
    assert dy.item() == pytest.approx((ahead.item() - behind.item()) / (2 * step))


def test_jvp_goes_through_fused_operations_and_through_their_derivatives() -> None:
    layer = tg.nn.LSTM(2, 3, dtype="float64")
    x, v = tensors(RNG.normal(size=(2, 4, 1, 2)))

    def total(x: Any) -> Any:
        y, (h, c) = layer(x)
        return (y * y).sum() + (h * c).sum()

    _, dy = tg.jvp(total, x, v)
    (gradient,) = tg.vjp(total, x)[1](tg.ones((), dtype="float64"))
    assert dy.item() == pytest.approx(dot(gradient, v))
    curvature = tg.jvp(lambda x: tg.jvp(total, x, v)[1], x, v)[1]
    assert curvature.item() == pytest.approx(dot(tg.hvp(total, x, v), v))


def test_on_another_device() -> None:
    with strict_device() as device:
        x, v = tensors(A, V, device=device)
        found = tg.jvp(lambda x: tg.tanh(x @ x.T), x, v)[1], tg.jacobian(tg.tanh, x)
        assert [t.device for t in found] == [device, device]
        x, v = tensors(A, V)
        np.testing.assert_array_equal(
            found[0].numpy(), tg.jvp(lambda x: tg.tanh(x @ x.T), x, v)[1].numpy()
        )
        np.testing.assert_array_equal(found[1].numpy(), tg.jacobian(tg.tanh, x).numpy())


# ---------------------------------------------------------------- matrices of derivatives


@given(st.integers(0, 3), st.integers(0, 3))
def test_the_jacobian_of_a_linear_map_is_its_matrix(n: int, m: int) -> None:
    matrix = RNG.normal(size=(n, m))
    jacobian = tg.jacobian(lambda x: tg.tensor(matrix) @ x, tg.tensor(RNG.normal(size=m)))
    np.testing.assert_allclose(jacobian.numpy(), matrix)
    assert jacobian.shape == (n, m)


def test_the_jacobian_of_several_in_several() -> None:
    a, b = tensors(A, B)
    (ya, yb), (za, zb) = tg.jacobian(lambda a, b: (a.sum(axis=0), a.T @ b), a, b)
    assert [t.shape for t in (ya, yb, za, zb)] == [(2, 3, 2)] * 2 + [(2, 2, 3, 2)] * 2
    eye = np.eye(2)
    close(ya, np.broadcast_to(eye[:, None, :], (2, 3, 2)))
    close(yb, np.zeros((2, 3, 2)))  # does not depend on it
    close(za, np.einsum("im,kj->ijkm", eye, B))
    close(zb, np.einsum("jm,ki->ijkm", eye, A))


def test_the_hessian_of_a_quadratic_form() -> None:
    matrix = RNG.normal(size=(3, 3))
    x = tg.tensor(RNG.normal(size=3))
    close(tg.hessian(lambda x: x @ tg.tensor(matrix) @ x, x), matrix + matrix.T)


def test_the_hessian_in_several_is_the_jacobian_of_the_gradients() -> None:
    a, b = tensors(A, B)
    found = tg.hessian(energy, a, b)
    true = tg.jacobian(lambda a, b: tg.value_and_grad(energy, (0, 1))(a, b)[1], a, b)
    for i in range(2):
        for j in range(2):
            close(found[i][j], true[i][j])
            close(found[i][j], found[j][i].permute_dims(2, 3, 0, 1))
    step = 1e-6
    moved = [tg.value_and_grad(energy)(*tensors(A, B + s * W))[1] for s in (step, -step)]
    differences = (moved[0].numpy() - moved[1].numpy()) / (2 * step)
    np.testing.assert_allclose(
        np.tensordot(found[0][1].numpy(), W, 2), differences, rtol=1e-6, atol=1e-8
    )


def test_hvp_is_the_hessian_times_the_vector() -> None:
    a, b, v, w = tensors(A, B, V, W)
    blocks = tg.hessian(energy, a, b)
    for found, row in zip(tg.hvp(energy, (a, b), (v, w)), blocks, strict=True):
        close(found, np.tensordot(row[0].numpy(), V, 2) + np.tensordot(row[1].numpy(), W, 2))
    close(tg.hvp(lambda a: energy(a, b), a, v), np.tensordot(blocks[0][0].numpy(), V, 2))


def test_what_does_not_depend_on_an_input_is_zero() -> None:
    a, b, v, w = tensors(A, B, V, W)
    constant = tensors(np.ones(2))
    y, pull = tg.vjp(lambda a, b: (a * 2, constant, a > 0), a, b)
    ga, gb = pull((v, constant, tg.tensor(np.ones((3, 2)))))
    close(ga, 2 * V)
    close(gb, 0 * B)
    _, (da, dc, db) = tg.jvp(lambda a, b: (a * 2, constant, a > 0), (a, b), (v, w))
    close(da, 2 * V)
    close(dc, [0, 0])
    assert (db.shape, bool(db.numpy().any())) == ((3, 2), False)
    close(tg.jacobian(lambda a: constant, a), np.zeros((2, 3, 2)))
    close(tg.hessian(lambda a: a.sum(), a), np.zeros((3, 2, 3, 2)))
    close(tg.hvp(lambda a: constant.sum(), a, v), np.zeros((3, 2)))
    assert [t.shape for t in y] == [(3, 2), (2,), (3, 2)]


# ---------------------------------------------------------------- within each other, and the graph


def test_an_input_given_twice_has_a_derivative_for_each_place() -> None:
    x = tensors(A)
    for tied in (x, tensors(A, requires_grad=True)):
        ga, gb = tg.vjp(lambda a, b: (a * a * b).sum(), tied, tied)[1](tg.ones((), dtype="float64"))
        close(ga, 2 * A * A)
        close(gb, A * A)


def test_each_can_be_differentiated_in_each_other() -> None:
    """All third derivatives of x^4 in as many spellings."""
    x, one = tensors(np.array(2.0), np.array(1.0))

    def f(x: Any) -> Any:
        return x**4

    def by_vjp(f: Any) -> Any:
        return lambda x: tg.vjp(f, x)[1](one)[0]

    def by_jvp(f: Any) -> Any:
        return lambda x: tg.jvp(f, x, one)[1]

    def by_jacobian(f: Any) -> Any:
        return lambda x: tg.jacobian(f, x)

    def by_value_and_grad(f: Any) -> Any:
        return lambda x: tg.value_and_grad(f)(x)[1]

    ways = [by_vjp, by_jvp, by_jacobian, by_value_and_grad]
    for first in ways:
        for second in ways:
            assert first(second(f))(x).item() == 48.0
            for third in ways:
                assert first(second(third(f)))(x).item() == 48.0


@pytest.mark.parametrize(
    "inner",
    [
        lambda f, x: tg.vjp(f, x)[1](tg.ones((), dtype="float64"))[0],
        lambda f, x: tg.jacobian(f, x),
        lambda f, x: tg.value_and_grad(f)(x)[1],
        lambda f, x: tg.hvp(f, x, x),
    ],
)
def test_the_derivative_of_a_derivative_in_what_the_function_closes_over(inner: Any) -> None:
    b = tensors(B)
    found = tg.jacobian(lambda b: inner(lambda a: energy(a, b), tensors(A)).sum(), b)
    step = 1e-6
    moved = [
        inner(lambda a, s=s: energy(a, tensors(B + s * W)), tensors(A)).sum().item()
        for s in (step, -step)
    ]
    assert dot(found, tensors(W)) == pytest.approx((moved[0] - moved[1]) / (2 * step))


def test_results_are_part_of_the_graph_where_what_they_come_from_is() -> None:
    a, b = tensors(A), tensors(B, requires_grad=True)
    for result in (
        tg.vjp(lambda a: energy(a, b), a)[0],
        tg.jvp(lambda a: energy(a, b), a, a)[1],
        tg.jacobian(lambda a: energy(a, b), a),
    ):
        (g,) = tg.grad(result.sum(), [b])
        assert g.numpy().any()
    assert b.grad is None
    # and are constants where it is not, or where nothing is recorded
    assert not tg.jacobian(lambda a: energy(a, a), a).requires_grad
    assert not tg.vjp(lambda a: energy(a, a), a)[0].requires_grad
    assert not any(t.requires_grad for t in tg.jvp(lambda a: energy(a, a), a, a))
    assert not tg.hvp(lambda a: energy(a, a), a, a).requires_grad
    with tg.no_grad():
        y, pull = tg.vjp(lambda a: energy(a, b), a)
        found = [y, *pull(y), *tg.jvp(lambda a: energy(a, b), a, a), tg.hvp(energy_in(b), a, a)]
    assert not any(t.requires_grad for t in found)
    close(found[1] / found[0], tg.grad(energy(x := tensors(A, requires_grad=True), b), [x])[0])


def energy_in(b: Any) -> Callable[[Any], Any]:
    return lambda a: energy(a, b)


def test_a_pull_can_be_differentiated_in_the_cotangent() -> None:
    w = tensors(V, requires_grad=True)
    (g,) = tg.vjp(tg.exp, tensors(A))[1](w)
    (back,) = tg.grad(g, [w], [tensors(W)])
    close(back, np.exp(A) * W)


def test_gradients_of_inputs_are_left_alone() -> None:
    a, b = tensors(A, B, requires_grad=True)
    (a * b).sum().backward()
    assert a.grad is not None
    kept = a.grad.numpy().copy()
    tg.vjp(energy, a, b)[1](tg.ones((), dtype="float64"))
    tg.jvp(energy, (a, b), tensors(V, W))
    tg.jacobian(energy, a, b)
    tg.hessian(energy, a, b)
    tg.value_and_grad(energy, (0, 1))(a, b)
    np.testing.assert_array_equal(a.grad.numpy(), kept)


# ---------------------------------------------------------------- a value, and its gradient


def test_value_and_grad_in_one_or_several_positions() -> None:
    a, b = tensors(A, B)
    value, ga = tg.value_and_grad(energy)(a, b)
    assert value.item() == energy(a, b).item()
    _, (gb, same) = tg.value_and_grad(energy, (1, 0))(a, b)
    _, last = tg.value_and_grad(energy, -1)(a, b)
    true = tg.vjp(energy, a, b)[1](tg.ones((), dtype="float64"))
    close(ga, true[0])
    close(same, true[0])
    close(gb, true[1])
    close(last, true[1])


def test_value_and_grad_of_a_module() -> None:
    model = tg.nn.Sequential(tg.nn.Linear(2, 4), tg.nn.Linear(4, 1))
    frozen = model[0].bias
    frozen.requires_grad = False
    x = tg.randn(5, 2)

    def loss_of(model: Any, x: Any, *, scale: float) -> Any:
        return (model(x) ** 2).mean() * scale

    loss, (grads, gx) = tg.value_and_grad(loss_of, (0, 1))(model, x, scale=2.0)
    assert list(grads) == ["0.weight", "1.weight", "1.bias"]
    assert not any(g.requires_grad for g in (loss, gx, *grads.values()))
    x.requires_grad = True
    true = loss_of(model, x, scale=2.0)
    true.backward()
    assert loss.item() == true.item()
    assert x.grad is not None
    assert gx.tolist() == x.grad.tolist()
    for name, p in model.named_parameters():
        if p.requires_grad:
            assert p.is_leaf
            assert p.grad is not None
            assert grads[name].tolist() == p.grad.tolist()


def test_the_gradient_of_a_module_can_be_differentiated() -> None:
    model = tg.nn.Linear(3, 1, dtype="float64")

    def loss_of(model: Any, x: Any) -> Any:
        return tg.tanh(model(x)).sum()

    def slope(model: Any, x: Any) -> Any:
        return tg.value_and_grad(loss_of)(model, x)[1]["weight"].square().sum()

    x = tensors(RNG.normal(size=(2, 3)))
    found = tg.value_and_grad(slope)(model, x)[1]["weight"]
    grads = tg.value_and_grad(loss_of, create_graph=True)(model, x)[1]
    close(found, tg.grad(grads["weight"].square().sum(), [model.weight])[0])
    assert found.numpy().any()


def test_a_module_is_itself_again_even_after_an_error() -> None:
    model = tg.nn.Linear(3, 1)

    def fails(model: Any) -> Any:
        raise RuntimeError("in between")

    with pytest.raises(RuntimeError, match="in between"):
        tg.value_and_grad(fails)(model)
    assert all(p.is_leaf and p.requires_grad for p in model.parameters())


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a, b: tg.vjp(energy, a, 3.0), TypeError,
         "vjp: primal 1: expected a Tensor of reals, got float"),
        (lambda a, b: tg.jacobian(energy, tg.arange(3), b), TypeError,
         "jacobian: primal 0: expected a Tensor of reals, got a Tensor of int64"),
        (lambda a, b: tg.vjp(lambda a: a.numpy(), a.detach()), TypeError,
         "vjp: expected fn to return Tensors, or trees of them; got ndarray"),
        (lambda a, b: tg.vjp(tg.tanh, a)[1](b[0]), tg.ShapeError,
         r"vjp's pull: cotangent: expected shape \[3, 2\], got \[2\]"),
        (lambda a, b: tg.vjp(tg.tanh, a)[1]((a, b)), tg.ShapeError,
         "they differ: Tensor float64.*, then tuple of 2"),
        (lambda a, b: tg.vjp(tg.tanh, a)[1](1.0), TypeError, "expected a Tensor, got float"),
        (lambda a, b: tg.jvp(energy, (a, b), (a, b[0])), tg.ShapeError,
         r"jvp: tangent 1: expected shape \[3, 2\], got \[2\]"),
        (lambda a, b: tg.jvp(energy, (a, b), a), tg.ShapeError, "expected 2 of them, got 1"),
        (lambda a, b: tg.hessian(tg.tanh, a), tg.ShapeError,
         r"hessian: expected fn to return a scalar, got shape \[3, 2\]"),
        (lambda a, b: tg.hvp(lambda a: (a, a), a, b), tg.ShapeError, "got a tuple of 2"),
        (lambda a, b: tg.hvp(energy, (a, b), (a, b[0])), tg.ShapeError, "hvp: vector 1: expected"),
        (lambda a, b: tg.value_and_grad(tg.tanh)(a), tg.ShapeError, "value_and_grad: expected fn"),
        (lambda a, b: tg.value_and_grad(energy)("a", b), TypeError,
         "value_and_grad: argument 0: expected a Tensor or a module, got str"),
        (lambda a, b: tg.value_and_grad(energy, 2)(a, b), TypeError, "argnums=2.*got 2 of these"),
        (lambda a, b: tg.value_and_grad(energy, (0, -2))(a, b), TypeError, "different positions"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(*tensors(A, B))


ONE = tg.tensor([1.0, 2.0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tg.vjp(lambda: ONE), "vjp: expected one primal or more"),
        (lambda: tg.jvp(lambda: ONE, (), ()), "jvp: expected one primal or more"),
        (lambda: tg.jacobian(lambda: ONE), "jacobian: expected one primal or more"),
        (lambda: tg.hessian(lambda: ONE), "hessian: expected one primal or more"),
        (lambda: tg.hvp(lambda: ONE, (), ()), "hvp: expected one primal or more"),
        (lambda: tg.vjp(lambda x: (), ONE), "vjp: expected fn to return a Tensor"),
        (lambda: tg.jacobian(lambda x: [], ONE), "jacobian: expected fn to return a Tensor"),
        (lambda: tg.vjp(3, ONE), "vjp: fn: expected a function"),
        (lambda: tg.jacobian("f", ONE), "jacobian: fn: expected a function"),
        (lambda: tg.value_and_grad(tg.sum, ()), "argnums: expected one position or more"),
        (lambda: tg.value_and_grad(tg.sum, 0.5), "argnums: expected an integer"),
        (
            lambda: tg.value_and_grad(lambda m: m(ONE).sum())(
                tg.nn.Linear(2, 1).requires_grad_(False)
            ),
            "value_and_grad: expected one primal or more",
        ),
    ],
)
def test_derivatives_of_nothing_are_refused(call: Any, words: str) -> None:
    with pytest.raises(tg.TinygradRnnError, match=words):
        call()
