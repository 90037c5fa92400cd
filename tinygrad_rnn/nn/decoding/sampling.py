"""One token at a time: the most probable one, or one drawn from a filtered distribution."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from ...errors import InvalidValueError
from ...tensor import creation, ops
from ...tensor.graph import operation
from ...tensor.random import Generator
from ...tensor.tensor import Tensor
from .constraints import Constraints
from .steps import Hypothesis, Path, Rows, Run, State, Step, check_numbers


def check_sampling(
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> None:
    """Raises ValueError for the first setting outside its range."""
    if not 0 <= temperature < inf:
        raise InvalidValueError(f"temperature must be 0 or more, not {temperature}")
    if top_k is not None and not (top_k >= 1 and top_k == int(top_k)):
        raise InvalidValueError(f"top-k must be at least 1, and whole, not {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise InvalidValueError(f"top-p must lie above 0 and at most at 1, not {top_p}")
    if min_p is not None and not 0 <= min_p <= 1:
        raise InvalidValueError(f"min-p must lie from 0 to 1, not {min_p}")


def probabilities(
    logits: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Tensor:
    """The distributions to sample from: tempered, and cut to their most probable tokens.

    The temperature comes first. Each filter looks at the whole tempered distribution, so that their
    order means nothing: the smallest set stays. Among equals, the lower token goes first.

    **Arguments** logits: (..., V) reals. temperature: divides the logits; below 1 favours the
    probable tokens, 0 leaves only the most probable one. top_k: keeps so many tokens. top_p: keeps
    the fewest that hold at least this probability together (Holtzman et al. 2019). min_p: keeps
    those at least this share as probable as the most probable one (Nguyen et al. 2024).

    **Returns** (..., V) float64, which sum to 1. **Raises** ValueError outside the ranges, and for
    logits that hold NaN or +inf, or are all -inf.

    >>> import tinygrad_rnn as tg
    >>> logits = tg.tensor([0.5, 0.3, 0.2]).log()
    >>> probabilities(logits, top_k=2).round(decimals=3).tolist()
    [0.625, 0.375, 0.0]
    >>> probabilities(logits, temperature=0).tolist()
    [1.0, 0.0, 0.0]
    """
    check_sampling(temperature, top_k, top_p, min_p)
    for peak in logits.max(axis=-1).reshape(-1).tolist():
        if not -inf < peak < inf:
            raise InvalidValueError(
                "probabilities: logits: expected numbers below +inf, in each row one above -inf; "
                f"the largest of a row is {peak}"
            )
    return _tempered(logits, temperature, top_k, top_p, min_p)


def _tempered(
    logits: Tensor,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
) -> Tensor:
    """The distributions of logits and settings that were checked."""
    if temperature == 0:
        temperature, top_k = 1.0, 1
    found: Tensor = _distribution(
        logits, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p
    )
    return found


@operation
def _distribution(
    xp: Any,
    logits: Any,
    *,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
) -> Any:
    z = logits.astype("float64")
    # Below -1000 the exponential is 0, and with a tiny temperature the quotient would overflow.
    below = xp.maximum(z - z.max(axis=-1, keepdims=True), -1000 * temperature)
    p = xp.exp(below / temperature)
    p /= p.sum(axis=-1, keepdims=True)
    if top_k is not None or top_p is not None or min_p is not None:
        order = xp.argsort(-z, axis=-1, kind="stable")  # not of p: near equals round to a tie there
        ranked = xp.take_along_axis(p, order, axis=-1)
        kept = xp.full((*z.shape[:-1], 1), z.shape[-1] if top_k is None else top_k)
        if top_p is not None:
            short = xp.cumsum(ranked, axis=-1) < top_p
            kept = xp.minimum(kept, short.sum(axis=-1, keepdims=True) + 1)
        if min_p is not None:
            likely = ranked >= min_p * ranked[..., :1]
            kept = xp.minimum(kept, likely.sum(axis=-1, keepdims=True))
        p *= xp.argsort(order, axis=-1) < kept  # each token's rank: the inverse of the order
    p /= p.sum(axis=-1, keepdims=True)
    return p


def draw(p: Tensor, generator: Generator) -> Tensor:
    """Draws a token from each distribution by its cumulative sums; never one of probability 0.

    **Arguments** p: (..., V) probabilities. **Returns** (...) integers; one random number each.
    **Raises** ValueError for NaN, numbers below 0, and rows in which all are 0.

    >>> import tinygrad_rnn as tg
    >>> draw(tg.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), tg.Generator(0)).tolist()
    [1, 2]
    """
    sums = p.sum(axis=-1).reshape(-1).tolist()
    if sums and not (p.min().item() >= 0 and 0 < min(sums) <= max(sums) < inf):
        raise InvalidValueError(
            "draw: p: expected numbers from 0 up, of which one is above 0, in each row; the least "
            f"is {p.min().item()}, and rows sum to {sums}"
        )
    return _drawn(p, generator)


def _drawn(p: Tensor, generator: Generator) -> Tensor:
    """As `draw`, from what was checked."""
    numbers = creation.as_tensor(generator.random(p.shape[:-1]), device=p.device)
    found: Tensor = _inverse(p, numbers)
    return found


@operation
def _inverse(xp: Any, p: Any, numbers: Any) -> Any:
    """The token at which the cumulative distribution passes a number from 0 to below 1."""
    cumulative = xp.cumsum(p, axis=-1)
    # Divided by its last entry it ends in exactly 1, and the numbers lie below 1.
    return (cumulative / cumulative[..., -1:] <= numbers[..., None]).sum(axis=-1)


def greedy(
    step: Step,
    state: State,
    first: Any,
    *,
    max_length: int,
    end: int | None = None,
    rows: Rows = 0,
    constraints: Constraints | None = None,
) -> list[Hypothesis]:
    """Takes the most probable token at each step; of equals, the lowest.

    **Arguments** step: `(tokens (N,), state) -> (logits (N, V), state)`, perhaps with attention
    (N, S) as a third value. state: what it begins with, of as many rows as first. first: (B,)
    integers, the token that each row begins after. max_length: how many tokens a row may have, the
    end among them. end: the token that ends a row. rows: the axis of the state's rows, 1 for the
    states of recurrent layers. constraints: which tokens may follow. **Returns** a hypothesis for
    each row. **Raises** ValueError if the constraints leave a row no token.

    >>> import tinygrad_rnn as tg
    >>> bigrams = tg.tensor([[0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.9, 0.1, 0.0]])
    >>> step = lambda tokens, state: (bigrams[tokens], state)
    >>> [h.tokens for h in greedy(step, None, [0, 1], max_length=4, end=2)]
    [(1, 2), (2,)]
    """
    run = Run("greedy", step, state, first, rows)
    return _unroll(run, lambda x: x.argmax(axis=-1), max_length, end, constraints)


def sample(
    step: Step,
    state: State,
    first: Any,
    *,
    generator: Generator,
    max_length: int,
    end: int | None = None,
    rows: Rows = 0,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    constraints: Constraints | None = None,
) -> list[Hypothesis]:
    """Draws each token from the model's distribution: constrained, tempered, then filtered.

    **Arguments** generator: gives one number a step to each row that has not ended, in the order of
    the rows. temperature, top_k, top_p, min_p: as in `probabilities`; the others as in `greedy`.
    **Returns** a hypothesis for each row; its log-probability is the model's, not the filtered
    one. **Raises** ValueError for settings outside their ranges, or if no token is left.

    >>> import tinygrad_rnn as tg
    >>> step = lambda tokens, state: (tg.zeros((len(tokens), 5)), state)
    >>> [h] = sample(step, None, [0], generator=tg.Generator(0), max_length=8)
    >>> len(h.tokens), round(h.log_prob, 3)
    (8, -12.876)
    """
    check_sampling(temperature, top_k, top_p, min_p)

    def choose(log_probs: Tensor) -> Tensor:
        return _drawn(_tempered(log_probs, temperature, top_k, top_p, min_p), generator)

    run = Run("sample", step, state, first, rows)
    return _unroll(run, choose, max_length, end, constraints)


def _unroll(
    run: Run,
    choose: Callable[[Tensor], Tensor],
    max_length: int,
    end: int | None,
    constraints: Constraints | None,
) -> list[Hypothesis]:
    """Goes on with every row that has not ended, by the tokens that `choose` takes."""
    rules = constraints or Constraints()
    rules.check(run.name, len(run.first), max_length)
    results: dict[int, Hypothesis] = {}
    paths = [Path(row) for row in range(len(run.first))]
    for length in range(1, max_length + 1):
        if not paths:
            break
        log_probs = rules.apply(run.advance(paths), paths, end)
        check_numbers(run.name, log_probs, paths)
        tokens = choose(log_probs)
        gains = ops.take_along_axis(log_probs, tokens.expand_dims(axis=-1)).squeeze(axis=-1)
        grown = [
            path.grown(token, path.log_prob + gain, place)
            for place, (path, token, gain) in enumerate(
                zip(paths, tokens.tolist(), gains.tolist(), strict=True)
            )
        ]
        paths = []
        for path in grown:
            ended = path.tokens[-1] == end
            if ended or length == max_length:
                results[path.row] = run.hypothesis(path, path.log_prob, ended)
            else:
                paths.append(path)
    return [results[row] for row in sorted(results)]
