"""Scores of hypotheses: length and coverage penalties.

    score = log P(Y) / length_penalty(|Y|) + coverage_penalty * sum_i log(min(sum_t a_ti, 1))

|Y| counts all tokens, with the end token; a_ti is the attention weight of step t on source position
i (Wu et al. 2016, equation 14).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import InvalidValueError, public
from ...tensor import creation, ops
from ...tensor.tensor import Tensor
from ..checks import real
from ..lengths import lengths_of

LengthPenalty = Callable[[int], float]

MIN_COVERAGE = 1e-30  # keeps the logarithm finite


@public
def average(length: int) -> float:
    """Length penalty `length`: the score is the mean log-probability of a token.

    >>> import tinygrad_rnn as tg
    >>> -6.0 / tg.nn.decoding.average(3)
    -2.0
    """
    return float(length)


@public
def gnmt(alpha: float) -> LengthPenalty:
    """((5 + length) / 6) ** alpha: 0 for none, 0.6 to 1 usually (Wu et al. 2016).

    >>> gnmt(1.0)(7)
    2.0
    """
    alpha = float(alpha)
    if not -10 <= alpha <= 10:
        raise InvalidValueError(f"gnmt: alpha: expected -10 to 10, got {alpha!r}")
    return lambda length: float(((5 + length) / 6) ** alpha)


class Coverage:
    """Coverage of the source by the paths of a beam search, updated step by step."""

    def __init__(self, weight: float, lengths: Any, batch: int) -> None:
        real("beam_search", "coverage_penalty", weight, 0)
        self.weight, self.lengths, self.batch = weight, lengths, batch
        self.total: Tensor | None = None

    def follow(self, attention: Tensor | None, parents: list[int], rows: list[int]) -> list[float]:
        """Adds the attention weights of a step. **Returns** the coverage term of each path.

        **Arguments** attention: (N, S). parents: the index of each path in the previous step.
        rows: the batch row of each path.
        """
        if not self.weight:
            return [0.0] * len(rows)
        if attention is None:
            raise InvalidValueError(
                "beam_search: coverage_penalty: expected a step that returns (logits, state, "
                "attention (N, S)), got one without attention"
            )
        total = attention if self.total is None else attention + self.total[parents]
        self.total = total
        terms = ops.log(ops.clip(total, MIN_COVERAGE, 1))
        if self.lengths is not None:
            steps = total.shape[1]
            lengths = lengths_of("beam_search", "source_lengths", self.lengths, self.batch, steps)
            within = (
                creation.arange(steps, device=total.device)
                < lengths[rows].to(total.device)[:, None]
            )
            terms = ops.where(within, terms, 0)
        found: list[float] = (self.weight * terms.sum(axis=-1)).tolist()
        if any(term != term for term in found):
            raise InvalidValueError("beam_search: step returned attention that is NaN")
        return found
