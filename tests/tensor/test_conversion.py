"""What may become a Tensor's array: one answer at every door, for arrays, scalars and lists."""

from __future__ import annotations

import operator
import pickle
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.tensor import backend, ops


class Own(np.ndarray[Any, Any]):
    """A subclass with an operator of its own."""

    def __mul__(self, other: Any) -> Any:
        raise AssertionError("the subclass's operator was called")


def unpickled(a: Any) -> Any:
    return pickle.loads(pickle.dumps(a))  # its dtype is equal to the native one, and another object


CLASSES: dict[str, Callable[[Any], Any]] = {
    "plain": lambda a: a,
    "matrix": lambda a: a.view(np.matrix),
    "own": lambda a: a.view(Own),
    "unpickled": unpickled,
}
LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "plain": lambda a: a,
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "fortran": np.asfortranarray,
    "reversed": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "sliced": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
}


def assigned(name: str) -> Callable[[Any], tg.Tensor]:
    def door(a: Any) -> tg.Tensor:
        x = tg.zeros(a.shape, dtype=a.dtype if a.dtype.kind == "f" else "float64")
        x.requires_grad = True
        setattr(x, name, a)
        found = getattr(x, name)
        return found if name == "grad" else x

    return door


def loaded(a: Any) -> tg.Tensor:
    layer = tg.nn.Linear(a.shape[1], a.shape[0], bias=False, dtype="float64")
    layer.load_state_dict({"weight": a})
    return layer.weight


DOORS: dict[str, Callable[[Any], Any]] = {
    "tensor": tg.tensor,
    "as_tensor": tg.as_tensor,
    "data": assigned("data"),
    "grad": assigned("grad"),
    "load_state_dict": loaded,
    "operand": lambda a: tg.zeros((), dtype=a.dtype.newbyteorder("=")) + a,
    "operand on the left": lambda a: ops.add(a, tg.zeros((), dtype=a.dtype.newbyteorder("="))),
    "joined": lambda a: tg.concat([tg.zeros((0, 3), dtype=a.dtype.newbyteorder("=")), a]),
}
doors = pytest.mark.parametrize("door", DOORS.values(), ids=list(DOORS))


@doors
@given(
    dtype=st.sampled_from(["f4", "f8", "f2", "i2", "i8", "u4", "bool"]),
    order=st.sampled_from("<>"),
    kind=st.sampled_from(sorted(CLASSES)),
    layout=st.sampled_from(sorted(LAYOUTS)),
)
def test_arrays_of_any_class_and_byte_order_become_plain_ones(
    door: Any, dtype: str, order: str, kind: str, layout: str
) -> None:
    if door is DOORS["load_state_dict"] and dtype[0] != "f":
        return  # integers are no weights: its own tests
    values = np.arange(6).reshape(2, 3)
    given_array = CLASSES[kind](LAYOUTS[layout](values.astype(np.dtype(dtype).newbyteorder(order))))
    x = door(given_array)
    assert type(x.data) is np.ndarray
    assert x.dtype is np.dtype(x.dtype.name)  # native, and what native code takes for it
    np.testing.assert_array_equal(x.numpy(), np.asarray(given_array))
    assert (x * x).tolist() == (values.astype(dtype) * values.astype(dtype)).tolist()
    if door in (DOORS["tensor"], DOORS["data"], DOORS["load_state_dict"]):
        assert x.data.flags.c_contiguous  # else sums would depend on where the weights came from
        assert not np.shares_memory(x.data, given_array)


def test_plain_arrays_are_shared_and_others_too_where_that_can_be() -> None:
    a = np.ones((2, 3), np.float32)
    for kind, make in CLASSES.items():
        b = make(a)
        assert np.shares_memory(tg.as_tensor(b).data, b), kind
    assert tg.as_tensor(a).data is a
    assert not np.shares_memory(tg.as_tensor(a.astype(">f4")).data, a)


REFUSED: list[tuple[Any, str]] = [
    (np.ma.array(np.ones((2, 3)), mask=np.eye(2, 3)), r"masked array.*\.filled\(0\)"),
    (np.array([[1, None, 2]] * 2), r"numbers, not object: .*astype"),
    (np.array([["a", "b", "c"]] * 2), "numbers, not <U1: .*vocabular"),
    (np.array([[b"a", b"b", b"c"]] * 2), "numbers, not .S1: .*vocabular"),
    (np.zeros((2, 3), "M8[s]"), r"numbers, not datetime64\[s\]: .*timedelta64"),
    (np.zeros((2, 3), "m8[s]"), r"numbers, not timedelta64\[s\]: .*timedelta64"),
    (np.zeros((2, 3), "f4,i4"), "numbers, not .*fields one by one"),
]


@pytest.mark.parametrize(("array", "words"), REFUSED)
@pytest.mark.parametrize("requires_grad", [True, False])
def test_what_is_no_array_of_numbers_is_refused_at_every_door(
    array: Any, words: str, requires_grad: bool
) -> None:
    x = tg.ones((2, 3), requires_grad=requires_grad)
    leaf = tg.ones((2, 3), requires_grad=True)
    optimizer = tg.optim.Adam([leaf])
    moments = {"step": 1, "exp_avg": array, "exp_avg_sq": array}
    state = {**optimizer.state_dict(), "state": {0: moments}}

    def assign(name: str) -> None:
        setattr(leaf, name, array)

    def write() -> None:
        with tg.no_grad():
            leaf[...] = array

    def augment() -> None:
        with tg.no_grad():
            y = leaf
            y += array

    for door in (
        lambda: tg.tensor(array),
        lambda: tg.as_tensor(array),
        lambda: tg.nn.Parameter(array),
        lambda: tg.nn.Linear(3, 2, bias=False).load_state_dict({"weight": array}),
        lambda: optimizer.load_state_dict(state),
        lambda: assign("data"),
        lambda: assign("grad"),
        write,
        augment,
        lambda: x * array,
        lambda: ops.multiply(array, x),
        lambda: tg.where(x > 0, array, x),
        lambda: tg.concat([x, array]),
        lambda: tg.nn.mse_loss(x, array),
        lambda: tg.grad(leaf * 1, [leaf], array),
    ):
        with pytest.raises((TypeError, tg.nn.StateDictError), match=words):
            door()
    assert leaf.tolist() == np.ones((2, 3)).tolist()
    assert leaf.grad is None


def test_files_in_memory_are_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6.0).astype(">f8"))
    a = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert tg.tensor(a).tolist() == [0, 1, 2, 3, 4, 5]
    assert (tg.as_tensor(a) * 2).dtype.isnative


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_a_matrix_is_multiplied_by_elements() -> None:
    m = np.asmatrix(np.array([[1.0, 2.0], [3.0, 4.0]], dtype="float32"))
    x = tg.tensor(m, requires_grad=True)
    assert (x * x).tolist() == [[1.0, 4.0], [9.0, 16.0]]
    x.sum(axis=1).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert x[0].shape == (2,)
    layer = tg.nn.Linear(2, 3)
    (layer(tg.tensor(m)) ** 2).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.shape == (3, 2)
    assert tg.nn.mse_loss(tg.tensor([[1.0, 2.0], [3.0, 5.0]]), m).item() == 0.25


# ---------------------------------------------------------------- scalars of NumPy

OPERATORS = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod,
    operator.pow, operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne,
    tg.add, tg.multiply, tg.maximum, tg.minimum, tg.pow, tg.atan2, tg.logaddexp,
    tg.remainder, tg.floor_divide, tg.less, tg.clip, lambda a, b: tg.where(a > 0, a, b),
    lambda a, b: tg.where(tg.tensor([True, False, True]), b, a),
]  # fmt: skip


@given(
    function=st.sampled_from(OPERATORS),
    own=st.sampled_from(["float32", "float16", "float64", "int32", "int64"]),
    scalar=st.sampled_from(["float64", "float32", "float16", "longdouble", "int64", "uint8"]),
    left=st.booleans(),
    requires_grad=st.booleans(),
)
def test_a_scalar_of_numpy_is_a_number_as_pythons_are(
    function: Any, own: str, scalar: str, left: bool, requires_grad: bool
) -> None:
    x = tg.tensor(np.array([1, 2, 3], own))
    if own.startswith("float"):
        x.requires_grad = requires_grad
    s = np.dtype(scalar).type(2)
    number = int(s) if scalar in ("int64", "uint8") else float(s)
    left = left and function not in OPERATORS[-3:]
    found = function(s, x) if left else function(x, s)
    true = function(number, x) if left else function(x, number)
    assert type(found) is tg.Tensor
    assert found.dtype is true.dtype
    assert found.requires_grad == true.requires_grad
    np.testing.assert_array_equal(found.numpy(), true.numpy())


def test_arrays_without_axes_keep_their_dtype() -> None:
    x = tg.tensor([1.0, 2.0])
    assert (x * np.array(2.0)).dtype == np.float64
    assert (x * tg.tensor(2.0, "float64")).dtype == np.float64


def test_the_next_layer_takes_what_a_scalar_of_numpy_has_scaled() -> None:
    layer, x = tg.nn.Linear(2, 3), tg.ones((4, 2))
    for scaled in (x * np.float64(0.5), np.float64(0.5) * x, x / np.sqrt(2), x - np.mean([1, 2])):
        assert layer(scaled).dtype == np.float32


def test_a_choice_between_numbers_is_of_float32() -> None:
    mask = tg.tensor([True, False])
    for a, b in [(1.0, 0.0), (1, 0.5), (0.5, 1), (np.float64(1), 0)]:
        assert tg.where(mask, a, b).dtype in (np.float32, np.int64)
        assert tg.where(mask, a, b).tolist() == [a, b]
    assert tg.where(mask, 1.0, 0.0).dtype == np.float32
    assert tg.where(mask, 1, 0).dtype == np.int64


# ---------------------------------------------------------------- lists of numbers

nested = st.recursive(
    st.floats(-2, 2, width=16), lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=6
).filter(lambda v: _even(v))


def _even(v: Any) -> bool:
    try:
        np.asarray(v)
    except ValueError:
        return False
    return True


@given(
    data=nested,
    own=st.sampled_from(["float16", "float32", "float64"]),
    function=st.sampled_from([tg.add, tg.multiply, tg.maximum, operator.sub, operator.lt]),
    left=st.booleans(),
    as_tuple=st.booleans(),
)
def test_lists_beside_a_tensor_take_its_dtype(
    data: Any, own: str, function: Any, left: bool, as_tuple: bool
) -> None:
    x = tg.tensor([0.1, 0.2, 0.3][:1], own)
    given_list = tuple(data) if as_tuple and isinstance(data, list) else data
    y = tg.tensor(data, own)
    found = function(given_list, x) if left else function(x, given_list)
    true = function(y, x) if left else function(x, y)
    assert type(found) is tg.Tensor
    assert found.dtype == true.dtype
    assert found.tolist() == true.tolist()


@given(data=nested)
def test_functions_of_lists_give_tensors(data: Any) -> None:
    for function in (tg.exp, tg.tanh, tg.abs, tg.zeros_like, tg.sum, tg.softmax, tg.alias):
        if function is tg.softmax and not isinstance(data, list):
            continue
        y = function(data)
        assert type(y) is tg.Tensor
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y.numpy(), function(tg.tensor(data)).numpy())


def test_whole_numbers_in_lists_stay_indices_where_they_are_read_as_such() -> None:
    x = tg.tensor([[1.0, 2.0, 3.0]])
    assert (x * [1, 2, 3]).dtype == np.float32
    assert tg.softmax_cross_entropy(x, [2]).shape == (1,)
    assert tg.one_hot([1, 0], 2).tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert tg.add([1], [2]).dtype == np.int64
    assert tg.add(tg.tensor([1], "int32"), [2]).dtype == np.int32


def test_raw_arrays_in_raw_arrays_out() -> None:
    a = np.ones(2)
    assert type(tg.exp(a)) is np.ndarray
    assert type(tg.add(a, [1.0, 2.0])) is np.ndarray
    assert type(tg.exp(a.view(Own))) is np.ndarray
    assert type(tg.exp(np.float32(1))) is np.ndarray  # of no axes
    with pytest.raises(TypeError, match="masked"):
        tg.exp(np.ma.array(a, mask=[0, 1]))


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        ([[1, 2], [3]], tg.ShapeError, "lists of equal lengths"),
        ([np.ones(2), np.ones(3)], tg.ShapeError, "lists of equal lengths"),
        ([[tg.ones(2)], [tg.ones(3)]], tg.ShapeError, "equal shapes"),
        ([np.ma.array([1.0], mask=[1])], TypeError, "masked"),
        ([1.0, np.ma.masked], TypeError, "masked"),
        (["1", "2"], TypeError, "numbers"),
        ([1.0, None], TypeError, "numbers"),
        (None, TypeError, r"numbers, not object \(NoneType\)"),
        ({1, 2}, TypeError, r"numbers, not object \(set\)"),
        ([Fraction(1, 2)], TypeError, "numbers"),
        ([1, 2**63], ValueError, "fit no one dtype"),
        ([2**64], TypeError, "numbers"),
        (np.datetime64("2020-01-01"), TypeError, "numbers"),
    ],
)
def test_lists_of_anything_else_are_refused(data: Any, error: type[Exception], words: str) -> None:
    for door in (tg.tensor, tg.as_tensor):
        with pytest.raises(error, match=words):
            door(data)
    with pytest.raises((error, TypeError)):
        tg.ones(1) * data


def test_numbers_that_a_dtype_does_not_hold_are_refused() -> None:
    for data, dtype in [([300], "uint8"), ([-1], "uint8"), (2**40, "int32")]:
        with pytest.raises(ValueError, match="out of bounds"):
            tg.tensor(data, dtype)
    x = tg.tensor([1, 2], "uint8")
    with pytest.raises(ValueError, match="out of bounds"):
        x[0] = 300
    with pytest.raises(TypeError, match=r"x\[...\] =: expected .* uint8 can represent, got float"):
        x[0] = 1.5
    with pytest.raises(TypeError, match="can represent, got complex"):
        tg.zeros(2)[0] = np.array(1j)
    assert x.tolist() == [1, 2]
    assert tg.tensor([1, 2**63], "uint64").tolist() == [1, 2**63]


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        ([np.float32(1), 2.0], "float32"),
        ([[np.float64(1)]], "float64"),
        ([np.int64(1), 0.5], "float64"),
        ([np.float32(1), np.ones(())], "float64"),
        (range(3), "int64"),
        ([[], []], "float32"),
        ([True, False], "bool"),
    ],
)
def test_what_has_a_dtype_in_a_list_keeps_it(data: Any, dtype: str) -> None:
    assert tg.tensor(data).dtype == dtype


@pytest.mark.parametrize("dtype", ["foo", "S3", object, "M8[s]", "f4,i4", "2f4", 3.5])
def test_dtypes_of_other_than_numbers_are_refused(dtype: Any) -> None:
    x = tg.ones(2)
    for call in (
        lambda: tg.tensor([1.0], dtype),
        lambda: tg.zeros(2, dtype=dtype),
        lambda: tg.arange(3, dtype=dtype),
        lambda: x.astype(dtype),
        lambda: x.to(dtype),
        lambda: tg.zeros_like(x, dtype=dtype),
        lambda: tg.one_hot([1], 2, dtype=dtype),
        lambda: tg.nn.Linear(1, 2, dtype=dtype),
    ):
        with pytest.raises(TypeError, match="dtype: expected"):
            call()


def test_a_foreign_byte_order_is_no_dtype_of_tensors() -> None:
    x = tg.ones(2)
    for y in (
        tg.tensor([1.0], ">f4"),
        tg.zeros(2, dtype=">f8"),
        x.astype(">f4"),
        tg.ones_like(x, dtype=">i2"),
        tg.one_hot([1], 2, dtype=">f4"),
        tg.nn.Linear(1, 2, dtype=">f4").weight,
    ):
        assert y.dtype is np.dtype(y.dtype.name)


def test_what_was_pickled_is_as_fast_as_it_was() -> None:
    """Native code takes arrays whose dtype is the native one, not one that is equal to it."""
    layer = pickle.loads(pickle.dumps(tg.nn.Linear(2, 3)))
    for p in layer.parameters():
        assert p.dtype is np.dtype("float32")
        assert backend.is_array(p.data)
        assert p.data.flags.writeable
