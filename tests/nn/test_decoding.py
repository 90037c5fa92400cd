"""Beam search equals an exhaustive search where it can see all; what is cheaper equals it too."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from math import inf, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.nn.decoding import (
    Constraints,
    Hypothesis,
    average,
    beam,
    beam_search,
    gnmt,
    greedy,
    sample,
    select,
)
from tinygrad_rnn.tensor.ops.sorting import topk_indices

from ..strict import strict_device
from .table_model import Table

# Problems are small, and few of them have a given trait: more of them.
many = settings(max_examples=4 * settings().max_examples)

PENALTIES: list[Any] = [None, average, gnmt(0.7), gnmt(-1.0), lambda n: [1.0, 0.3, 2.0, 0.4][n % 4]]


@dataclass
class Problem:
    """A drawn model and what is asked of its sequences."""

    table: Table
    settings: dict[str, Any]
    constraints: Constraints
    required: list[list[tuple[int, ...]]]
    penalty: Any
    coverage: float
    lengths: list[int]

    def beam(self, chosen: list[int] | None = None, **changes: Any) -> list[list[Hypothesis]]:
        """A beam search of some rows, of all if None."""
        rows = list(range(len(self.table.first))) if chosen is None else chosen
        prefix, allowed = self.constraints.prefix, self.constraints.allowed
        constraints = replace(
            self.constraints,
            prefix=[prefix[r] for r in rows] if prefix else (),
            allowed=allowed and (lambda r, tokens: allowed(rows[r], tokens)),
        )
        settings = {
            "length_penalty": self.penalty,
            "coverage_penalty": self.coverage,
            "source_lengths": [self.lengths[r] for r in rows],
            "required": [self.required[r] for r in rows] if self.required else (),
            "constraints": constraints,
            **self.settings,
            "max_length": self.limits if chosen is None else [self.max_length(r) for r in rows],
            **changes,
        }
        first = [self.table.first[r] for r in rows]
        return beam_search(
            self.table.step,
            self.table.start(rows),
            first,
            batch_axis=self.table.batch_axis,
            **settings,
        )

    # ------------------------------------------------------------ by hand

    @property
    def limits(self) -> Any:
        """What is passed as max_length."""
        return self.settings["max_length"]

    def max_length(self, row: int) -> int:
        """The maximal length of a row's results."""
        return self.limits if isinstance(self.limits, int) else self.limits[row]

    def score(self, row: int, tokens: tuple[int, ...]) -> tuple[float, float]:
        """Log-probability and score."""
        gains, looks = self.table.path(row, tokens)
        total = gains.sum()
        score = total if self.penalty is None else total / self.penalty(len(tokens))
        seen = np.minimum(looks.sum(0), 1)[: self.lengths[row]]
        return total, score + self.coverage * np.log(seen).sum()

    def permits(self, row: int, tokens: tuple[int, ...]) -> bool:
        """Whether a whole sequence keeps every rule, asked as a question about all of it."""
        rules, end = self.constraints, self.settings["end"]
        given = tuple(rules.prefix[row]) if rules.prefix else ()
        if tokens[: len(given)] != given[: len(tokens)]:
            return False
        free = range(len(given), len(tokens))  # the places of which rules are asked
        if tokens[-1] == end and len(tokens) - 1 in free and len(tokens) - 1 < rules.min_length:
            return False
        n = rules.no_repeat_ngram
        grams = [tokens[i : i + n] for i in range(len(tokens) - n + 1)] if n else []
        if any(g in grams[:i] for i, g in enumerate(grams) if i + n - 1 in free):
            return False
        for word in rules.forbidden:
            m = len(word)
            if any(tokens[i : i + m] == word and i + m - 1 in free for i in range(len(tokens))):
                return False
        if rules.allowed:
            for i in free:
                may = rules.allowed(row, tokens[:i])
                if may is not None and tokens[i] not in may:
                    return False
        words = self.required[row] if self.required else []
        return all(
            any(tokens[i : i + len(w)] == w for i in range(len(tokens) - len(w) + 1)) for w in words
        )

    def exhaustive(self, row: int) -> dict[tuple[int, ...], float]:
        """Every permitted sequence, with its score."""
        every = self.table.sequences(self.settings["end"], self.max_length(row))
        return {s: self.score(row, s)[1] for s in every if self.permits(row, s)}


@st.composite
def problems(
    draw: Any, required: bool = True, penalties: bool = True, smallest: int = 2
) -> Problem:
    tokens, batch, length = (draw(st.integers(a, b)) for a, b in ((smallest, 4), (1, 3), (1, 4)))
    word = st.lists(st.integers(0, tokens - 1), min_size=1, max_size=2).map(tuple)
    seed = draw(st.integers(0, 2**32 - 1))
    table = Table(seed, tokens, batch)

    def allowed(row: int, so_far: tuple[int, ...]) -> set[int] | None:
        h = (seed + 31 * row + sum((i + 1) * t for i, t in enumerate(so_far))) % 7
        return None if h == 0 else {t for t in range(tokens) if (t + h) % 3}

    each = st.lists(st.integers(1, length), min_size=batch, max_size=batch)
    limit = draw(st.one_of(st.just(length), each))
    rows = st.lists(st.lists(word, max_size=2), min_size=batch, max_size=batch)
    begins = st.lists(
        st.lists(st.integers(0, tokens - 2), max_size=2).map(tuple), min_size=batch, max_size=batch
    )
    constraints = Constraints(
        min_length=draw(st.integers(0, length if isinstance(limit, int) else min(limit))),
        no_repeat_ngram=draw(st.integers(0, 2)),
        forbidden=draw(st.lists(word, max_size=2)),
        prefix=draw(st.one_of(st.just(()), begins)),
        allowed=draw(st.sampled_from([None, allowed])),
    )
    return Problem(
        table,
        {"max_length": limit, "end": draw(st.sampled_from([tokens - 1, tokens - 1, None]))},
        constraints if draw(st.booleans()) else Constraints(),
        draw(rows) if required and draw(st.booleans()) else [],
        draw(st.sampled_from(PENALTIES)) if penalties else None,
        draw(st.sampled_from([0.0, 0.4])) if penalties else 0.0,
        draw(st.lists(st.integers(0, 3), min_size=batch, max_size=batch)),
    )


@many
@given(problems(), st.integers(1, 20))
def test_a_beam_as_wide_as_all_there_is_finds_the_best(problem: Problem, n_best: int) -> None:
    rows = range(len(problem.table.first))
    wide = problem.table.tokens ** max(map(problem.max_length, rows))
    n_best = min(n_best, wide)
    for row, found in enumerate(problem.beam(beams=wide, n_best=n_best)):
        every = problem.exhaustive(row)
        best = sorted(every.values(), reverse=True)[:n_best]
        np.testing.assert_allclose([h.score for h in found], best, rtol=1e-9, atol=1e-9)
        assert len({h.tokens for h in found}) == len(found)
        for h in found:
            assert h.tokens in every
            np.testing.assert_allclose(h.score, every[h.tokens], rtol=1e-9, atol=1e-9)


@given(problems(), st.integers(1, 4), st.integers(1, 3), st.sampled_from([0.0, 0.5, 5.0]))
def test_every_result_is_what_it_says(
    problem: Problem, width: int, groups: int, diversity: float
) -> None:
    beams = width * groups
    results = problem.beam(beams=beams, n_best=beams, groups=groups, diversity=diversity)
    for row, found in enumerate(results):
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
        for h in found:
            assert problem.permits(row, h.tokens)
            assert h.ended == (h.tokens[-1] == problem.settings["end"])
            np.testing.assert_allclose((h.log_prob, h.score), problem.score(row, h.tokens))
            _, looks = problem.table.path(row, h.tokens)
            assert h.attention is not None
            np.testing.assert_allclose(h.attention.numpy(), looks)
            assert h.alignment == looks.argmax(-1).tolist()


@many
@given(problems(required=False, penalties=False))
def test_one_beam_is_greedy(problem: Problem) -> None:
    table, one = problem.table, problem.beam(beams=1)

    def greedily() -> list[Hypothesis]:
        return greedy(
            table.step, table.start(), table.first, batch_axis=table.batch_axis,
            constraints=problem.constraints, **problem.settings,
        )  # fmt: skip

    if [] in one:  # where it came to an end that the rules leave no way out of
        with pytest.raises(ValueError, match="no token is allowed"):
            greedily()
        return
    found = greedily()
    assert [(h.tokens, h.ended) for (h,) in one] == [(h.tokens, h.ended) for h in found]
    np.testing.assert_allclose([h.score for (h,) in one], [h.score for h in found])
    for (h,), g in zip(one, found, strict=True):
        assert h.alignment == g.alignment


@given(problems(), st.integers(0, 9))
def test_greedy_takes_the_most_probable_that_may_follow(problem: Problem, seed: int) -> None:
    table, rules = problem.table, problem.constraints
    try:
        found = greedy(
            table.step, table.start(), table.first, batch_axis=table.batch_axis, constraints=rules,
            **problem.settings,
        )  # fmt: skip
    except ValueError:
        assume(False)
    free = replace(problem, required=[])
    for row, h in enumerate(found):
        for t, token in enumerate(h.tokens):
            best = max(
                (table.path(row, (*h.tokens[:t], other))[0][-1], -other)
                for other in range(table.tokens)
                if free.permits(row, (*h.tokens[:t], other))
            )
            assert -best[1] == token


@given(problems(), st.integers(1, 5), st.integers(1, 2), st.data())
def test_a_batch_is_its_rows_one_by_one(
    problem: Problem, width: int, groups: int, data: st.DataObject
) -> None:
    beams = width * groups
    asked = {"beams": beams, "groups": groups, "n_best": data.draw(st.integers(1, beams))}
    alone = [problem.beam([row], **asked)[0] for row in range(len(problem.table.first))]
    for one, among in zip(alone, problem.beam(**asked), strict=True):
        assert [(h.tokens, h.score, h.ended) for h in one] == [
            (h.tokens, h.score, h.ended) for h in among
        ]


@many
@given(problems(), st.integers(1, 5), st.integers(1, 2), st.data())
def test_stopping_early_loses_nothing(
    problem: Problem, width: int, groups: int, data: st.DataObject
) -> None:
    beams = width * groups
    asked = {"beams": beams, "groups": groups, "n_best": data.draw(st.integers(1, beams))}
    stopped = problem.beam(**asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beam._Beam, "done", lambda self, largest: not self.live)
        through = problem.beam(**asked)
    for a, b in zip(stopped, through, strict=True):
        assert [(h.tokens, h.score) for h in a] == [(h.tokens, h.score) for h in b]


def test_stopping_early_saves_steps() -> None:
    def step(tokens: tg.Tensor, state: None) -> tuple[tg.Tensor, None]:
        calls.append(len(tokens))
        return tg.zeros((len(tokens), 3)) + tg.tensor([0.0, 0.0, 3.0]), state

    calls: list[int] = []
    beam_search(step, None, [0, 0], beams=4, max_length=50, end=2)
    assert len(calls) == 1  # nothing beats the end at once
    calls.clear()
    beam_search(step, None, [0, 0], beams=4, max_length=50, end=2, length_penalty=average)
    assert len(calls) > 1
    calls.clear()  # the penalties ahead count, not those behind
    beam_search(
        step, None, [0, 0], beams=4, max_length=50, end=2, constraints=Constraints(min_length=1),
        length_penalty=lambda n: 10.0 if n == 1 else 1.0,
    )  # fmt: skip
    assert len(calls) == 2


def test_stopping_early_sees_all_penalties_ahead() -> None:
    def step(tokens: tg.Tensor, state: None) -> tuple[tg.Tensor, None]:
        return tg.log(tg.tensor([[0.45, 0.55]] * len(tokens))), state

    penalty = {1: 1.0, 2: 3.0, 3: 1.0}.__getitem__
    [[h]] = beam_search(step, None, [0], beams=2, max_length=3, end=1, length_penalty=penalty)
    assert h.tokens == (0, 1)  # not the shortest, nor as long as possible


@given(problems(), st.integers(1, 4), st.sampled_from([0.0, 0.3, 9.0]))
def test_one_group_is_a_plain_beam(problem: Problem, beams: int, diversity: float) -> None:
    plain = problem.beam(beams=beams, n_best=beams)
    one = problem.beam(beams=beams, n_best=beams, diversity=diversity, groups=1)
    for a, b in zip(plain, one, strict=True):
        assert [(h.tokens, h.score) for h in a] == [(h.tokens, h.score) for h in b]


def by_hand(problem: Problem, row: int, width: int, groups: int, diversity: float) -> list[Any]:
    """Diverse beam search as its definition has it, a group, a path and a token at a time."""
    end, last = problem.settings["end"], problem.max_length(row)
    keep = width
    live: list[list[tuple[int, ...]]] = [[()] for _ in range(groups)]
    done: list[list[tuple[float, tuple[int, ...]]]] = [[] for _ in range(groups)]
    for length in range(1, last + 1):
        taken: list[int] = []
        for g in range(groups):
            options = []
            for path in live[g]:
                for token in range(problem.table.tokens):
                    new = (*path, token)
                    if replace(problem, required=[]).permits(row, new):
                        rank = problem.score(row, new)[0] - diversity * taken.count(token)
                        options.append((rank, new))
            options.sort(key=lambda option: -option[0])
            live[g] = []
            for place, (_, new) in enumerate(options[: 2 * width]):
                if len(live[g]) == width or (new[-1] == end and place >= width):
                    continue
                taken.append(new[-1])
                if new[-1] == end or length == last:
                    done[g].append((problem.score(row, new)[1], new))
                else:
                    live[g].append(new)
            # Only what is taken now counts against the groups that follow.
    best = [sorted(d, key=lambda f: -f[0])[:keep] for d in done]
    return sorted((f for d in best for f in d), key=lambda f: -f[0])


@many
@given(problems(required=False), st.integers(1, 3), st.integers(1, 3), st.sampled_from([0.4, 3.0]))
def test_diverse_groups_follow_their_definition(
    problem: Problem, width: int, groups: int, diversity: float
) -> None:
    found = problem.beam(
        beams=width * groups, groups=groups, n_best=width * groups, diversity=diversity
    )
    for row, hypotheses in enumerate(found):
        want = by_hand(problem, row, width, groups, diversity)
        np.testing.assert_allclose([h.score for h in hypotheses], [s for s, _ in want])
        assert sorted(h.tokens for h in hypotheses) == sorted(tokens for _, tokens in want)


def test_forced_words_are_found_by_narrow_beams() -> None:
    table = Table(3, 9, 2)
    words = [[(3, 1), (5,)], [(7, 7, 7)]]
    found = beam_search(
        table.step, table.start(), table.first, batch_axis=table.batch_axis, beams=5,
        max_length=12, end=8,
        required=words,
    )  # fmt: skip
    for (h,), row in zip(found, words, strict=True):
        text = "".join(map(str, h.tokens))
        assert all("".join(map(str, word)) in text for word in row)


def test_topk_indices_sorts_as_sort_does() -> None:
    rng = np.random.default_rng(0)
    for wide, k in ((5, 5), (100, 3), (100, 40), (1, 1)):
        x = rng.integers(0, 9, size=(2, 3, wide)).astype(float)  # many equal ones
        want = np.argsort(-x, axis=-1, kind="stable")[..., :k]
        np.testing.assert_array_equal(topk_indices(x, k=k), want)


# ---------------------------------------------------------------- with layers, and on devices


class Speller(tg.nn.Module):
    """A small recurrent model, with the state of its layers."""

    def __init__(self, layer: Any, batch_first: bool = False) -> None:
        g = tg.Generator(0)
        self.table = tg.nn.Embedding(6, 4, dtype="float64", generator=g)
        self.layer = layer(4, 5, 2, dtype="float64", batch_first=batch_first, generator=g)
        self.head = tg.nn.Linear(5, 6, dtype="float64", generator=g)

    def step(self, tokens: tg.Tensor, state: Any) -> tuple[tg.Tensor, Any]:
        y, state = self.layer.step(self.table(tokens), state)
        return 6 * self.head(y), state


@pytest.mark.parametrize("layer", [tg.nn.GRU, tg.nn.LSTM])
def test_states_of_layers_follow_their_beams(layer: Any) -> None:
    model = Speller(layer)
    found = beam_search(
        model.step, None, [1, 2], batch_axis=1, beams=4, n_best=4, max_length=7, end=0
    )
    for first, row in zip((1, 2), found, strict=True):
        assert len(row) == 4
        for h in row:
            state, total, last = None, 0.0, first
            for token in h.tokens:
                logits, state = model.step(tg.tensor([last]), state)
                total += tg.log_softmax(logits)[0, token].item()
                last = token
            assert total == pytest.approx(h.log_prob)
            assert h.attention is None


def test_the_strict_device_gives_the_same() -> None:
    with strict_device() as device:
        table = Table(5, 4, 2)
        first = tg.tensor(table.first, device=device)
        state = tg.tensor(table.begin, device=device)
        logits, looks = (tg.tensor(x, device=device) for x in (table.logits, table.attention))

        def step(tokens: Any, state: Any) -> Any:
            now = (state * 5 + tokens * 3 + 1) % table.states
            return logits[now], now, looks[now]

        rules = Constraints(min_length=1, no_repeat_ngram=2, forbidden=[(1, 2)], prefix=[(), (2,)],
                            allowed=lambda row, tokens: None if row else {0, 1, 3})  # fmt: skip
        search = {"beams": 4, "groups": 2, "n_best": 3, "max_length": 5, "end": 3,
                  "coverage_penalty": 0.2, "source_lengths": [2, 3], "constraints": rules,
                  "required": [[(1, 0)], [(0,)]]}  # fmt: skip
        there = beam_search(step, state, first, **search)
        here = beam_search(
            table.step, table.start(), table.first, batch_axis=table.batch_axis, **search
        )
        for a, b in zip(there, here, strict=True):
            assert [(h.tokens, h.score) for h in a] == [(h.tokens, h.score) for h in b]
            assert [h.alignment for h in a] == [h.alignment for h in b]
        draws = {"max_length": 6, "end": 3, "temperature": 0.8, "top_k": 3, "top_p": 0.9}
        one = sample(step, state, first, generator=tg.Generator(1), **draws)
        two = sample(
            table.step, table.start(), table.first, batch_axis=table.batch_axis,
            generator=tg.Generator(1),
            **draws,
        )  # fmt: skip
        assert [h.tokens for h in one] == [h.tokens for h in two]


# ---------------------------------------------------------------- states, edges, mistakes


def test_select() -> None:
    x = tg.tensor(np.arange(12).reshape(3, 4))
    y, (z, names, nothing) = select((x, (x, ["a", "b", "c", "d"], None)), [3, 3, 0], batch_axis=1)
    assert y.tolist() == z.tolist() == [[3, 3, 0], [7, 7, 4], [11, 11, 8]]
    assert (names, nothing) == (["d", "d", "a"], None)
    with pytest.raises(TypeError, match=r"select: .* got dict"):
        select({}, [0])
    with pytest.raises(tg.ShapeError, match=r"batch_axis: expected 2 axes.* got \(0,\)"):
        select((x, x), [0], batch_axis=(0,))


def flat(tokens: tg.Tensor, state: Any) -> tuple[tg.Tensor, Any]:
    return tg.zeros((len(tokens), 4)), state


def test_ties_go_to_the_lower_token() -> None:
    assert greedy(flat, None, [0], max_length=3)[0].tokens == (0, 0, 0)
    [found] = beam_search(flat, None, [0], max_length=2, beams=4, n_best=4)
    assert [h.tokens for h in found] == [(0, 0), (0, 1), (0, 2), (0, 3)]


def test_edges() -> None:
    assert greedy(flat, None, [], max_length=3) == []
    assert beam_search(flat, None, [], max_length=3, beams=2) == []
    one = lambda tokens, state: (tg.zeros((len(tokens), 1)), state)
    [[h]] = beam_search(one, None, [0], max_length=1, beams=3, n_best=2, end=0)
    assert (h.tokens, h.ended, h.score) == ((0,), True, 0.0)
    nothing = Constraints(allowed=lambda row, tokens: ())
    assert beam_search(flat, None, [0], max_length=3, beams=2, constraints=nothing) == [[]]
    with pytest.raises(
        ValueError, match=r"greedy: constraints: no token is allowed in row 0 after \[\]"
    ):
        greedy(flat, None, [0], max_length=3, constraints=nothing)


def test_float32_scores_add_up_in_double() -> None:
    [h] = greedy(flat, None, [0], max_length=1000)
    assert h.log_prob == pytest.approx(1000 * float(np.float32(-np.log(4.0))), rel=1e-9)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_length": 0}, "max_length: expected 1 or more, got 0"),
        ({"max_length": [3, 0]}, "max_length: expected 1 or more, got 0"),
        ({"max_length": [3]}, r"max_length: expected an integer, or 2, .* got int64 \[1\]"),
        ({"max_length": 2.5}, "max_length: expected an integer"),
        ({"beams": 0}, "beams: expected 1 or more, got 0"),
        ({"n_best": 3}, "n_best: expected 1 to beams 2, got 3"),
        ({"groups": 3}, "groups: expected a divisor of beams 2, got 3"),
        ({"diversity": -1.0}, "diversity: expected a finite number from 0 up"),
        ({"diversity": nan}, "diversity: expected a finite number from 0 up"),
        ({"diversity": "x"}, "diversity: expected a finite number from 0 up"),
        ({"coverage_penalty": inf}, "coverage_penalty: expected a finite number from 0 up"),
        ({"required": [[(4,)], []]}, "required: token 4 is outside the vocabulary of 4"),
        ({"required": [[], [(-1,)]]}, "required: token -1 is outside the vocabulary of 4"),
        (
            {"length_penalty": lambda n: 2.0 - n},
            "length_penalty: expected a value above 0 for .*, got 0.0 for 2",
        ),
        ({"coverage_penalty": -1.0}, "coverage_penalty: expected a finite number from 0 up"),
        (
            {"coverage_penalty": 1.0},
            r"coverage_penalty: expected a step that returns \(logits, state, attention",
        ),
        ({"end": 4}, "end: token 4 is outside the vocabulary"),
        (
            {"required": [[(1,)]]},
            "required: expected 2 lists of sequences, one per batch row; got 1",
        ),
        ({"required": [[()], []]}, "required contains an empty sequence"),
        ({"constraints": Constraints(min_length=9)}, "min_length up to max_length 3, got 9"),
        (
            {"max_length": [4, 3], "constraints": Constraints(min_length=4)},
            "min_length up to max_length 3, got 4",
        ),
        ({"constraints": Constraints(prefix=[(1,)])}, "prefix of 2 sequences, one per"),
        ({"constraints": Constraints(forbidden=[(7,)])}, "tokens 7 to 7 are not all in"),
        ({"constraints": Constraints(allowed=lambda r, t: [-1])}, "tokens -1 to -1 are not all"),
    ],
)
def test_mistakes_say_what_to_type(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        beam_search(flat, None, [0, 1], **{"max_length": 3, "beams": 2, **settings})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"beams": 2.5}, "beams: expected an integer, got 2.5"),
        ({"n_best": 1.5}, "n_best: expected an integer"),
        ({"groups": True}, "groups: expected an integer"),
        ({"end": 1.5}, "end: expected an integer"),
        ({"end": "x"}, "end: expected an integer"),
        ({"constraints": 0}, "constraints: expected a Constraints, got int"),
        ({"length_penalty": 0.6}, "length_penalty: expected a function of the length"),
        (
            {"max_length": None},
            "max_length: expected an integer, a sequence of integers or a Tensor, got None",
        ),
    ],
)
def test_arguments_of_wrong_types_are_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(tg.InvalidTypeError, match=f"^beam_search: {said}"):
        beam_search(flat, None, [0, 1], **{"max_length": 3, "beams": 2, **settings})
    if settings.keys() <= {"end", "constraints", "max_length"}:
        for decode in (greedy, partial(sample, generator=tg.Generator(0))):
            with pytest.raises(tg.InvalidTypeError, match=said):
                decode(flat, None, [0, 1], **{"max_length": 3, **settings})


def test_a_generator_is_expected() -> None:
    with pytest.raises(tg.InvalidTypeError, match=r"^sample: generator: expected a Generator"):
        sample(flat, None, [0], generator=3, max_length=2)  # type: ignore[arg-type]


def test_mistakes_of_models() -> None:
    whole = lambda tokens, state: (tg.zeros((2, len(tokens), 4)), state)
    with pytest.raises(tg.ShapeError, match=r"step: expected logits \(1, V\) for 1 tokens"):
        greedy(whole, None, [0], max_length=2)
    empty = lambda tokens, state: (tg.zeros((len(tokens), 0)), state)
    with pytest.raises(tg.ShapeError, match=r"step: expected logits \(1, V\).*got \[1, 0\]"):
        greedy(empty, None, [0], max_length=2)
    lost = lambda tokens, state: (tg.full((len(tokens), 4), float("nan")), state)
    with pytest.raises(ValueError, match=r"step: expected logits .*, got NaN in row 0 after"):
        greedy(lost, None, [0], max_length=2)
    with pytest.raises(ValueError, match=r"step: .*, got NaN"):
        beam_search(lost, None, [0], max_length=2, beams=2)
    with pytest.raises(tg.ShapeError, match=r"start_tokens: expected \(B,\).* got int64 \[\]"):
        greedy(flat, None, 0, max_length=2)
    with pytest.raises(ValueError, match="min_length: expected 0 or more"):
        Constraints(min_length=-1)
    with pytest.raises(ValueError, match="no attention as its third value"):
        _ = greedy(flat, None, [0], max_length=1)[0].alignment
    table = Table(0, 3, 2)
    with pytest.raises(tg.ShapeError, match=r"source_lengths: expected 2 integers, .*got int64"):
        beam_search(table.step, table.start(), table.first, batch_axis=table.batch_axis, beams=2,
                    max_length=3, coverage_penalty=1.0, source_lengths=[1])  # fmt: skip


@pytest.mark.parametrize("search", ["greedy", "sample", "beam_search"])
@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([0.0, nan, 1.0], "step: expected logits with a finite maximum, got NaN"),
        ([0.0, inf, 1.0], r"step: expected logits with a finite maximum, got \+inf"),
        ([-inf, -inf, -inf], "constraints: no token is allowed"),
    ],
)
def test_no_token_is_written_of_what_is_no_number(
    search: str, cut: bool, row: list[float], said: str
) -> None:
    """Whether or not a constraint leaves only tokens, or no tokens, that are numbers."""
    step = lambda tokens, state: (tg.tensor([row] * len(tokens)), state)
    rules = Constraints(allowed=lambda row, tokens: [1] if cut else None)
    given: dict[str, Any] = {"max_length": 2, "constraints": rules}
    calls: dict[str, Any] = {
        "greedy": lambda: greedy(step, None, [0], **given),
        "sample": lambda: sample(step, None, [0], generator=tg.Generator(0), **given),
        "beam_search": lambda: beam_search(step, None, [0], beams=2, **given),
    }
    with pytest.raises(ValueError, match=rf"{search}: {said} in row 0 after \[\]"):
        calls[search]()


@pytest.mark.parametrize("lengths", [[-1, 2], [2, 99], [1.0, 2.0]])
def test_source_lengths_are_checked(lengths: list[Any]) -> None:
    table = Table(0, 3, 2)
    with pytest.raises(tg.ShapeError, match="beam_search: source_lengths"):
        beam_search(table.step, table.start(), table.first, batch_axis=table.batch_axis, beams=2,
                    max_length=3, coverage_penalty=1.0, source_lengths=lengths)  # fmt: skip


def test_attention_that_is_no_number_counts_past_a_sources_end_only() -> None:
    def step(tokens: tg.Tensor, state: Any) -> tuple[tg.Tensor, Any, tg.Tensor]:
        return tg.zeros((len(tokens), 4)), state, tg.tensor([[1.0, nan]] * len(tokens))

    search: dict[str, Any] = {"beams": 2, "max_length": 2, "coverage_penalty": 1.0}
    [[h]] = beam_search(step, None, [0], source_lengths=[1], **search)
    assert h.score == pytest.approx(h.log_prob)
    with pytest.raises(ValueError, match="step returned attention that is NaN"):
        beam_search(step, None, [0], **search)
