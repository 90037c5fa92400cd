"""Beam search.

Every batch row has up to `beams` live paths, all of one length. A step of the model scores every
continuation of every path. Of the best `beams` of a row, those with the end token are finished, and
the best of the others stay live. The model runs on all rows and paths at once; the host selects the
paths, since constraints are functions of their tokens.

A row is done when no live path can score above its finished ones: the log-probability of a path
only decreases, so that the log-probability divided by the largest length penalty still ahead is an
upper bound. Stopping there loses no result.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import inf
from typing import Any, NamedTuple

from ...errors import InvalidTypeError, InvalidValueError, public
from ...tensor import ops
from ...tensor.autodiff import no_grad
from ...tensor.ops.sorting import topk_indices
from ...tensor.shapes import integer
from ...tensor.tensor import Tensor
from ..checks import real
from .constraints import Constraints, Required, Word
from .penalties import Coverage, LengthPenalty
from .steps import BatchAxis, Decoding, Hypothesis, MaxLength, Path, State, Step, check_beams


@public
def beam_search(
    step: Step,
    state: State,
    start_tokens: Any,
    *,
    beams: int,
    max_length: MaxLength,
    end: int | None = None,
    n_best: int = 1,
    batch_axis: BatchAxis = 0,
    length_penalty: LengthPenalty | None = None,
    coverage_penalty: float = 0.0,
    source_lengths: Any = None,
    groups: int = 1,
    diversity: float = 0.5,
    required: Sequence[Sequence[Word]] = (),
    constraints: Constraints | None = None,
) -> list[list[Hypothesis]]:
    """Beam search for the sequences of highest score.

    With one beam and no penalties it is `greedy`; with as many beams as there are sequences it is
    exact.

    **Arguments** step, state, start_tokens, max_length, end, batch_axis, constraints: as in
    `greedy`. beams: the beam size of a batch row. n_best: the number of results of a batch row, at
    most beams. length_penalty: a positive function of the length that divides the log-probability:
    `average`, `gnmt(alpha)`. coverage_penalty: the weight of the coverage penalty, 0 for none;
    source_lengths: (B,), the lengths of the sources without padding; None for full length. groups:
    the number of groups for diverse beam search (Vijayakumar et al. 2016); diversity: the penalty
    on the rank, not on the score, for each token that an earlier group chose at the same step.
    required: for each batch row, sequences of tokens that its results must contain (Hokamp and Liu
    2017); the beams are allocated to banks by the number of required tokens that a path has (Post
    and Vilar 2018). **Returns** for each batch row its results, best first; fewer than n_best where
    fewer satisfy the constraints. A path that reaches max_length without the end token is a result.
    **Raises** ValueError naming the setting; ShapeError.

    >>> import tinygrad_rnn as tg
    >>> bigrams = tg.tensor([[0.0, 0.6, 0.4, 0.0], [0.0, 0.3, 0.3, 0.4], [0.0, 0.0, 0.1, 0.9]])
    >>> step = lambda tokens, state: (tg.log(bigrams + 1e-9)[tokens], state)
    >>> greedily, = beam_search(step, None, [0], beams=1, max_length=3, end=3)
    >>> both, = beam_search(step, None, [0], beams=2, max_length=3, end=3, n_best=2)
    >>> greedily[0].tokens, [h.tokens for h in both]
    ((1, 3), [(2, 3), (1, 3)])
    """
    decoding = Decoding("beam_search", step, state, start_tokens, max_length, batch_axis)
    rules = Constraints.checked(constraints, decoding, end)
    _check(beams, n_best, groups, diversity)
    batch = len(decoding.start_tokens)
    search = _Search(
        decoding, rules, Required(required, batch),
        Coverage(coverage_penalty, source_lengths, batch),
        _divisors(length_penalty, max(decoding.max_lengths, default=0)),
        beams // groups, n_best, groups, diversity, end,
    )  # fmt: skip
    with no_grad():
        return search.results()


class _Candidate(NamedTuple):
    rank: float  # the log-probability less the diversity penalty
    log_prob: float
    parent: int  # index among the live paths of its group
    token: int


class _Beam:
    """A group of a batch row: its live paths and its best finished ones."""

    def __init__(self, row: int, n_best: int) -> None:
        self.row, self.n_best = row, n_best
        self.live = [Path(row)]
        self.finished: list[tuple[Path, float, bool]] = []

    def finish(self, path: Path, score: float, ended: bool) -> None:
        """Inserts a path among the finished by score; of equals the earlier ranks first."""
        at = sum(other >= score for _, other, _ in self.finished)
        self.finished.insert(at, (path, score, ended))
        del self.finished[self.n_best :]

    def done(self, largest: list[float]) -> bool:
        """Whether no live path can score above the finished ones."""
        if len(self.finished) < self.n_best or not self.live:
            return not self.live
        bound = max(path.log_prob / largest[len(path.tokens) + 1] for path in self.live)
        return bound <= self.finished[-1][1]


class _Search(NamedTuple):
    decoding: Decoding
    rules: Constraints
    required: Required
    coverage: Coverage
    divisors: list[float]
    width: int  # of a group
    n_best: int
    groups: int
    diversity: float
    end: int | None

    def results(self) -> list[list[Hypothesis]]:
        """Runs until every row is done."""
        n_best = min(self.n_best, self.width)
        batch = [
            [_Beam(row, n_best) for _ in range(self.groups)]
            for row in range(len(self.decoding.start_tokens))
        ]
        limits = self.decoding.max_lengths
        largest = {n: _largest_ahead(self.divisors[: n + 1]) for n in set(limits)}
        active = batch
        for length in range(1, len(self.divisors)):
            if not active:
                break
            self.advance(active, length)
            active = [
                beams for beams in active if not all(b.done(largest[limits[b.row]]) for b in beams)
            ]
        return [self.best(beams) for beams in batch]

    def best(self, beams: list[_Beam]) -> list[Hypothesis]:
        """The best results of a batch row, over all of its groups."""
        found = sorted((f for beam in beams for f in beam.finished), key=lambda f: -f[1])
        return [self.decoding.hypothesis(*f) for f in found[: self.n_best]]

    def advance(self, active: list[list[_Beam]], length: int) -> None:
        """One step of every path of every row."""
        # A grid (rows, groups, paths), padded with dead paths where a group has fewer.
        across = max(len(beam.live) for beams in active for beam in beams)
        grid = [
            path
            for beams in active
            for beam in beams
            for path in (beam.live + [_dead(beams)] * across)[:across]
        ]
        parents = [path.places[-1] if path.places else path.row for path in grid]
        log_probs = self.rules.apply(self.decoding.advance(grid), grid, self.end)
        looks = self.decoding.attentions
        terms = self.coverage.follow(looks[-1] if looks else None, parents, [p.row for p in grid])
        so_far = Tensor([p.log_prob for p in grid], dtype="float64", device=log_probs.device)
        table = log_probs.reshape(len(active), self.groups, across, -1)
        totals = so_far.reshape(len(active), self.groups, across, 1)
        taken: list[list[int]] = [[] for _ in active]
        for g in range(self.groups):
            found = self.candidates(table[:, g], totals[:, g], taken)
            for r, (beams, candidates) in enumerate(zip(active, found, strict=True)):
                start = (r * self.groups + g) * across
                beam = beams[g]
                if self.required.words:
                    candidates = self.with_required(beam.live, candidates, log_probs, start)
                taken[r] += self.grow(beam, candidates, start, terms, length)

    def candidates(
        self, table: Tensor, totals: Tensor, taken: list[list[int]]
    ) -> list[list[_Candidate]]:
        """The best continuations of each row: twice as many as paths, since half of them may end.

        **Arguments** table: (R, W, V) log-probabilities. totals: (R, W, 1) those of the paths.
        taken: the tokens that earlier groups chose in each row.
        """
        wide = min(2 * self.width, table.shape[-1])
        ranks = table
        places = [(r, token) for r, tokens in enumerate(taken) for token in tokens]
        if places and self.diversity:
            at = tuple(map(list, zip(*places, strict=True)))
            counts = ops.index_add(ops.zeros_like(table[:, 0]), 1.0, index=at)
            ranks = table - self.diversity * counts.expand_dims(axis=1)
        tokens = topk_indices(ranks, k=wide)
        own = [ops.take_along_axis(x, tokens).astype("float64") + totals for x in (ranks, table)]
        rank, log_prob = (x.reshape(len(table), -1) for x in own)
        best = topk_indices(rank, k=min(2 * self.width, rank.shape[-1]))
        parts = (rank, log_prob, tokens.reshape(len(table), -1))
        columns = [ops.take_along_axis(x, best).tolist() for x in parts]
        return [
            [
                _Candidate(rank, log_prob, i // wide, token)
                for rank, log_prob, token, i in zip(*row, strict=True)
                if log_prob > -inf
            ]
            for row in zip(*columns, best.tolist(), strict=True)
        ]

    def grow(
        self, beam: _Beam, candidates: list[_Candidate], start: int, terms: list[float], length: int
    ) -> list[int]:
        """Sorts the candidates of a group into finished and live. **Returns** the tokens chosen."""
        before, beam.live = beam.live, []
        taken = []
        for place, (_, log_prob, parent, token) in enumerate(candidates):
            ended = token == self.end
            if len(beam.live) == self.width or (ended and place >= self.width):
                continue
            path = before[parent].grown(token, log_prob, start + parent)
            if not ended and length < self.decoding.max_lengths[beam.row]:
                beam.live.append(path)
            elif self.required.satisfied(path):
                score = log_prob / self.divisors[length] + terms[start + parent]
                beam.finish(path, score, ended)
            else:
                continue
            taken.append(token)
        return taken

    def with_required(
        self, live: list[Path], candidates: list[_Candidate], log_probs: Tensor, start: int
    ) -> list[_Candidate]:
        """Adds continuations of required words, and allocates the beams to banks by progress."""
        known = {(c.parent, c.token) for c in candidates}
        extra = [
            (parent, token)
            for parent, path in enumerate(live)
            for token in sorted(self.required.continuations(path))
            if (parent, token) not in known
        ]
        if extra:
            classes = log_probs.shape[1]
            for _, token in extra:
                if not 0 <= token < classes:
                    raise InvalidValueError(
                        f"beam_search: required: token {token} is outside the vocabulary of "
                        f"{classes} tokens"
                    )
            at = [start + parent for parent, _ in extra], [token for _, token in extra]
            gains = log_probs[at].astype("float64").tolist()
            for (parent, token), gain in zip(extra, gains, strict=True):
                if gain > -inf:
                    total = live[parent].log_prob + gain
                    candidates.append(_Candidate(total, total, parent, token))
        candidates.sort(key=lambda c: -c.rank)
        banks: dict[int, int] = {}
        order = []
        for i, c in enumerate(candidates):
            bank = self.required.progress(live[c.parent].grown(c.token, 0.0, 0))
            banks[bank] = banks.get(bank, -1) + 1
            order.append((banks[bank], -bank, i))
        return [candidates[i] for _, _, i in sorted(order)]


def _dead(beams: list[_Beam]) -> Path:
    """Padding: a path of log-probability -inf with the state of a live one."""
    path = next(path for beam in beams for path in beam.live)
    return path._replace(log_prob=-inf)


def _divisors(penalty: LengthPenalty | None, max_length: int) -> list[float]:
    """The length penalty of each length; index 0 is unused."""
    if not (penalty is None or callable(penalty)):
        raise InvalidTypeError(
            "beam_search: length_penalty: expected a function of the length, such as gnmt(0.6), or "
            f"None; got {penalty!r}"
        )
    found = [1.0] + [1.0 if penalty is None else penalty(n) for n in range(1, max_length + 1)]
    for length, divisor in enumerate(found):
        if not 0 < divisor < inf:
            raise InvalidValueError(
                "beam_search: length_penalty: expected a value above 0 for each length, got "
                f"{divisor} for {length}"
            )
    return found


def _largest_ahead(divisors: list[float]) -> list[float]:
    """The largest divisor of each length and all longer ones."""
    from_the_end = [*accumulate(reversed(divisors), max)]
    return [*reversed(from_the_end), 1.0]  # past the maximal length no path is live


def _check(beams: int, n_best: int, groups: int, diversity: float) -> None:
    check_beams("beam_search", beams, n_best)
    if integer(groups, "beam_search: groups") < 1 or beams % groups:
        raise InvalidValueError(
            f"beam_search: groups: expected a divisor of beams {beams}, got {groups}"
        )
    real("beam_search", "diversity", diversity, 0)
