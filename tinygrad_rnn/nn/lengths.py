"""Lengths and masks of the rows of a batch.

A mask with holes becomes lengths: the steps that a row skips are moved behind those that it reads.
A layer that runs over the reordered steps needs no mask but the lengths of rows, and its outputs
are moved back to where their steps were. Reordering is a permutation, so gradients pass it as they
pass any index.
"""

from __future__ import annotations

from ..errors import InvalidTypeError, InvalidValueError, ShapeError
from ..loops.scan import Lengths
from ..tensor import creation, ops
from ..tensor.shapes import refuse_beyond
from ..tensor.tensor import Tensor, TensorLike


def lengths_of(
    name: str, argument: str, lengths: Lengths, rows: int, most: int, device: str = "cpu"
) -> Tensor:
    """Checks lengths, and returns them as (B,) int64 on a device; None for the maximum."""
    if lengths is None:
        return Tensor([most] * rows, dtype="int64", device=device)
    given = lengths if isinstance(lengths, Tensor) else Tensor(lengths, device="cpu")
    on_host = given.to("cpu").data
    if on_host.shape != (rows,) or (rows and on_host.dtype.kind not in "iu"):
        raise ShapeError(
            f"{name}: {argument}: expected {rows} integers, one per batch row; got {on_host.dtype} "
            f"{list(on_host.shape)}" + (": .astype(int)" if on_host.dtype.kind == "f" else "")
        )
    refuse_beyond(f"{name}: {argument}", on_host.tolist(), most)
    if given is not lengths and on_host.dtype == "int64" and device == "cpu":
        return given
    return given.astype("int64").to(device)  # a copy: the caller may write to theirs


def within_rows(x: Tensor, lengths: Tensor) -> Tensor:
    """Mask (T, B) of the steps of x (T, B, ...) within lengths."""
    within: Tensor = creation.arange(len(x), device=lengths.device).expand_dims(axis=1) < lengths
    return within


class Order:
    """The steps of each row of a batch, those that its mask keeps first.

    >>> import tinygrad_rnn as tg
    >>> order = Order(tg.tensor([[True], [False], [True]]))
    >>> x = tg.tensor([[1.0], [2.0], [3.0]])
    >>> order.apply(x).tolist(), order.undo(order.apply(x)).tolist()
    ([[1.0], [3.0], [2.0]], [[1.0], [2.0], [3.0]])
    """

    def __init__(self, mask: Tensor) -> None:
        """**Arguments** mask: booleans, (T, B)."""
        rows = creation.arange(mask.shape[1], device=mask.device)
        skipped = (~mask).astype("int8")
        self.steps = ops.argsort(skipped, axis=0)  # which step comes at each place
        self.flat = (self.steps * mask.shape[1] + rows).reshape(-1)
        self.inverse = ops.argsort(self.flat)

    def apply(self, x: Tensor) -> Tensor:
        """Reorders the steps of (T, B, ...)."""
        return _moved(x, self.flat)

    def undo(self, y: Tensor) -> Tensor:
        """Moves the steps of (T, B, ...) back to where they were."""
        return _moved(y, self.inverse)

    def resets(self, reset: Tensor) -> Tensor:
        """Reorders resets, (T, B); a reset at a skipped step becomes one of the next step."""
        so_far = ops.cumsum(reset.astype("int64"), axis=0)
        count = ops.take_along_axis(so_far, self.steps, axis=0)
        before = ops.concat([ops.zeros_like(count[:1]), count[:-1]])
        found: Tensor = count > before
        return found


def _moved(x: Tensor, rows: Tensor) -> Tensor:
    return x.reshape((-1, *x.shape[2:]))[rows].reshape(x.shape)


def lengths_and_order(
    name: str,
    lengths: Lengths,
    mask: TensorLike | None,
    shape: tuple[int, ...],
    batch_first: bool,
    device: str,
) -> tuple[Tensor | None, Order | None]:
    """The lengths (B,) of a mask or as passed, checked; the order of the steps of one with holes.

    **Arguments** name: the layer, for errors. shape: (T, B). **Raises** InvalidTypeError,
    InvalidValueError, ShapeError saying what was expected.
    """
    if mask is None:
        if lengths is None:
            return None, None
        return lengths_of(name, "lengths", lengths, shape[1], shape[0], device), None
    if lengths is not None:
        raise InvalidValueError(
            f"{name}: mask and lengths: expected one of them; a mask has the lengths in it: "
            "mask=mask & (tg.arange(T)[:, None] < lengths), with booleans of shape (T, B)"
        )
    given = creation.as_tensor(mask, device=device)
    if given.dtype.kind != "b":
        raise InvalidTypeError(
            f"{name}: mask: expected booleans, True at the steps that are read; got {given.dtype} "
            f"{list(given.shape)}: mask.astype(bool)"
        )
    expected = shape[::-1] if batch_first else shape
    if given.shape != expected:
        axes = "(B, T)" if batch_first else "(T, B)"
        raise ShapeError(
            f"{name}: mask: expected {list(expected)}, {axes} as x with batch_first={batch_first}; "
            f"got {list(given.shape)}" + (": mask.T" if given.shape == expected[::-1] else "")
        )
    given = given.swapaxes(0, 1) if batch_first else given
    holes = bool(ops.any(given[1:] & ~given[:-1]))
    return ops.sum(given.astype("int64"), axis=0), Order(given) if holes else None
