"""A linear-chain conditional random field (Lafferty et al. 2001).

A sequence of tags y has the score

    s(y) = start(y_1) + sum_t emission_t(y_t) + sum_t transition(y_(t-1), y_t) + end(y_T)

and the probability exp(s(y)) / Z, where Z sums over all sequences. The sum, the best sequence and
each step's marginals are one recursion over time, whose cost is T K^2.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any

from .. import loops
from ..errors import InvalidValueError, OutOfRangeError, ShapeError, public
from ..loops.scan import Lengths
from ..tensor import creation, ops
from ..tensor.autodiff import no_grad
from ..tensor.conversion import DType
from ..tensor.random import Generator
from ..tensor.tensor import Tensor, TensorLike
from .checks import dtype_as, flag, input_of, placement, positive
from .ctc import NEVER
from .init import drawn
from .lengths import lengths_of, within_rows
from .loss import reduce
from .module import Module


class CRF(Module):
    """Linear-chain CRF over tags, given scores of each tag at each step.

    **Arguments** num_tags: K. batch_first: emissions are (B, T, K) and tags (B, T), instead of
    (T, B, K) and (T, B). forbidden: transitions (from, to) that do not exist, such as from O to
    I-PER; (None, tag) if no sequence begins with a tag, (tag, None) if none ends with it.
    Parameters: start_transitions (K,), transitions (K, K) from row to column, end_transitions (K,),
    drawn from [-0.1, 0.1). **Raises** ValueError.

    >>> import tinygrad_rnn as tg
    >>> crf = tg.nn.CRF(3)
    >>> emissions, tags = tg.randn(7, 2, 3), tg.zeros((7, 2), dtype="int64")
    >>> loss = -crf(emissions, tags, lengths=[7, 4])
    >>> paths, scores = crf.decode(emissions, lengths=[7, 4])
    >>> loss.shape, [len(path) for path in paths]
    ((), [7, 4])
    """

    def __init__(
        self,
        num_tags: int,
        batch_first: bool = False,
        device: str | None = None,
        dtype: DType = "float32",
        *,
        forbidden: Iterable[tuple[int | None, int | None]] = (),
        generator: Generator | None = None,
    ) -> None:
        positive("CRF", num_tags=num_tags)
        flag("CRF", batch_first=batch_first)
        placement("CRF", device, dtype, generator)
        self.forbidden = _pairs(forbidden, num_tags)
        self.num_tags, self.batch_first = num_tags, batch_first

        how = 0.1, device, dtype, generator
        self.start_transitions = drawn((num_tags,), *how)
        self.transitions = drawn((num_tags, num_tags), *how)
        self.end_transitions = drawn((num_tags,), *how)

    def forward(
        self,
        emissions: Tensor,
        tags: TensorLike,
        lengths: Lengths = None,
        *,
        reduction: str = "mean",
    ) -> Tensor:
        """The log-likelihood of sequences of tags: minus it is the loss.

        **Arguments** emissions: (T, B, K) scores. tags: (T, B) integers below K. lengths: (B,)
        integers from 0 to T; None for T. reduction: `mean` over rows, `sum`,
        `none`. **Returns** a scalar, or (B,) for `none`; 0 for a row of length 0, which has one
        sequence only, -inf for one with a forbidden transition. **Raises** ShapeError, IndexError.
        """
        emissions, times = self._checked(emissions, lengths)
        tags = self._tags(tags, emissions, times)
        score = self._score(emissions, tags, times)
        log_z = self._log_z(self._alphas(emissions, times)[1], times)
        likelihood = score - ops.where(log_z == -inf, 0, log_z)
        likelihood = ops.where(score <= NEVER / 10, -inf, likelihood)
        return reduce("CRF", likelihood, reduction)

    def partition(self, emissions: Tensor, lengths: Lengths = None) -> Tensor:
        """log Z, where Z sums exp(score) over all sequences.

        **Arguments** as `forward`. **Returns** (B,): 0 for rows of length 0, -inf where every
        sequence has a forbidden transition.
        """
        emissions, times = self._checked(emissions, lengths)
        return self._log_z(self._alphas(emissions, times)[1], times)

    def marginals(self, emissions: Tensor, lengths: Lengths = None) -> Tensor:
        """The probability of each tag at each step, zero past a row's length.

        By messages from both sides, which meet at each step: what `grad` of the partition gives,
        and differentiable as well. **Arguments** as `forward`. **Returns** (T, B, K), or (B, T, K).
        """
        emissions, times = self._checked(emissions, lengths)
        alphas, last = self._alphas(emissions, times)
        _, transitions, end = self._scores()

        def back(message: Tensor, emission: Tensor) -> tuple[Tensor, Tensor]:
            onwards = transitions + (emission + message)[:, None, :]
            return ops.logsumexp(onwards, axis=2), message

        after = ops.broadcast_to(end, shape=last.shape)
        _, betas = loops.scan(back, after, emissions, reverse=True, lengths=times)
        log_z = self._log_z(last, times)
        known = within_rows(emissions, times) & (log_z != -inf)
        shares = ops.exp(alphas + betas - ops.where(log_z == -inf, 0, log_z)[:, None])
        shares = ops.where(known[:, :, None], shares, 0)
        return shares.swapaxes(0, 1) if self.batch_first else shares

    @public
    def decode(self, emissions: Tensor, lengths: Lengths = None) -> tuple[list[list[int]], Tensor]:
        """Viterbi decoding (Viterbi 1967): the best sequence of each batch row, and its score.

        **Arguments** as `forward`. **Returns** a list of tags for each row, as long as the row, and
        scores (B,); of equals the one whose last tags are lower. A score is -inf where every
        sequence has a forbidden transition, and then the tags mean nothing. **Raises** ValueError
        for a row whose emissions hold NaN.
        """
        with no_grad():
            emissions, times = self._checked(emissions, lengths)
            start, transitions, end = self._scores()
            best, backs = start + emissions[0], []
            for t, emission in enumerate(ops.unstack(emissions[1:]), 1):
                totals = best[:, :, None] + transitions
                back = totals.argmax(axis=1, keepdims=True)
                new = ops.take_along_axis(totals, back, axis=1).squeeze(axis=1) + emission
                best = ops.where((t < times)[:, None], new, best)
                backs.append(back.squeeze(axis=1).tolist())
            best = best + end
            last, scores = best.argmax(axis=1).tolist(), best.max(axis=1)
            for row, (score, length) in enumerate(
                zip(scores.tolist(), times.tolist(), strict=True)
            ):
                if length and score != score:
                    raise InvalidValueError(f"CRF: decode: row {row}: emissions hold NaN")
            paths = []
            for row, length in enumerate(times.tolist()):
                path = [last[row]] if length else []
                for t in range(length - 2, -1, -1):
                    path.append(backs[t][row][path[-1]])
                paths.append(path[::-1])
            scores = ops.where(scores <= NEVER / 10, -inf, scores)
            return paths, ops.where(times > 0, scores, 0)

    # ------------------------------------------------------------ the recursion

    def _scores(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of starts, transitions and ends: what is forbidden costs all there is."""
        found: list[Tensor] = [self.start_transitions, self.transitions, self.end_transitions]
        for origin, to in self.forbidden:
            which = 0 if origin is None else 2 if to is None else 1
            at = to if origin is None else origin if to is None else (origin, to)
            found[which] = ops.index_update(found[which], NEVER, index=at)
        return found[0], found[1], found[2]

    def _alphas(self, emissions: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """log of the sum over all that leads to a tag: at each step (T, B, K), and the last."""
        start, transitions, _ = self._scores()

        def step(alpha: Tensor, emission: Tensor) -> tuple[Tensor, Tensor]:
            alpha = ops.logsumexp(alpha[:, :, None] + transitions, axis=1) + emission
            return alpha, alpha

        first = start + emissions[0]
        if len(emissions) == 1:
            return first[None], first
        rest_of = ops.maximum(times - 1, 0)
        last, rest = loops.scan(step, first, emissions[1:], lengths=rest_of)
        return ops.concat([first[None], rest]), last

    def _log_z(self, last: Tensor, times: Tensor) -> Tensor:
        log_z = ops.logsumexp(last + self._scores()[2], axis=1)
        log_z = ops.where(log_z <= NEVER / 10, -inf, log_z)
        return ops.where(times > 0, log_z, 0)

    def _score(self, emissions: Tensor, tags: Tensor, times: Tensor) -> Tensor:
        """The score of sequences of tags (B,), 0 for rows of length 0."""
        start, transitions, end = self._scores()
        steps = ops.take_along_axis(emissions, tags[:, :, None]).squeeze(axis=2)
        steps = steps + ops.concat([start[tags[0]][None], transitions[tags[:-1], tags[1:]]])
        total = ops.where(within_rows(emissions, times), steps, 0).sum(axis=0)
        rows = creation.arange(len(times), device=times.device)
        ends = end[tags[ops.maximum(times - 1, 0), rows]]
        score: Tensor = total + ops.where(times > 0, ends, 0)
        return score

    # ------------------------------------------------------------ what comes in

    def _checked(self, emissions: Tensor, lengths: Lengths) -> tuple[Tensor, Tensor]:
        """Emissions (T, B, K), zero past a row's length, and lengths, on the same device."""
        emissions = input_of("CRF", "emissions", emissions, self.transitions)
        if emissions.ndim != 3 or emissions.shape[2] != self.num_tags or 0 in emissions.shape:
            axes = "(B, T" if self.batch_first else "(T, B"
            raise ShapeError(
                f"CRF: emissions: expected {axes}, {self.num_tags}), none empty; got "
                f"{list(emissions.shape)}"
            )
        dtype_as("CRF", "emissions", emissions, self.transitions.dtype)
        if self.batch_first:
            emissions = emissions.swapaxes(0, 1)
        steps, batch, _ = emissions.shape
        times = lengths_of("CRF", "lengths", lengths, batch, steps).to(emissions.device)
        if lengths is None:
            return emissions, times
        return ops.where(within_rows(emissions, times)[:, :, None], emissions, 0), times

    def _tags(self, tags: TensorLike, emissions: Tensor, times: Tensor) -> Tensor:
        """Tags (T, B), 0 past a row's length."""
        tags = creation.as_tensor(tags, device=emissions.device)
        if self.batch_first and tags.ndim == 2:
            tags = tags.swapaxes(0, 1)
        if tags.shape != emissions.shape[:2] or tags.dtype.kind not in "iu":
            raise ShapeError(
                f"CRF: tags: expected integers of shape {list(emissions.shape[:2])} (steps, batch) "
                f"as the emissions; got {tags.dtype} {list(tags.shape)}"
            )
        within = ops.where(within_rows(emissions, times), tags, 0)
        if within.device == "cpu":  # elsewhere it would wait for the device
            for tag in (within.min().item(), within.max().item()):
                if not 0 <= tag < self.num_tags:
                    raise OutOfRangeError(f"CRF: tag {tag} is outside the {self.num_tags} tags")
        return within


def _pairs(forbidden: Any, num_tags: int) -> tuple[tuple[int | None, int | None], ...]:
    """Checked transitions."""

    def tag(t: object) -> bool:
        return t is None or (type(t) is int and 0 <= t < num_tags)

    pairs = list(forbidden) if isinstance(forbidden, Iterable) else [forbidden]
    for pair in pairs:
        known = isinstance(pair, (tuple, list)) and len(pair) == 2 and all(map(tag, pair))
        if not known or (pair[0] is None and pair[1] is None):
            raise InvalidValueError(
                f"CRF: forbidden: expected pairs (from, to) of tags below {num_tags}, one of "
                f"them None for the start or the end; got {pair!r}"
            )
    return tuple((pair[0], pair[1]) for pair in pairs)
