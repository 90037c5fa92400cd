"""Arguments and shapes that layers refuse, with the words that say what to type instead."""

from __future__ import annotations

from typing import Any

from ..tensor import creation
from ..tensor.errors import ShapeError
from ..tensor.tensor import Tensor


def positive(layer: str, **sizes: int) -> None:
    """Refuses sizes below 1."""
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ValueError(f"{layer}: {name}: expected a whole number from 1 up, got {size!r}")


def probability(layer: str, p: float) -> None:
    """Refuses what is no probability below 1."""
    if not 0 <= p < 1:
        raise ValueError(f"{layer}: expected a probability from 0 to below 1, got {p!r}")


def is_tensor(layer: str, name: str, x: Any) -> None:
    """Refuses what is no Tensor."""
    if not isinstance(x, Tensor):
        raise TypeError(
            f"{layer}: {name}: expected a Tensor, got {type(x).__name__}: tg.tensor({name})"
        )


def features_last(layer: str, x: Any, features: int) -> None:
    """Refuses an input whose last axis is not as long as the layer's features."""
    is_tensor(layer, "x", x)
    if x.ndim == 0 or x.shape[-1] != features:
        raise ShapeError(
            f"{layer}: x: expected {features} features on the last axis; got {list(x.shape)}"
        )


def row_lengths(layer: str, lengths: Any, steps: int, batch: int, device: str) -> Tensor:
    """Lengths on a device; refuses what is not one whole number a row, from 0 to the steps."""
    on_host = creation.as_tensor(lengths, device="cpu")
    if on_host.shape != (batch,) or on_host.dtype.kind not in "iu":
        raise ShapeError(
            f"{layer}: lengths: expected {batch} whole numbers, one a row; got "
            f"{on_host.dtype} {list(on_host.shape)}"
        )
    for row, length in enumerate(on_host.tolist()):
        if not 0 <= length <= steps:
            raise ShapeError(f"{layer}: lengths: row {row} has {length} of {steps} steps")
    return on_host.to(device)
