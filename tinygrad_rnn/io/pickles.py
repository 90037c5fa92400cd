"""Files of `torch.save`, read without PyTorch and without executing code in them.

Such a file is a zip archive, not compressed: `data.pkl` is a pickle, a program for a stack machine,
and `data/0`, `data/1`, ... are the elements of the tensors. The machine here knows the instructions
for numbers, words, containers and references, and the functions that build tensors, ordered dicts,
sets, bytes and NumPy's numbers; it refuses everything else. It imports nothing and calls nothing by
a name in the file.
"""

from __future__ import annotations

import math
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..tensor.tensor import Tensor
from .files import CheckpointError

REMEDY = (
    "convert it once, with PyTorch: state = torch.load(path, weights_only=True); "
    "safetensors.torch.save_file(state, new)"
)
MOST = 1 << 26  # bytes of the pickle
STORAGES = {  # PyTorch's names, and NumPy's; bfloat16 becomes float32
    "FloatStorage": "f4", "DoubleStorage": "f8", "HalfStorage": "f2", "BFloat16Storage": "u2",
    "LongStorage": "i8", "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1",
    "ByteStorage": "u1", "BoolStorage": "?", "ComplexFloatStorage": "c8",
}  # fmt: skip
PLAIN = frozenset(
    {
        *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES"),
    }
)
CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
NUMPY_SCALARS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
SCALARS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")  # their dtypes
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Global(NamedTuple):
    """A name of a function or a class, which is never looked up."""

    name: str


class _Storage(NamedTuple):
    """The elements of tensors."""

    kind: str
    array: np.ndarray[Any, Any]


def read_torch(file: BinaryIO, path: Path, device: str | None) -> dict[str, Any]:
    """Reads a file of `torch.save`.

    **Returns** the dict in it, with Tensors of the engine. **Raises** CheckpointError for a damaged
    file, and for one that holds anything but tensors, numbers, words and containers.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            found = _read(archive, path)
    except CheckpointError:
        raise
    except Exception as error:  # whatever a damaged archive or pickle makes Python's readers raise
        why = f"{type(error).__name__}: {error}"[:200]
        raise CheckpointError(f"{path} is damaged, or no file of torch.save ({why})") from None
    if not isinstance(found, dict):
        raise CheckpointError(
            f"{path} holds {_kind(found)}, not a dict of tensors: torch.save({{'name': it}}, path)"
        )
    return {str(name): _converted(value, device, path) for name, value in found.items()}


def is_torch(file: BinaryIO) -> bool:
    """Tells whether a zip archive begins with a file of `torch.save`."""
    found = b"data.pkl" in file.read(1000)
    file.seek(0)
    return found


def _read(archive: zipfile.ZipFile, path: Path) -> Any:
    entries = {info.filename: info for info in archive.infolist()}
    if any(name.endswith("/constants.pkl") for name in entries):
        raise CheckpointError(
            f"{path} is a program of TorchScript: convert its weights once, with PyTorch: "
            "state = torch.jit.load(path).state_dict(); torch.save(state, new)"
        )
    total = sum(info.file_size for info in entries.values())
    if any(info.compress_type != zipfile.ZIP_STORED for info in entries.values()):
        raise CheckpointError(f"{path} is compressed, which torch.save never does")
    if len(entries) < len(archive.infolist()) or total > path.stat().st_size:
        raise CheckpointError(f"{path} is damaged: its files overlap")
    name = next(n for n in entries if n.endswith("data.pkl") and n.count("/") <= 1)
    folder = name.removesuffix("data.pkl")
    if entries[name].file_size > MOST:
        raise CheckpointError(f"{path} is damaged: its data.pkl has over {MOST:,} bytes")
    order = folder + "byteorder"
    big = order in entries and archive.read(order) == b"big"
    storages: dict[str, _Storage] = {}

    def storage(reference: Any) -> _Storage:
        what, kind, key, _, count = reference
        letters = STORAGES.get(kind.name.removeprefix("torch."))
        if what != "storage" or letters is None:
            raise CheckpointError(
                f"{path} has tensors of {kind.name}, which is not supported: in PyTorch, .float() "
                "converts them"
            )
        if key not in storages:
            raw = archive.read(f"{folder}data/{key}")
            dtype = np.dtype(letters).newbyteorder(">" if big else "<")
            array = np.frombuffer(raw, dtype).astype(np.dtype(letters))
            if kind.name.endswith("BFloat16Storage"):
                array = (array.astype(np.uint32) << 16).view(np.float32)
            storages[key] = _Storage(kind.name, array)
        found = storages[key]
        if found.kind != kind.name or len(found.array) != count:
            raise ValueError(f"storage {key} has {len(found.array)} elements, not {count}")
        return found

    return _Machine(path, storage).run(archive.read(name))


class _Machine:
    """Runs a pickle that builds data and nothing else."""

    def __init__(self, path: Path, storage: Callable[[Any], _Storage]) -> None:
        self.path, self.storage = path, storage
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, raw: bytes) -> Any:
        """The value that the pickle builds."""
        for opcode, argument, _ in pickletools.genops(raw):
            if opcode.name == "STOP":
                return self.stack.pop()
            self.execute(opcode.name, argument)
        raise ValueError("the pickle has no end")

    def execute(self, name: str, argument: Any) -> None:
        """One instruction."""
        stack = self.stack
        if name in PLAIN:
            stack.append(argument)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name == "MARK":
            self.marks.append(len(stack))
        elif name in TUPLES:
            stack[-TUPLES[name] :] = [tuple(stack[-TUPLES[name] :])]
        elif name == "TUPLE":
            stack.append(tuple(self.marked()))
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if argument is None else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else self.marked()
            self.top(list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else self.marked()
            self.top(dict).update(zip(items[::2], items[1::2], strict=True))
        elif name == "GLOBAL":
            stack.append(_Global(argument.replace(" ", ".")))
        elif name == "STACK_GLOBAL":
            stack[-2:] = [_Global(f"{stack[-2]}.{stack[-1]}")]
        elif name == "BINPERSID":
            stack.append(self.storage(stack.pop()))
        elif name == "REDUCE":
            arguments = stack.pop()
            stack.append(self.call(stack.pop(), arguments))
        elif name == "BUILD" and type(stack[-2]) is OrderedDict:
            stack.pop()  # the versions of PyTorch's modules
        elif name == "BUILD" and isinstance(stack[-2], np.dtype):
            if stack.pop()[1] == ">":
                stack[-1] = stack[-1].newbyteorder(">")
        elif name == "NEWOBJ":
            self.refuse(_kind(stack[-2]))
        elif name not in ("PROTO", "FRAME"):
            self.refuse(f"the instruction {name}")

    def top(self, kind: type) -> Any:
        """The container on the stack."""
        if not isinstance(self.stack[-1], kind):
            raise TypeError(f"expected a {kind.__name__} on the stack")
        return self.stack[-1]

    def marked(self) -> list[Any]:
        """Pops the values pushed since the last mark."""
        at = self.marks.pop()
        items = self.stack[at:]
        del self.stack[at:]
        return items

    def call(self, function: Any, arguments: Any) -> Any:
        """The result of one of the known functions."""
        name = function.name if isinstance(function, _Global) else _kind(function)
        if name == "collections.OrderedDict" and arguments == ():
            return OrderedDict()
        if name == "torch._utils._rebuild_parameter":
            return arguments[0]
        if name == "torch._utils._rebuild_tensor_v2":
            return _marked(_tensor(*arguments[:4]), *arguments[6:])
        if name == "torch.Size":
            return tuple(*arguments)
        if name in ("__builtin__.set", "builtins.set"):
            return set(*arguments)
        if name in NUMPY_SCALARS:
            return _scalar(*arguments)
        if name == "numpy.dtype" and arguments[0] in SCALARS:
            return np.dtype(arguments[0])
        if name == "_codecs.encode" and arguments[1:] == ("latin1",):
            return str(arguments[0]).encode("latin1")
        self.refuse(name)
        return None

    def refuse(self, what: str) -> None:
        raise CheckpointError(
            f"{self.path} holds {what[:80]}, which may run code when PyTorch loads it: only "
            "tensors, numbers, words and containers are read. If you trust it, with PyTorch: "
            "found = torch.load(path, weights_only=False); torch.save(state, new), where state is "
            "found.state_dict() of a module, or the entry of found with the weights"
        )


def _marked(array: np.ndarray[Any, Any], marks: Any = None) -> np.ndarray[Any, Any]:
    """A tensor of which PyTorch has saved views: conjugated or negated when it is read."""
    known = {"conj": np.conj, "neg": np.negative}
    for name, value in (marks or {}).items():
        if value is not True or name not in known:
            raise ValueError(f"a tensor is marked {str(name)[:20]!r}")
        array = known[name](array)
    return array


def _scalar(dtype: Any, raw: Any) -> Any:
    """A number that NumPy has saved, as Python's."""
    if not isinstance(dtype, np.dtype) or not isinstance(raw, bytes) or len(raw) != dtype.itemsize:
        raise ValueError("a number of NumPy's has another size than its dtype")
    return np.frombuffer(raw, dtype)[0].item()


def _tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> np.ndarray[Any, Any]:
    """A copy of a view of elements, which must lie within them."""
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError(f"a tensor has the shape {shape} and the strides {strides}")
    array, count = storage.array, math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if count and last >= len(array):
        raise ValueError(f"a tensor of shape {shape} lies outside its {len(array)} elements")
    if count > len(array):
        raise ValueError(f"a tensor of shape {shape} repeats its elements: .contiguous() it")
    steps = [array.itemsize * step for step in strides]
    part = array[offset:] if count else array[:0]
    view = np.lib.stride_tricks.as_strided(part, shape, steps)
    return np.array(view, order="C")


def _converted(value: object, device: str | None, path: Path, depth: int = 0) -> Any:
    """A value with Tensors for arrays."""
    if isinstance(value, np.ndarray):
        return Tensor(value, device=device)
    if isinstance(value, _Global | _Storage):
        raise CheckpointError(f"{path} holds {_kind(value)}, which is not a tensor")
    if depth > 50:
        raise CheckpointError(
            f"{path}: its dicts and lists are over 50 deep, or contain themselves"
        )
    if isinstance(value, dict):
        return {k: _converted(v, device, path, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_converted(v, device, path, depth + 1) for v in value])
    return value


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return "a tensor"
    return value.name if isinstance(value, _Global) else f"a {type(value).__name__.strip('_')}"
