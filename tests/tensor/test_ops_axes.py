"""Reductions, sorting and movement where samples of `testing` do not come: ties and mistakes."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg


def slopes(y: tg.Tensor, x: tg.Tensor) -> list[float]:
    (g,) = tg.grad(y, [x], tg.ones(y.shape))
    return list(g.tolist())


def test_the_gradient_of_std_is_0_where_nothing_varies() -> None:
    x = tg.tensor([[2.0, 2.0], [1.0, 3.0]], requires_grad=True)
    assert slopes(tg.std(x, axis=1), x) == [[0.0, 0.0], [-0.5, 0.5]]


def test_the_gradient_of_products_is_right_at_one_zero_and_at_two() -> None:
    x = tg.tensor([2.0, 0.0, 3.0], requires_grad=True)
    assert slopes(tg.prod(x), x) == [0.0, 6.0, 0.0]
    assert slopes(tg.cumprod(x), x) == [1.0, 2.0 + 6.0, 0.0]
    x = tg.tensor([0.0, 0.0, 3.0], requires_grad=True)
    (g,) = tg.grad(tg.prod(x), [x], create_graph=True)
    assert g.tolist() == [0.0, 0.0, 0.0]
    assert slopes(g[0], x) == [0.0, 3.0, 0.0]


def test_the_latest_of_equal_ones_takes_the_gradient_of_cummax() -> None:
    x = tg.tensor([1.0, 3.0, 2.0, 3.0, 0.0], requires_grad=True)
    assert tg.cummax(x).tolist() == [1.0, 3.0, 3.0, 3.0, 3.0]
    assert slopes(tg.cummax(x), x) == [1.0, 2.0, 0.0, 2.0, 0.0]


def test_equal_ones_stay_in_order_both_ways() -> None:
    x = tg.tensor([1, 0, 1, 0])
    assert tg.argsort(x).tolist() == [1, 3, 0, 2]
    assert tg.argsort(x, descending=True).tolist() == [0, 2, 1, 3]
    assert tg.topk(x, 3)[1].tolist() == [0, 2, 1]
    assert tg.topk(x, 3, largest=False)[1].tolist() == [1, 3, 0]


def test_one_hot_refuses_what_is_no_class() -> None:
    found = tg.one_hot(tg.tensor([1, 0]), 2)
    assert found.tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert found.dtype == np.float32
    for outside in (-1, 2, -100):
        with pytest.raises(IndexError, match=f"one_hot: .*{outside} is outside 0 to 1"):
            tg.one_hot(tg.tensor([1, outside]), 2)
    for kind in ("float32", "bool"):
        with pytest.raises(TypeError, match=f"one_hot: .*{kind}.*expected integers"):
            tg.one_hot(tg.ones((2,), dtype=kind), 2)


def test_one_axis_by_its_number_has_a_gradient() -> None:
    for axes in (0, -1, (0,), np.array([0])):
        x = tg.ones((3,), requires_grad=True)
        tg.permute_dims(x, axes=axes).sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod", "std", "var", "logsumexp"])
def test_axes_may_be_a_list(name: str) -> None:
    x = tg.arange(24.0).reshape(2, 3, 4)
    x.requires_grad = True
    function = getattr(tg, name)
    many, one = function(x, axis=[0, -1]), function(x, axis=(0, -1))
    np.testing.assert_array_equal(many.numpy(), one.numpy())
    assert slopes(many, x) == slopes(one, x)


def test_a_wrong_call_leaves_nothing_for_the_next() -> None:
    x = tg.arange(20).reshape(4, 5)
    for wrong, right in ((3.0, 3), (True, 1)):
        for function in (tg.diagonal, tg.trace, tg.tril, tg.triu):
            with contextlib.suppress(tg.TinygradRnnError):
                function(x, wrong)
            expected = getattr(np, function.__name__)(x.numpy(), right)
            np.testing.assert_array_equal(function(x, right).numpy(), expected)
    with contextlib.suppress(tg.TinygradRnnError):
        tg.diagonal(x, 7.0)
    assert tg.diagonal(x, 7).shape == (0,)


def test_mistakes_are_named() -> None:
    x = tg.zeros((4,))
    for axis in (True, (0,), [0], 0.0):
        with pytest.raises(TypeError, match="unstack: axis: expected an integer"):
            tg.unstack(x, axis=axis)
    with pytest.raises(IndexError, match="unstack: expected one of 1 axes, got axis 1"):
        tg.unstack(x, axis=1)
    with pytest.raises(tg.ShapeError, match="split: an axis of 4 does not divide into 3"):
        tg.split(x, 3)
    for sections in (10**7, 2**63):
        with pytest.raises(tg.ShapeError, match=f"an axis of 0 does not divide into {sections}"):
            tg.split(tg.zeros((0,)), sections)
    with pytest.raises(ValueError, match="pad: unknown mode 'mirror'"):
        tg.pad(x, 1, "mirror")
    with pytest.raises(ValueError, match="meshgrid: expected indexing 'xy' or 'ij', got 'yx'"):
        tg.meshgrid(x, x, indexing="yx")


def test_numbers_that_are_no_array_yet_get_an_axis() -> None:
    for axis in (0, -1):
        assert tg.expand_dims(3.0, axis=axis).shape == (1,)
    assert tg.expand_dims([1.0, 2.0], axis=0).shape == (1, 2)


@pytest.mark.parametrize("index", [slice(None), [0, 2], (slice(1), 0), 1, (..., None)])
def test_a_value_with_leading_axes_of_length_1_gets_a_gradient_of_its_shape(index: Any) -> None:
    x = tg.zeros((3, 2))
    value = tg.ones((1, 1, *x[index].shape[-1:]), requires_grad=True)
    tg.index_update(x, value, index=index).sum().backward()
    assert value.grad is not None
    assert value.grad.shape == value.shape
    assert value.grad.sum().item() == x[index].size
