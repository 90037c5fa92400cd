"""`tinygrad-rnn generate` and `score`: sample from a character model, and score a text."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from ..data import TextError
from ..recipes import CharLM
from ..tensor.random import Generator
from .options import Checkpoint, Device, on


def generate(
    checkpoint: Checkpoint,
    prompt: Annotated[str, typer.Option(help="The text to continue.")] = "",
    length: Annotated[int, typer.Option(help="Characters to generate.")] = 500,
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
    """Generate text, and print each character as soon as it is drawn."""
    with on(device):
        lm = CharLM.load(checkpoint)
        if int8:
            lm = lm.quantized()
        characters = lm.sample(
            length,
            prompt,
            generator=Generator(seed),
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        )
        print(prompt, end="", flush=True)
        for character in characters:
            print(character, end="", flush=True)
        print()


def score(
    checkpoint: Checkpoint,
    text: Annotated[str, typer.Argument(help="The text to score.")],
    device: Device = None,
) -> None:
    """Show a text's probability, by the chain rule over its characters."""
    from rich.console import Console
    from rich.table import Table

    if not text:
        raise TextError("the text is empty; there is nothing to score")
    with on(device):
        lm = CharLM.load(checkpoint)
        factors = lm.score(text)

    table = Table(title=f"P(text | {lm.start!r}), by the chain rule", title_justify="left")
    table.add_column("symbol")
    table.add_column("P(symbol | all before)", justify="right")
    table.add_column("log P so far", justify="right")
    running = 0.0
    for symbol, factor in zip(text, factors.tolist(), strict=True):
        running += factor
        table.add_row(repr(symbol), f"{math.exp(factor):.6f}", f"{running:.4f}")
    table.add_section()
    table.add_row("all", f"{math.exp(running):.6g}", f"{running:.4f}")
    console = Console(highlight=False, markup=False)
    console.print(table)
    console.print(f"{-running / len(text) / math.log(2):.3f} bits/char over {len(text)} characters")
