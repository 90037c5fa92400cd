"""Character models compared on held-out text: with Kneser-Ney, and cells with 1 to 4 layers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from .bootstrap import bits, block_sums
from .cells import CELLS
from .charlm import CharLMConfig
from .charlm_training import CharLMTraining
from .comparison import Comparison, Measure
from .kneser_ney import KneserNey

BLOCK = 500  # characters that the bootstrap draws together
ORDER = 8  # of Kneser-Ney
QUICK = {"hidden_size": 64, "steps": 300, "layers": 2}  # of the table of cells and layers


def against_ngrams(training: CharLMTraining, text: str) -> Comparison:
    """Compares a trained model with Kneser-Ney, in bits per character of the held-out text.

    Both read the held-out text from its beginning, without what precedes it.
    """
    first = training.symbols
    symbols = training.lm.vocabulary.encode(text)
    test = symbols[first:]
    measure = Measure("bits/char", bits, "{:.3f}")
    comparison = Comparison(f"blocks of {BLOCK} characters", [measure])
    scores = {}
    for name, n in (("single characters", 1), (f"Kneser-Ney, order {ORDER}", ORDER)):
        model = KneserNey(symbols[:first], min(n, first), len(training.lm.vocabulary))
        scores[name] = model.score(test)
    scores[training.title] = training.lm.score(text[first:])
    for system, found in scores.items():
        comparison.add(system, **{"bits/char": block_sums(BLOCK, found, np.ones(len(test)))})
    return comparison


@dataclass(frozen=True)
class Row:
    """A model of the table of cells and layers."""

    cell: str
    num_layers: int
    weights: int
    seconds: float
    bits: float  # per held-out character


def cells_and_layers(text: str, config: CharLMConfig, layers: int = 4) -> Iterator[Row]:
    """Trains each cell with 1 to some layers on a text, and yields its figures.

    >>> config = CharLMConfig(hidden_size=4, embedding_dim=2, batch_size=2, bptt=4, steps=1)
    >>> rows = cells_and_layers("to be, or not to be? " * 9, config, layers=1)
    >>> [(row.cell, row.num_layers) for row in rows]
    [('rnn', 1), ('gru', 1), ('lstm', 1)]
    """
    for cell in CELLS:
        for depth in range(1, layers + 1):
            started = time.monotonic()
            training = CharLMTraining(text, replace(config, cell=cell, num_layers=depth))
            for _ in training:
                pass
            size = sum(parameter.size for parameter in training.model.parameters())
            yield Row(cell, depth, size, time.monotonic() - started, training.finish())
