"""Function transforms of functions of trees: each is that of the function of the leaves."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.tensor import tree


class Pair(NamedTuple):
    left: Any
    right: Any


leaves = st.integers(1, 2).map(lambda n: np.linspace(0.2, 1.0, n))
trees = st.recursive(
    leaves,
    lambda part: st.one_of(
        st.lists(part, min_size=1, max_size=2),
        st.tuples(part, st.none()),
        st.dictionaries(st.sampled_from("abc"), part, min_size=1, max_size=2),
        st.builds(Pair, part, part),
    ),
    max_leaves=4,
)


def tensors(value: Any) -> Any:
    return tree.mapped(lambda leaf: tg.tensor(leaf), value)


def same(found: Any, flat: Any, like: Any) -> None:
    """A tree of like's structure has these leaves."""
    assert not tree.difference(like, found, tree.is_item)
    for a, b in zip(tree.leaves(found, like), flat, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


def outputs(*xs: Any) -> list[Any]:
    """Several outputs, which depend on all inputs."""
    total = sum((tg.sum(x**3) * (k + 1) for k, x in enumerate(xs)), tg.tensor(0.0))
    return [tg.sin(total), total * xs[0]]


def scalar(*xs: Any) -> Any:
    return outputs(*xs)[0] ** 2


@given(trees, trees)
def test_transforms_of_trees_are_those_of_their_leaves(first: Any, second: Any) -> None:
    args = tensors((first, second))
    xs = tree.leaves(args)
    several = lambda *args: {"y": outputs(*tree.leaves(args))}
    single = lambda *args: scalar(*tree.leaves(args))

    y, pull = tg.vjp(several, *args)
    y_, pull_ = tg.vjp(outputs, *xs)
    same(y, y_, {"y": [xs[0], xs[0]]})
    same(pull(y), pull_(y_), args)
    same(tg.jvp(several, args, args)[1], tg.jvp(outputs, xs, xs)[1], {"y": [xs[0], xs[0]]})
    same(tg.hvp(single, args, args), tg.hvp(scalar, xs, xs), args)

    places = tuple(range(len(xs)))
    value, found = tg.value_and_grad(single, (0, 1))(*args)
    value_, found_ = tg.value_and_grad(scalar, places)(*xs)
    assert value.item() == value_.item()
    same(found, found_, args)

    rows = tg.jacobian(several, *args)["y"]
    for row, row_ in zip(rows, tg.jacobian(outputs, *xs), strict=True):
        same(row, row_ if len(xs) > 1 else (row_,), args)
    for block, row_ in zip(tree.leaves(tg.hessian(single, *args)),
                           tree.leaves(tg.hessian(scalar, *xs)), strict=True):  # fmt: skip
        np.testing.assert_allclose(block.numpy(), row_.numpy(), rtol=1e-12)

    tree.mapped(lambda leaf: setattr(leaf, "requires_grad", True), args)
    w = {"y": [2.0 * part.detach() for part in y_]}
    flat = tg.grad(outputs(*xs), xs, w["y"])
    same(tg.grad(several(*args), args, w), flat, args)
    same(tg.grad(single(*args), {"all": args})["all"], tg.grad(scalar(*xs), xs), args)
    again = tg.checkpoint(several, *args)
    same(again, y_, w)
    same(tg.grad(again, args, w), flat, args)
    assert tg.gradcheck(several, tree.mapped(lambda leaf: leaf.numpy(), args), order=2)


def test_gradients_of_modules_in_trees() -> None:
    models = {"encoder": tg.nn.Linear(2, 3), "scale": tg.ones(3)}

    def loss(models: Any, x: Any) -> Any:
        return tg.sum(models["encoder"](x) * models["scale"])

    x = tg.ones((4, 2))
    _, grads = tg.value_and_grad(loss)(models, x)
    loss(models, x).backward()
    for name, p in models["encoder"].named_parameters():
        np.testing.assert_array_equal(grads["encoder"][name].numpy(), p.grad.numpy())
    np.testing.assert_allclose(grads["scale"].numpy(), models["encoder"](x).sum(axis=0).numpy())


X = {"a": tg.ones(2), "b": [tg.ones(3)]}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: tg.vjp(lambda x: x["a"], {**X, "b": 3}), tg.InvalidTypeError,
         r"vjp: primal 0\['b'\]: expected a Tensor of reals, got int"),
        (lambda: tg.vjp(lambda x: x, {}), tg.InvalidValueError, "vjp: expected a Tensor or more"),
        (lambda: tg.vjp(lambda x: {"y": [x["a"], 1]}, X), tg.InvalidTypeError,
         r"vjp: expected fn to return Tensors, or trees of them; got int at \['y'\]\[1\]"),
        (lambda: tg.vjp(lambda x: x, X)[1]({"a": X["a"]}), tg.ShapeError,
         "cotangent: expected the structure .* dict of 'a', 'b', then dict of 'a'"),
        (lambda: tg.jvp(lambda x: x["a"], X, {**X, "b": [X["a"]]}), tg.ShapeError,
         r"tangent 0\['b'\]\[0\]: expected shape \[3\], got \[2\]"),
        (lambda: tg.value_and_grad(lambda x: x)(X), tg.ShapeError,
         "expected fn to return a scalar, got a dict of 2"),
        (lambda: tg.value_and_grad(lambda x: x)({"a": "b"}), tg.InvalidTypeError,
         r"argument 0\['a'\]: expected a Tensor or a module, got str"),
        (lambda: tg.grad(tg.ones((), requires_grad=True), X), tg.GraphError, "requires grad"),
        (lambda: tg.gradcheck(lambda x: x["a"], [X]), tg.InvalidTypeError, "input 0: expected"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_tree_is_named(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()
