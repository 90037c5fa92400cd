"""The adding problem: the sequences, the trained error, and how far gradients reach."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.recipes import Adding, AddingConfig, SettingError
from tinygrad_rnn.recipes.adding import additions


@given(length=st.integers(2, 9), batch=st.integers(1, 5), seed=st.integers(0, 99))
def test_two_marks_one_in_each_half_and_their_sum(length: int, batch: int, seed: int) -> None:
    x, sums = additions(tg.Generator(seed), length, batch)
    numbers, marks = x[..., 0], x[..., 1]
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert (marks[: length // 2].sum(axis=0) == 1).all()
    assert (marks[length // 2 :].sum(axis=0) == 1).all()
    for row in range(batch):
        marked = [numbers[t, row] for t in range(length) if marks[t, row]]
        assert math.isclose(sums[row, 0], sum(marked), rel_tol=1e-6)


@pytest.mark.parametrize(("cell", "steps"), [("gru", 600), ("lstm", 600), ("mingru", 900)])
def test_a_short_sum_is_learned(cell: str, steps: int) -> None:
    run = Adding(AddingConfig(cell, length=8, hidden_size=24, steps=steps))
    assert run.evaluate() > 0.1
    for _ in run:
        pass
    assert run.evaluate() < 0.02


def test_a_vanilla_networks_gradient_vanishes_and_a_gated_ones_less() -> None:
    """Compares the first step with the last but one, whose h the gates of an LSTM read as well."""
    reach = {}
    for cell in ("rnn", "gru", "lstm"):
        norms = Adding(AddingConfig(cell, length=60, hidden_size=16)).gradient_norms()
        assert len(norms) == 60
        reach[cell] = norms[0] / norms[-2]
    assert reach["rnn"] < 1e-6
    assert reach["lstm"] > 1e-2
    assert reach["gru"] > 1e-2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cell": "elman"}, "`cell` must be one of rnn, gru, lstm, mingru, not 'elman'"),
        ({"length": 1}, "`length` must be at least 2"),
        ({"hidden_size": 0}, "`hidden_size` must be at least 1"),
        ({"lr": 0.0}, "`lr` must be above 0"),
        ({"seed": -1}, "`seed` must be at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        AddingConfig(**settings)
