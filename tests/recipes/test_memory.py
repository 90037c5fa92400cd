"""The problems with long dependencies: their sequences, what is wrong, how far gradients reach."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.recipes import Memory, MemoryConfig, SettingError, memory, problems
from tinygrad_rnn.recipes.explosion import explosion
from tinygrad_rnn.recipes.problems import PROBLEMS, REBER
from tinygrad_rnn.recipes.sample import IGNORED, Sample


@given(length=st.integers(2, 9), batch=st.integers(1, 5), seed=st.integers(0, 99))
def test_two_marks_one_in_each_half_and_their_sum(length: int, batch: int, seed: int) -> None:
    x, sums, _ = problems.adding(tg.Generator(seed), length, batch)
    numbers, marks = x[..., 0], x[..., 1]
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert (marks[: length // 2].sum(axis=0) == 1).all()
    assert (marks[length // 2 :].sum(axis=0) == 1).all()
    for row in range(batch):
        marked = [numbers[t, row] for t in range(length) if marks[t, row]]
        assert math.isclose(sums[row, 0], sum(marked), rel_tol=1e-6)


@given(length=st.integers(10, 60), seed=st.integers(0, 99))
def test_two_of_x_and_y_in_their_order(length: int, seed: int) -> None:
    x, target, _ = problems.order(tg.Generator(seed), length, 4)
    ids = x.argmax(axis=-1)
    for row in range(4):
        first, second = (t for t in range(length) if ids[t, row] < 2)
        assert length // 10 <= first < length // 2 <= second
        assert target[-1, row] == 2 * ids[first, row] + ids[second, row]


@given(seed=st.integers(0, 999))
def test_strings_of_the_embedded_grammar(seed: int) -> None:
    """Each symbol is legal, the last but one is the second, and shorter strings are ignored."""
    x, target, legal = problems.reber(tg.Generator(seed), 0, 3)
    assert legal is not None
    for row in range(3):
        steps = int((target[:, row] != IGNORED).sum())
        text = "".join(REBER[i] for i in x[:steps, row].argmax(axis=-1))
        assert text.startswith(("BTB", "BPB"))
        assert len(text) >= 8
        assert text[-1] == text[1]
        assert (target[: steps - 1, row] == x[1:steps, row].argmax(axis=-1)).all()
        assert REBER[target[steps - 1, row]] == "E"
        assert legal[np.arange(steps), row, target[:steps, row]].all()
        assert legal[:steps, row].sum(axis=-1).max() == 2
        assert [*legal[steps - 2, row]].count(True) == 1
        assert not x[steps:, row].any()


def test_what_is_wrong() -> None:
    sums = Sample(np.zeros((1, 4, 1), "float32"), np.ones((4, 1), "float32"))
    y = np.array([[[1.0], [1.079], [0.9], [np.nan]]])
    assert sums.wrong(tg.tensor(y)).tolist() == [False, False, True, True]
    symbols = np.array([[IGNORED, IGNORED], [1, 1]])
    y = np.array([[[9.0, 0], [0, 9.0]], [[0, 1.0], [1.0, 0]]])
    sample = Sample(np.zeros((2, 2, 1), "float32"), symbols)
    assert sample.wrong(tg.tensor(y)).tolist() == [False, True]
    legal = np.array([[[True, True, False], [True, True, False]]])
    y = np.array([[[2.0, 3.0, 1.0], [0.5, 3.0, 1.0]]])
    strings = Sample(np.zeros((1, 2, 1), "float32"), np.array([[0, 1]]), legal)
    assert strings.wrong(tg.tensor(y)).tolist() == [False, True]


@pytest.mark.parametrize(
    ("problem", "cell", "steps"),
    [
        ("adding", "gru", 600),
        ("order", "lstm", 300),
        ("order", "mingru", 300),
        ("reber", "gru", 400),
    ],
)  # fmt: skip
def test_a_short_problem_is_learned(problem: str, cell: str, steps: int) -> None:
    run = Memory(MemoryConfig(problem, cell, length=10, hidden_size=24, lr=1e-2, steps=steps))
    assert run.evaluate() > 0.4
    for progress in run:
        if progress.validation is not None and progress.validation < 0.1:
            return
    assert run.evaluate() < 0.25


@pytest.mark.parametrize("cell", memory.CELLS)
def test_layers_on_top_of_each_other(cell: str) -> None:
    """Each begins with gates that keep, and the gradient is that of the first layer's states."""
    deep = Memory(MemoryConfig("order", cell, length=12, hidden_size=4, num_layers=2))
    one = Memory(MemoryConfig("order", cell, length=12, hidden_size=4))
    size = {name: p.size for name, p in deep.model.named_parameters()}
    assert sum(size.values()) > 1.5 * sum(p.size for p in one.model.parameters())
    assert len(deep.gradient_norms()) == 12
    assert deep.gradient_norms() != one.gradient_norms()
    if cell == "mingru":
        keep = [p.numpy()[:4] for name, p in deep.model.named_parameters() if "bias_ih" in name]
        assert len(keep) == 2
        assert all((bias < -memory.KEEP + 1).all() for bias in keep)


def test_a_vanilla_networks_gradient_vanishes_and_a_gated_ones_less() -> None:
    """Compares the first step with the last but one, whose h the gates of an LSTM read as well."""
    reach = {}
    for cell in ("rnn", "gru", "lstm"):
        norms = Memory(MemoryConfig(cell=cell, length=60, hidden_size=16)).gradient_norms()
        assert len(norms) == 60
        reach[cell] = norms[0] / norms[-2]
    assert reach["rnn"] < 1e-6
    assert reach["lstm"] > 1e-2
    assert reach["gru"] > 1e-2


@pytest.mark.parametrize("problem", PROBLEMS)
def test_gradients_are_of_the_last_step_alone(problem: str) -> None:
    run = Memory(MemoryConfig(problem, "gru", length=12, hidden_size=4))
    ends = run.heldout.ends(8)
    assert len(ends.x) == len(run.gradient_norms())
    if problem != "adding":
        assert (ends.target[:-1] == IGNORED).all()
        assert (ends.target[-1] != IGNORED).all()


def test_clipping_saves_a_training_whose_gradient_explodes() -> None:
    found = explosion(steps=900)
    plain, clipped = (np.array(found.norms[n]) for n in ("without clipping", "clipped at 0.2"))
    cut = np.array(found.norms["truncated to 6 steps"])
    assert plain[0] > 3 * plain[-1]
    np.testing.assert_allclose(clipped / plain, (clipped / plain)[0])
    assert clipped[0] < plain[0]
    assert not cut[:-6].any()
    np.testing.assert_allclose(cut[-4:], plain[-4:], rtol=0.5)  # of other states, without a past
    assert found.wrong["without clipping"] > 0.6
    assert found.wrong["clipped at 0.2"] < 0.05


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cell": "elman"}, "`cell` must be one of rnn, gru, lstm, mingru, not 'elman'"),
        ({"problem": "sum"}, "`problem` must be one of adding, copying, order, reber, not 'sum'"),
        ({"length": 1}, "`length` must be at least 2"),
        ({"hidden_size": 0}, "`hidden_size` must be at least 1"),
        ({"lr": 0.0}, "`lr` must be above 0"),
        ({"seed": -1}, "`seed` must be at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        MemoryConfig(**settings)
