"""`tinygrad-rnn train translate`, `verses`, `phones` and `task`: learn pairs of sequences."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ..data import read_pairs, without_blanks
from ..io import CheckpointError
from ..recipes import SettingError, TranslateConfig, TranslationTraining, tasks
from ..recipes import verses as bibles
from ..recipes.phones import CONFIG as OF_PHONES
from ..recipes.phones import phones as read_phones
from ..recipes.phones import spoken_error_rates
from ..recipes.scores import bleu_and_chrf
from ..recipes.tasks import CONFIG as OF_TASKS
from ..recipes.translate import checked
from ..recipes.translation_training import Texts
from ..recipes.verses import CONFIG as OF_VERSES
from ..recipes.word_by_word import WordByWord
from . import loop
from .device import Device, on
from .loop import Resume

DEFAULTS = TranslateConfig()
EXAMPLES, TESTED = 20_000, 1_000  # of a task


def _option(field: str, text: str, config: TranslateConfig = DEFAULTS) -> Any:
    return loop.option(config, field, text)


SYMBOLS = "chars, words or bpe (byte pairs)."


def translate(
    source: Annotated[Path | None, typer.Option(help="A UTF-8 text, a sentence a line.")] = None,
    target: Annotated[Path | None, typer.Option(help="Its translation, line for line.")] = None,
    cell: Annotated[str | None, _option("cell", "rnn, gru or lstm.")] = None,
    hidden: Annotated[int | None, _option("hidden", "Units in a layer and direction.")] = None,
    layers: Annotated[int | None, _option("layers", "Layers on either side.")] = None,
    embedding: Annotated[int | None, _option("embedding", "Entries of a symbol's vector.")] = None,
    dropout: Annotated[float | None, _option("dropout", "Probability, in [0, 1).")] = None,
    attention: Annotated[
        str | None,
        _option("attention", "none, general, additive, multi-head, location or coverage."),
    ] = None,
    bridge: Annotated[
        bool | None, _option("bridge", "Begin to write with the state that reading ended with.")
    ] = None,
    feeding: Annotated[
        bool | None, _option("feeding", "Feed what a step made of the source to the next.")
    ] = None,
    tied: Annotated[
        bool | None, _option("tied", "One matrix as the target's embedding and output.")
    ] = None,
    copy: Annotated[
        bool | None, _option("copy", "Let symbols of the source be copied; one vocabulary.")
    ] = None,
    source_symbols: Annotated[str | None, _option("source_symbols", SYMBOLS)] = None,
    target_symbols: Annotated[str | None, _option("target_symbols", SYMBOLS)] = None,
    most: Annotated[int | None, _option("most", "Symbols in a vocabulary.")] = None,
    longest: Annotated[
        int | None, _option("longest", "Symbols in a sequence; longer pairs are left out.")
    ] = None,
    smoothing: Annotated[
        float | None, _option("smoothing", "Share of a target that is spread over all symbols.")
    ] = None,
    truth: Annotated[
        str | None,
        _option(
            "truth",
            "How often a step reads the truth: constant:P, linear:SLOPE, exponential:K or "
            "inverse-sigmoid:K.",
        ),
    ] = None,
    batch: Annotated[int | None, _option("batch", "Pairs in an update.")] = None,
    steps: Annotated[
        int | None, _option("steps", "Updates; more may be asked of --resume.")
    ] = None,
    lr: Annotated[float | None, _option("lr", "Adam's learning rate at its peak.")] = None,
    clip: Annotated[float | None, _option("clip", "The longest gradient (2-norm).")] = None,
    seed: Annotated[int | None, _option("seed", "Fixes all that is random.")] = None,
    device: Device = None,
    out: Annotated[Path, typer.Option(help=loop.OUT)] = Path("runs/translate"),
    resume: Resume = False,
) -> None:
    """Train a model that translates the lines of one text to the lines of another."""
    given = loop.given(locals(), DEFAULTS)
    saved = loop.opened(out, resume, checked)
    files = [str(path.resolve()) if path else None for path in (source, target)]
    if saved is not None:
        kept = _remembered(saved, out, "translate", 2)
        files = [file or before for file, before in zip(files, kept, strict=True)]
    if files[0] is None or files[1] is None:
        raise SettingError("a translation needs --source and --target, the texts to learn from")
    with on(device):
        pairs = read_pairs(files[0], files[1])
        config = None if saved else TranslateConfig(**given)
        run = _run(saved, given, config, pairs, None, device)
        if saved is None:
            sizes = f"{len(run.translator.source)} and {len(run.translator.target)} symbols"
            left_out = f", {run.left_out:,} of them too long" if run.left_out else ""
            print(f"text: {len(pairs):,} pairs{left_out}, {sizes}")
            _hint(run.config, pairs)
        _train(run, out, {"source": files}, loop.to_go_on("translate", out, device), pairs)


def _hint(config: TranslateConfig, pairs: Sequence[Texts]) -> None:
    """Says where words were asked for, and the script has none that could be told apart."""
    for side, kind, texts in zip(
        ("source", "target"),
        (config.source_symbols, config.target_symbols),
        zip(*pairs, strict=True),
        strict=True,
    ):
        if kind == "words" and (script := without_blanks(texts)):
            print(
                f"hint: the {side} is in a script without blanks between words ({script}), where a "
                f"word is a letter: --{side}-symbols chars or bpe may serve better",
                file=sys.stderr,
            )


def verses(
    source: Annotated[
        str | None, typer.Option(help="A module of SWORD.", show_default=bibles.ENGLISH)
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Another of its numbering.", show_default=bibles.SPANISH)
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where modules are.", show_default=str(bibles.MODULES))
    ] = None,
    hidden: Annotated[int | None, _option("hidden", "Units in a layer.", OF_VERSES)] = None,
    batch: Annotated[int | None, _option("batch", "Verses in an update.", OF_VERSES)] = None,
    steps: Annotated[int | None, _option("steps", "Updates.", OF_VERSES)] = None,
    lr: Annotated[float | None, _option("lr", "The learning rate's peak.", OF_VERSES)] = None,
    seed: Annotated[int | None, _option("seed", "Fixes all that is random.", OF_VERSES)] = None,
    device: Device = None,
    out: Annotated[Path, typer.Option(help=loop.OUT)] = Path("runs/verses"),
    resume: Resume = False,
) -> None:
    """Train a model on a Bible in two languages, and test it on verses it has not seen."""
    given = loop.given(locals(), OF_VERSES)
    saved = loop.opened(out, resume, checked)
    modules = _remembered(saved or {}, out, "verses", 3)
    asked = [source, target, str(folder.resolve()) if folder else None]
    defaults = [bibles.ENGLISH, bibles.SPANISH, str(bibles.MODULES)]
    modules = [
        one or before or usual for one, before, usual in zip(asked, modules, defaults, strict=True)
    ]
    with on(device):
        parts = bibles.verses(*modules)
        config = None if saved else replace(OF_VERSES, **given)
        run = _run(saved, given, config, parts.learn, parts.watch, device)
        sources, right = ([pair[side] for pair in parts.test] for side in (0, 1))
        if saved is None:
            print(f"verses: {len(parts.learn):,}, {run.left_out:,} of them too long")
            print(f"to beat, on {len(right):,} more:")
            _print_scores("left as they are", sources, right)
            dictionary = WordByWord(parts.learn)
            _print_scores("word by word", list(map(dictionary.translate, sources)), right)
        _train(run, out, {"source": modules}, loop.to_go_on("verses", out, device), parts.watch)
        found = [best.text for best, *_ in run.translator.translate(sources)]
    _print_scores("the model", found, right)


def _print_scores(whose: str, found: list[str], right: list[str]) -> None:
    bleu, chrf = bleu_and_chrf(found, right)
    print(f"  BLEU {bleu:4.1f}, chrF {chrf:4.1f}: {whose}")


def phones(
    hidden: Annotated[int | None, _option("hidden", "Units in a layer.", OF_PHONES)] = None,
    layers: Annotated[int | None, _option("layers", "Layers on either side.", OF_PHONES)] = None,
    batch: Annotated[int | None, _option("batch", "Words in an update.", OF_PHONES)] = None,
    steps: Annotated[int | None, _option("steps", "Updates.", OF_PHONES)] = None,
    lr: Annotated[float | None, _option("lr", "The learning rate's peak.", OF_PHONES)] = None,
    seed: Annotated[int | None, _option("seed", "Fixes all that is random.", OF_PHONES)] = None,
    words: Annotated[
        int | None, typer.Option(help="Words to test with.", show_default="12000", min=1)
    ] = None,
    device: Device = None,
    out: Annotated[Path, typer.Option(help=loop.OUT)] = Path("runs/phones"),
    resume: Resume = False,
) -> None:
    """Train a model that says how words are spoken, and test it on words it has not seen."""
    given = loop.given(locals(), OF_PHONES)
    saved = loop.opened(out, resume, checked)
    with on(device):
        parts = read_phones()
        config = None if saved else replace(OF_PHONES, **given)
        run = _run(saved, given, config, parts.learn, parts.watch, device)
        if saved is None:
            print(f"words: {len(parts.learn):,} ways to speak them, {len(parts.test):,} to test")
        _train(run, out, {}, loop.to_go_on("phones", out, device), parts.watch)
        test = dict(list(parts.test.items())[:words])
        rates = spoken_error_rates(run.translator, test)
    print(f"word error rate: {rates.sequences:.2%} of {len(test):,} words")
    print(f"phone error rate: {rates.symbols:.2%}")


def task(
    name: Annotated[str, typer.Argument(help="copy, reverse or sort.")],
    hidden: Annotated[
        int | None,
        typer.Option(
            help="Units in a layer.",
            show_default=f"{OF_TASKS.hidden}, to sort {tasks.SORTING.hidden}",
        ),
    ] = None,
    attention: Annotated[str | None, _option("attention", "Its kind.", OF_TASKS)] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Updates.", show_default=f"{OF_TASKS.steps}, to sort {tasks.SORTING.steps}"
        ),
    ] = None,
    seed: Annotated[int | None, _option("seed", "Fixes all that is random.", OF_TASKS)] = None,
    device: Device = None,
    out: Annotated[
        Path | None, typer.Option(help=loop.OUT, show_default="runs/copy and so on")
    ] = None,
    resume: Resume = False,
) -> None:
    """Train a model to copy, reverse or sort letters, and test it on longer sequences."""
    given = loop.given(locals(), OF_TASKS)
    out = out or Path("runs") / name
    saved = loop.opened(out, resume, checked)
    with on(device):
        config = None if saved else replace(tasks.config(name), **given)
        learnt, watched, longer = (
            tasks.examples(name, count, lengths, seed)
            for seed, (count, lengths) in enumerate(
                ((EXAMPLES, tasks.LEARNT), (TESTED, tasks.LEARNT), (TESTED, tasks.LONGER))
            )
        )
        run = _run(saved, given, config, learnt, watched, device)
        _train(run, out, {}, ["task", *loop.to_go_on(name, out, device)], watched)
        for pairs, (least, most) in ((watched, tasks.LEARNT), (longer, tasks.LONGER)):
            share = tasks.exact(run.translator, pairs)
            print(f"exact: {share:.1%} of {len(pairs):,} with {least} to {most} letters")


def _run(
    saved: dict[str, Any] | None,
    given: dict[str, Any],
    config: TranslateConfig | None,
    pairs: Sequence[Texts],
    heldout: Sequence[Texts] | None,
    device: str | None,
) -> TranslationTraining:
    """A run that is resumed, or a new one."""
    if saved is not None:
        steps = loop.same_settings(given, saved)
        run = TranslationTraining.resume(saved, pairs, steps, device, heldout=heldout)
        loop.going_on(run)
        return run
    assert config is not None
    run = TranslationTraining(pairs, config, device, heldout=heldout)
    loop.describe(run, f"{config.cell}, {config.attention} attention,")
    return run


def _remembered(saved: dict[str, Any], out: Path, command: str, count: int) -> list[Any]:
    """Where a run's texts came from, if it is one of this command."""
    found = saved.get("source") or [None] * count
    if not isinstance(found, list) or len(found) != count:
        raise CheckpointError(f"the checkpoint in {out} is not one of train {command}")
    return list(found)


def _train(
    run: TranslationTraining,
    out: Path,
    extra: dict[str, Any],
    command: list[str],
    pairs: Sequence[Texts],
) -> None:
    shown = sorted(pairs, key=lambda pair: len(pair[0]))[len(pairs) // 2][0]  # of middling length

    def sample() -> str:
        [[best]] = run.translator.translate([shown], beams=1)
        return f"{shown}\n{best.text}"

    loop.train(run, out, extra, command, sample)
