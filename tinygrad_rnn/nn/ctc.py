"""Connectionist temporal classification (CTC) loss (Graves et al. 2006).

A network outputs at each step a distribution over the labels and the blank. A sequence of labels
has many alignments with the steps: a label can last for several steps, with blanks before, between
and after; equal neighbouring labels need a blank between them. Its probability is the sum over all
alignments,

    alpha_t(s) = p_t(l_s) (alpha_(t-1)(s) + alpha_(t-1)(s-1) + alpha_(t-1)(s-2))

where l are the labels with blanks around each, and the last term is there only if l_s and l_(s-2)
are different labels; in logarithms, for all rows and places at a time.
What a place contributes from there to the end is the same recursion on the reversed sequence: the
backward pass needs no loop of its own, since both run side by side, as rows of one batch.
"""

from __future__ import annotations

from math import inf
from types import ModuleType
from typing import Any

from ..errors import OutOfRangeError, ShapeError, public
from ..loops.scan import Lengths
from ..tensor import creation, ops
from ..tensor.operation import Op
from ..tensor.shapes import Shapes, integer
from ..tensor.tensor import Tensor, TensorLike
from .checks import is_tensor
from .lengths import lengths_of
from .loss import reduce

NEVER = -1e30  # the logarithm of an impossibility: finite, so that differences of two are no NaN


@public
def ctc_loss(
    log_probs: Tensor,
    targets: TensorLike,
    input_lengths: Lengths = None,
    target_lengths: Lengths = None,
    *,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """CTC loss: -log P(targets), summed over all alignments, in nats.

    **Arguments** log_probs: (T, B, C), as `log_softmax` returns them; the gradient is with respect
    to log_probs. targets: (B, S) integers, of which a row's first target_lengths count; or all
    rows' labels one after another, (sum of target_lengths,). input_lengths, target_lengths: (B,)
    integers, zeros allowed; None for T and S. blank: the class of the blank. reduction: `mean`
    divides each loss by its row's number of labels (at least 1) and takes the mean over rows, as
    PyTorch; `sum`; `none`. zero_infinity: counts a row that no alignment is possible of as 0.
    **Returns** a scalar, or (B,) for `none`: infinite, with a gradient of zero, where there are
    fewer steps than labels and the blanks between equal ones. **Raises** ShapeError, IndexError
    naming a target that is no label.

    >>> import tinygrad_rnn as tg
    >>> even = tg.log_softmax(tg.zeros((3, 1, 2)))
    >>> p = tg.exp(-tg.nn.ctc_loss(even, [[1]]))      # 1--, -1-, --1, 11-, -11 and 111 of 8
    >>> round(p.item(), 3)
    0.75
    """
    steps, batch, classes = check_log_probs("ctc_loss", log_probs, blank)
    labels, counts = _labels(targets, target_lengths, batch, blank, classes)
    times = lengths_of("ctc_loss", "input_lengths", input_lengths, batch, steps)
    where, dtype = log_probs.device, log_probs.dtype
    if dtype == "float16":  # whose range has no place for NEVER
        log_probs = ops.astype(log_probs, "float32")
    losses = _ctc(log_probs, labels.to(where), times.to(where), counts.to(where), blank=blank)
    losses = ops.astype(losses, dtype)
    if zero_infinity:
        losses = ops.where(losses == inf, 0, losses)
    if reduction == "mean":
        losses = losses / ops.maximum(counts, 1).to(where).astype(losses.dtype)
    return reduce("ctc_loss", losses, reduction)


# ---------------------------------------------------------------- what comes in


def check_log_probs(name: str, log_probs: Tensor, blank: int) -> tuple[int, ...]:
    """Checks log-probabilities and the class of the blank. **Returns** T, B, C."""
    is_tensor(name, "log_probs", log_probs)
    if log_probs.ndim != 3 or log_probs.dtype.kind != "f":
        raise ShapeError(
            f"{name}: log_probs: expected reals (T, B, C); got {log_probs.dtype} "
            f"{list(log_probs.shape)}"
        )
    if not 0 <= integer(blank, f"{name}: blank") < log_probs.shape[2]:
        raise OutOfRangeError(f"{name}: blank: {blank} is outside the {log_probs.shape[2]} classes")
    return tuple(log_probs.shape)


def _labels(
    targets: TensorLike, lengths: Lengths, batch: int, blank: int, classes: int
) -> tuple[Tensor, Tensor]:
    """Targets as (B, S), blank past a row's own, and how many each row has; both on the host."""
    given = creation.as_tensor(targets, device="cpu")
    if given.size and given.dtype.kind not in "iu":
        raise ShapeError(f"ctc_loss: targets: expected integers, got {given.dtype}")
    if given.ndim == 1 and lengths is not None:
        counts = lengths_of("ctc_loss", "target_lengths", lengths, batch, len(given))
        ends = counts.cumsum(axis=0)
        if len(given) != int(counts.sum()):
            raise ShapeError(
                f"ctc_loss: targets: {len(given)} labels, but target_lengths add up to "
                f"{int(counts.sum())}"
            )
        places = creation.arange(max(counts.tolist(), default=0), device="cpu")
        index = (ends - counts)[:, None] + places
        padded = ops.concat([given, creation.zeros((1,), dtype="int64", device="cpu")])
        given = padded[ops.minimum(index, len(given))]
    elif given.ndim != 2 or len(given) != batch:
        raise ShapeError(
            f"ctc_loss: targets: expected ({batch}, S), or all labels in a row with "
            f"target_lengths; got {list(given.shape)}"
        )
    else:
        counts = lengths_of("ctc_loss", "target_lengths", lengths, batch, given.shape[1])
    real = creation.arange(given.shape[1], device="cpu") < counts[:, None]
    given = ops.where(real, given, blank)
    wrong = real & ((given < 0) | (given >= classes) | (given == blank))
    if bool(wrong.any()):
        raise OutOfRangeError(
            f"ctc_loss: target {given[wrong][0].item()} is no label: expected 0 to {classes - 1}, "
            f"without the blank {blank}"
        )
    return given.astype("int64"), counts


# ---------------------------------------------------------------- the operation


def _with_blanks(xp: ModuleType, labels: Any, counts: Any, blank: int) -> tuple[Any, Any]:
    """Labels (R, S) with blanks around each (R, 2 S + 1), and what it costs to skip to each place.

    A label may follow the one two places before, without the blank between, if it is another one.
    """
    first = counts[:, None]
    pairs = xp.stack([labels, xp.full_like(labels, fill_value=blank)], axis=2)
    places = xp.concat(
        [xp.full_like(first, fill_value=blank), pairs.reshape(len(labels), 2 * labels.shape[1])],
        axis=1,
    )
    other = xp.concat([first != first, first == first, places[:, 2:] != places[:, :-2]], axis=1)
    return places, xp.where(other[:, : places.shape[1]], 0.0, NEVER)


def _reversed(xp: ModuleType, labels: Any, counts: Any) -> Any:
    """Each row's own labels in reverse; what follows them is of no account."""
    order = (counts[:, None] - 1 - xp.arange(labels.shape[1])) % max(labels.shape[1], 1)
    return xp.take_along_axis(labels, order, axis=1)


def _alphas(xp: ModuleType, emitted: Any, skip: Any) -> Any:
    """The recursion: emitted (T, R, L) to alphas (T + 1, R, L + 2).

    Two more places, in front, spare all special cases: at time 0, before the first step, all of the
    probability is on the second of them, from which the first blank and the first label follow.
    """
    steps, rows, places = emitted.shape
    alphas = xp.full((steps + 1, rows, places + 2), NEVER, dtype=emitted.dtype)
    alphas[0, :, 1] = 0.0
    skip = skip.astype(emitted.dtype)
    ways = xp.empty((3, rows, places), dtype=emitted.dtype)
    for t in range(steps):
        before, after = alphas[t], alphas[t + 1, :, 2:]
        ways[0] = before[:, 2:]
        ways[1] = before[:, 1:-1]
        xp.add(before[:, :-2], skip, out=ways[2])
        peak = ways.max(axis=0)
        xp.subtract(ways, peak, out=ways)
        xp.exp(ways, out=ways)
        xp.log(ways.sum(axis=0), out=after)
        after += peak
        after += emitted[t]
    return alphas


def _ctc_forward(
    xp: ModuleType, log_probs: Any, labels: Any, times: Any, counts: Any, *, blank: int, keep: bool
) -> tuple[Any, Any]:
    steps, batch, _ = log_probs.shape
    places, skip = _with_blanks(xp, labels, counts, blank)
    rows, inside = xp.arange(batch), (xp.arange(steps)[:, None] < times)[:, :, None]

    def said(log_probs: Any) -> Any:  # what is past a row's end may be infinite, or NaN
        return xp.where(inside, xp.maximum(log_probs, NEVER), 0)

    emitted = said(xp.take_along_axis(log_probs, places[None], axis=2))
    if keep:
        backwards = _reversed(xp, labels, counts)
        back_places, back_skip = _with_blanks(xp, backwards, counts, blank)
        back = (times - 1 - xp.arange(steps)[:, None]) % max(steps, 1)
        again = said(log_probs[back[:, :, None], rows[:, None], back_places])
        both = _alphas(xp, xp.concatenate([emitted, again], 1), xp.concatenate([skip, back_skip]))
        alphas, betas = both[:, :batch], both[:, batch:]
    else:
        alphas = _alphas(xp, emitted, skip)
    ends = [alphas[times, rows, 2 * counts + i] for i in (1, 2)]
    log_z = xp.maximum(*ends) + xp.log1p(xp.exp(-xp.abs(ends[0] - ends[1])))
    impossible = log_z <= NEVER / 10
    saved = None
    if keep:
        # At each step and place: what leads there, times what leads on, the step counted once.
        on = 2 * counts[:, None] + 2 - xp.arange(places.shape[1])
        after = (times - xp.arange(steps)[:, None])[:, :, None]
        inside = (on >= 2) & (after > 0) & ~impossible[:, None]
        share = (
            alphas[1:, :, 2:]
            + betas[xp.maximum(after, 0), rows[:, None], xp.maximum(on, 0)]
            - emitted
            - log_z[:, None]
        )
        saved = xp.exp(xp.where(inside, share, NEVER)), places
    return xp.where(impossible, inf, -log_z), saved


def _ctc_rule(xp: ModuleType, g: Any, saved: Any, shapes: Shapes) -> Any:
    """Minus the probability that a step is of a class, given the labels."""
    shares, places = saved
    steps, batch, classes = shapes[0]
    cells = xp.arange(steps * batch).reshape(steps, batch, 1) * classes + places
    terms = (shares * -g[:, None]).reshape(-1)
    sums = xp.bincount(cells.reshape(-1), weights=terms, minlength=steps * batch * classes)
    return sums.reshape(shapes[0]).astype(g.dtype)


def _ctc_by_steps(log_probs: Any, labels: Any, times: Any, counts: Any, *, blank: int) -> Any:
    """The same of ordinary operations: what second derivatives are taken of."""
    places, skip = _with_blanks(ops, labels, counts, blank)
    skip = skip.astype(log_probs.dtype)
    steps = creation.arange(len(log_probs), device=log_probs.device)
    inside = steps[:, None] < times  # what is past a row's end may be NaN, which 0 times is NaN
    log_probs = ops.where(inside[:, :, None], ops.maximum(log_probs, NEVER), 0)
    emitted = ops.take_along_axis(log_probs, places[None], axis=2)
    never = ops.full_like(skip[:, :1], fill_value=NEVER)
    alphas = [ops.concat([never, 0 * never, *[never] * skip.shape[1]], axis=1)]
    for at in ops.unstack(emitted):
        stay, move, leap = alphas[-1][:, 2:], alphas[-1][:, 1:-1], alphas[-1][:, :-2] + skip
        new = ops.logsumexp(ops.stack([stay, move, leap]), axis=0) + at
        alphas.append(ops.concat([never, never, new], axis=1))
    rows = creation.arange(len(counts), device=counts.device)
    ends = [ops.stack(alphas)[times, rows, 2 * counts + i] for i in (1, 2)]
    log_z = ops.logsumexp(ops.stack(ends), axis=0)
    return ops.where(log_z <= NEVER / 10, inf, -log_z)


_ctc = Op("ctc_loss", _ctc_forward, decomposition=_ctc_by_steps).vjp(log_probs=_ctc_rule)
