"""Arguments and shapes that layers refuse, with the words that say what to type instead."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidTypeError, InvalidValueError, ShapeError
from ..tensor import creation
from ..tensor.ops import elementwise
from ..tensor.ops.indexing import in_table
from ..tensor.tensor import Tensor


def positive(layer: str, **sizes: int) -> None:
    """Refuses sizes below 1."""
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise InvalidValueError(
                f"{layer}: {name}: expected a whole number from 1 up, got {size!r}"
            )


def probability(layer: str, p: float) -> None:
    """Refuses what is no probability below 1."""
    if not 0 <= p < 1:
        raise InvalidValueError(f"{layer}: expected a probability from 0 to below 1, got {p!r}")


def flag(layer: str, **flags: bool) -> None:
    """Refuses what is neither True nor False: it was meant for something else."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise InvalidTypeError(f"{layer}: {name}: expected True or False, got {value!r}")


def activation(layer: str, name: str, given: Any) -> None:
    """Refuses what is no elementwise function."""
    if not callable(given) and given not in elementwise.__all__:
        raise InvalidValueError(
            f"{layer}: {name}: expected the name of an elementwise operation, such as 'tanh', or a "
            f"function of a Tensor; got {given!r}"
        )


def is_tensor(layer: str, name: str, x: Any) -> None:
    """Refuses what is no Tensor."""
    if not isinstance(x, Tensor):
        raise InvalidTypeError(
            f"{layer}: {name}: expected a Tensor, got {type(x).__name__}: tg.tensor({name})"
        )


def features_last(layer: str, x: Any, features: int, name: str = "x") -> None:
    """Refuses an input whose last axis is not as long as the layer's features."""
    is_tensor(layer, name, x)
    if x.ndim == 0 or x.shape[-1] != features:
        raise ShapeError(
            f"{layer}: {name}: expected {features} features on the last axis; got {list(x.shape)}"
        )


def ids_of(layer: str, name: str, ids: Any, rows: int, device: str) -> Tensor:
    """Checked ids of a table's rows, on a device: whole numbers from 0 to below so many.

    Those of a GPU are not looked at: it would have to be waited for.
    """
    ids = creation.as_tensor(ids, device=device)
    if ids.dtype.kind not in "iu":
        raise InvalidTypeError(
            f"{layer}: {name}: expected integers, got {ids.dtype}: {name}.astype(int)"
        )
    found: Tensor = in_table(f"{layer}: {name}")(ids, rows=rows)
    return found


def lengths_of(name: str, argument: str, lengths: Any, rows: int, most: int) -> Tensor:
    """Checked lengths of rows, (B,) on the host; the most throughout, if None."""
    if lengths is None:
        return creation.as_tensor(Tensor([most] * rows, dtype="int64", device="cpu"))
    on_host = creation.as_tensor(lengths, device="cpu")
    if on_host.shape != (rows,) or (rows and on_host.dtype.kind not in "iu"):
        raise ShapeError(
            f"{name}: {argument}: expected {rows} whole numbers, one a row; got {on_host.dtype} "
            f"{list(on_host.shape)}"
        )
    for row, length in enumerate(on_host.tolist()):
        if not 0 <= length <= most:
            raise ShapeError(f"{name}: {argument}: row {row} has {length} of {most}")
    return on_host.astype("int64")


def within_rows(x: Any, lengths: Tensor) -> Tensor:
    """Which steps of x (T, B, ...) are within their row: truths (T, B)."""
    within: Tensor = creation.arange(len(x), device=lengths.device).expand_dims(axis=1) < lengths
    return within
