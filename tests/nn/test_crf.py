"""The CRF equals sums over every sequence of tags."""

from __future__ import annotations

import itertools
from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg

from ..strict import strict_device

Array = np.ndarray[Any, Any]
Case = tuple[Any, Array, Array, list[int]]


@st.composite
def cases(draw: Any) -> Case:
    """A CRF, emissions (T, B, K), tags (T, B) and lengths; what is past them is noise."""
    steps, batch, tags = (draw(st.integers(1, most)) for most in (4, 3, 3))
    tag = st.one_of(st.none(), st.integers(0, tags - 1))
    pair = st.tuples(tag, tag).filter(lambda p: p != (None, None))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    crf = tg.nn.CRF(
        tags, draw(st.booleans()), dtype="float64", forbidden=draw(st.lists(pair, max_size=4))
    )
    for p in crf.parameters():
        p.data = rng.normal(size=p.shape) * 2
    lengths = draw(st.lists(st.integers(0, steps), min_size=batch, max_size=batch))
    emissions, y = rng.normal(size=(steps, batch, tags)) * 2, rng.integers(0, tags, (steps, batch))
    for row, length in enumerate(lengths):
        emissions[length:, row], y[length:, row] = np.nan, -7
    return crf, emissions, y, lengths


def score(crf: Any, emissions: Array, tags: tuple[int, ...]) -> float:
    """The score of one row's tags, as the definition has it."""
    if not tags:
        return 0.0
    pairs = list(itertools.pairwise((None, *tags, None)))
    if any(pair in crf.forbidden for pair in pairs):
        return -inf
    start, moves, end = (p.numpy() for p in (v.detach() for v in crf.parameters()))
    total = start[tags[0]] + end[tags[-1]] + sum(e[t] for e, t in zip(emissions, tags, strict=True))
    return float(total + sum(moves[a, b] for a, b in itertools.pairwise(tags)))


def every(crf: Any, emissions: Array) -> dict[tuple[int, ...], float]:
    rows = itertools.product(range(crf.num_tags), repeat=len(emissions))
    return {tags: score(crf, emissions, tags) for tags in rows}


def given_to(crf: Any, x: Array) -> Any:
    return np.swapaxes(x, 0, 1) if crf.batch_first else x


def log_sum(scores: Any) -> float:
    with np.errstate(divide="ignore"):
        return float(np.log(np.sum(np.exp(list(scores)))))


@given(cases())
def test_likelihood_and_partition_are_sums_over_all_sequences(case: Case) -> None:
    crf, emissions, y, lengths = case
    x, tags = tg.tensor(given_to(crf, emissions)), given_to(crf, y)
    want, z = [], []
    for b, n in enumerate(lengths):
        z.append(log_sum(every(crf, emissions[:n, b]).values()))
        own = score(crf, emissions[:n, b], tuple(y[:n, b].tolist()))
        want.append(own - z[-1] if own > -inf else -inf)
    np.testing.assert_allclose(crf.partition(x, lengths).detach().numpy(), z, atol=1e-9)
    for reduction, value in {"none": want, "sum": sum(want), "mean": np.mean(want)}.items():
        found = crf(x, tags, lengths, reduction=reduction).detach().numpy()
        np.testing.assert_allclose(found, value, rtol=1e-9, atol=1e-9)


@given(cases())
def test_decoding_finds_the_best_sequence(case: Case) -> None:
    crf, emissions, _, lengths = case
    paths, scores = crf.decode(tg.tensor(given_to(crf, emissions)), lengths)
    assert not scores.requires_grad
    for b, n in enumerate(lengths):
        scored = every(crf, emissions[:n, b])
        best = max(scored.values())
        assert scores.numpy()[b] == pytest.approx(best, abs=1e-9)
        assert len(paths[b]) == n
        if best > -inf:
            assert scored[tuple(paths[b])] == pytest.approx(best, abs=1e-9)


@given(cases())
def test_marginals_are_sums_and_what_the_partition_differentiates_to(case: Case) -> None:
    crf, emissions, _, lengths = case
    x = tg.tensor(given_to(crf, emissions), requires_grad=True)
    found = given_to(crf, crf.marginals(x, lengths).detach().numpy())
    want = np.zeros_like(emissions)
    for b, n in enumerate(lengths):
        scored = every(crf, emissions[:n, b])
        z = log_sum(scored.values())
        for tags, s in scored.items():
            for t, tag in enumerate(tags):
                want[t, b, tag] += np.exp(s - z) if z > -inf else 0
    np.testing.assert_allclose(found, want, atol=1e-9)
    (g,) = tg.grad(crf.partition(x, lengths).sum(), [x])
    np.testing.assert_allclose(given_to(crf, g.numpy()), want, atol=1e-9)


def test_gradients_stay_numbers_whatever_the_padding() -> None:
    crf = tg.nn.CRF(3, dtype="float64", forbidden=[(None, 1), (0, 2)])
    x = np.zeros((4, 2, 3))
    x[2:, 1] = np.nan
    tags = [[0, 2], [1, 2], [1, -9], [1, 99]]
    emissions = tg.tensor(x, requires_grad=True)
    (-crf(emissions, tags, [4, 2])).backward()
    for p in (emissions, *crf.parameters()):
        assert p.grad is not None
        assert np.isfinite(p.grad.numpy()).all()
    assert crf.transitions.grad is not None
    assert crf.transitions.grad.numpy()[0, 2] == 0


def test_what_is_no_number_stays_none() -> None:
    crf = tg.nn.CRF(3, dtype="float64")
    x = np.zeros((3, 2, 3))
    x[1, 0, 0] = np.nan
    emissions = tg.tensor(x)
    assert np.isnan(crf(emissions, np.zeros((3, 2), int), reduction="none").numpy()).tolist() == [
        True,
        False,
    ]
    assert np.isnan(crf.partition(emissions).numpy()).tolist() == [True, False]
    assert np.isnan(crf.marginals(emissions).numpy()[:, 0]).all()
    with pytest.raises(ValueError, match="decode: row 0: emissions hold NaN"):
        crf.decode(emissions)
    assert [len(path) for path in crf.decode(emissions, [1, 3])[0]] == [1, 3]


def test_impossible_tags_take_no_part() -> None:
    """Emissions of -inf are what forbidden transitions are: no warning, no NaN in a gradient."""
    crf = tg.nn.CRF(3, dtype="float64")
    x = np.random.default_rng(0).normal(size=(3, 3, 3))
    x[:, 0, 2] = x[1, 2] = -inf  # of row 0 a tag is impossible; of row 2 a whole step
    tags = np.array([[0, 2, 0]] * 3)
    emissions = tg.tensor(x, requires_grad=True)
    each = crf(emissions, tags, reduction="none")
    assert np.isfinite(each.numpy()).tolist() == [True, True, False]
    assert each[2].item() == -inf
    wanted = [emissions, *crf.parameters()]
    first = tg.grad(each[:2].sum(), wanted, create_graph=True)
    second = tg.grad(sum((g * g).sum() for g in first), wanted)
    for g in (*first, *second):
        assert np.isfinite(g.numpy()).all()
    assert (first[0].numpy()[:, 0, 2] == 0).all()
    marginals = crf.marginals(emissions).numpy()
    np.testing.assert_allclose(marginals.sum(-1), [[1, 1, 0]] * 3)
    assert (marginals[:, 0, 2] == 0).all()


def test_it_learns_what_it_sees() -> None:
    g = tg.Generator(0)
    crf = tg.nn.CRF(2, generator=g)
    emissions, tags = tg.zeros((6, 1, 2)), [[0], [1], [0], [1], [0], [1]]
    optimizer = tg.optim.SGD(crf.parameters(), lr=0.5)
    for _ in range(50):
        optimizer.zero_grad()
        (-crf(emissions, tags)).backward()
        optimizer.step()
    paths, _ = crf.decode(emissions)
    assert paths == [[0, 1, 0, 1, 0, 1]]
    assert crf(emissions, tags).dtype == np.float32


def test_equal_scores_go_to_lower_tags_and_empty_rows_to_nothing() -> None:
    crf = tg.nn.CRF(3)
    for p in crf.parameters():
        p.data = p.numpy() * 0
    x = tg.zeros((2, 2, 3))
    paths, scores = crf.decode(x, [2, 0])
    assert (paths, scores.tolist()) == ([[0, 0], []], [0.0, 0.0])
    assert crf.partition(x, [0, 0]).tolist() == [0.0, 0.0]
    assert crf(x, [[0, 0], [0, 0]], [0, 0]).item() == 0.0


def test_the_strict_device_gives_the_same() -> None:
    crf = tg.nn.CRF(3, dtype="float64", forbidden=[(0, 2), (2, None)])
    x = np.random.default_rng(0).normal(size=(4, 2, 3))
    y = [[0, 1], [1, 1], [1, 2], [0, 0]]

    def run(device: str) -> list[Any]:
        on = tg.tensor(x, device=device)
        crf.to(device)
        paths, scores = crf.decode(on, [4, 2])
        parts = (crf(on, y, [4, 2]), crf.marginals(on, [4, 2]), crf.partition(on), scores)
        return [paths, *(part.tolist() for part in parts)]

    here = run("cpu")
    with strict_device() as device:
        assert run(device) == here
        crf.to("cpu")


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (
            lambda c: c(tg.zeros((2, 1, 4)), [[0], [0]]),
            tg.ShapeError,
            r"expected \(T, B, 3\), none",
        ),
        (lambda c: c(tg.zeros((0, 1, 3)), []), tg.ShapeError, "none empty; got"),
        (lambda c: c("text", [0]), TypeError, "emissions: expected a Tensor, got str"),
        (lambda c: c([0.0], [0]), tg.ShapeError, "none empty; got"),
        (
            lambda c: c(tg.zeros((2, 1, 3), dtype="float64"), [[0], [0]]),
            TypeError,
            r"expected float32 as the parameters are, got float64: emissions.astype\('float32'\)",
        ),
        (lambda c: c(tg.zeros((2, 1, 3)), [[0, 0]]), tg.ShapeError, r"tags: expected .* \[2, 1\]"),
        (lambda c: c(tg.zeros((2, 1, 3)), [[0], [3]]), IndexError, "tag 3 is outside the 3 tags"),
        (lambda c: c(tg.zeros((2, 1, 3)), [[0], [-1]]), IndexError, "tag -1 is outside"),
        (
            lambda c: c.decode(tg.zeros((2, 1, 3)), [3]),
            tg.ShapeError,
            r"lengths\[0\] = 3 is outside 0..2",
        ),
        (lambda c: c.decode(tg.zeros((2, 1, 3)), [1, 1]), tg.ShapeError, "expected 1 integers"),
        (lambda c: tg.nn.CRF(0), ValueError, "num_tags: expected an integer from 1 up"),
        (lambda c: tg.nn.CRF(3, forbidden=[(None, None)]), ValueError, "forbidden: expected pairs"),
        (lambda c: tg.nn.CRF(3, forbidden=[(1, 3)]), ValueError, r"tags below 3.* got \(1, 3\)"),
    ],
)
def test_mistakes_say_what_to_type(call: Any, error: Any, said: str) -> None:
    with pytest.raises(error, match=said):
        call(tg.nn.CRF(3))
