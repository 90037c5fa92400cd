"""Decoding of connectionist temporal classification (CTC).

At each step the network outputs a label or the blank. An alignment maps to labels by merging
repeated labels and then dropping blanks. Greedy decoding takes the best alignment. Prefix beam
search maximizes the sum over all alignments of a labelling (Graves 2012, Hannun et al. 2014). It
has two sums for each prefix: over the alignments that end in a blank, and over those that end in
the last label, since a repeated label extends only the former.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from math import inf
from typing import Any, NamedTuple

from ...errors import InvalidValueError, ShapeError, public
from ...tensor import creation, ops
from ...tensor.autodiff import no_grad
from ...tensor.ops.sorting import topk_indices
from ...tensor.shapes import integer
from ...tensor.tensor import Tensor
from ..ctc import NEVER, check_log_probs
from ..lengths import lengths_of, within_rows
from .steps import Hypothesis

LanguageModel = Callable[[tuple[int, ...]], Sequence[float]]  # log-probabilities of the next label


@public
def ctc_greedy(log_probs: Tensor, lengths: Any = None, *, blank: int = 0) -> list[Hypothesis]:
    """Greedy CTC decoding: the labels of the most probable alignment.

    **Arguments** log_probs: (T, B, C), as `log_softmax` returns them. lengths: (B,) integers
    from 0 to T; None for T. blank: the class of the blank. **Returns** a hypothesis for each batch
    row, with the log-probability of the alignment. **Raises** ShapeError.

    >>> import tinygrad_rnn as tg
    >>> scores = tg.tensor([1, 1, 0, 1, 2])
    >>> ctc_greedy(tg.log_softmax(9 * tg.one_hot(scores, num_classes=3)[:, None]))[0].tokens
    (1, 1, 2)
    """
    times = _checked("ctc_greedy", log_probs, lengths, blank)
    if not len(log_probs):
        return [Hypothesis((), 0.0, 0.0, True)] * len(times)
    best = log_probs.argmax(axis=2).swapaxes(0, 1).tolist()
    gains = log_probs.detach().astype("float64").max(axis=2).swapaxes(0, 1).tolist()
    found = []
    for scores, gain, length in zip(best, gains, times, strict=True):
        labels = tuple(label for label, _ in groupby(scores[:length]) if label != blank)
        found.append(Hypothesis(labels, sum(gain[:length]), sum(gain[:length]), True))
    return found


class _Prefix(NamedTuple):
    labels: tuple[int, ...] = ()
    blank: float = 0.0  # log of the sum over alignments that end in a blank
    label: float = NEVER  # and over those that end in the last label
    extra: float = 0.0  # score of the language model and the bonus


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
    """CTC prefix beam search, with an optional language model.

    score = log P(labels | input) + weight * log P(labels | language model) + bonus * |labels|

    **Arguments** log_probs, lengths, blank: as in `ctc_greedy`. beams: the beam size. n_best: the
    number of results per batch row, at most beams. language_model: maps the labels so far to C
    log-probabilities of the next label; called once for each live prefix. **Returns** for each
    batch row its results, best first. **Raises** ValueError, ShapeError.

    >>> import tinygrad_rnn as tg
    >>> steps = tg.log(tg.tensor([[[0.6, 0.4]], [[0.6, 0.4]]]))
    >>> [found] = ctc_beam_search(steps, beams=2)       # 11, 1- and -1 hold 0.64, -- only 0.36
    >>> found[0].tokens, ctc_greedy(steps)[0].tokens
    ((1,), ())
    """
    times = _checked("ctc_beam_search", log_probs, lengths, blank)
    integer(beams, "ctc_beam_search: beams")
    if not 1 <= integer(n_best, "ctc_beam_search: n_best") <= beams:
        raise InvalidValueError(
            f"ctc_beam_search: n_best must be from 1 to beams {beams}, not {n_best}"
        )
    label_scores = _LabelScores(language_model, weight, bonus, log_probs.shape[2], blank)
    prefixes = [[_Prefix()] for _ in times]
    with no_grad():
        log_probs = ops.maximum(log_probs.astype("float64"), NEVER)
        for t in range(max(times, default=0)):
            rows = [row for row, length in enumerate(times) if t < length]
            live = [prefixes[row] for row in rows]
            for row, new in zip(
                rows, _step(log_probs[t, rows], live, beams, blank, label_scores), strict=True
            ):
                prefixes[row] = new
        return [[*map(_result, _ranked(row)[:n_best])] for row in prefixes]


class _LabelScores:
    """Scores of the next label from the language model and the bonus, cached by prefix."""

    def __init__(
        self, model: LanguageModel | None, weight: float, bonus: float, classes: int, blank: int
    ) -> None:
        for name, number in (("weight", weight), ("bonus", bonus)):
            if not -inf < number < inf:
                raise InvalidValueError(
                    f"ctc_beam_search: {name}: expected a finite number, got {number}"
                )
        self.model = model if weight != 0 else None  # 0 * log(0) is NaN
        self.weight, self.bonus, self.classes, self.blank = weight, bonus, classes, blank
        self.cache: dict[tuple[int, ...], list[float]] = {}

    def __call__(self, labels: tuple[int, ...]) -> list[float]:
        if labels not in self.cache:
            gains = list(self.model(labels)) if self.model else [0.0] * self.classes
            if len(gains) != self.classes:
                raise ShapeError(
                    f"ctc_beam_search: language_model: expected {self.classes} log-probabilities, "
                    f"one a class (the blank's is ignored); got {len(gains)}"
                )
            gains[self.blank] = 0.0
            if not all(g < inf for g in gains):
                raise InvalidValueError(
                    "ctc_beam_search: language_model: expected log-probabilities; it returned NaN "
                    f"or +inf after {list(labels)}"
                )
            self.cache[labels] = [max(self.weight * g, NEVER) + self.bonus for g in gains]
        return self.cache[labels]


def _step(
    scores: Tensor, live: list[list[_Prefix]], beams: int, blank: int, label_scores: _LabelScores
) -> list[list[_Prefix]]:
    """Advances all prefixes of all rows by a step; log_probs: (R, C)."""
    across, classes = max(map(len, live)), scores.shape[1]
    padding = _Prefix((), NEVER, NEVER)  # padding for rows with fewer prefixes
    grid = [(row + [padding] * across)[:across] for row in live]

    def table(of: Callable[[_Prefix], Any], dtype: str = "float64") -> Tensor:
        return Tensor([[of(p) for p in row] for row in grid], dtype=dtype, device=scores.device)

    in_blank, in_label = table(lambda p: p.blank), table(lambda p: p.label)
    last = table(lambda p: p.labels[-1] if p.labels else blank, "int64")
    total = _add(in_blank, in_label)
    stay_blank = total + scores[:, blank][:, None]
    stay_label = in_label + ops.take_along_axis(scores, last, axis=1)
    classes_of = creation.arange(classes, device=scores.device)
    repeats = last[:, :, None] == classes_of
    grow = ops.where(repeats, in_blank[:, :, None], total[:, :, None]) + scores[:, None]
    grow = ops.where(classes_of == blank, NEVER, grow)
    # A prefix that grows into another live prefix is merged with it.
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
    adds = table(lambda p: label_scores(p.labels)) if label_scores.model else label_scores.bonus
    more = extra[:, :, None] + adds
    stays = _add(stay_blank, stay_label) + extra
    ranks = ops.concat([stays, (grow + more).reshape(len(live), -1)], axis=1)
    best = topk_indices(ranks, k=min(beams, ranks.shape[1]))
    grown = ops.concat([stay_label, grow.reshape(len(live), -1)], axis=1)
    columns = [ops.take_along_axis(x, best, axis=1).tolist() for x in (ranks, grown)]
    blanks = stay_blank.tolist()

    def following(r: int, i: int, value: float) -> _Prefix:
        """The prefix of a candidate index: unchanged, or extended by a label."""
        if i < across:
            return live[r][i]._replace(blank=blanks[r][i], label=value)
        parent, label = divmod(i - across, classes)
        labels, extra = live[r][parent].labels, live[r][parent].extra
        return _Prefix((*labels, label), NEVER, value, extra + label_scores(labels)[label])

    return [
        [
            following(r, i, value)
            for i, rank, value in zip(*columns_of_row, strict=True)
            if rank > NEVER / 10
        ]
        for r, columns_of_row in enumerate(zip(best.tolist(), *columns, strict=True))
    ]


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
    """Checks the arguments. **Returns** the lengths."""
    steps, batch, _ = check_log_probs(name, log_probs, blank)
    on_host = lengths_of(name, "lengths", lengths, batch, steps)
    found: list[int] = on_host.tolist()
    if steps:
        peaks = log_probs.detach().max(axis=2)
        peaks = ops.where(within_rows(log_probs, on_host.to(log_probs.device)), peaks, 0)
        for row, peak in enumerate(peaks.max(axis=0).tolist()):
            if not peak < inf:
                raise InvalidValueError(f"{name}: log_probs: row {row} holds NaN or +inf")
    return found
