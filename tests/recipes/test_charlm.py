"""The chain rule holds, sampling is reproducible, and a checkpoint restores the model."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.data import CharVocabulary, VocabularyError
from tinygrad_rnn.io import CheckpointError, save_checkpoint
from tinygrad_rnn.recipes import CharLM, CharLMConfig, CharLMTraining, CharModel, SettingError
from tinygrad_rnn.recipes.charlm import start_symbol
from tinygrad_rnn.train import inference


def untrained(cell: str = "gru", symbols: str = "\nab", **settings: float) -> CharLM:
    config = CharLMConfig(cell=cell, hidden_size=5, embedding_dim=3, **settings)  # type: ignore[arg-type]
    vocabulary = CharVocabulary(symbols)
    model = CharModel(len(vocabulary), config, tg.Generator(1))
    return CharLM(model, vocabulary, start_symbol(symbols))


CELLS = pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])


@CELLS
def test_texts_of_one_length_share_the_probability_of_one(cell: str) -> None:
    lm = untrained(cell)
    texts = ("".join(symbols) for symbols in itertools.product(lm.vocabulary.symbols, repeat=3))
    assert sum(np.exp(lm.score(text).sum()) for text in texts) == pytest.approx(1, abs=1e-5)


@given(st.text("\nab", max_size=12), st.integers(1, 5))
def test_windows_change_nothing(text: str, window: int) -> None:
    lm = untrained("lstm")
    np.testing.assert_allclose(lm.score(text, window), lm.score(text), rtol=1e-4, atol=1e-5)


@given(st.text("\nab", min_size=1, max_size=12))
def test_a_prefix_has_the_first_factors(text: str) -> None:
    lm = untrained("rnn")
    np.testing.assert_allclose(lm.score(text)[:-1], lm.score(text[:-1]), rtol=1e-4, atol=1e-5)


@CELLS
def test_steps_equal_stretches(cell: str) -> None:
    model = untrained(cell, num_layers=2, dropout=0.5).model
    ids = np.array([[0, 1], [2, 2], [1, 0], [0, 0]])
    with inference(model):
        whole, _ = model(tg.tensor(ids))
    for mode in (True, False):
        model.train(mode)
        state = None
        for t, row in enumerate(ids):
            logits, state = model.step(tg.tensor(row), state)
            np.testing.assert_allclose(
                logits.detach().numpy(), whole.numpy()[t], rtol=1e-4, atol=1e-5
            )


@CELLS
def test_greedy_sampling_follows_the_scores(cell: str) -> None:
    lm = untrained(cell)
    written = "".join(lm.sample(6, "ab", generator=tg.Generator(0), temperature=0))
    assert len(written) == 6
    for at in range(6):
        so_far = "ab" + written[:at]
        last = [lm.score(so_far + symbol)[-1] for symbol in lm.vocabulary.symbols]
        assert written[at] == lm.vocabulary.symbols[int(np.argmax(last))]


@CELLS
def test_rounded_weights_hardly_change_the_scores(cell: str) -> None:
    lm, text = untrained(cell), "ab\nba\n" * 10
    rounded = lm.quantized()
    bits, found = lm.score(text).mean(), rounded.score(text).mean()
    assert 0 < abs(found - bits) < 0.01
    written = "".join(rounded.sample(6, "ab", generator=tg.Generator(0), temperature=0))
    assert len(written) == 6


def test_a_seed_fixes_the_sample() -> None:
    lm = untrained("lstm", dropout=0.5)  # dropout plays no part in sampling
    one, same, other = ("".join(lm.sample(40, generator=tg.Generator(seed))) for seed in (3, 3, 4))
    assert one == same != other


def test_sampling_leaves_modes_as_they_were() -> None:
    lm = untrained()
    characters = lm.sample(3, generator=tg.Generator(0))
    next(characters)
    x = tg.tensor(1.0, requires_grad=True)
    assert (x * x).requires_grad  # between characters, graphs are recorded as ever
    assert lm.model.training
    assert "".join(lm.sample(0, generator=tg.Generator(0))) == ""


def test_mistakes_show_at_once() -> None:
    lm = untrained()
    with pytest.raises(VocabularyError, match=r"'c' \(U\+0063\) at position 1"):
        lm.sample(3, "ac", generator=tg.Generator(0))
    with pytest.raises(VocabularyError, match="position 0"):
        lm.score("c")
    with pytest.raises(SettingError, match="`length` must be at least 0"):
        lm.sample(-1, generator=tg.Generator(0))
    with pytest.raises(SettingError, match="temperature"):
        lm.sample(3, generator=tg.Generator(0), temperature=-1)


def test_start_symbol() -> None:
    assert start_symbol("one\ntwo") == "\n"
    assert start_symbol("one two") == "o"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cell": "elman"}, "`cell` must be one of rnn, gru, lstm, not 'elman'"),
        ({"hidden_size": 0}, "`hidden_size` must be at least 1, not 0"),
        ({"bptt": -3}, "`bptt` must be at least 1, not -3"),
        ({"steps": 0}, "`steps` must be at least 1"),
        ({"lr": 0.0}, "`lr` must be above 0"),
        ({"clip": float("nan")}, "`clip` must be above 0"),
        ({"lr": float("inf")}, "`lr` must be finite, not inf"),
        ({"hidden_size": "many"}, "`hidden_size` must be an integer, not 'many'"),
        ({"num_layers": True}, "`num_layers` must be an integer, not True"),
        ({"cell": 1}, "`cell` must be a string, not 1"),
        ({"batch_size": 2**31}, "`batch_size` must be at most 2,147,483,647, not 2,147,483,648"),
        ({"dropout": 1.0}, "`dropout` must be at least 0 and below 1"),
        ({"seed": -1}, "`seed` must be at least 0"),
    ],
)
def test_settings_outside_their_ranges(changes: dict[str, object], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        CharLMConfig(**changes)  # type: ignore[arg-type]


def test_a_checkpoint_gives_the_model_back(
    tmp_path: Path, trained: CharLMTraining, text: str
) -> None:
    save_checkpoint(tmp_path, trained.checkpoint())
    lm = CharLM.load(tmp_path)
    assert lm.vocabulary == trained.lm.vocabulary
    assert lm.start == "\n"
    np.testing.assert_array_equal(lm.score(text[:50]), trained.lm.score(text[:50]))


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path, trained: CharLMTraining) -> None:
    config = trained.checkpoint()["config"]
    older = {**config, "hidden": config["hidden_size"]}
    del older["hidden_size"]
    for settings, said in (
        (older, r"of another version of train charlm, with other settings \(hidden, hidden_size\)"),
        ({**config, "cell": 5}, "`cell` must be a string, not 5"),
    ):
        save_checkpoint(tmp_path, trained.checkpoint() | {"config": settings})
        with pytest.raises(CheckpointError, match=said):
            CharLM.load(tmp_path)


@pytest.mark.parametrize("change", [{"recipe": "translate"}, {"vocabulary": None}])
def test_other_checkpoints_are_refused(
    tmp_path: Path, trained: CharLMTraining, change: dict[str, object]
) -> None:
    state = trained.checkpoint() | change
    save_checkpoint(tmp_path, {name: value for name, value in state.items() if value is not None})
    with pytest.raises(CheckpointError, match="is not one of train charlm"):
        CharLM.load(tmp_path)
