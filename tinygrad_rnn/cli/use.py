"""`tinygrad-rnn generate` and `score`: write with a trained model, and weigh a text with it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from ..data import TextError
from ..recipes import CharLM
from ..tensor.random import Generator
from .device import Device, on

Checkpoint = Annotated[Path, typer.Argument(help="The folder that training wrote.")]


def generate(
    checkpoint: Checkpoint,
    prompt: Annotated[str, typer.Option(help="The text to go on from.")] = "",
    length: Annotated[int, typer.Option(help="Characters to write.")] = 500,
    temperature: Annotated[
        float, typer.Option(help="Below 1: closer to the probable; 0: always the most probable.")
    ] = 1.0,
    top_k: Annotated[
        int | None, typer.Option(help="Draw among the k most probable.", show_default="all")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(help="Draw among the most probable that reach p.", show_default="all"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="The same seed, the same text.", show_default="random", min=0),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Round recurrent weights to 8 bits: faster on the CPU.")
    ] = False,
    device: Device = None,
) -> None:
    """Write text, each character as soon as it is drawn."""
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
    text: Annotated[str, typer.Argument(help="The text to weigh.")],
    device: Device = None,
) -> None:
    """Show a text's probability as the product of its characters', each given those before it."""
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
