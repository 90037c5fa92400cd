"""`tinygrad-rnn translate`: translates lines, and draws attention on request."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from .. import plot
from ..data import TextError, read_lines
from ..data.datasets import decoded
from ..data.tables import STANDARD_INPUT
from ..data.vocabulary import SHOWN
from ..plot.canvas import check_plot_file
from ..recipes import SettingError, Translation, Translator, bleu_and_chrf
from ..recipes.runs import load_run
from ..recipes.settings import check
from .options import Checkpoint, Device, on

LONGEST_LINE = 2**20  # bytes of the input, which may be a device that never ends a line


def translate(
    checkpoint: Checkpoint,
    file: Annotated[
        Path | None, typer.Argument(help="UTF-8 text, a sentence a line.", show_default="stdin")
    ] = None,
    beams: Annotated[int, typer.Option(help="Width of the beam search; 1 is greedy.")] = 5,
    n_best: Annotated[int, typer.Option(help="Translations of a line, with their scores.")] = 1,
    length_penalty: Annotated[
        float, typer.Option(help="GNMT's alpha: favours long translations; 0 for none.")
    ] = 0.6,
    max_length: Annotated[
        int | None,
        typer.Option(
            help="Maximal symbols in a translation.", show_default="twice the source's and 10"
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Lines at a time.")] = 32,
    reference: Annotated[
        Path | None, typer.Option(help="Reference translations: prints BLEU and chrF on stderr.")
    ] = None,
    attention: Annotated[
        Path | None, typer.Option(help="PNG file for a plot of the first line's attention.")
    ] = None,
    device: Device = None,
) -> None:
    """Translate lines with a trained model."""
    check("batch_size", batch_size, at_least=1)
    references = None if reference is None else read_lines(reference)
    if attention is not None:
        check_plot_file(attention)
    with on(device):
        translator: Translator
        _, translator = load_run(checkpoint, "translate")
        translations: list[str] = []
        unknown: Counter[str] = Counter()
        for texts in _chunks(file, batch_size):
            for text in texts:
                unknown.update(map(str.strip, translator.source.unknown_in(text)))
            results = translator.translate(
                texts, beams=beams, n_best=n_best, length_penalty=length_penalty,
                max_length=max_length, batch_size=batch_size,
            )  # fmt: skip
            for text, best in zip(texts, results, strict=True):
                if not translations and attention is not None:
                    _picture(translator, text, best[0], attention)
                _show(len(translations), best, n_best)
                translations.append(best[0].text)
    if unknown:
        shown = ", ".join(f"{symbol[:40]!r} ({n})" for symbol, n in unknown.most_common(SHOWN))
        more = ", ..." * (len(unknown) > SHOWN)
        print(f"unknown to the model, {unknown.total():,} in all: {shown}{more}", file=sys.stderr)
    if references is not None:
        bleu, chrf = bleu_and_chrf(translations, references)
        print(f"BLEU {bleu:.2f}  chrF {chrf:.2f}", file=sys.stderr)


def _show(line: int, translations: list[Translation], n_best: int) -> None:
    """Prints the best translation, or several, each with its line's number and its score."""
    if n_best == 1:
        print(translations[0].text, flush=True)
        return
    for one in translations:
        print(f"{line + 1}\t{one.score:.4f}\t{one.text}", flush=True)


def _chunks(file: Path | None, batch_size: int) -> Iterator[list[str]]:
    """Yields the lines, enough at a time to batch those of similar length."""
    if file is not None and str(file) != STANDARD_INPUT:
        yield read_lines(file)
        return
    at_a_time = 1 if sys.stdin.isatty() else 16 * batch_size
    input_lines = _input()
    while texts := list(itertools.islice(input_lines, at_a_time)):
        yield texts


def _input() -> Iterator[str]:
    """Yields the lines of the standard input."""
    line = offset = 0
    while raw := sys.stdin.buffer.readline(LONGEST_LINE + 1):
        line += 1
        if len(raw) > LONGEST_LINE:
            raise TextError(f"line {line} of the input has more than {LONGEST_LINE:,} bytes")
        text = decoded(raw, "the input", line, offset)
        yield text.removesuffix("\n").removesuffix("\r")
        offset += len(raw)


def _picture(translator: Translator, text: str, best: Translation, path: Path) -> None:
    if best.attention is None:
        raise SettingError("no attention to draw: the first line is empty, or the model has none")
    figure = plot.attention(best.attention, translator.source_tokens(text), best.tokens)
    plot.save(figure, path)
