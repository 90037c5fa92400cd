"""The CTC loss and its decoders equal sums over every alignment, and PyTorch where it is."""

from __future__ import annotations

import itertools
from collections import defaultdict
from math import inf, isnan, log, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.nn import ctc
from tinygrad_rnn.nn.decoding import ctc_beam_search, ctc_greedy

from ..strict import strict_device

Array = np.ndarray[Any, Any]


def log_softmax(x: Array) -> Array:
    return np.asarray(x - np.log(np.exp(x).sum(-1, keepdims=True)))


def labels_of(alignment: tuple[int, ...], blank: int) -> tuple[int, ...]:
    return tuple(c for c, _ in itertools.groupby(alignment) if c != blank)


def every(log_probs: Array, blank: int) -> dict[tuple[int, ...], float]:
    """P(labels) of one row, by its alignments: log_probs (T, C)."""
    steps, classes = log_probs.shape
    sums: dict[tuple[int, ...], float] = defaultdict(float)
    for alignment in itertools.product(range(classes), repeat=steps):
        p = np.exp(sum(log_probs[t, c] for t, c in enumerate(alignment)))
        sums[labels_of(alignment, blank)] += p
    return sums


@st.composite
def cases(draw: Any) -> tuple[Array, Array, list[int], list[int], int]:
    steps, batch, classes, most = (draw(st.integers(*r)) for r in ((0, 5), (1, 3), (2, 4), (0, 3)))
    blank = draw(st.integers(0, classes - 1))
    label = st.sampled_from([c for c in range(classes) if c != blank])
    row = st.lists(label, min_size=most, max_size=most)
    targets = np.array(draw(st.lists(row, min_size=batch, max_size=batch)), dtype=np.int64)
    times = draw(st.lists(st.integers(0, steps), min_size=batch, max_size=batch))
    counts = draw(st.lists(st.integers(0, most), min_size=batch, max_size=batch))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    log_probs = log_softmax(rng.normal(size=(steps, batch, classes)) * 2)
    return log_probs, targets.reshape(batch, most), times, counts, blank


def by_alignments(case: tuple[Array, Array, list[int], list[int], int]) -> list[float]:
    log_probs, targets, times, counts, blank = case
    losses = []
    for b, (time, count) in enumerate(zip(times, counts, strict=True)):
        p = every(log_probs[:time, b], blank).get(tuple(targets[b, :count].tolist()), 0.0)
        losses.append(-log(p) if p else inf)
    return losses


@given(cases())
def test_the_loss_is_the_sum_over_all_alignments(case: Any) -> None:
    log_probs, targets, times, counts, blank = case
    want = by_alignments(case)
    for requires_grad in (False, True):  # with the second recursion, and without
        x = tg.tensor(log_probs, requires_grad=requires_grad)
        found = tg.nn.ctc_loss(x, targets, times, counts, blank=blank, reduction="none")
        np.testing.assert_allclose(found.numpy(), want, rtol=1e-9)
    finite = [0.0 if w == inf else w for w in want]
    for reduction, value in {
        "none": finite,
        "sum": sum(finite),
        "mean": np.mean([w / max(n, 1) for w, n in zip(finite, counts, strict=True)]),
    }.items():
        found = tg.nn.ctc_loss(
            x, targets, times, counts, blank=blank, reduction=reduction, zero_infinity=True
        )
        np.testing.assert_allclose(found.detach().numpy(), value, rtol=1e-9)


@given(cases())
def test_the_rule_is_that_of_the_decomposition(case: Any) -> None:
    log_probs, targets, times, counts, blank = case
    assume(len(log_probs))  # of no steps there is nothing to differentiate
    x = tg.tensor(log_probs, requires_grad=True)
    given = [tg.tensor(v) for v in (targets, np.array(times), np.array(counts))]
    fused = tg.nn.ctc_loss(x, targets, times, counts, blank=blank, reduction="none")
    by_steps = ctc._ctc_by_steps(x, *given, blank=blank)
    np.testing.assert_allclose(by_steps.detach().numpy(), fused.detach().numpy(), rtol=1e-9)
    weights = tg.arange(1, len(times) + 1).astype("float64")
    (a,), (b,) = tg.grad(fused, [x], weights), tg.grad(by_steps, [x], weights)
    np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-12)
    for row, (loss, time) in enumerate(zip(by_alignments(case), times, strict=True)):
        # Each step is of some class; past its end, and where nothing is possible, of none.
        want = [-(row + 1.0) * (t < time and loss < inf) for t in range(len(log_probs))]
        np.testing.assert_allclose(a.numpy()[:, row].sum(-1), want, atol=1e-9)


def test_what_is_past_a_rows_end_is_of_no_account() -> None:
    log_probs = log_softmax(np.random.default_rng(0).normal(size=(6, 2, 4)))
    targets = np.array([[1, 1, 2], [3, 99, -5]])
    short, counts = [6, 3], [3, 1]
    noisy = log_probs.copy()
    noisy[3:, 1] = np.nan
    want = tg.nn.ctc_loss(tg.tensor(log_probs), targets, short, counts, reduction="none")
    x = tg.tensor(noisy, requires_grad=True)
    found = tg.nn.ctc_loss(x, targets, short, counts, reduction="none")
    np.testing.assert_array_equal(found.detach().numpy(), want.numpy())
    (g,) = tg.grad(found.sum(), [x], create_graph=True)
    (h,) = tg.grad((g * g).sum(), [x])
    assert np.isfinite(g.detach().numpy()).all()
    assert np.isfinite(h.numpy()).all()
    assert (g.detach().numpy()[3:, 1] == 0).all()


def test_labels_in_a_row_are_those_of_a_table() -> None:
    x = tg.tensor(log_softmax(np.random.default_rng(0).normal(size=(5, 3, 4))))
    table, counts = [[1, 2], [3, 0], [0, 0]], [2, 1, 0]
    one = tg.nn.ctc_loss(x, table, target_lengths=counts)
    assert one.item() == tg.nn.ctc_loss(x, [1, 2, 3], target_lengths=counts).item()
    nothing = tg.nn.ctc_loss(x, tg.zeros((0,), dtype="int64"), target_lengths=[0, 0, 0])
    want = -x.numpy()[:, :, 0].sum(0).mean()
    assert nothing.item() == pytest.approx(want)


def test_far_from_certain_and_impossible() -> None:
    x = np.full((300, 1, 3), -1000.0, np.float32)
    x[:, 0, 0] = 0.0
    loss = tg.nn.ctc_loss(tg.tensor(x), [[1, 2]], reduction="sum")
    # Two labels anywhere, in order: the smallest probabilities neither vanish nor overflow.
    assert loss.item() == pytest.approx(2000 - log(300 * 299 / 2), rel=1e-5)
    x[:, 0, 2] = -inf
    lost = tg.tensor(x, requires_grad=True)
    loss = tg.nn.ctc_loss(lost, [[1, 2]])
    assert loss.item() == inf
    loss.backward()
    assert lost.grad is not None
    assert (lost.grad.numpy() == 0).all()
    kept = tg.nn.ctc_loss(tg.tensor(x), [[1]], reduction="sum")
    assert np.isfinite(kept.item())
    assert tg.nn.ctc_loss(tg.tensor(x), [[1]]).dtype == np.float32


@pytest.mark.oracle
def test_pytorch_agrees() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(12, 4, 5))
    targets, times, counts = rng.integers(1, 5, (4, 4)), [12, 7, 5, 9], [4, 3, 2, 0]
    for reduction in ("none", "mean", "sum"):
        x = tg.tensor(logits, requires_grad=True)
        y = tg.nn.ctc_loss(tg.log_softmax(x), targets, times, counts, reduction=reduction)
        y.sum().backward()
        z = torch.tensor(logits, requires_grad=True)
        want = torch.nn.functional.ctc_loss(
            z.log_softmax(-1), torch.tensor(targets), times, counts, reduction=reduction
        )
        want.sum().backward()
        np.testing.assert_allclose(y.detach().numpy(), want.detach().numpy())
        assert x.grad is not None
        np.testing.assert_allclose(x.grad.numpy(), z.grad.numpy(), atol=1e-12)


# ---------------------------------------------------------------- decoding


@given(cases(), st.booleans())
def test_a_beam_of_all_prefixes_finds_the_best_labels(case: Any, with_language: bool) -> None:
    log_probs, _, times, _, blank = case
    classes = log_probs.shape[2]
    language = log_softmax(np.random.default_rng(1).normal(size=(97, classes)))

    def follows(labels: tuple[int, ...]) -> list[float]:
        return language[sum((i + 1) * c for i, c in enumerate(labels)) % 97].tolist()

    settings: Any = {"language_model": follows, "weight": 0.7, "bonus": 0.3}
    settings = settings if with_language else {}
    found = ctc_beam_search(
        tg.tensor(log_probs), times, beams=400, n_best=400, blank=blank, **settings
    )
    for b, hypotheses in enumerate(found):
        want = {}
        for labels, p in every(log_probs[: times[b], b], blank).items():
            extra = sum(follows(labels[:i])[c] for i, c in enumerate(labels))
            extra = 0.7 * extra + 0.3 * len(labels) if with_language else 0.0
            want[labels] = (log(p), log(p) + extra)
        assert {h.tokens for h in hypotheses} == set(want)
        for h in hypotheses:
            np.testing.assert_allclose((h.log_prob, h.score), want[h.tokens], atol=1e-9)
        scores = [h.score for h in hypotheses]
        assert scores == sorted(scores, reverse=True)


@given(cases(), st.integers(1, 4))
def test_narrow_beams_row_by_row(case: Any, beams: int) -> None:
    log_probs, _, times, _, blank = case
    found = ctc_beam_search(tg.tensor(log_probs), times, beams=beams, n_best=beams, blank=blank)
    for b, among in enumerate(found):
        x = tg.tensor(np.pad(log_probs[:, b : b + 1], ((0, 2), (0, 0), (0, 0)), constant_values=9))
        [alone] = ctc_beam_search(x, [times[b]], beams=beams, n_best=beams, blank=blank)
        assert [(h.tokens, h.score) for h in alone] == [(h.tokens, h.score) for h in among]
        sums = every(log_probs[: times[b], b], blank)
        for h in among:
            assert h.log_prob <= log(sums[h.tokens]) + 1e-9
        assert len({h.tokens for h in among}) == len(among)


@given(cases())
def test_greedy_takes_the_best_alignment(case: Any) -> None:
    log_probs, _, times, _, blank = case
    for b, h in enumerate(ctc_greedy(tg.tensor(log_probs), times, blank=blank)):
        best = log_probs[: times[b], b]
        assert h.tokens == labels_of(tuple(best.argmax(-1).tolist()), blank)
        assert h.log_prob == pytest.approx(best.max(-1).sum())


def test_the_strict_device_gives_the_same() -> None:
    log_probs = log_softmax(np.random.default_rng(3).normal(size=(6, 2, 4)))
    with strict_device() as device:
        there = ctc_beam_search(tg.tensor(log_probs, device=device), [6, 4], beams=3)
        greedy = ctc_greedy(tg.tensor(log_probs, device=device), [6, 4])
    assert there == ctc_beam_search(tg.tensor(log_probs), [6, 4], beams=3)
    assert greedy == ctc_greedy(tg.tensor(log_probs), [6, 4])


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (
            {"targets": [[0]]},
            IndexError,
            "target 0 is no label: expected 0 to 2, without the blank",
        ),
        ({"targets": [[3]]}, IndexError, "target 3 is no label"),
        ({"targets": [[1.5]]}, tg.ShapeError, "targets: expected integers, got float32"),
        ({"targets": [[1], [2]]}, tg.ShapeError, r"targets: expected \(1, S\).* got \[2, 1\]"),
        ({"targets": [1, 2]}, tg.ShapeError, r"targets: expected \(1, S\), or all labels in a row"),
        ({"targets": [1], "target_lengths": [0]}, tg.ShapeError, "1 labels, but .* add up to 0"),
        ({"target_lengths": [2]}, tg.ShapeError, r"target_lengths\[0\] = 2 is outside 0..1"),
        ({"input_lengths": [5]}, tg.ShapeError, r"input_lengths\[0\] = 5 is outside 0..4"),
        ({"input_lengths": [1, 1]}, tg.ShapeError, "input_lengths: expected 1 integers"),
        ({"log_probs": tg.zeros((4, 3))}, tg.ShapeError, r"log_probs: expected reals \(T, B, C\)"),
        ({"log_probs": [[0.0]]}, TypeError, r"log_probs: expected a Tensor, got list"),
        ({"blank": 3}, IndexError, "blank: 3 is outside the 3 classes"),
        ({"reduction": "all"}, ValueError, "reduction: expected mean, sum or none, got 'all'"),
    ],
)
def test_mistakes_say_what_to_type(given: dict[str, Any], error: Any, said: str) -> None:
    settings = {"log_probs": tg.zeros((4, 1, 3)), "targets": [[1]], **given}
    with pytest.raises(error, match=said):
        tg.nn.ctc_loss(settings.pop("log_probs"), settings.pop("targets"), **settings)


def test_mistakes_in_decoding() -> None:
    x = tg.zeros((4, 1, 3))
    with pytest.raises(ValueError, match="n_best: expected 1 to beams 2, got 3"):
        ctc_beam_search(x, beams=2, n_best=3)
    with pytest.raises(tg.ShapeError, match=r"ctc_greedy: log_probs: expected reals \(T, B, C\)"):
        ctc_greedy(tg.zeros((3, 4)))
    with pytest.raises(IndexError, match="blank: 7 is outside the 3 classes"):
        ctc_greedy(x, blank=7)
    with pytest.raises(ValueError, match=r"row 0 holds 1: tg.log_softmax\(logits, axis=-1\)"):
        ctc_greedy(x + 1)
    with pytest.raises(tg.ShapeError, match="language_model: expected 3 log-probabilities"):
        ctc_beam_search(x, beams=2, language_model=lambda labels: [0.0])


# ---------------------------------------------------------------- what is no number


@pytest.mark.parametrize("bad", [nan, inf])
def test_what_is_no_log_probability_is_not_taken_for_one(bad: float) -> None:
    even = np.full((3, 2, 3), -log(3))
    even[1, 0, 1] = bad
    x = tg.tensor(even)
    for zero_infinity in (False, True) if isnan(bad) else ():
        each = tg.nn.ctc_loss(x, [[1], [1]], zero_infinity=zero_infinity, reduction="none")
        assert np.isnan(each.numpy()).tolist() == [True, False]
    with pytest.raises(ValueError, match="ctc_greedy: log_probs: row 0 holds NaN or"):
        ctc_greedy(x)
    with pytest.raises(ValueError, match="ctc_beam_search: log_probs: row 0 holds NaN or"):
        ctc_beam_search(x, beams=2)


@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_decoders_read_no_step_past_a_rows_end(bad: float) -> None:
    x = log_softmax(np.random.default_rng(0).normal(size=(4, 2, 3)))
    filled = x.copy()
    filled[2:, 1] = bad
    for decode in (ctc_greedy, lambda x, lengths: ctc_beam_search(x, lengths, beams=3)):
        assert decode(tg.tensor(filled), [4, 2]) == decode(tg.tensor(x), [4, 2])


def test_a_language_model_counts_where_it_is_asked() -> None:
    x = tg.tensor(log_softmax(np.random.default_rng(0).normal(size=(4, 2, 3))))
    plain = ctc_beam_search(x, beams=3)
    never = ctc_beam_search(x, beams=3, weight=0.0, language_model=lambda labels: [nan, -inf, nan])
    blank = ctc_beam_search(x, beams=3, language_model=lambda labels: [nan, 0.0, 0.0])
    assert plain == never == blank
    with pytest.raises(ValueError, match=r"language_model: .* it returned NaN or \+inf after \[\]"):
        ctc_beam_search(x, beams=3, language_model=lambda labels: [0.0, nan, 0.0])
    for setting in ("weight", "bonus"):
        with pytest.raises(ValueError, match=f"{setting}: expected a finite number, got nan"):
            ctc_beam_search(x, beams=3, **{setting: nan})  # type: ignore[arg-type]


def test_half_precision_has_no_place_for_impossibilities() -> None:
    x = log_softmax(np.random.default_rng(0).normal(size=(4, 2, 3)))
    loss = tg.nn.ctc_loss(tg.tensor(x.astype("float16")), [[1], [2]])
    assert loss.dtype == np.float16
    assert loss.item() == pytest.approx(tg.nn.ctc_loss(tg.tensor(x), [[1], [2]]).item(), rel=1e-2)
