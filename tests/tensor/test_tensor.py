"""class Tensor: what comes in, what goes out, indexing and assignment."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.0, "float32"),
        ([1.0, 2.0], "float32"),
        ([1, 2], "int64"),
        (True, "bool"),
        (np.float64(1.0), "float64"),
        (np.ones(2), "float64"),
        (np.ones(2, np.float32), "float32"),
        ([np.float64(1.0)], "float64"),
        ([np.ones(2), np.ones(2)], "float64"),
        ([], "float32"),
    ],
)
def test_pythons_reals_become_float32_and_arrays_keep_their_dtype(data: Any, dtype: str) -> None:
    assert tg.tensor(data).dtype == dtype


def test_an_array_is_copied_unless_shared_on_purpose() -> None:
    a = np.ones(2)
    for x in (tg.tensor(a), tg.tensor(tg.as_tensor(a))):
        x.data[...] = 5.0
    x = tg.zeros((2,), dtype="float64")
    x.data = a
    x.data += 1.0
    assert a.tolist() == [1.0, 1.0]
    tg.as_tensor(a).data[...] = 5.0
    assert a.tolist() == [5.0, 5.0]


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(TypeError, match="a tensor holds numbers"):
        tg.tensor("abc")
    with pytest.raises(TypeError, match=r"tg\.stack"):
        tg.tensor([tg.zeros((2,)), tg.zeros((2,))])
    with pytest.raises(TypeError, match="only reals have gradients"):
        tg.tensor([1, 2], requires_grad=True)


def test_results_without_axes_are_arrays_and_do_not_promote() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    total = x.sum()
    assert isinstance(total.data, np.ndarray)
    assert (x * total).dtype == np.float32
    assert (2.0 * x / 3 - 1).dtype == np.float32
    assert (np.ones(2, np.float32) * x).dtype == np.float32
    assert isinstance(np.ones(2) * x, tg.Tensor)


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (tg.tensor([1.0, 2.5]), "tensor([1. , 2.5])"),
        (tg.tensor([1.0], "float64"), "tensor([1.], dtype=float64)"),
        (tg.tensor([1.0], requires_grad=True), "tensor([1.], requires_grad=True)"),
        (tg.tensor([1.0], requires_grad=True) * 2, "tensor([2.], made_by=multiply)"),
    ],
)
def test_repr(tensor: tg.Tensor, text: str) -> None:
    assert repr(tensor) == text


def test_out_again() -> None:
    x = tg.tensor([[1.0, 2.0]], requires_grad=True)
    assert x.tolist() == [[1.0, 2.0]]
    assert float(x[0, 1]) == 2.0
    assert int(tg.tensor(3)) == 3
    assert [10, 20][tg.tensor(1)] == 20
    assert bool(tg.tensor(0.0)) is False
    assert len(x) == 1
    assert [row.tolist() for row in x] == [[1.0, 2.0]]
    assert x.detach().requires_grad is False
    assert np.asarray(x.detach()).tolist() == [[1.0, 2.0]]
    with pytest.raises(TypeError, match="drop the graph"):
        np.asarray(x)
    with pytest.raises(TypeError, match="no length"):
        len(tg.tensor(1.0))


def test_assignment_is_a_new_value_that_can_be_differentiated() -> None:
    x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    v = tg.tensor(5.0, requires_grad=True)
    y = x * 1
    before = y.data
    z = y * 10
    y[1] = v
    assert before.tolist() == [1.0, 2.0, 3.0]
    assert y.tolist() == [1.0, 5.0, 3.0]
    (y * tg.tensor([1.0, 2.0, 3.0])).sum().backward(retain_graph=True)
    assert x.grad is not None
    assert v.grad is not None
    assert x.grad.tolist() == [1.0, 0.0, 3.0]
    assert v.grad.item() == 2.0
    assert z.tolist() == [10.0, 20.0, 30.0]


def test_augmented_assignment_rebinds() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = x
    y += 1.0
    y[0] *= 3.0
    assert x.tolist() == [1.0, 2.0]
    assert y.tolist() == [6.0, 3.0]
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [3.0, 1.0]


def test_assignment_to_a_leaf_that_requires_grad_is_refused() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(tg.GraphError, match="write to a copy"):
        x[0] = 1.0
    with tg.no_grad():
        x[0] = 9.0
    assert x.tolist() == [9.0, 2.0]
    assert x.requires_grad


def test_data_can_be_assigned_with_the_same_shape_only() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    x.data = np.array([3.0, 4.0])
    assert (x.dtype, x.tolist()) == (np.float32, [3.0, 4.0])
    with pytest.raises(tg.GraphError, match=r"expected shape \[2\]"):
        x.data = np.zeros(3)
    with pytest.raises(tg.GraphError, match="computed by 'multiply'"):
        (x * 2).data = np.zeros(2)


def test_a_deep_copy_is_a_leaf_of_its_own() -> None:
    x = tg.tensor([1.0], requires_grad=True)
    twin = copy.deepcopy(x)
    (twin * 2).sum().backward()
    assert x.grad is None
    assert twin.requires_grad


def test_scalars_and_arrays_index_as_numpy_does() -> None:
    a = np.arange(24.0).reshape(2, 3, 4)
    x = tg.tensor(a)
    mask = a[:, :, 0] > 5
    for index in (0, -1, (0, 1), ..., None, (..., 0), [1, 0], ([0, 1], [2, 2]), mask, (0, mask[0])):
        np.testing.assert_array_equal(x[index].numpy(), a[index])
    np.testing.assert_array_equal(x[tg.tensor([1, 0])].numpy(), a[[1, 0]])
    np.testing.assert_array_equal(x[tg.tensor(1)].numpy(), a[1])


def test_a_dtype_that_is_asked_for_keeps_all_digits() -> None:
    assert tg.tensor([0.1], "float64").tolist() == [0.1]
    assert tg.tensor(2**-1074, "float64").item() > 0
