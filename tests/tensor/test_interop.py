"""Next to other libraries: NumPy's operators and functions, and memory shared by DLPack."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

from ..strict import strict_device

A = np.array([[1.0, 2.0], [3.0, 0.5]])
X = np.array([[2.0, 1.0], [3.0, 4.0]])


@pytest.mark.parametrize(
    "name", ["add", "sub", "mul", "truediv", "pow", "matmul", "lt", "le", "gt", "ge", "eq", "ne"]
)
@pytest.mark.parametrize("a", [A, A[0, 1], np.float64(2.0)], ids=["array", "0-d", "scalar"])
def test_an_array_and_a_tensor_give_a_tensor(name: str, a: Any) -> None:
    if name == "matmul" and not np.ndim(a):
        a = A[0]
    function = getattr(operator, name)
    x = tg.tensor(X, requires_grad=True)
    for y, true in ((function(a, x), function(a, X)), (function(x, a), function(X, a))):
        assert type(y) is tg.Tensor
        assert y.requires_grad == (y.dtype.kind == "f")
        np.testing.assert_array_equal(y.numpy(), true)


def test_numpys_scalars_meet_tensors_of_any_device() -> None:
    with strict_device() as device:
        x = tg.tensor(X, device=device)
        for y, true in ((np.float64(2) - x, 2 - X), (np.float64(2) ** x, 2**X)):
            assert y.device == device
            np.testing.assert_array_equal(y.numpy(), true)
        with pytest.raises(tg.DeviceError, match="cpu and strict"):
            A * x


def test_the_gradient_of_an_array_times_a_tensor() -> None:
    x = tg.tensor(X, requires_grad=True)
    (A @ x * A).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), A.T @ A)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: np.tanh(x), r"numpy\.tanh: .*: tg\.tanh is the equivalent"),
        (lambda x: np.sum(x), r"numpy\.sum: .*: tg\.sum is the equivalent"),
        (lambda x: np.max(x, axis=0), r"tg\.max "),
        (lambda x: np.concatenate([x]), r"numpy\.concatenate: .*: tg\.concat is"),
        (lambda x: np.stack([X, x]), r"tg\.stack "),
        (lambda x: np.where(X > 0, X, x), r"tg\.where "),
        (lambda x: np.transpose(x), r"numpy\.transpose: .*tg\.permute_dims "),
        (lambda x: np.absolute(x), r"numpy\.absolute: .*tg\.abs "),
        (lambda x: np.add(X, x, dtype="float32"), r"numpy\.add: .*tg\.add "),
        (lambda x: np.add.reduce(x), r"numpy\.add\.reduce: .*no tg\.add\.reduce; .*detach"),
        (lambda x: np.nanmedian(x), r"numpy\.nanmedian: .*no tg\.nanmedian; .*x\.detach\(\)\.num"),
        (
            lambda x: np.linalg.norm(x),
            r"numpy\.linalg\.norm: .*: tg\.linalg\.norm is the equivalent",
        ),
        (lambda x: np.linalg.eigvals(x), r"numpy\.linalg\.eigvals: .*no tg\.linalg\.eigvals"),
        (lambda x: np.shape(x), r"numpy\.shape: .*read x\.shape"),
        (lambda x: np.fft.fft(x), r"numpy\.fft\.fft: "),
    ],
)
@pytest.mark.parametrize("requires_grad", [True, False])
def test_numpys_functions_name_ours(call: Any, message: str, requires_grad: bool) -> None:
    with pytest.raises(TypeError, match=message):
        call(tg.tensor(X, requires_grad=requires_grad))


def test_an_array_is_not_written_into() -> None:
    a = X.copy()
    with pytest.raises(TypeError, match="a = a \\+ x, in place of a \\+= x"):
        a += tg.tensor(X)
    np.testing.assert_array_equal(a, X)


def test_constants_become_arrays() -> None:
    x = tg.tensor(X)
    np.testing.assert_array_equal(np.asarray(x), X)
    assert np.asarray(x, np.float32).dtype == np.float32
    assert np.shares_memory(np.asarray(x), x.data)
    assert not np.shares_memory(np.array(x), x.data)


# ---------------------------------------------------------------- DLPack


def test_memory_is_shared_both_ways() -> None:
    x = tg.tensor(X, requires_grad=True)
    out = np.from_dlpack(x.detach())
    assert np.shares_memory(out, x.data)
    a = X.copy()
    y = tg.from_dlpack(a)
    a[0, 0] = 9.0
    assert y.tolist() == a.tolist()
    assert (y.device, y.dtype, y.requires_grad) == ("cpu", np.float64, False)
    assert tg.from_dlpack(y).tolist() == y.tolist()


@pytest.mark.parametrize("a", [X[::2], X.T, X[:0], np.array(3.0), np.arange(4), X > 1])
def test_layouts_and_dtypes_survive(a: Any) -> None:
    for found in (tg.from_dlpack(a).numpy(), np.from_dlpack(tg.as_tensor(a))):
        np.testing.assert_array_equal(found, a)
        assert (found.dtype, found.strides) == (a.dtype, a.strides)


def test_a_tensor_that_requires_grad_is_refused_with_the_remedy() -> None:
    x = tg.tensor(X, requires_grad=True)
    for tensor in (x, x * 2):
        with pytest.raises(BufferError, match=r"pass x\.detach\(\)"):
            np.from_dlpack(tensor)


def test_what_cannot_be_shared_is_said() -> None:
    class Elsewhere:
        def __dlpack__(self) -> None:
            """Not asked."""

        def __dlpack_device__(self) -> tuple[int, int]:
            return 8, 0

    with pytest.raises(TypeError, match=r"expected an array that has __dlpack__, got list"):
        tg.from_dlpack([1.0])
    with pytest.raises(tg.DeviceError, match="got DLPack device 8"):
        tg.from_dlpack(Elsewhere())
