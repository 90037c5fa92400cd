"""From the outputs of connectionist temporal classification to labels.

At each step the network says a label, or the blank for none. Repeated labels are one, unless a
blank stands between them; blanks are dropped. Greedy decoding takes the best alignment; the best
labels are those of the largest sum over all their alignments, for which prefixes of labels grow
side by side (Graves 2012, Hannun et al. 2014). Of each prefix two sums are kept: of alignments that
end in a blank, and of those that end in the prefix's last label, which alone a repeat extends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from math import inf
from typing import Any, NamedTuple

from ...errors import InvalidValueError, OutOfRangeError, ShapeError, public
from ...tensor import creation, ops
from ...tensor.autodiff import no_grad
from ...tensor.tensor import Tensor
from ..checks import is_tensor, lengths_of, within_rows
from ..ctc import NEVER
from .largest import largest_first
from .steps import Hypothesis

LanguageModel = Callable[[tuple[int, ...]], Sequence[float]]  # log-probabilities of what follows


@public
def ctc_greedy(log_probs: Tensor, lengths: Any = None, *, blank: int = 0) -> list[Hypothesis]:
    """The labels of the most probable alignment.

    **Arguments** log_probs: (T, B, C), as `log_softmax` gives them. lengths: (B,) whole numbers
    from 0 to T; T throughout, if None. blank: the class that stands for no label. **Returns** a
    hypothesis for each row, its log-probability that of the alignment. **Raises** ShapeError.

    >>> import tinygrad_rnn as tg
    >>> says = tg.tensor([1, 1, 0, 1, 2])
    >>> ctc_greedy(tg.log_softmax(9 * tg.one_hot(says, num_classes=3)[:, None]))[0].tokens
    (1, 1, 2)
    """
    times = _checked("ctc_greedy", log_probs, lengths, blank)
    if not len(log_probs):
        return [Hypothesis((), 0.0, 0.0, True)] * len(times)
    best = log_probs.argmax(axis=2).swapaxes(0, 1).tolist()
    gains = log_probs.detach().astype("float64").max(axis=2).swapaxes(0, 1).tolist()
    found = []
    for says, gain, length in zip(best, gains, times, strict=True):
        labels = tuple(label for label, _ in groupby(says[:length]) if label != blank)
        found.append(Hypothesis(labels, sum(gain[:length]), sum(gain[:length]), True))
    return found


class _Prefix(NamedTuple):
    labels: tuple[int, ...] = ()
    blank: float = 0.0  # log of the sum over alignments that end in a blank
    label: float = NEVER  # and over those that end in the last label
    extra: float = 0.0  # what the language model and the bonus add


@public
def ctc_beam_search(
    log_probs: Tensor,
    lengths: Any = None,
    *,
    beams: int,
    n_best: int = 1,
    blank: int = 0,
    language_model: LanguageModel | None = None,
    weight: float = 1.0,
    bonus: float = 0.0,
) -> list[list[Hypothesis]]:
    """The labels whose alignments are the most probable together.

    score = log P(labels | input) + weight * log P(labels | language model) + bonus * |labels|

    **Arguments** log_probs, lengths, blank: as in `ctc_greedy`. beams: how many prefixes go on at
    each step. n_best: how many results a row has, at most beams. language_model: from the labels so
    far to C log-probabilities of the next label; asked once for each prefix that lives. **Returns**
    for each row its results, best first. **Raises** ValueError, ShapeError.

    >>> import tinygrad_rnn as tg
    >>> steps = tg.log(tg.tensor([[[0.6, 0.4]], [[0.6, 0.4]]]))
    >>> [found] = ctc_beam_search(steps, beams=2)       # 11, 1- and -1 hold 0.64, -- only 0.36
    >>> found[0].tokens, ctc_greedy(steps)[0].tokens
    ((1,), ())
    """
    times = _checked("ctc_beam_search", log_probs, lengths, blank)
    if not 1 <= n_best <= beams:
        raise InvalidValueError(
            f"ctc_beam_search: n_best must be from 1 to beams {beams}, not {n_best}"
        )
    follows = _Follows(language_model, weight, bonus, log_probs.shape[2], blank)
    prefixes = [[_Prefix()] for _ in times]
    with no_grad():
        log_probs = ops.maximum(log_probs.astype("float64"), NEVER)
        for t in range(max(times, default=0)):
            rows = [row for row, length in enumerate(times) if t < length]
            live = [prefixes[row] for row in rows]
            for row, new in zip(
                rows, _step(log_probs[t, rows], live, beams, blank, follows), strict=True
            ):
                prefixes[row] = new
        return [[*map(_result, _ranked(row)[:n_best])] for row in prefixes]


class _Follows:
    """What each label adds to a prefix's score, beside its probability; remembered by prefix."""

    def __init__(
        self, model: LanguageModel | None, weight: float, bonus: float, classes: int, blank: int
    ) -> None:
        for name, number in (("weight", weight), ("bonus", bonus)):
            if not -inf < number < inf:
                raise InvalidValueError(
                    f"ctc_beam_search: {name}: expected a finite number, got {number}"
                )
        self.model = model if weight != 0 else None  # 0 times the logarithm of 0 is no number
        self.weight, self.bonus, self.classes, self.blank = weight, bonus, classes, blank
        self.known: dict[tuple[int, ...], list[float]] = {}

    def __call__(self, labels: tuple[int, ...]) -> list[float]:
        if labels not in self.known:
            gains = list(self.model(labels)) if self.model else [0.0] * self.classes
            if len(gains) != self.classes:
                raise ShapeError(
                    f"ctc_beam_search: language_model: expected {self.classes} log-probabilities, "
                    f"one a class (the blank's is ignored); got {len(gains)}"
                )
            gains[self.blank] = 0.0
            if not all(g < inf for g in gains):
                raise InvalidValueError(
                    "ctc_beam_search: language_model: expected log-probabilities; it gave NaN or "
                    f"+inf after {list(labels)}"
                )
            self.known[labels] = [max(self.weight * g, NEVER) + self.bonus for g in gains]
        return self.known[labels]


def _step(
    says: Tensor, live: list[list[_Prefix]], beams: int, blank: int, follows: _Follows
) -> list[list[_Prefix]]:
    """One step of all prefixes of all rows; says: (R, C)."""
    across, classes = max(map(len, live)), says.shape[1]
    nothing = _Prefix((), NEVER, NEVER)  # holds the places where a row has fewer
    grid = [(row + [nothing] * across)[:across] for row in live]

    def table(of: Callable[[_Prefix], Any], dtype: str = "float64") -> Tensor:
        return Tensor([[of(p) for p in row] for row in grid], dtype=dtype, device=says.device)

    ends, goes_on = table(lambda p: p.blank), table(lambda p: p.label)
    last = table(lambda p: p.labels[-1] if p.labels else blank, "int64")
    total = _add(ends, goes_on)
    stay_blank = total + says[:, blank][:, None]
    stay_label = goes_on + ops.take_along_axis(says, last, axis=1)
    classes_of = creation.arange(classes, device=says.device)
    repeats = last[:, :, None] == classes_of
    grow = ops.where(repeats, ends[:, :, None], total[:, :, None]) + says[:, None]
    grow = ops.where(classes_of == blank, NEVER, grow)
    # A prefix that grows into another that lives already adds to it, instead of standing twice.
    where = [{p.labels: i for i, p in enumerate(row)} for row in live]
    meets = [
        (r, where[r][p.labels[:-1]], p.labels[-1], i)
        for r, row in enumerate(live)
        for i, p in enumerate(row)
        if p.labels and p.labels[:-1] in where[r]
    ]
    if meets:
        r, parent, label, child = map(list, zip(*meets, strict=True))
        joined = _add(stay_label[r, child], grow[r, parent, label])
        stay_label = ops.index_update(stay_label, joined, index=(r, child))
        grow = ops.index_update(grow, NEVER, index=(r, parent, label))
    extra = table(lambda p: p.extra)
    adds = table(lambda p: follows(p.labels)) if follows.model else follows.bonus
    more = extra[:, :, None] + adds
    stays = _add(stay_blank, stay_label) + extra
    ranks = ops.concat([stays, (grow + more).reshape(len(live), -1)], axis=1)
    best = largest_first(ranks, k=min(beams, ranks.shape[1]))
    grown = ops.concat([stay_label, grow.reshape(len(live), -1)], axis=1)
    columns = [ops.take_along_axis(x, best, axis=1).tolist() for x in (ranks, grown)]
    blanks = stay_blank.tolist()
    return [
        [
            _next(row, i, value, blanks[r], across, classes, follows)
            for i, rank, value in zip(*columns_of_row, strict=True)
            if rank > NEVER / 10
        ]
        for r, (row, *columns_of_row) in enumerate(zip(live, best.tolist(), *columns, strict=True))
    ]


def _next(
    row: list[_Prefix],
    i: int,
    value: float,
    blanks: list[float],
    across: int,
    classes: int,
    follows: _Follows,
) -> _Prefix:
    """The prefix that a candidate's number means: one that stays, or one that grew by a label."""
    if i < across:
        return row[i]._replace(blank=blanks[i], label=value)
    parent, label = divmod(i - across, classes)
    labels, extra = row[parent].labels, row[parent].extra
    return _Prefix((*labels, label), NEVER, value, extra + follows(labels)[label])


def _add(a: Tensor, b: Tensor) -> Tensor:
    """log(exp(a) + exp(b))."""
    return ops.logsumexp(ops.stack([a, b]), axis=0)


def _ranked(row: list[_Prefix]) -> list[tuple[float, float, _Prefix]]:
    totals = [_add(Tensor(p.blank, "float64"), Tensor(p.label, "float64")).item() for p in row]
    scored = [(total + p.extra, total, p) for total, p in zip(totals, row, strict=True)]
    return sorted(scored, key=lambda found: -found[0])


def _result(found: tuple[float, float, _Prefix]) -> Hypothesis:
    score, total, prefix = found
    return Hypothesis(prefix.labels, total, score, True)


def _checked(name: str, log_probs: Tensor, lengths: Any, blank: int) -> list[int]:
    """The rows' lengths."""
    is_tensor(name, "log_probs", log_probs)
    if log_probs.ndim != 3:
        raise ShapeError(f"{name}: log_probs: expected (T, B, C); got {list(log_probs.shape)}")
    steps, batch, classes = log_probs.shape
    if not 0 <= blank < classes:
        raise OutOfRangeError(f"{name}: blank {blank} is outside the {classes} classes")
    on_host = lengths_of(name, "lengths", lengths, batch, steps)
    found: list[int] = on_host.tolist()
    if steps:
        peaks = log_probs.detach().max(axis=2)
        peaks = ops.where(within_rows(log_probs, on_host.to(log_probs.device)), peaks, 0)
        for row, peak in enumerate(peaks.max(axis=0).tolist()):
            if not peak < inf:
                raise InvalidValueError(f"{name}: log_probs: row {row} holds NaN or +inf")
    return found
