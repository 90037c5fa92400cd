"""The header of a safetensors file: names, dtypes, shapes and places of its tensors.

    8 bytes: n        n bytes of JSON: {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets":
                      [0, 24]}, "__metadata__": {"key": "words"}}        the tensors' bytes

A header is read and checked without the tensors, so that a file can be described, or mapped into
memory, whatever its size.
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from .files import CheckpointError, open_to_read, reading
from .pickles import REMEDY

TYPES = {  # of the format, and NumPy's
    "BOOL": "?", "I8": "i1", "U8": "u1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4",
    "I64": "<i8", "U64": "<u8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8",
}  # fmt: skip
MOST = 100_000_000  # bytes of a header, as the format has it
AXES = 32  # of an array; NumPy has a limit of 64

TORCH = (
    "is a bare pickle, as torch.save wrote them before PyTorch 1.6, which can run any code when "
    f"loaded: {REMEDY}"
)
OTHER_FORMATS = {  # by their first bytes
    b"\x80": TORCH,
    b"PK": "is a zip archive, as np.savez writes them: np.load reads those",
    b"\x93NUMPY": "is an array of NumPy's: np.load reads it",
    b"\x89HDF": "is in the HDF5 format: h5py reads it, and tg.io.from_keras Keras's",
    b"\x08": "may be in the ONNX format, which tg.io.import_onnx(path) reads",
}
ARCHIVES = {  # zip archives, by the name of a file in them
    b"data.pkl": "is a file of torch.save: tg.load(path) reads the tensors",
    b"config.json": "is a model of Keras: tg.io.from_keras(path) reads it",
}


class Entry(NamedTuple):
    """A tensor of a file: its dtype, in the format's letters, its shape, and where it begins."""

    dtype: str
    shape: tuple[int, ...]
    start: int  # in the file
    size: int  # bytes


class Header(NamedTuple):
    """A file's tensors by name, and its metadata."""

    entries: dict[str, Entry]
    metadata: dict[str, str]


def read_header(path: Path) -> Header:
    """Reads and checks a file's header. **Raises** CheckpointError for other and damaged files."""
    with reading(path), open_to_read(path) as file:
        return header_of(file, os.fstat(file.fileno()).st_size, str(path))


def header_of(file: BinaryIO, size: int, source: str) -> Header:
    """Reads and checks the header of an open file of a size; errors call it `source`."""
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > min(MOST, size - 8):
        raise CheckpointError(f"{source} {description(start + file.read(1 << 16))}")
    try:
        return _checked(json.loads(file.read(length), object_pairs_hook=_once), 8 + length, size)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        why = str(error) or type(error).__name__
        raise CheckpointError(f"{source} is damaged: its header does not fit: {why}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _checked(header: Any, begin: int, size: int) -> Header:
    """The entries of a parsed header, whose tensors must fill the rest of the file exactly."""
    metadata = header.pop("__metadata__", None) or {}
    if not all(isinstance(word, str) for word in [*metadata, *metadata.values()]):
        raise ValueError("its metadata are not words")
    entries: dict[str, Entry] = {}
    for name, fields in header.items():
        dtype, shape, (start, end) = fields["dtype"], fields["shape"], fields["data_offsets"]
        numbers = [start, end, *shape]
        if not isinstance(dtype, str) or any(type(n) is not int or n < 0 for n in numbers):
            raise ValueError(f"{name!r} has sizes that are no numbers")
        if dtype in TYPES:
            wanted = math.prod(shape) * np.dtype(TYPES[dtype]).itemsize
            if end - start != wanted:
                raise ValueError(f"{name!r} has {end - start} bytes, and needs {wanted}")
        if len(shape) > AXES:
            raise ValueError(f"{name!r} has {len(shape)} axes")
        entries[name] = Entry(dtype, tuple(shape), begin + start, end - start)
    at = begin
    for entry in sorted(entries.values(), key=lambda entry: (entry.start, entry.size)):
        if entry.start != at:
            raise ValueError("its tensors overlap, or leave gaps")
        at += entry.size
    if at != size:
        raise ValueError(f"its tensors end at byte {at:,} of {size:,}")
    return Header(entries, metadata)


def mapped(path: Path, entries: Mapping[str, Entry]) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a file, mapped into memory: read when used, and copied when written.

    Writing to them does not change the file. Arrays that are not aligned are copied at once.
    """
    with reading(path), open_to_read(path) as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    return placed(memory, entries, str(path))


def placed(
    memory: mmap.mmap | bytes, entries: Mapping[str, Entry], source: str
) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays in the bytes of a file, which share them where they are aligned."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name, entry in entries.items():
        if entry.dtype not in TYPES:
            raise CheckpointError(
                f"{source} has {name!r} of dtype {entry.dtype}, which NumPy does not have: convert "
                "it to float32 in the program that wrote it"
            )
        if entry.start + entry.size > len(memory):
            raise CheckpointError(f"{source} has become shorter while it was read")
        dtype = np.dtype(TYPES[entry.dtype])
        array: np.ndarray[Any, Any] = np.ndarray(entry.shape, dtype, memory, entry.start)
        native = np.dtype(dtype.type)  # the same object everywhere, and so of the kernels
        arrays[name] = array.astype(native, copy=array.dtype != native or not array.flags.aligned)
    return arrays


def description(raw: bytes) -> str:
    """Describes a file that is not in the safetensors format."""
    if not raw:
        return "is empty"
    if raw.startswith(b"PK"):
        for name, what in ARCHIVES.items():
            if name in raw[:1000]:
                return what
    return next(
        (words for begin, words in OTHER_FORMATS.items() if raw.startswith(begin)),
        "is damaged or not a safetensors file",
    )
