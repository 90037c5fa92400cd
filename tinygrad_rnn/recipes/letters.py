"""Tasks for attention alone: copy, reverse and sort letters, in sequences longer than in training.

To copy or reverse, each step attends one position further than the last: location-aware attention
can learn that at any length. The decoder starts with zeros, not with the encoder's final state,
from which it could learn to count instead, up to the lengths in training. To sort, a step must
attend to all positions, which does not generalise to longer sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from string import ascii_lowercase

from ..tensor.random import Generator
from .settings import SettingError
from .translate import TranslateConfig
from .translator import Translator

TASKS: dict[str, Callable[[str], str]] = {
    "copy": lambda text: text,
    "reverse": lambda text: text[::-1],
    "sort": lambda text: "".join(sorted(text)),
}
TRAINED, LONGER = (1, 12), (13, 48)  # letters in a sequence of the training, and of the test

CONFIG = TranslateConfig(
    source_symbols="chars", target_symbols="chars", cell="rnn", hidden_size=64, embedding_dim=32,
    dropout=0.0, attention="location", bridge=False, label_smoothing=0.0, batch_size=64, steps=1000,
    lr=5e-3,
)  # fmt: skip
QUICK = {"steps": 600}
SORTING = replace(CONFIG, hidden_size=128, steps=3000)  # it is harder


def config(task: str) -> TranslateConfig:
    """Returns a task's settings. **Raises** SettingError for an unknown task."""
    _check(task)
    return SORTING if task == "sort" else CONFIG


def _check(task: str) -> None:
    if task not in TASKS:
        raise SettingError(f"the task must be one of {', '.join(TASKS)}, not {task!r}")


def examples(task: str, count: int, lengths: tuple[int, int], seed: int) -> list[tuple[str, str]]:
    """Draws pairs of a task, with uniform letters and uniform lengths.

    >>> [(source, target)] = examples("reverse", 1, (3, 3), seed=0)
    >>> source[::-1] == target
    True
    """
    _check(task)
    generator, (shortest, longest) = Generator(seed), lengths
    sizes = generator.integers(shortest, longest + 1, (count,)).tolist()
    drawn = ["".join(ascii_lowercase[i] for i in generator.integers(0, 26, (n,))) for n in sizes]
    return [(text, TASKS[task](text)) for text in drawn]


def exact(translator: Translator, pairs: Sequence[tuple[str, str]]) -> float:
    """Computes the proportion of sources whose translation equals the target."""
    results = translator.translate([source for source, _ in pairs], beams=1, batch_size=256)
    right = [best.text == target for (best, *_), (_, target) in zip(results, pairs, strict=True)]
    return sum(right) / len(right)
