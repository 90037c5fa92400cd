"""Collating: samples become a batch, stacked, or padded if they are sequences."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..annotations import described
from ..errors import InvalidTypeError, InvalidValueError, ShapeError, public
from ..loops.scan import Lengths
from ..tensor import ops
from ..tensor.creation import as_tensor
from ..tensor.shapes import flag, integer
from ..tensor.tensor import Tensor
from ..tensor.tree import is_leaf


@public
def collate(samples: Sequence[Any]) -> Any:
    """Stacks samples to a batch: numbers, arrays and Tensors, and tuples and dicts of them.

    **Arguments** samples: of the same structure. **Returns** a Tensor for numbers and arrays, with
    the samples along the first axis; a tuple or a dict of batches for tuples and dicts; a list for
    everything else, such as strings.

    >>> collate([(np.zeros(3), 1), (np.ones(3), 0)])[1].tolist()
    [1, 0]
    >>> collate([{"name": "a", "x": 1.5}, {"name": "b", "x": 2.5}])
    {'name': ['a', 'b'], 'x': tensor([1.5, 2.5])}
    """
    if not (isinstance(samples, Sequence) or is_leaf(samples)) or not len(samples):
        raise InvalidTypeError(f"collate: samples: expected a list of samples, got {samples!r}")
    first = samples[0]
    if isinstance(first, (tuple, dict)):
        keys: Any = first.keys() if isinstance(first, dict) else range(len(first))
        if any(
            type(s) is not type(first)
            or len(s) != len(first)
            or (isinstance(s, dict) and s.keys() != keys)
            for s in samples
        ):
            raise InvalidTypeError("collate: samples: expected the same structure in each of them")
        columns = [collate([sample[key] for sample in samples]) for key in keys]
        if isinstance(first, dict):
            return dict(zip(keys, columns, strict=True))
        return type(first)(*columns) if hasattr(first, "_fields") else tuple(columns)
    if any(isinstance(sample, Tensor) for sample in samples):
        return ops.stack([as_tensor(sample) for sample in samples])
    if is_leaf(first):
        if len(shapes := {np.shape(sample) for sample in samples}) > 1:
            raise ShapeError(
                f"collate: samples: expected arrays of one shape, got {sorted(shapes)}: for "
                "sequences of different lengths pass collate=data.PadSequences() to the DataLoader"
            )
        return as_tensor(np.stack(samples))
    if isinstance(first, (bool, int, float, np.generic)):
        return as_tensor(np.stack(samples) if isinstance(first, np.generic) else list(samples))
    return list(samples)


@public
def pad_sequence(
    sequences: Sequence[Any], batch_first: bool = False, padding_value: float = 0.0
) -> Tensor:
    """Pads sequences of different lengths to one Tensor; the inverse is `unpad_sequence`.

    **Arguments** sequences: B arrays or Tensors, (T_i, ...). **Returns** (T, B, ...), or with
    batch_first (B, T, ...), where T is the longest length. Gradients reach the sequences.

    >>> pad_sequence([np.array([1, 2, 3]), np.array([4])], batch_first=True).tolist()
    [[1, 2, 3], [4, 0, 0]]
    """
    if not isinstance(sequences, Sequence) and not is_leaf(sequences):
        raise InvalidTypeError(
            f"pad_sequence: sequences: expected a list of them, got {type(sequences).__name__}"
        )
    if not len(sequences):
        raise InvalidValueError("pad_sequence: sequences: expected at least one, got none")
    items = _arrays(sequences)
    if len({item.shape[1:] for item in items}) > 1 or not all(item.shape for item in items):
        raise ShapeError(
            "pad_sequence: sequences: expected (T_i, ...) that differ in T_i only, got shapes "
            + ", ".join(str(list(item.shape)) for item in items[:9])
        )
    if not isinstance(padding_value, (bool, int, float, np.generic)):
        raise InvalidTypeError(
            f"pad_sequence: padding_value: expected a number, got {padding_value!r}"
        )
    flag(batch_first, "pad_sequence: batch_first")
    longest, dtype = max(len(item) for item in items), np.result_type(*(i.dtype for i in items))
    if dtype.kind in "biu" and not _holds(dtype, padding_value):
        raise InvalidValueError(
            f"pad_sequence: padding_value: {dtype} cannot represent {padding_value}: pass an "
            "integer, or sequences of reals"
        )
    if any(isinstance(item, Tensor) for item in items):
        rest = [(0, 0)] * (len(items[0].shape) - 1)
        tensors = [as_tensor(item) for item in items]
        padded = [
            ops.pad(item, [(0, longest - len(item)), *rest], constant_values=padding_value)
            for item in tensors
        ]
        return ops.stack(padded, axis=0 if batch_first else 1)
    table = np.full((len(items), longest, *items[0].shape[1:]), padding_value, dtype)
    for row, item in zip(table, items, strict=True):
        row[: len(item)] = item
    return as_tensor(table if batch_first else np.ascontiguousarray(table.swapaxes(0, 1)))


def _array(sequence: ArrayLike) -> Any:
    """Converts numbers to an array: integers by NumPy, which is quick, others by `as_tensor`."""
    array = np.asarray(sequence)
    return array if array.dtype.kind in "biu" else as_tensor(sequence, device="cpu").data


def _arrays(sequences: Sequence[Any]) -> list[Any]:
    """Converts sequences to arrays: lists of numbers to the dtype of a Tensor of them.

    An empty list has the dtype of the others.
    """
    if all(map(is_leaf, sequences)):
        return list(sequences)
    items = [s if is_leaf(s) else _array(s) for s in sequences]
    empty = [isinstance(s, list | tuple) and not len(s) for s in sequences]
    dtypes = {item.dtype for item, none in zip(items, empty, strict=True) if not none}
    if any(empty) and dtypes:
        common = np.result_type(*dtypes)
        shape = next(i.shape[1:] for i, none in zip(items, empty, strict=True) if not none)
        nothing = np.zeros((0, *shape), common)
        items = [nothing if none else i for i, none in zip(items, empty, strict=True)]
    return items


def _holds(dtype: np.dtype[Any], number: float) -> bool:
    """Whether a number is one of a dtype of integers."""
    with suppress(OverflowError, ValueError):
        return bool(np.array(number, dtype) == number)
    return False


@public
def unpad_sequence(
    padded: Tensor | np.ndarray[Any, Any], lengths: Lengths, batch_first: bool = False
) -> list[Any]:
    """Returns the sequences in a padded batch, without their padding.

    **Arguments** padded: (T, B, ...), or with batch_first (B, T, ...). lengths: (B,) integers.

    >>> [s.tolist() for s in unpad_sequence(np.array([[1, 4], [2, 0]]), [2, 1])]
    [[1, 2], [4]]
    """
    axis = 0 if batch_first else 1
    if not is_leaf(padded) or len(padded.shape) < 2:
        raise ShapeError(
            "unpad_sequence: padded: expected an array or a Tensor (T, B, ...), or with "
            f"batch_first (B, T, ...), got {described(padded)}"
        )
    given = as_tensor(lengths, device="cpu").data
    if given.dtype.kind not in "iu" or given.ndim != 1:
        raise InvalidTypeError(
            f"unpad_sequence: lengths: expected integers (B,), got {described(lengths)}"
        )
    counts = given.tolist()
    if len(counts) != padded.shape[axis] or not all(
        0 <= n <= padded.shape[1 - axis] for n in counts
    ):
        raise InvalidValueError(
            f"unpad_sequence: lengths: expected {padded.shape[axis]} from 0 to "
            f"{padded.shape[1 - axis]} for shape {list(padded.shape)}, got {counts}"
        )
    return [padded[i, :n] if batch_first else padded[:n, i] for i, n in enumerate(counts)]


@dataclass(frozen=True)
class PadSequences:
    """A collate function for sequences: pads them, and returns their lengths beside them.

    A sample is a sequence, or a tuple that begins with one. The batch is `(padded, lengths)`,
    followed by the other fields of the tuples.

    **Arguments** sequences: how many fields of a sample are sequences, all of its length, as tokens
    and their tags are. batch_first: as in the layers. padding_value: one for all sequences, or one
    for each, as a tuple.

    >>> batch = PadSequences()([(np.array([5, 6]), 1), (np.array([7]), 0)])
    >>> [part.tolist() for part in batch]
    [[[5, 7], [6, 0]], [2, 1], [1, 0]]
    """

    sequences: int = 1
    batch_first: bool = False
    padding_value: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        many, values = self.sequences, self.padding_value
        integer(many, "PadSequences: sequences", 1)
        flag(self.batch_first, "PadSequences: batch_first")
        if isinstance(values, tuple) and len(values) != many:
            raise InvalidValueError(
                f"PadSequences: padding_value: expected {many}, one for each sequence, got {values}"
            )

    @public
    def __call__(self, samples: Sequence[Any]) -> tuple[Any, ...]:
        """Returns (padded, lengths, ...)."""
        fields = [sample if isinstance(sample, tuple) else (sample,) for sample in samples]
        many, values = self.sequences, self.padding_value
        for i, sample in enumerate(fields):
            if len(sample) < many or not all(isinstance(s, Sized) for s in sample[:many]):
                raise InvalidTypeError(
                    f"PadSequences: sample {i}: expected a sequence, or a tuple that begins with "
                    f"{many} of them, got {described(samples[i])}"
                )
            if any(len(sample[k]) != len(sample[0]) for k in range(many)):
                got = [len(sample[k]) for k in range(many)]
                raise ShapeError(
                    f"PadSequences: sample {i}: expected {many} sequences of one length, got {got}"
                )
        lengths: NDArray[np.int64] = np.array([len(sample[0]) for sample in fields], np.int64)
        padded = [
            pad_sequence(
                [sample[k] for sample in fields],
                self.batch_first,
                values[k] if isinstance(values, tuple) else values,
            )
            for k in range(many)
        ]
        others = [collate(column) for column in list(zip(*fields, strict=True))[many:]]
        return (padded[0], lengths, *padded[1:], *others)
