"""`tinygrad-rnn translate`: lines in, lines out, and on request where the model looked."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from ..data import TextError, read_lines
from ..data.datasets import decoded
from ..data.vocabulary import SHOWN
from ..recipes import SettingError, Translation, Translator, bleu_and_chrf
from ..recipes.run import whole
from .device import Device, on
from .picture import check_picture, draw_attention
from .use import Checkpoint

LONGEST_LINE = 2**20  # bytes of the input: a device that never ends a line must end somewhere


def translate(
    checkpoint: Checkpoint,
    file: Annotated[
        Path | None, typer.Argument(help="A text, a sentence a line.", show_default="stdin")
    ] = None,
    beam: Annotated[int, typer.Option(help="Translations that grow side by side.")] = 5,
    n_best: Annotated[int, typer.Option(help="Translations of a line, with their scores.")] = 1,
    length_penalty: Annotated[
        float, typer.Option(help="Favours long translations; 0 for none.")
    ] = 0.6,
    longest: Annotated[
        int | None,
        typer.Option(help="Symbols in a translation.", show_default="twice the source's and 10"),
    ] = None,
    batch: Annotated[int, typer.Option(help="Lines at a time.")] = 32,
    reference: Annotated[
        Path | None, typer.Option(help="The right translations: shows BLEU and chrF on stderr.")
    ] = None,
    attention: Annotated[
        Path | None, typer.Option(help="A PNG of where the first line's translation looked.")
    ] = None,
    device: Device = None,
) -> None:
    """Translate lines with a trained model."""
    whole("batch", batch)
    right = None if reference is None else read_lines(reference)
    if attention is not None:
        check_picture(attention)
    with on(device):
        translator = Translator.load(checkpoint)
        found: list[str] = []
        unknown: Counter[str] = Counter()
        for texts in _chunks(file, batch):
            for text in texts:
                unknown.update(map(str.strip, translator.source.unknown_in(text)))
            written = translator.translate(
                texts, beams=beam, n_best=n_best, length_penalty=length_penalty, longest=longest,
                batch=batch,
            )  # fmt: skip
            for text, best in zip(texts, written, strict=True):
                if not found and attention is not None:
                    _picture(translator, text, best[0], attention)
                _show(len(found), best, n_best)
                found.append(best[0].text)
    if unknown:
        shown = ", ".join(f"{symbol[:40]!r} ({n})" for symbol, n in unknown.most_common(SHOWN))
        more = ", ..." * (len(unknown) > SHOWN)
        print(f"unknown to the model, {unknown.total():,} in all: {shown}{more}", file=sys.stderr)
    if right is not None:
        bleu, chrf = bleu_and_chrf(found, right)
        print(f"BLEU {bleu:.2f}  chrF {chrf:.2f}", file=sys.stderr)


def _show(line: int, translations: list[Translation], n_best: int) -> None:
    """The best one; or several, each with its line's number and its score."""
    if n_best == 1:
        print(translations[0].text, flush=True)
        return
    for one in translations:
        print(f"{line + 1}\t{one.score:.4f}\t{one.text}", flush=True)


def _chunks(file: Path | None, batch: int) -> Iterator[list[str]]:
    """The lines, so many at a time that those of one length can go together."""
    if file is not None:
        yield read_lines(file)
        return
    at_a_time = 1 if sys.stdin.isatty() else 16 * batch
    given = _input()
    while texts := list(itertools.islice(given, at_a_time)):
        yield texts


def _input() -> Iterator[str]:
    """The lines of the standard input."""
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
    draw_attention(path, translator.source_tokens(text), best.tokens, best.attention)
