"""A diverged training raises DivergedError, as do its weights when they are loaded."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.io import load_checkpoint, save_checkpoint
from tinygrad_rnn.recipes import (
    CharLM,
    CharLMConfig,
    CharLMTraining,
    Memory,
    MemoryConfig,
    RecipeTrainer,
    TranslateConfig,
    TranslationTraining,
    Translator,
)
from tinygrad_rnn.train import DivergedError

Tiny = Callable[..., CharLMConfig]
PAIRS = [(f"{a} {b}", f"{b} {a}") for a in "abcd" for b in "abcd"]


def runs(lr: float) -> list[RecipeTrainer]:
    """Creates a short training of each recipe."""
    sizes: dict[str, Any] = {"hidden_size": 4, "steps": 3, "lr": lr, "batch_size": 4}
    return [
        CharLMTraining(
            "the cat sat on the mat\n" * 9, CharLMConfig(bptt=8, embedding_dim=2, **sizes)
        ),
        TranslationTraining(PAIRS, TranslateConfig(embedding_dim=2, **sizes)),
        Memory(MemoryConfig(length=4, **sizes)),
    ]


@pytest.mark.parametrize("lr", [1e3, 1e9, 1e38, 1e300])
def test_a_run_that_ends_with_absurd_figures(lr: float) -> None:
    for run in runs(lr):
        with (
            np.errstate(all="ignore"),
            pytest.raises(DivergedError, match=r"has diverged: step \d"),
        ):
            list(run)


@pytest.mark.parametrize("lr", [1e-9, 1e-3, 0.3])
def test_figures_of_a_run_that_has_not_learnt_are_none_of_divergence(lr: float) -> None:
    for run in runs(lr):
        list(run)
        assert run.finish() < run.worst


@pytest.mark.parametrize("figure", [math.nan, math.inf, 1e9])
def test_held_out_figures(
    text: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, figure: float
) -> None:
    run = CharLMTraining(text, tiny(steps=2))
    next(run)
    monkeypatch.setattr(run, "evaluate", lambda quick=False: figure)
    for what in (lambda: next(run), run.finish):
        with pytest.raises(DivergedError, match=r"step 2 left .* as the validation figure"):
            what()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_weight_that_is_not_read_while_evaluating(text: str, tiny: Tiny, value: float) -> None:
    """An embedding that no held-out character uses is infinite after the last update."""
    run = CharLMTraining("@" + text, tiny(steps=1, batch_size=1))
    list(run)
    with tg.no_grad():
        run.lm.model.embedding.weight[run.lm.vocabulary.symbols.index("@"), 0] = value
    assert math.isfinite(run.evaluate())
    with pytest.raises(
        DivergedError, match=r"weight embedding\.weight has entries that are not fin"
    ):
        run.finish()


def test_weights_that_are_not_finite_are_not_loaded(tmp_path: Any) -> None:
    for run, kind in zip(runs(0.01)[:2], (CharLM, Translator), strict=True):
        save_checkpoint(tmp_path, run.checkpoint())
        kind.load(tmp_path)
        saved = load_checkpoint(tmp_path)
        name = next(iter(saved["model"]))
        saved["model"][name][0] = math.nan
        save_checkpoint(tmp_path, saved)
        with pytest.raises(DivergedError, match=f"{name} has entries that are not finite"):
            kind.load(tmp_path)


def test_weights_that_are_too_large_to_compute_with() -> None:
    charlm, translation, _ = runs(0.01)
    for run in (charlm, translation):
        for weight in run.model.parameters():
            signs = np.random.default_rng(0).choice([-1, 1], weight.shape)
            weight.data = tg.tensor(signs * 3e38, dtype="float32").data
    assert isinstance(charlm, CharLMTraining)
    assert isinstance(translation, TranslationTraining)
    with np.errstate(all="ignore"):
        with pytest.raises(
            tg.InvalidValueError,
            match="expected a finite maximum in each row; got a maximum of nan",
        ):
            next(charlm.lm.sample(1, "cat", generator=tg.Generator(0)))
        with pytest.raises(DivergedError, match="the probabilities are NaN"):
            charlm.lm.score("the cat")
        for beams in (1, 2):
            with pytest.raises(tg.InvalidValueError, match=r"step: expected logits .*, got NaN"):
                translation.translator.translate(["a b"], beams=beams)
