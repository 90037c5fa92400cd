"""`tinygrad-rnn generate` and `score`: sample from a language model, and score a text."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from ..data import TextError, VocabularyError
from ..data.tables import read_input
from ..errors import words_of
from ..recipes.runs import load_run
from ..recipes.word_scorer import WordScorer
from ..tensor.random import Generator
from .options import Checkpoint, Device, as_utf8, on

NAME = 4096  # characters that the name of a file may have
ROWS = 1000  # characters of a text that are shown one by one
NARROW, LEAST = 56, 40  # columns: with room for the table's borders, and without


def generate(
    checkpoint: Checkpoint,
    prompt: Annotated[str, typer.Option(help="The text to continue.", callback=as_utf8)] = "",
    length: Annotated[int, typer.Option(help="Characters, or words, to generate.")] = 500,
    temperature: Annotated[
        float, typer.Option(help="Divides the logits; 0 always takes the most probable.")
    ] = 1.0,
    top_k: Annotated[
        int | None, typer.Option(help="Sample from the k most probable.", show_default="all")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(help="Sample from the most probable that sum to p.", show_default="all"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of the sampling.", show_default="random", min=0),
    ] = None,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Quantize recurrent weights to 8 bits: faster on the CPU."),
    ] = False,
    device: Device = None,
) -> None:
    """Generate text by characters or words, and print each as soon as it is drawn."""
    with on(device):
        _, lm = load_run(checkpoint, "generate")
        if int8:
            lm = lm.quantized()
        symbols = lm.sample(
            length,
            prompt,
            generator=Generator(seed),
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        )
        print(prompt, end="", flush=True)
        for symbol in symbols:
            print(symbol, end="", flush=True)
        print()


def score(
    checkpoint: Checkpoint,
    text: Annotated[str | None, typer.Argument(help="The text to score.", callback=as_utf8)] = None,
    file: Annotated[Path | None, typer.Option(help="A UTF-8 text to score instead.")] = None,
    summary: Annotated[
        bool, typer.Option("--summary", help="Show the whole text's figures only.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    device: Device = None,
) -> None:
    """Show a text's probability, by the chain rule over its characters, or its words."""
    if (text is None) is (file is None):
        raise TextError("expected a text to score: type it, or name a file with --file")
    text = read_input(file) if file is not None else text
    if not text:
        raise TextError("the text is empty; there is nothing to score")
    with on(device):
        _, lm = load_run(checkpoint, "score")
        try:
            factors = lm.score(text).tolist()
        except VocabularyError as error:
            if file is None and len(text) < NAME and Path(text).is_file():
                raise TextError(
                    f"{text} is a file: --file {text} scores what is in it ({words_of(error)})"
                ) from None
            raise
    symbols, by_words = lm.split(text), isinstance(lm, WordScorer)
    total = math.fsum(factors)
    bits = -total / len(text) / math.log(2)
    rows = [] if summary else list(zip(symbols, factors, strict=True))
    if as_json:
        figures: dict[str, Any] = {"characters": len(text), "log_prob": total}
        figures["bits_per_char"] = bits
        if by_words:
            figures |= {"words": len(symbols), "perplexity": math.exp(-total / len(symbols))}
        if rows:
            figures["symbols"] = [{"symbol": c, "log_prob": factor} for c, factor in rows]
        print(json.dumps(figures, ensure_ascii=False))
        return
    if len(rows) > ROWS:
        print(
            f"{len(rows):,} {'words' if by_words else 'characters'}: their sum only; --json has "
            "each of them"
        )
        rows = []
    _print_scores(rows, total, lm.start)
    print(f"{bits:.3f} bits/char over {len(text)} characters")
    if by_words:
        print(f"perplexity {math.exp(-total / len(symbols)):.1f} over {len(symbols)} words")


def _print_scores(rows: list[tuple[str, float]], total: float, start: str) -> None:
    """Prints a row for each symbol, and their product."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    narrow = console.width < NARROW
    title = f"P(text | {start!r}), by the chain rule"
    table = Table(title=title, title_justify="left")
    if narrow:
        table.box, table.pad_edge, console.width = None, False, max(console.width, LEAST)
    table.add_column("symbol", no_wrap=True)
    header = "P" if narrow else "P(symbol | all before)"
    for name in (header, "log P" if narrow else "log P so far"):
        table.add_column(name, justify="right", no_wrap=True)
    running = 0.0
    for symbol, factor in rows:
        running += factor
        table.add_row(repr(symbol), f"{math.exp(factor):.6f}", f"{running:.4f}")
    table.add_section()
    table.add_row("all", probability(total), f"{total:.4f}")
    console.print(table)


def probability(log: float) -> str:
    """Formats a probability by its natural logarithm, however small it is.

    >>> probability(math.log(0.25)), probability(-1e5)
    ('0.25', '3.56295e-43430')
    """
    if log > -700 or log == -math.inf:
        return f"{math.exp(log):.6g}"
    exponent = math.floor(log / math.log(10))
    return f"{10 ** (log / math.log(10) - exponent):.6g}e{exponent}"
