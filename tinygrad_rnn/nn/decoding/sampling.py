"""Greedy decoding and sampling, one token at a time."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from types import ModuleType
from typing import Any

from ...errors import InvalidValueError, public
from ...tensor import creation, ops
from ...tensor.operation import operation
from ...tensor.ops.cumulative import ordered_cumsum
from ...tensor.random import Generator
from ...tensor.tensor import Tensor
from ..checks import instance
from .constraints import Constraints
from .steps import BatchAxis, Decoding, Hypothesis, MaxLength, Path, State, Step, check_numbers


@public
def check_sampling(
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> None:
    """Raises ValueError for the first setting outside its range.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.decoding.check_sampling(temperature=-1.0)
    Traceback (most recent call last):
        ...
    tinygrad_rnn.errors.InvalidValueError: check_sampling: temperature: expected 0 or more, got -1.0
    """
    if not 0 <= temperature < inf:
        raise InvalidValueError(f"temperature: expected 0 or more, got {temperature}")
    if top_k is not None and not (top_k >= 1 and top_k == int(top_k)):
        raise InvalidValueError(f"top_k: expected an integer from 1 up, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise InvalidValueError(f"top_p: expected above 0 and at most 1, got {top_p}")
    if min_p is not None and not 0 <= min_p <= 1:
        raise InvalidValueError(f"min_p: expected 0 to 1, got {min_p}")


@public
def probabilities(
    logits: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Tensor:
    """Distributions to sample from, with temperature, top-k, top-p and min-p filters.

    The temperature is applied first. Each filter sees the whole distribution, so that their order
    does not matter: the smallest set remains. Of equal probabilities the lower token ranks first.

    **Arguments** logits: (..., V) reals. temperature: divides the logits; below 1 favours the
    probable tokens, 0 leaves only the most probable one. top_k: keeps the k most probable tokens.
    top_p: keeps the smallest set of tokens whose probabilities sum to at least top_p (Holtzman et
    al. 2019). min_p: keeps tokens with at least min_p times the largest probability (Nguyen et al.
    2024).

    **Returns** (..., V) float64 that sum to 1. **Raises** ValueError outside the ranges, and for
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
                "probabilities: logits: expected a finite maximum in each row; got a maximum of "
                f"{peak}"
            )
    found: Tensor = _distribution(
        logits, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p
    )
    return found


@operation
def _distribution(
    xp: ModuleType,
    logits: Any,
    *,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
) -> Any:
    """As `probabilities`, of checked logits and settings."""
    if temperature == 0:
        temperature, top_k = 1.0, 1
    z = logits.astype("float64")
    # Below -1000 the exponential is 0, and with a tiny temperature the quotient would overflow.
    below = xp.maximum(z - z.max(axis=-1, keepdims=True), -1000 * temperature)
    p = xp.exp(below / temperature)
    p /= p.sum(axis=-1, keepdims=True)
    if top_k is not None or top_p is not None or min_p is not None:
        order = xp.argsort(-z, axis=-1, kind="stable")  # not of p, where near equals round to a tie
        ranked = xp.take_along_axis(p, order, axis=-1)
        count = xp.full((*z.shape[:-1], 1), z.shape[-1] if top_k is None else top_k)
        if top_p is not None:
            short = ordered_cumsum(xp, ranked) < top_p
            count = xp.minimum(count, short.sum(axis=-1, keepdims=True) + 1)
        if min_p is not None:
            likely = ranked >= min_p * ranked[..., :1]
            count = xp.minimum(count, likely.sum(axis=-1, keepdims=True))
        p *= xp.argsort(order, axis=-1) < count  # the rank of each token: the inverse of the order
    p /= p.sum(axis=-1, keepdims=True)
    return p


@public
def draw(p: Tensor, generator: Generator) -> Tensor:
    """Draws a token from each distribution by inverse transform sampling.

    **Arguments** p: (..., V) probabilities. **Returns** (...) integers; one random number each.
    A token of probability 0 is never drawn. **Raises** ValueError for NaN, negative numbers, and
    rows of zeros.

    >>> import tinygrad_rnn as tg
    >>> draw(tg.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), tg.Generator(0)).tolist()
    [1, 2]
    """
    sums = p.sum(axis=-1).reshape(-1).tolist()
    if sums and not (p.min().item() >= 0 and 0 < min(sums) <= max(sums) < inf):
        raise InvalidValueError(
            "draw: p: expected numbers from 0 up, not all 0 in a row; the minimum is "
            f"{p.min().item()}, and the rows sum to {sums}"
        )
    return _drawn(p, generator)


def _drawn(p: Tensor, generator: Generator) -> Tensor:
    """As `draw`, for checked probabilities."""
    numbers = creation.as_tensor(generator.random(p.shape[:-1]), device=p.device)
    found: Tensor = _inverse(p, numbers)
    return found


@operation
def _inverse(xp: ModuleType, p: Any, numbers: Any) -> Any:
    """The first token whose cumulative probability exceeds a number in [0, 1)."""
    cumulative = ordered_cumsum(xp, p)
    # Divided by its last entry it ends in exactly 1, and the numbers are below 1.
    return (cumulative / cumulative[..., -1:] <= numbers[..., None]).sum(axis=-1)


@public
def greedy(
    step: Step,
    state: State,
    start_tokens: Any,
    *,
    max_length: MaxLength,
    end: int | None = None,
    batch_axis: BatchAxis = 0,
    constraints: Constraints | None = None,
) -> list[Hypothesis]:
    """Greedy decoding: the most probable token at each step; of equals, the lowest.

    **Arguments** step: `(tokens (N,), state) -> (logits (N, V), state)`, optionally with attention
    weights (N, S) as a third value. state: the initial state, of batch size B. start_tokens: (B,)
    integers, the token before each result (bos). max_length: the maximal number of tokens, with the
    end token; a sequence of them, one for each batch row, if they differ. end: the end token (eos).
    batch_axis: of the state; 1 for the states of recurrent layers. constraints: on the next token.
    **Returns** a hypothesis for each batch row. **Raises** ValueError if the constraints ban all
    tokens.

    >>> import tinygrad_rnn as tg
    >>> bigrams = tg.tensor([[0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.9, 0.1, 0.0]])
    >>> step = lambda tokens, state: (bigrams[tokens], state)
    >>> [h.tokens for h in greedy(step, None, [0, 1], max_length=4, end=2)]
    [(1, 2), (2,)]
    """
    decoding = Decoding("greedy", step, state, start_tokens, max_length, batch_axis)
    return _unroll(decoding, lambda x: x.argmax(axis=-1), end, constraints)


@public
def sample(
    step: Step,
    state: State,
    start_tokens: Any,
    *,
    generator: Generator,
    max_length: MaxLength,
    end: int | None = None,
    batch_axis: BatchAxis = 0,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    constraints: Constraints | None = None,
) -> list[Hypothesis]:
    """Samples each token from the model's distribution, constrained, tempered, then filtered.

    **Arguments** generator: draws one number per step for each batch row that has not ended, in
    order. temperature, top_k, top_p, min_p: as in `probabilities`; the others as in `greedy`.
    **Returns** a hypothesis for each batch row, with the log-probability of the unfiltered
    distribution. **Raises** ValueError for settings outside their ranges, or if no token is left.

    >>> import tinygrad_rnn as tg
    >>> step = lambda tokens, state: (tg.zeros((len(tokens), 5)), state)
    >>> [h] = sample(step, None, [0], generator=tg.Generator(0), max_length=8)
    >>> len(h.tokens), round(h.log_prob, 3)
    (8, -12.876)
    """
    check_sampling(temperature, top_k, top_p, min_p)
    instance("sample", "generator", generator, Generator)

    def choose(log_probs: Tensor) -> Tensor:
        p = _distribution(log_probs, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
        return _drawn(p, generator)

    decoding = Decoding("sample", step, state, start_tokens, max_length, batch_axis)
    return _unroll(decoding, choose, end, constraints)


def _unroll(
    decoding: Decoding,
    choose: Callable[[Tensor], Tensor],
    end: int | None,
    constraints: Constraints | None,
) -> list[Hypothesis]:
    """Decodes until all rows have ended, with the tokens that `choose` returns."""
    rules = Constraints.checked(constraints, decoding, end)
    results: dict[int, Hypothesis] = {}
    paths = [Path(row) for row in range(len(decoding.start_tokens))]
    while paths:
        log_probs = rules.apply(decoding.advance(paths), paths, end)
        check_numbers(decoding.name, log_probs, paths)
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
            if ended or len(path.tokens) == decoding.max_lengths[path.row]:
                results[path.row] = decoding.hypothesis(path, path.log_prob, ended)
            else:
                paths.append(path)
    return [results[row] for row in sorted(results)]
