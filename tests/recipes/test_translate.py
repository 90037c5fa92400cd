"""Translations do not depend on the batch, and a checkpoint restores the translator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_rnn.data import END, START, TextError
from tinygrad_rnn.data.splits import hold_out
from tinygrad_rnn.io import CheckpointError, load_checkpoint, save_checkpoint
from tinygrad_rnn.recipes import SettingError, TranslateConfig, TranslationTraining, Translator
from tinygrad_rnn.recipes import trainer as module
from tinygrad_rnn.recipes.translate import ATTENTIONS
from tinygrad_rnn.train import inference

from .test_training import frozen, take

NUMBERS = ["null", "eins", "zwei", "drei", "vier"]
PAIRS = [
    (f"{a} {b} {c}", f"{NUMBERS[a]} {NUMBERS[b]} {NUMBERS[c]}")
    for a in range(5)
    for b in range(5)
    for c in range(3)
] + [(f"{a}", NUMBERS[a]) for a in range(5)]


@pytest.fixture(autouse=True)
def _evaluate_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVALUATE_EVERY", 3)


def tiny(**changes: Any) -> TranslateConfig:
    sizes = {
        "hidden_size": 8,
        "embedding_dim": 4,
        "batch_size": 8,
        "steps": 9,
        "lr": 0.01,
        "dropout": 0.2,
    }
    return TranslateConfig(**{**sizes, **changes})


@pytest.fixture(scope="module")
def learnt() -> TranslationTraining:
    run = TranslationTraining(
        PAIRS, tiny(hidden_size=24, embedding_dim=12, steps=150, lr=0.02, dropout=0.0)
    )
    for _ in run:
        pass
    return run


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"attention": "none", "cell": "gru", "num_layers": 2},
        {"attention": "location", "teacher_forcing": "inverse-sigmoid:3", "bridge": False},
        {"attention": "coverage", "input_feeding": True, "tied": True},
        {"source_symbols": "chars", "target_symbols": "chars", "attention": "multi-head"},
        {"copy": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("stop", [0, 4])
def test_resumed_is_uninterrupted(tmp_path: Path, options: Any, stop: int) -> None:
    whole = TranslationTraining(PAIRS, tiny(**options))
    records = list(whole)
    first = TranslationTraining(PAIRS, tiny(**options))
    before = take(first, stop)
    save_checkpoint(tmp_path, first.checkpoint())
    second = TranslationTraining.resume(load_checkpoint(tmp_path), PAIRS)
    assert before + list(second) == records  # every loss, norm and held-out figure
    assert frozen(second) == frozen(whole)
    assert second.finish() == whole.finish()


def test_it_learns_and_gives_several(learnt: TranslationTraining) -> None:
    found = learnt.translator.translate(["4 0 2", "3"], n_best=3)
    assert [best.text for best, *_ in found] == ["vier null zwei", "drei"]
    for several in found:
        assert len(several) == 3
        assert several == sorted(several, key=lambda one: -one.score)
        assert len({one.text for one in several}) == 3
    assert learnt.finish() < 0.5


@pytest.mark.parametrize("trained", [True, False])  # the latter finds no end before the limit
@pytest.mark.parametrize("max_length", [None, 9])
@pytest.mark.parametrize("beams", [1, 4])
def test_a_batch_is_each_alone(
    learnt: TranslationTraining, trained: bool, max_length: int | None, beams: int
) -> None:
    texts = ["4 0 2", "", "3", "1 1 1", "2 2 0 1 0"]
    translator = (learnt if trained else TranslationTraining(PAIRS, tiny())).translator
    together = translator.translate(texts, beams=beams, max_length=max_length)
    for text, (found, *_) in zip(texts, together, strict=True):
        [[alone]] = translator.translate([text], beams=beams, max_length=max_length)
        assert found.text == alone.text
        assert found.log_prob == pytest.approx(alone.log_prob, abs=1e-4)


def test_an_empty_text_and_no_text(learnt: TranslationTraining) -> None:
    assert learnt.translator.translate([""])[0][0].text == ""
    assert learnt.translator.translate([]) == []


def test_the_log_probability_is_the_chain_rule(learnt: TranslationTraining) -> None:
    translator = learnt.translator
    for beams in (1, 3):
        [[found]] = translator.translate(["4 1 0"], beams=beams)
        source = np.array([*translator.source.encode("4 1 0"), END])[:, None]
        target = [*translator.target.encode(found.text), END]
        with inference(translator.model):
            logits = translator.model(source, np.array([START, *target[:-1]])[:, None])
        factors = logits.log_softmax(axis=-1).numpy()[np.arange(len(target)), 0, target]
        assert found.log_prob == pytest.approx(factors.sum(), abs=1e-4)


def test_held_out_bits_are_the_chain_rule(learnt: TranslationTraining) -> None:
    """They average all symbols, independent of batch and padding, without label smoothing."""
    nats, symbols = 0.0, 0
    with inference(learnt.model):
        for source, target in learnt.heldout:
            given, wanted = [START, *target], [*target, END]
            logits = learnt.model(np.array([*source, END])[:, None], np.array(given)[:, None])
            factors = logits.log_softmax(axis=-1).numpy()[np.arange(len(wanted)), 0, wanted]
            nats, symbols = nats - factors.sum(), symbols + len(wanted)
    assert learnt.evaluate() == pytest.approx(nats / symbols / np.log(2), rel=1e-4)


def test_attention_has_a_row_for_each_symbol(learnt: TranslationTraining) -> None:
    found = learnt.translator.translate(["4 1 0", "2"])
    for text, (best, *_) in zip(["4 1 0", "2"], found, strict=True):
        assert best.attention is not None
        symbols = learnt.translator.source_tokens(text)
        assert best.attention.shape == (len(best.tokens), len(symbols))
        assert symbols[-1] == best.tokens[-1] == "</s>"
        np.testing.assert_allclose(best.attention.sum(-1), 1, rtol=1e-5)


def test_a_checkpoint_gives_the_model_back(learnt: TranslationTraining, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, learnt.checkpoint())
    again = Translator.load(tmp_path)
    one, other = (t.translate(["0 1 2"])[0][0] for t in (learnt.translator, again))
    assert (one.text, one.log_prob) == (other.text, other.log_prob)
    state = learnt.checkpoint()
    del state["data"]
    save_checkpoint(tmp_path, state)
    with pytest.raises(CheckpointError, match="is not one of train translate"):
        Translator.load(tmp_path)


def test_a_checkpoint_with_other_settings(learnt: TranslationTraining, tmp_path: Path) -> None:
    state = learnt.checkpoint()
    state["config"]["pointer"] = state["config"].pop("copy")
    save_checkpoint(tmp_path, state)
    with pytest.raises(CheckpointError, match=r"another version .* settings \(copy, pointer\)"):
        Translator.load(tmp_path)


def test_byte_pairs(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    run = TranslationTraining(
        PAIRS, tiny(source_symbols="bpe", target_symbols="bpe", vocab_size=270)
    )
    take(run, 3)
    save_checkpoint(tmp_path, run.checkpoint())
    again = TranslationTraining.resume(load_checkpoint(tmp_path), PAIRS)
    assert frozen(again) == frozen(run)


def test_scheduled_sampling_follows_its_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    run = TranslationTraining(PAIRS, tiny(teacher_forcing="linear:0.25"))
    seen = []
    monkeypatch.setattr(run, "_loss", lambda batch, truth, _: seen.append(truth) or 1 / 0)
    for step in (0, 1, 9):
        run.step = step
        with pytest.raises(ZeroDivisionError):
            run.batch_loss(run.model, next(iter(run.data)))
    assert seen == [1.0, 0.75, 0.0]


def test_scheduled_sampling_reads_what_was_written() -> None:
    forced, free = (
        TranslationTraining(PAIRS, tiny(teacher_forcing=f"linear:{slope}")) for slope in (0, 1)
    )
    same, differ = zip(take(forced, 2), take(free, 2), strict=True)
    assert same[0] == same[1]  # at first the truth is all that is read
    assert differ[0].loss != differ[1].loss


def test_words_that_were_never_written_are_copied() -> None:
    said, never = [f"w{i}" for i in range(30)], [f"v{i}" for i in range(10)]
    pairs = [(f"say {w} now", f"she says {w}") for w in said] * 2
    pairs += [(f"not {w} now", "nothing") for w in never + said[:10]]
    config = tiny(
        hidden_size=24,
        embedding_dim=12,
        steps=150,
        lr=0.02,
        dropout=0.0,
        label_smoothing=0.0,
        copy=True,
    )
    run = TranslationTraining(pairs, config, heldout=pairs[:3])
    for _ in run:
        pass
    assert run.translator.source.symbols == run.translator.target.symbols
    found = run.translator.translate([f"say {w} now" for w in never])
    assert [best.text for [best] in found] == [f"she says {w}" for w in never]


def test_long_pairs_are_left_out() -> None:
    run = TranslationTraining([*PAIRS, ("0 " * 99, "null")], tiny(max_length=5), heldout=PAIRS[:3])
    assert run.omitted == 1
    with pytest.raises(TextError, match="all are longer than 2 symbols; raise `max_length`"):
        TranslationTraining([("0 1 2", "null")] * 4, tiny(max_length=2))


def test_the_split_is_fixed_and_complete() -> None:
    learn, apart = hold_out(PAIRS, seed=3)
    assert len(apart) == len(PAIRS) // 20
    assert sorted(learn + apart) == sorted(PAIRS)
    assert hold_out(PAIRS, seed=3) == (learn, apart)
    with pytest.raises(TextError, match="too few"):
        TranslationTraining(PAIRS[:1], tiny())


def test_other_pairs_are_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, TranslationTraining(PAIRS, tiny()).checkpoint())
    with pytest.raises(TextError, match="training data differ"):
        TranslationTraining.resume(load_checkpoint(tmp_path), PAIRS[:-1])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cell": "elman"}, "`cell` must be one of rnn, gru, lstm"),
        ({"attention": "soft"}, f"`attention` must be one of {', '.join(ATTENTIONS)}, not 'soft'"),
        ({"source_symbols": "letters"}, "`source_symbols` must be one of chars, words, bpe"),
        ({"vocab_size": 0}, "`vocab_size` must be at least 1"),
        ({"label_smoothing": 1.0}, "`label_smoothing` must be at least 0 and below 1"),
        ({"attention": "multi-head", "hidden_size": 6}, "a multiple of the 4 heads, not 6"),
        ({"attention": "none", "bridge": False}, "the decoder reads no source"),
        ({"attention": "none", "copy": True}, "`copy` needs an `attention`"),
        (
            {"copy": True, "source_symbols": "chars"},
            "`target_symbols` must be chars, .* not words",
        ),
        (
            {"teacher_forcing": "often"},
            "`teacher_forcing` must be .*, not 'often'",
        ),
        (
            {"teacher_forcing": "linear:x"},
            "one of constant, .*, not 'linear:x'",
        ),
        ({"teacher_forcing": "exponential:2"}, "a probability from 0 to below 1, got 2"),
        ({"lr": float("inf")}, "`lr` must be finite"),
    ],
)
def test_settings_outside_their_ranges(changes: Any, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        tiny(**changes)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"beams": 0}, "`beams` must be at least 1"),
        ({"n_best": 0}, "`n_best` must be at least 1"),
        ({"beams": 2, "n_best": 3}, "`n_best` must be at most `beams`, 2"),
        ({"max_length": 0}, "`max_length` must be at least 1"),
        ({"length_penalty": -1.0}, "`length_penalty` must be at least 0 and at most 10"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
    ],
)
def test_ways_to_translate_outside_their_ranges(
    learnt: TranslationTraining, options: Any, said: str
) -> None:
    with pytest.raises(SettingError, match=said):
        learnt.translator.translate(["1"], **options)


def test_an_unknown_word_is_read_as_unknown(learnt: TranslationTraining) -> None:
    assert learnt.translator.source_tokens("1 ∞") == ["1", "<?>", "</s>"]
    assert isinstance(learnt.translator.translate(["∞"])[0][0].text, str)
