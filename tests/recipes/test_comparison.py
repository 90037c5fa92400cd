"""Comparisons: figures, and intervals that have the size which theory gives."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_rnn import plot
from tinygrad_rnn.errors import InvalidValueError
from tinygrad_rnn.recipes import SettingError, bleu_and_chrf
from tinygrad_rnn.recipes.bag_of_words import logistic_regression
from tinygrad_rnn.recipes.bootstrap import f1, paired_bootstrap, perplexity, share
from tinygrad_rnn.recipes.comparison import Comparison, Measure
from tinygrad_rnn.recipes.picture import draw_levels
from tinygrad_rnn.recipes.spans import features_crf
from tinygrad_rnn.recipes.volatility import garch

RNG = np.random.default_rng(0)
ONES = np.ones(2000)


def test_the_interval_is_that_of_the_normal_approximation() -> None:
    a, b = RNG.random(2000) < 0.8, RNG.random(2000) < 0.7
    pair = [np.stack([x, ONES], axis=1) for x in (a, b)]
    low, high = paired_bootstrap(pair[0], pair[1])
    difference = a.astype(float) - b
    error = 1.96 * difference.std() / len(difference) ** 0.5
    assert (low + high) / 2 == pytest.approx(difference.mean(), abs=0.003)
    assert high - low == pytest.approx(2 * error, rel=0.06)


def test_pairs_matter() -> None:
    """Systems that nearly always agree have a narrow interval, however few answers are right."""
    a = RNG.random(2000) < 0.5
    b = a.copy()
    b[:20] = ~b[:20]
    pair = [np.stack([x, ONES], axis=1) for x in (a, b)]
    low, high = paired_bootstrap(pair[0], pair[1])
    assert high - low < 0.01
    assert paired_bootstrap(pair[0], pair[0]) == (0, 0)
    assert paired_bootstrap(pair[0], pair[1]) == (low, high)  # a seed repeats its bits


def test_figures_of_sums() -> None:
    assert share(np.array([3.0, 4])) == 0.75
    assert f1(np.array([2.0, 4, 4])) == 0.5  # precision and recall are 1/2
    assert perplexity(np.array([-2 * np.log(7), 2.0])) == pytest.approx(7)
    assert (share(np.zeros(2)), f1(np.zeros(3))) == (0, 0)


def test_rows_show_the_gain_of_the_last_system() -> None:
    comparison = Comparison("words", [Measure("F1", f1), Measure("ppl", perplexity, "{:.1f}")])
    comparison.add("a", F1=[[1, 2, 2]] * 5, ppl=[[-np.log(8), 1]] * 5)
    comparison.add("b", F1=[[2, 2, 2]] * 5, ppl=[[-np.log(4), 1]] * 5)
    assert comparison.rows() == [
        ["a", "50.0%", "+50.0% to +50.0%", "8.0", "-4.0 to -4.0"],
        ["b", "100.0%", "", "4.0", ""],
    ]
    assert comparison.figures()["b"]["F1"] == 1


@pytest.mark.parametrize("a", [np.zeros(3), np.zeros((0, 2)), np.zeros((4, 2))])
def test_other_shapes_are_refused(a: np.ndarray) -> None:
    with pytest.raises(InvalidValueError, match=r"expected statistics \(N, k\) of the same items"):
        paired_bootstrap(a, np.zeros((3, 2)))


@pytest.mark.parametrize(
    ("package", "who", "extra", "baseline"),
    [
        ("sacrebleu", "BLEU", "translate", lambda: bleu_and_chrf(["a"], ["b"])),
        ("arch", "GARCH(1,1)", "baselines", lambda: garch(np.arange(9.0), 5)),
        ("sklearn", "logistic regression", "baselines",
         lambda: logistic_regression([["a"], ["b"]], [0, 1], [["a"]])),
        ("pycrfsuite", "a CRF on features", "baselines",
         lambda: features_crf([[("a", "X")]], [["a"]])),
    ],
)  # fmt: skip
def test_a_baseline_without_its_package_says_how_to_install_it(
    package: str,
    who: str,
    extra: str,
    baseline: Callable[[], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [package, *(n for n in sys.modules if n.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SettingError) as caught:
        baseline()
    assert str(caught.value).startswith(f"{who} needs the package ")
    assert str(caught.value).endswith(f": pip install 'tinygrad_rnn[{extra}]'")


def test_levels_are_labelled_where_the_curve_is_far_away() -> None:
    """A figure above ours is named at the right end, one below it at the left end."""
    pytest.importorskip("matplotlib")
    comparison = Comparison("texts", [Measure("bits", shown="{:.2f}")])
    for name, bits in (("single", 4.5), ("pairs", 3.0), ("Kneser-Ney", 2.0), ("gru", 2.5)):
        comparison.add(name, bits=[[bits, 1]])
    _, [axes] = plot.panels(1, 1, 4, 3)
    draw_levels(comparison, axes)
    assert [line.get_ydata()[0] for line in axes.lines] == [4.5, 3.0, 2.0]
    assert len({line.get_linestyle() for line in axes.lines}) == 3
    assert [(text.get_text(), text.xy) for text in axes.texts] == [
        ("single: 4.50", (1, 4.5)), ("pairs: 3.00", (1, 3.0)), ("Kneser-Ney: 2.00", (0, 2.0)),
    ]  # fmt: skip
