"""Training reduces the loss, evaluates all held-out text, and resumes bit for bit."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.data import TextError
from tinygrad_rnn.io import load_checkpoint, save_checkpoint
from tinygrad_rnn.recipes import CharLMConfig, CharLMTraining, SettingError
from tinygrad_rnn.recipes import trainer as module
from tinygrad_rnn.train import DivergedError

Tiny = Callable[..., CharLMConfig]


@pytest.fixture(autouse=True)
def _evaluate_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVALUATE_EVERY", 3)


def frozen(run: CharLMTraining) -> dict[str, Any]:
    """Returns a trainer's state with arrays as bytes."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(v) for key, v in value.items()}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        if isinstance(value, tg.Tensor):
            return plain(value.numpy())
        if isinstance(value, np.ndarray):
            return (value.dtype.str, value.shape, value.tobytes())
        return value

    return {key: plain(value) for key, value in run.checkpoint().items()}


def take(run: Iterator[Any], steps: int) -> list[Any]:
    return [next(run) for _ in range(steps)]


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("stop", [0, 1, 5, 9])
def test_resumed_is_uninterrupted(
    tmp_path: Path, text: str, tiny: Tiny, cell: str, stop: int
) -> None:
    config = tiny(cell=cell, num_layers=2, dropout=0.3, batch_size=5, bptt=40)  # several passes
    whole = CharLMTraining(text, config)
    records = list(whole)

    first = CharLMTraining(text, config)
    before = take(first, stop)
    save_checkpoint(tmp_path, first.checkpoint())
    second = CharLMTraining.resume(load_checkpoint(tmp_path), text)
    assert frozen(second) == frozen(first)
    assert before + list(second) == records  # every loss, norm and held-out figure
    assert frozen(second) == frozen(whole)
    assert second.finish() == whole.finish()


def test_evaluating_and_sampling_disturb_nothing(text: str, tiny: Tiny) -> None:
    plain, disturbed = (CharLMTraining(text, tiny(dropout=0.3)) for _ in range(2))
    list(plain)
    for _ in disturbed:
        disturbed.evaluate()
        "".join(disturbed.lm.sample(3, generator=tg.Generator(0)))
        disturbed.lm.score("1 times")
    assert frozen(disturbed) == frozen(plain)


def test_a_finished_run_keeps_its_result(
    tmp_path: Path, trained: CharLMTraining, text: str
) -> None:
    result = trained.finish()
    save_checkpoint(tmp_path, trained.checkpoint())
    again = CharLMTraining.resume(load_checkpoint(tmp_path), text)
    assert list(again) == []
    assert again.result == result
    assert again.result < math.log2(len(again.lm.vocabulary))


def test_steps_may_be_extended(tmp_path: Path, text: str, tiny: Tiny) -> None:
    run = CharLMTraining(text, tiny(steps=4))
    list(run)
    run.finish()
    save_checkpoint(tmp_path, run.checkpoint())
    longer = CharLMTraining.resume(load_checkpoint(tmp_path), text, span=7)
    assert longer.result is None  # the figure of a shorter run is not this run's
    before = frozen(longer)["model"]
    assert [progress.step for progress in longer] == [5, 6, 7]
    assert frozen(longer)["model"] != before
    with pytest.raises(SettingError, match="`steps` is 3, but the training has made 4 already"):
        CharLMTraining.resume(load_checkpoint(tmp_path), text, span=3)


def test_the_text_must_be_the_same(trained: CharLMTraining, text: str) -> None:
    saved = json.loads(json.dumps({"data": trained.fingerprint}))
    for other in (text + ".", text.replace("7", "8")):
        with pytest.raises(
            TextError, match=r"data differ from the checkpoint's: .* characters now"
        ):
            CharLMTraining.resume(saved, other)


@pytest.mark.parametrize("length", [200, 2100, 3333])
def test_held_out_is_read_to_its_end(text: str, tiny: Tiny, length: int) -> None:
    """It is the mean over all held-out characters, as `score` computes it for one stream."""
    run = CharLMTraining((text * 100)[: length * 20], tiny())
    assert len(run.heldout) == length + 1
    seen = run.lm.vocabulary.decode(run.heldout)
    if length < 2000:  # one stream: exactly the chain rule
        lm = dataclasses.replace(run.lm, start=seen[0])
        expected = -lm.score(seen[1:]).mean() / math.log(2)
        assert run.evaluate() == pytest.approx(expected, rel=1e-4)
    else:  # several: equal but for the cold starts
        streams = length // 1000
        parts = np.array_split(np.arange(1, streams * (length // streams) + 1), streams)
        nats = 0.0
        for at, part in enumerate(parts):
            last = length if at == streams - 1 else part[-1]
            lm = dataclasses.replace(run.lm, start=seen[part[0] - 1])
            nats -= lm.score(seen[part[0] : last + 1]).sum()
        assert run.evaluate() == pytest.approx(nats / length / math.log(2), rel=1e-4)


def test_progress_evaluates_now_and_then_and_last(text: str, tiny: Tiny) -> None:
    evaluated = [p.step for p in CharLMTraining(text, tiny(steps=8)) if p.validation is not None]
    assert evaluated == [3, 6, 8]


def test_it_learns(text: str, tiny: Tiny) -> None:
    run = CharLMTraining(text, tiny(hidden_size=24, batch_size=4, bptt=16, steps=120, lr=0.02))
    losses = [progress.loss for progress in run]
    assert losses[0] == pytest.approx(math.log(len(run.lm.vocabulary)), abs=0.5)
    assert np.mean(losses[-10:]) < 0.5 * losses[0]
    assert run.finish() < 2


@pytest.mark.parametrize("where", ["loss", "norm"])
def test_divergence_stops_before_the_weights_change(
    text: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    run = CharLMTraining(text, tiny())
    take(run, 2)
    before = frozen(run)["model"]
    if where == "loss":
        loss = run.loss

        def diverging(*batch: Any) -> Any:
            value, symbols = loss(*batch)
            return value * math.nan, symbols

        monkeypatch.setattr(run, "loss", diverging)
    else:
        monkeypatch.setattr(run.train_step, "gradients", lambda batches: (1.0, 1, math.inf))
    with pytest.raises(DivergedError, match=r"step 3 gave .*(nan|inf).*lower `lr`"):
        next(run)
    assert frozen(run)["model"] == before


def test_short_texts() -> None:
    with pytest.raises(TextError, match=r"96 characters.*`bptt` \+ 1 = 97: lower one"):
        CharLMTraining("ab" * 50 + "c", CharLMConfig(batch_size=4, bptt=24))
    with pytest.raises(TextError, match="empty"):
        CharLMTraining("", CharLMConfig())
    run = CharLMTraining("ab" * 51, CharLMConfig(batch_size=4, bptt=24, hidden_size=3, steps=2))
    assert len(list(run)) == 2
