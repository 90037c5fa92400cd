"""`tinygrad-rnn train`: charlm, cells, translate, verses, messages, phones and task."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ..data import default_text, without_blanks
from ..data.datasets import file_text
from ..data.parallel import file_pairs
from ..data.splits import Texts
from ..data.tables import read_input
from ..recipes import (
    CharLMConfig,
    CharLMTraining,
    SettingError,
    TranslateConfig,
    TranslationTraining,
    charlm_table,
    fitted,
    letters,
)
from ..recipes import messages as programs
from ..recipes import phones as dictionary
from ..recipes import verses as bibles
from ..recipes.translation_table import against_baselines
from .loop import opened
from .options import Device, Run, absolute, on, options

EXAMPLES, TESTED = 20_000, 1_000  # of a task; of users' pairs, too
Text = Annotated[
    Path | None,
    typer.Option(help="UTF-8 text in any script.", show_default="Shakespeare's plays"),
]


@options(CharLMConfig(), quick=CharLMTraining.quick)
def charlm(
    *,
    text: Text = None,
    settings: dict[str, Any],
    compare: Annotated[
        bool, typer.Option("--compare", help="Also evaluate Kneser-Ney of order 8 on the text.")
    ] = False,
    run: Run,
) -> None:
    """Train a character language model, and evaluate it on held-out text."""
    with opened(CharLMTraining, "charlm", settings, run) as session:
        [path] = session.locate(absolute(text))
        title, content = (text or path, file_text(text or path)) if path else default_text()
        if session.saved is None:
            _shrink(session.settings, len(content))
        training = session.start(content, CharLMConfig())
        symbols = len(training.lm.vocabulary)
        print(f"text: {title}, {len(content):,} characters, {symbols} symbols")
        comparison = partial(charlm_table.against_ngrams, training, content)
        session.train(training, comparison if compare else None)


TABLE = ("hidden_size", "embedding_dim", "dropout", "batch_size", "bptt", "steps", "lr", "seed")


@options(CharLMConfig(), *TABLE, quick=charlm_table.QUICK)
def cells(
    *,
    text: Text = None,
    layers: Annotated[
        int | None, typer.Option(help="Maximal number of layers.", show_default="4", min=1, max=16)
    ] = None,
    settings: dict[str, Any],
    device: Device = None,
) -> None:
    """Compare RNN, GRU and LSTM with 1 to 4 layers as character models of a text."""
    content = read_input(text) if text else default_text()[1]
    _shrink(settings, len(content))
    print("cell  layers    weights  seconds  held-out bits/char")
    with on(device):
        for row in charlm_table.cells_and_layers(
            content, replace(CharLMConfig(), **settings), layers or 4
        ):
            print(
                f"{row.cell:4}  {row.num_layers:6}  {row.weights:9,}  {row.seconds:7.1f}  "
                f"{row.bits:18.3f}",
                flush=True,
            )


def _shrink(settings: dict[str, Any], characters: int) -> None:
    """Lowers batch and window to what a short text has, and says so."""
    wanted = replace(CharLMConfig(), **settings)
    config = fitted(wanted, characters)
    if config != wanted:
        settings |= {"batch_size": config.batch_size, "bptt": config.bptt}
        print(
            f"hint: the text is short: --batch-size {config.batch_size} --bptt {config.bptt} in "
            f"place of {wanted.batch_size} and {wanted.bptt}"
        )


@options(TranslateConfig(), quick=TranslationTraining.quick)
def translate(
    *,
    source: Annotated[Path | None, typer.Option(help="UTF-8 text, a sentence a line.")] = None,
    target: Annotated[Path | None, typer.Option(help="Its translation, line for line.")] = None,
    settings: dict[str, Any],
    run: Run,
) -> None:
    """Train an encoder-decoder on two files, whose lines are translations of each other."""
    with opened(TranslationTraining, "translate", settings, run) as session:
        files = session.locate(absolute(source), absolute(target))
        if files[0] is None or files[1] is None:
            raise SettingError("a translation needs `source` and `target`, the texts to learn from")
        pairs = file_pairs(files[0], files[1])
        training = session.start(pairs, TranslateConfig())
        translator = training.translator
        symbols = f"{len(translator.source)} and {len(translator.target)} symbols"
        print(f"text: {len(pairs):,} pairs{_omitted(training)}, {symbols}")
        _hint(training.config, pairs)
        test = training.heldout_texts[:TESTED]
        session.train(training, lambda: against_baselines(training, "lines", training.pairs, test))


def _hint(config: TranslateConfig, pairs: Sequence[Texts]) -> None:
    """Warns where the symbols are words, but the script has no blanks between words."""
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


@options(bibles.CONFIG, "hidden_size", "batch_size", "steps", "lr", "seed", quick=bibles.QUICK)
def verses(
    *,
    source: Annotated[
        str | None, typer.Option(help="SWORD module of the source.", show_default=bibles.ENGLISH)
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="SWORD module of the target, with the same verses.", show_default=bibles.SPANISH
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Folder of the modules.", show_default=str(bibles.MODULES))
    ] = None,
    settings: dict[str, Any],
    run: Run,
) -> None:
    """Train an encoder-decoder on a Bible in two languages, and test it on held-out verses."""
    with opened(TranslationTraining, "verses", settings, run) as session:
        defaults = [bibles.ENGLISH, bibles.SPANISH, str(bibles.MODULES)]
        modules = session.locate(source, target, absolute(folder), defaults=defaults)
        parts = bibles.verses(*modules)
        training = session.start(parts.training, bibles.CONFIG, heldout=parts.validation)
        print(f"verses: {len(parts.training):,}{_omitted(training)}")
        session.train(
            training, lambda: against_baselines(training, "verses", parts.training, parts.test)
        )


@options(programs.CONFIG, "hidden_size", "batch_size", "steps", "lr", "seed", quick=programs.QUICK)
def messages(
    *,
    language: Annotated[
        str | None,
        typer.Option(
            help="Language of the source, a folder of LibreOffice.", show_default=programs.CHINESE
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder that contains the languages.", show_default="Debian's"),
    ] = None,
    settings: dict[str, Any],
    run: Run,
) -> None:
    """Train an encoder-decoder that translates a program's messages into English."""
    with opened(TranslationTraining, "messages", settings, run) as session:
        defaults = [programs.CHINESE, None]
        parts = programs.messages(*session.locate(language, absolute(folder), defaults=defaults))
        training = session.start(parts.training, programs.CONFIG, heldout=parts.validation)
        print(f"messages: {len(parts.training):,}{_omitted(training)}")
        session.train(training, lambda: programs.compare(training, parts))


@options(
    *(dictionary.CONFIG, "hidden_size", "num_layers", "batch_size", "steps", "lr", "seed"),
    quick=dictionary.QUICK,
)
def phones(
    *,
    settings: dict[str, Any],
    words: Annotated[
        int | None,
        typer.Option(help="Words of the test.", show_default=str(dictionary.TEST), min=1),
    ] = None,
    run: Run,
) -> None:
    """Train an encoder-decoder from letters to phonemes, and test it on held-out words."""
    with opened(TranslationTraining, "phones", settings, run) as session:
        parts = dictionary.phones()
        training = session.start(parts.training, dictionary.CONFIG, heldout=parts.validation)
        print(f"words: {len(parts.training):,} pronunciations, {len(parts.test):,} words to test")
        session.train(training, lambda: dictionary.compare(training, parts, words))


@options(letters.CONFIG, "hidden_size", "attention", "steps", "seed", quick=letters.QUICK)
def task(
    *,
    name: Annotated[str, typer.Argument(help="copy, reverse or sort.")],
    settings: dict[str, Any],
    run: Run,
) -> None:
    """Train an encoder-decoder to copy, reverse or sort letters; test it on longer words.

    Sorting has defaults of its own: twice the units, and three times the steps.
    """
    config = letters.config(name)
    with opened(TranslationTraining, f"task {name}", settings, run) as session:
        train, validation, longer = (
            letters.examples(name, count, lengths, seed)
            for seed, (count, lengths) in enumerate(
                ((EXAMPLES, letters.TRAINED), (TESTED, letters.TRAINED), (TESTED, letters.LONGER))
            )
        )
        training = session.start(train, config, heldout=validation)
        session.train(training)
        for pairs, (shortest, longest) in ((validation, letters.TRAINED), (longer, letters.LONGER)):
            exact = letters.exact(training.translator, pairs)
            print(f"exact: {exact:.1%} of {len(pairs):,} with {shortest} to {longest} letters")


def _omitted(training: TranslationTraining) -> str:
    return f", {training.omitted:,} of them too long" if training.omitted else ""
