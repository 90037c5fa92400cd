"""Memory shared with PyTorch and JAX, and DLPack's protocol on a GPU.

PyTorch and JAX run on the CPU only. On a device the tests read what our capsules say, as these
libraries do, and follow which stream waits for which.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

from ..cuda_on_cpu import driver

on_gpu = pytest.mark.gpu
DTYPES = ["float32", "float64", "float16", "int64", "int32", "uint8", "bool"]

# ---------------------------------------------------------------- PyTorch and JAX on the CPU


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", DTYPES)
def test_pytorch_shares_memory_both_ways(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    ours = tg.zeros((2, 3), dtype=dtype)
    theirs = torch.from_dlpack(ours)
    theirs[1, 2] = 1
    assert ours.tolist() == theirs.tolist() == [[0, 0, 0], [0, 0, 1]]
    theirs = torch.zeros((3, 4), dtype=getattr(torch, dtype))[:, 1::2]  # strided
    back = tg.from_dlpack(theirs)
    theirs[2, 0] = 1
    assert back.tolist() == [[0, 0], [0, 0], [1, 0]]
    assert str(back.dtype) == dtype
    copied = torch.from_dlpack(ours, copy=True)
    copied[0, 0] = 1
    assert ours[0, 0].item() == 0


@pytest.mark.oracle
def test_a_parameter_of_pytorch_learns_in_place() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Linear(2, 1)
    ours = tg.from_dlpack(theirs.weight.detach())
    ours.requires_grad = True
    before = theirs.weight.tolist()
    (ours * 2).sum().backward()
    tg.optim.SGD([ours], lr=0.5).step()
    np.testing.assert_allclose(theirs.weight.tolist(), np.array(before) - 1, rtol=1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", [d for d in DTYPES if not d.endswith("64")])  # off in JAX
def test_jax_shares_memory_both_ways(dtype: str) -> None:
    jax = pytest.importorskip("jax")
    theirs = jax.numpy.arange(6).reshape(2, 3).astype(dtype)
    ours = tg.from_dlpack(theirs)
    assert ours.numpy().ctypes.data == theirs.unsafe_buffer_pointer()
    assert (ours.tolist(), str(ours.dtype)) == (theirs.tolist(), dtype)
    assert not ours.numpy().flags.writeable  # arrays of JAX do not change
    with pytest.raises(ValueError, match="read-only"):
        ours.data[0, 0] = 1
    ours = tg.tensor(np.ones(300, dtype))  # aligned to 64 bytes: JAX copies other memory
    theirs = jax.numpy.from_dlpack(ours, copy=False)
    assert theirs.unsafe_buffer_pointer() == ours.numpy().ctypes.data


@pytest.mark.oracle
def test_what_cannot_be_shared_is_refused() -> None:
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    for theirs, why in (
        (torch.ones(2, dtype=torch.bfloat16), "dtype"),
        (torch.ones(2, requires_grad=True), "detach"),
        (torch.ones(2, device="meta"), "meta"),
        (torch.ones(2).to_sparse(), "strided"),
        (torch.ones(2, dtype=torch.complex64).conj(), "conjugate"),
        (jax.numpy.ones(2, dtype="bfloat16"), "dtype"),
    ):
        with pytest.raises(tg.TinygradRnnError, match=rf"from_dlpack: x: .*cannot be .*{why}"):
            tg.from_dlpack(theirs)


# ---------------------------------------------------------------- a GPU


class Device(ctypes.Structure):
    """DLDevice."""

    _fields_ = (("type", ctypes.c_int), ("number", ctypes.c_int))


class Memory(ctypes.Structure):
    """DLTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", Device),
        ("ndim", ctypes.c_int),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class Managed(ctypes.Structure):
    """DLManagedTensorVersioned."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("memory", Memory),
    )


COPIED = 2  # a flag


def content(capsule: Any, kind: Any = Managed) -> Any:
    """Reads a capsule as another library does, which frees what it points to."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    name = b"dltensor_versioned" if kind is Managed else b"dltensor"
    return kind.from_buffer_copy(
        (ctypes.c_char * ctypes.sizeof(kind)).from_address(pointer(capsule, name))
    )


@on_gpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_capsule_says_where_the_memory_is(dtype: str) -> None:
    x = tg.zeros((4, 5), dtype=dtype).to("cuda")[1:, ::2]
    capsule = x.__dlpack__(stream=1, max_version=(1, 0), dl_device=None, copy=None)
    managed = content(capsule)
    memory = managed.memory
    assert (managed.major, managed.minor, managed.flags) == (1, 0, 0)
    assert memory.data + memory.byte_offset == x.data.data.ptr
    assert (memory.device.type, memory.device.number) == x.__dlpack_device__() == (2, 0)
    assert (memory.shape[: memory.ndim], memory.strides[: memory.ndim]) == ([3, 3], [5, 2])
    size = np.dtype(dtype).itemsize
    assert (memory.code, memory.bits) == ({"i": 0, "u": 1, "f": 2, "b": 6}[x.dtype.kind], 8 * size)
    old = content(x.__dlpack__(stream=1), Memory)  # whose structure begins with the memory
    assert (old.data, old.ndim, old.device.type) == (memory.data, 2, 2)


@on_gpu
def test_another_library_shares_memory_of_a_gpu() -> None:
    import cupy

    x = tg.zeros((2, 3), device="cuda")
    theirs = cupy.from_dlpack(x)
    theirs[0, 1] = 5
    assert x[0, 1].item() == 5
    ours = tg.from_dlpack(theirs)
    theirs[1, 2] = 7
    assert (ours[1, 2].item(), ours.device) == (7, "cuda:0")


@on_gpu
def test_a_copy_is_made_where_it_is_asked_for() -> None:
    x = tg.ones((2, 3), device="cuda")
    there = content(x.__dlpack__(copy=True, max_version=(1, 0))).memory
    assert (there.device.type, there.data == x.data.data.ptr) == (2, False)
    assert content(x.__dlpack__(copy=False, max_version=(1, 0))).memory.data == x.data.data.ptr
    host = np.from_dlpack(x, device="cpu")
    np.testing.assert_array_equal(host, np.ones((2, 3)))
    capsule = x.__dlpack__(dl_device=(1, 0), max_version=(1, 0))
    assert (content(capsule).memory.device.type, content(capsule).flags) == (1, COPIED)
    with pytest.raises(ValueError, match="cannot be exported to CPU without copy"):
        np.from_dlpack(x, device="cpu", copy=False)


@on_gpu
def test_a_tensor_that_requires_grad_is_refused() -> None:
    x = tg.ones((2,), device="cuda", requires_grad=True)
    with pytest.raises(tg.ExportError, match=r"pass x\.detach\(\)"):
        x.__dlpack__(stream=1)


class Producer:
    """An array of another library, on a device of any number."""

    def __init__(self, x: tg.Tensor, device: tuple[int, int] = (2, 0)) -> None:
        self.x, self.device, self.requests = x, device, list[dict[str, Any]]()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, **request: Any) -> Any:
        self.requests.append(request)
        return self.x.__dlpack__(**request)


@on_gpu
def test_the_stream_in_use_is_handed_on() -> None:
    import cupy

    theirs = Producer(tg.ones((2,), device="cuda"))
    tg.from_dlpack(theirs)
    with cupy.cuda.Stream(non_blocking=True) as stream:
        tg.from_dlpack(theirs)
    assert [r["stream"] for r in theirs.requests] == [1, stream.ptr]  # 1: the default stream
    assert all(r["max_version"] >= (1, 0) for r in theirs.requests)


@pytest.fixture
def late() -> Iterator[None]:
    if not driver.started():
        pytest.skip("makes copies late, as only the stand-in can")
    with driver.start().late_copies():
        yield


@on_gpu
@pytest.mark.parametrize("stream", ["theirs", None, -1])
def test_their_stream_waits_for_ours(late: None, stream: Any) -> None:
    """-1: the other library waits by itself."""
    import cupy

    ours, theirs = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
    host = np.ones(3, "float32")
    ours.wait_event(cupy.cuda.Stream.null.record())
    with ours:
        x = tg.as_tensor(cupy.empty(3, "float32"))
        x.data.data.copy_from_host_async(host.ctypes.data, host.nbytes, ours)
        x.__dlpack__(stream=theirs.ptr if stream == "theirs" else stream)
    there = np.frombuffer((ctypes.c_char * 12).from_address(x.data.data.ptr), "float32")
    assert np.isnan(there).all() == (stream == -1)


@on_gpu
def test_wrong_devices_are_refused() -> None:
    x = tg.ones((2,), device="cuda")
    with pytest.raises(tg.DeviceError, match="unknown device 'cuda:7'"):
        tg.from_dlpack(Producer(x, (2, 7)))
    with pytest.raises(tg.DeviceError, match="got DLPack device 10"):
        tg.from_dlpack(Producer(x, (10, 0)))
    with pytest.raises(tg.ExportError, match="cannot be shared"):
        tg.from_dlpack(Producer(x, (1, 0)))  # says that it is on the host
    with pytest.raises(BufferError, match="device"):
        x.__dlpack__(dl_device=(10, 0))
