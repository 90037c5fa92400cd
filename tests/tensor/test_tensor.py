"""class Tensor: what comes in, what goes out, indexing and assignment."""

from __future__ import annotations

import contextlib
import copy
import operator
import pickle
import re
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


AUGMENTED: dict[str, tuple[Any, Any]] = {
    "+": (operator.iadd, np.add),
    "-": (operator.isub, np.subtract),
    "*": (operator.imul, np.multiply),
    "/": (operator.itruediv, np.divide),
    "//": (operator.ifloordiv, np.floor_divide),
    "%": (operator.imod, np.remainder),
    "**": (operator.ipow, np.power),
    "@": (operator.imatmul, np.matmul),
}
signs = st.sampled_from(sorted(AUGMENTED))
LOGICAL = {operator.iand: np.logical_and, operator.ior: np.logical_or, operator.ixor: np.not_equal}


def operand(sign: str, kind: str) -> Any:
    """What may stand on the right: a Tensor, an array of another precision, a number."""
    square = np.array([[2.0, 1.0], [0.5, 3.0]])
    if kind == "number" and sign != "@":
        return 2.0
    if kind == "scalar of NumPy" and sign != "@":
        return np.float64(2.0)
    return square if kind == "array" else tg.tensor(square, "float32")


operands = st.sampled_from(["number", "scalar of NumPy", "array", "tensor"])


@given(sign=signs, kind=operands)
def test_augmented_assignment_under_no_grad_changes_the_leaf_itself(sign: str, kind: str) -> None:
    start = np.array([[1.0, 4.0], [2.5, 3.0]], np.float32)
    x, other = tg.tensor(start, requires_grad=True), operand(sign, kind)
    graph, y, array = (x * x).sum(), x, x.data
    with tg.no_grad():
        y = AUGMENTED[sign][0](y, other)
    assert y is x
    assert x.requires_grad
    assert x.dtype == np.float32
    right = other.numpy() if isinstance(other, tg.Tensor) else other
    np.testing.assert_allclose(x.numpy(), AUGMENTED[sign][1](start, right), rtol=1e-6)
    np.testing.assert_array_equal(array, start)  # others who hold the old values keep them
    with pytest.raises(tg.GraphError, match="overwritten"):
        graph.backward()
    (x * 1).sum().backward()
    assert x.grad is not None


@given(sign=signs, kind=operands)
def test_augmented_assignment_to_a_leaf_is_refused_while_recording(sign: str, kind: str) -> None:
    x = tg.tensor([[1.0, 4.0], [2.5, 3.0]], requires_grad=True)
    before = x.tolist()
    with pytest.raises(tg.GraphError, match=f"write x = x {re.escape(sign)} y"):
        AUGMENTED[sign][0](x, operand(sign, kind))
    assert x.tolist() == before


@given(sign=signs, kind=operands, computed=st.booleans(), recording=st.booleans())
def test_augmented_assignment_elsewhere_binds_a_new_value(
    sign: str, kind: str, computed: bool, recording: bool
) -> None:
    leaf = tg.tensor([[1.0, 4.0], [2.5, 3.0]], requires_grad=computed)
    x = leaf * 1 if computed else leaf
    before, other, alias = x.tolist(), operand(sign, kind), x
    with contextlib.nullcontext() if recording else tg.no_grad():
        x = AUGMENTED[sign][0](x, other)
    assert x is not alias
    assert alias.tolist() == before
    assert not np.shares_memory(x.data, alias.data)
    right = other.numpy() if isinstance(other, tg.Tensor) else other
    np.testing.assert_allclose(x.numpy(), AUGMENTED[sign][1](np.array(before), right), rtol=1e-6)
    assert x.requires_grad == (computed and recording)


@pytest.mark.parametrize("function", LOGICAL)
def test_augmented_logic_binds_a_new_value(function: Any) -> None:
    x = alias = tg.tensor([True, False, True])
    x = function(x, tg.tensor([True, True, False]))
    assert x.tolist() == LOGICAL[function]([True, False, True], [True, True, False]).tolist()
    assert alias.tolist() == [True, False, True]
    weight = tg.tensor([1.0, 2.0], requires_grad=True)
    with tg.no_grad(), pytest.raises(TypeError, match="a result that float32 holds, got bool"):
        function(weight, weight > 1)
    assert weight.tolist() == [1.0, 2.0]


def test_augmented_assignment_keeps_a_leafs_shape_and_dtype() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    with tg.no_grad():
        with pytest.raises(ValueError, match=r"x \+= y: .* leaves the shape \[2\], got \[3, 2\]"):
            x += tg.ones((3, 2))
        with pytest.raises(TypeError, match="a result that float32 holds, got complex"):
            x *= 1j
    assert x.tolist() == [1.0, 2.0]


def test_the_gradient_through_an_augmented_result_counts() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    y += x
    y[0] *= 3.0
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [9.0, 3.0]


def test_a_training_loop_by_hand_changes_the_parameters() -> None:
    layer = tg.nn.Linear(2, 1)
    layer(tg.ones((3, 2))).sum().backward()
    before = layer.weight.numpy().copy()
    assert layer.weight.grad is not None
    step = 0.1 * layer.weight.grad.numpy()
    with tg.no_grad():
        for p in layer.parameters():
            p -= 0.1 * p.grad
    np.testing.assert_allclose(layer.weight.numpy(), before - step, rtol=1e-6)
    assert layer.weight.requires_grad


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
    copied = copy.deepcopy(x)
    (copied * 2).sum().backward()
    assert x.grad is None
    assert copied.requires_grad


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


@given(sign=signs, kind=operands, recording=st.booleans())
def test_a_frozen_parameter_stays_the_modules(sign: str, kind: str, recording: bool) -> None:
    """As where one model follows the mean of another: `p *= 0.9`, over its parameters."""
    start = np.array([[1.0, 4.0], [2.5, 3.0]], np.float32)
    p, other = tg.nn.Parameter(start, requires_grad=False), operand(sign, kind)
    q = p
    with contextlib.nullcontext() if recording else tg.no_grad():
        q = AUGMENTED[sign][0](q, other)
    assert q is p
    assert not p.requires_grad
    right = other.numpy() if isinstance(other, tg.Tensor) else other
    np.testing.assert_allclose(p.numpy(), AUGMENTED[sign][1](start, right), rtol=1e-6)
    with pytest.raises(tg.GraphError, match="detach it"):
        p += tg.ones((2, 2), requires_grad=True)
    with pytest.raises(tg.GraphError, match="detach it"):
        p[0] = tg.ones((2,), requires_grad=True)


# ---------------------------------------------------------------- as a number


def test_a_loss_takes_a_numbers_format() -> None:
    loss = (tg.tensor([1.0, 2.0], requires_grad=True) ** 2).mean()
    assert f"{loss:.2f}" == "2.50"
    assert f"{loss:8.1e}" == " 2.5e+00"
    assert f"{tg.tensor(1.23456):.3f}" == "1.235"
    assert f"{tg.tensor(42):05d}" == "00042"
    assert f"{loss}" == str(loss)
    for x in (tg.tensor([1.0, 2.0]), tg.tensor([1.0])):
        with pytest.raises(TypeError, match=r"format '.3f': expected a tensor without axes"):
            format(x, ".3f")


@pytest.mark.parametrize("convert", [float, int, bool, tg.Tensor.item, [0].__getitem__])
@pytest.mark.parametrize("shape", [(2,), (0,), (2, 1)])
def test_several_elements_are_no_number(convert: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(tg.TinygradRnnError, match=r"shape|\[\d"):
        convert(tg.zeros(shape, dtype="int64"))


def test_only_integers_are_indices() -> None:
    with pytest.raises(TypeError, match=r"an index: expected an integer without axes, got float32"):
        [1, 2][tg.tensor(1.0)]


# ---------------------------------------------------------------- copies


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("kind", [tg.Tensor, tg.nn.Parameter])
@pytest.mark.parametrize("requires_grad", [True, False])
def test_leaves_are_copied_and_pickled(duplicate: Any, kind: Any, requires_grad: bool) -> None:
    x = kind(np.arange(3, dtype="float32"), requires_grad=requires_grad)
    y = duplicate(x)
    assert type(y) is kind
    assert y.requires_grad is requires_grad
    assert y.is_leaf
    assert y.tolist() == x.tolist()
    assert not np.shares_memory(y.data, x.data)
    if requires_grad:
        (y * y).sum().backward()
        assert x.grad is None


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickle.dumps])
def test_what_was_computed_says_how_to_be_copied(duplicate: Any) -> None:
    x = tg.tensor([1.0], requires_grad=True)
    for _ in range(3000):  # deeper than Python's stack
        x = x + 1
    for held in (x, {"loss": [x]}):
        with pytest.raises(tg.GraphError, match=r"computed by 'add'.*\.detach\(\)"):
            duplicate(held)
    duplicate(x.detach())
    assert copy.copy(x).tolist() == x.tolist()


@pytest.mark.parametrize(("target", "copies"), [("float64", 1), ("float32", 0), ("cpu", 0)])
def test_move_copies_at_most_once(target: str, copies: int) -> None:
    x = tg.ones((100_000,))
    tracemalloc.start()
    try:
        x.move_(target)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert copies * x.data.nbytes <= most < copies * x.data.nbytes + 50_000
