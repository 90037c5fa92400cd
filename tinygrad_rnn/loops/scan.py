"""`scan`: a loop over time whose step is a function of operations, run or compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import InvalidTypeError, InvalidValueError, ShapeError
from ..tensor import backend, tree
from ..tensor.conversion import normalized
from ..tensor.graph import Leaf, Traced, grad_mode, wrap
from ..tensor.observers import concretize, is_tracing, loop_in_trace, observing
from ..tensor.ops.elementwise import alias, where
from ..tensor.ops.indexing import remembered
from ..tensor.ops.movement import stack, unstack
from ..tensor.shapes import flag, refuse_beyond
from ..tensor.tensor import Tensor

__all__ = ["scan"]

# What `lengths=` accepts, (B,): how many steps each batch row has, from 0 to T, in any order; None
# where all rows have T.
Lengths = Sequence[int] | np.ndarray[Any, Any] | Tensor | None


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]],
    carry: Any,
    xs: Any,
    *,
    reverse: bool = False,
    lengths: Lengths = None,
    reset: Any = None,
    fused: bool = False,
    checkpoint_every: int | None = None,
) -> tuple[Any, Any]:
    """Carries a state through the steps of a sequence.

    **Arguments** step: `(carry, x_t) -> (carry, y_t)`; carry, x_t and y_t are Tensors, (B, ...), or
    trees of them: tuples, lists, dicts and named tuples, in which there may be None. xs: (T, B,
    ...), or a tree of such. reverse: from the last step to the first. lengths: (B,) integers from 0
    to T: past its length a row keeps its carry, reads zeros, and its outputs are zero. reset: (T,
    B), not zero where a row's carry is set to zero before the step. fused: traces the step, calling
    it twice only, and compiles it into one node of the graph: several times faster.
    checkpoint_every: saves only the carry before every so many steps (sqrt(T), say) for the
    backward pass, which recomputes the rest; fused only. **Returns** the last carry, and the
    outputs, (T, B, ...), in the order of xs. **Raises** ShapeError for T = 0, and for sequences,
    lengths and resets that do not fit each other.

    A fused step must call the same operations at every step, whatever the values. It raises
    GraphError if it reads elements (`.item()`, `if` on a value: write `tg.where`), makes new
    constants or random numbers (pass them in xs), selects elements by a mask or `tg.nonzero`,
    differentiates, registers hooks, writes to tensors from outside, or changes the carry's shape,
    structure or constants. Side effects (printing, counting, appending to a list) happen twice, and
    what changes only later is not noticed: a Python counter that matters from the third step on
    belongs into the carry or into xs.

    >>> import tinygrad_rnn as tg
    >>> total, sums = tg.scan(lambda s, x: (s + x, s + x), tg.zeros((1,)), tg.ones((3, 1)))
    >>> sums.tolist()
    [[1.0], [2.0], [3.0]]
    >>> def step(state, x):
    ...     return {"total": state["total"] + x, "last": x}, None
    >>> state, _ = tg.scan(step, {"total": tg.zeros(()), "last": tg.zeros(())}, tg.arange(4.0))
    >>> state["total"].item(), state["last"].item()
    (6.0, 3.0)
    """
    if is_tracing():
        options = {"reverse": reverse, "lengths": lengths, "reset": reset}
        found = loop_in_trace(scan, (step, carry, xs), options)
        if found is not None:
            whole: tuple[Any, Any] = found
            return whole
    flag(reverse, "scan: reverse")
    flag(fused, "scan: fused")
    sequences = _sequences(xs)
    count = len(sequences[0])
    if checkpoint_every is not None and (checkpoint_every < 1 or not fused):
        raise InvalidValueError(
            "scan: checkpoint_every: expected an integer from 1 up, and fused=True; got "
            f"{checkpoint_every!r}, fused={fused}"
        )
    cls = next(
        (v.result_class for v in (*tree.leaves(carry), *sequences) if isinstance(v, Traced)), None
    )
    running, resets = _masks(count, lengths, reset)
    if cls is not None and is_tracing():  # Tensors, so that an outer trace records them
        running, resets = (None if v is None else wrap(cls, v, None) for v in (running, resets))
    if running is not None and resets is not None:
        resets = resets & running
    rows = next((v.shape[1] for v in (running, resets) if v is not None and v.ndim == 2), None)
    if running is not None:  # the step may have no finite derivative at the padding
        sequences = [_zero_padding(running, x) for x in sequences]
    if rows is not None:
        _check_batch("carry", tree.leaves(carry), rows)
    if cls is not None:  # the step may write to what it is given
        carry = tree.filled(carry, [_writable(v, cls) for v in tree.leaves(carry)])
        sequences = [
            x if isinstance(x, Traced) else wrap(cls, normalized(x, "scan: xs"), None)
            for x in sequences
        ]
    xs = tree.filled(xs, sequences)
    order = range(count)[:: -1 if reverse else 1]

    def masked(carry: Any, x: Any, running: Any, resets: Any) -> tuple[Any, Any]:
        if resets is not None:
            carry = _reset_carry(resets, carry)
        found = step(carry, x)
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            raise InvalidTypeError(
                f"scan: expected a step that returns (carry, y), got {type(found).__name__}"
                + ("" if not isinstance(found, (tuple, list)) else f" of {len(found)}")
            )
        new, y = found
        if running is None:
            return new, y
        return _masked_carry(running, new, carry), _masked_output(running, y, rows)

    if fused and count > 1 and cls is not None and not observing().forward and not is_tracing():
        from .hoisting import compile_scan  # the tracer and the compiler, when first needed

        return compile_scan(masked, carry, (xs, running, resets), order, checkpoint_every, cls)
    steps = [*zip(*map(unstack, sequences), strict=True)]
    running, resets = (None if v is None else unstack(v) for v in (running, resets))
    ys: list[Any] = [None] * count
    for t in order:
        now = [None if v is None else v[t] for v in (running, resets)]
        carry, ys[t] = masked(carry, tree.filled(xs, steps[t]), *now)
    return carry, _stacked(ys)


def running_rows(steps: int, lengths: Lengths) -> Any:
    """(T, B), an array, true where a row of these lengths, (B,), is running."""
    raw = getattr(lengths, "array", lengths)
    return backend.module_of(raw).arange(steps)[:, None] < raw


# ---------------------------------------------------------------- inputs


def _sequences(xs: Any) -> list[Any]:
    """The leaves of xs; refuses different lengths."""
    sequences = sequences_in("scan", xs)
    lengths = [len(x) for x in sequences]
    if len({*lengths}) > 1:
        raise ShapeError(
            f"scan: xs: expected sequences of one length on their first axis, got {lengths}"
        )
    if not lengths[0]:
        raise ShapeError("scan: expected at least one step; got xs of none")
    return sequences


def sequences_in(name: str, xs: Any) -> list[Any]:
    """The leaves of a tree; refuses those without axes, and a tree without leaves."""
    found = tree.leaves(xs, xs, tree.is_item)
    if not found:
        raise InvalidTypeError(f"{name}: xs: expected at least one sequence, as tg.arange(T)")
    for x in found:
        if not tree.is_leaf(x) or not x.ndim:
            got = type(x).__name__ + (" without axes" if tree.is_leaf(x) else "")
            raise InvalidTypeError(
                f"{name}: xs: expected Tensors of at least one axis, got {got}: tg.tensor(...) "
                "makes one"
            )
    return found


def _masks(steps: int, lengths: Lengths, reset: Any) -> tuple[Any, Any]:
    """For each step and row whether it runs, and whether it resets; None for all, and for none."""
    running = resets = None
    if lengths is not None:
        raw = _array(lengths)
        if raw.ndim != 1 or (raw.size and raw.dtype.kind not in "iu"):
            raise ShapeError(
                f"scan: lengths: expected integers, one per row; got {raw.dtype} {list(raw.shape)}"
            )
        on_host = backend.to_host(raw).tolist()
        refuse_beyond("scan: lengths", on_host, steps)
        running = _running(steps, *on_host) if type(raw) is np.ndarray else running_rows(steps, raw)
    if reset is not None:
        resets = _array(reset).astype(bool, copy=False)
        ndims = (1, 2) if running is None else (2,)
        if resets.ndim not in ndims or len(resets) != steps:
            raise ShapeError(
                f"scan: reset: expected a (T, B) mask of {steps} steps; got {list(resets.shape)}"
            )
        if running is not None and resets.shape != running.shape:
            raise ShapeError(
                f"scan: reset: expected {list(running.shape)}, to match lengths; got "
                f"{list(resets.shape)}"
            )
    return running, resets


@remembered
def _running(steps: int, *lengths: int) -> Any:
    return running_rows(steps, np.array(lengths, np.int64))


def _array(value: object) -> Any:
    """The array of a Tensor; numbers become a NumPy array."""
    if isinstance(value, Traced):
        return concretize(value)
    return value if backend.is_array(value) else np.asarray(value)


def _check_batch(what: str, values: list[Any], rows: Any) -> None:
    """Refuses values whose batch size differs from that of lengths or reset."""
    for v in values:
        if not v.ndim or v.shape[0] not in (1, rows):
            raise ShapeError(
                f"scan: lengths or reset of {rows} rows: expected {what} to have as many on the "
                f"first axis; got {list(v.shape)}"
            )


def _writable(value: object, cls: type[Traced]) -> Traced:
    """An alias of a value that the step may overwrite."""
    if not isinstance(value, Traced):
        return wrap(cls, normalized(value, "scan: carry"), None)
    if grad_mode.on and value.edge is not None and isinstance(value.edge[0], Leaf):
        own: Traced = alias(value)
        return own
    return wrap(cls, value.array, value.edge)


# ---------------------------------------------------------------- masking


def _where(rows: Any, a: Any, b: Any) -> Any:
    """Selects a where the mask holds, else b. **Arguments** rows: a mask, (B,) or (T, B)."""
    axes = max(getattr(a, "ndim", 0), getattr(b, "ndim", 0))
    return where(rows.reshape(rows.shape + (1,) * (axes - rows.ndim)), a, b)


def _zero(like: Any) -> Any:
    return False if like.dtype.kind == "b" else 0


def _zero_padding(running: Any, x: Any) -> Any:
    """A sequence with zeros past each row's length; one without a batch axis as it is."""
    if x.ndim < 2:
        return x
    _check_batch("sequences", [x[0]], running.shape[1])
    return _where(running, x, _zero(x))


def _reset_carry(resets: Any, carry: Any) -> Any:
    """The carry, set to zero in the rows that are reset."""

    def one(v: Any) -> Any:
        if tree.is_leaf(v):
            return _where(resets, _zero(v), v)
        if not isinstance(v, (int, float)) or v == 0:  # strings, for example, have no zero
            return v
        raise InvalidTypeError(
            f"scan: reset: expected a carry of Tensors, got a {type(v).__name__}, {v!r}, that has "
            "no rows to set to zero"
        )

    return tree.mapped(one, carry, leaf=tree.is_item)


def _masked_carry(running: Any, new: Any, old: Any) -> Any:
    """The new carry in the running rows, the old one in the others."""

    def one(b: Any, a: Any) -> Any:
        if tree.is_leaf(a):
            if tree.is_leaf(b):
                _check_mask_fits(a, b)
            return _where(running, a, b)
        if tree.same_constant(a, b):
            return a
        raise InvalidTypeError(
            f"scan: lengths: expected a carry of Tensors, got {b!r}, then {a!r}, which has no "
            "rows: tg.tensor(...) makes one, (B, ...)"
        )

    changed = tree.difference(old, new, tree.is_item)
    if changed:
        raise InvalidTypeError(
            f"scan: lengths: expected a step that keeps the carry's structure, got {changed}"
        )
    return tree.mapped(one, old, new, leaf=tree.is_item)


def _check_mask_fits(new: Any, old: Any) -> None:
    """Refuses a new carry whose shape cannot hold the old one of ended rows."""
    a, b = tuple(new.shape), tuple(old.shape)
    if a != b and (len(a) != len(b) or any(m not in (1, n) for n, m in zip(a, b, strict=True))):
        raise ShapeError(
            f"scan: lengths: expected a step that keeps the carry's shape {list(b)}, for ended "
            f"rows; got {list(a)}"
        )


def _masked_output(running: Any, y: Any, rows: Any) -> Any:
    """The outputs of a step, zero in ended rows."""

    def one(v: Any) -> Any:
        if not tree.is_leaf(v):
            return _where(running, v, 0)
        if v.ndim:
            _check_batch("the step's outputs", [v], rows)
        return _where(running, v, _zero(v))

    return tree.mapped(one, y, leaf=tree.is_item)


def _stacked(ys: Any) -> Any:
    """Stacks the outputs of all steps into one tree."""
    for y in ys:
        changed = tree.difference(ys[0], y, tree.is_item)
        if changed:
            raise InvalidTypeError(
                f"scan: expected outputs of one structure at all steps, got {changed}"
            )
    return tree.mapped(_column, *ys, leaf=tree.is_item)


def _column(*values: Any) -> Any:
    for v in values:
        if not (tree.is_leaf(v) or isinstance(v, (int, float, np.generic))):
            raise InvalidTypeError(
                f"scan: expected a step that returns Tensors, got {type(v).__name__}"
            )
    return stack(values)
