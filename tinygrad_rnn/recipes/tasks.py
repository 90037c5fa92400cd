"""Tasks that need nothing but attention: copy, reverse and sort letters, longer ones than learnt.

To copy or reverse, a step looks one place further than the last: location-aware attention can learn
that, and then length does not matter. The decoder begins with zeros, not with the encoder's last
state, from which it could learn to count instead, up to the lengths that it has seen. To sort, a
step must look everywhere, which does not carry over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from string import ascii_lowercase

from ..tensor.random import Generator
from .run import SettingError
from .translate import TranslateConfig, Translator

TASKS: dict[str, Callable[[str], str]] = {
    "copy": lambda text: text,
    "reverse": lambda text: text[::-1],
    "sort": lambda text: "".join(sorted(text)),
}
LEARNT, LONGER = (1, 12), (13, 48)  # letters in what is learnt from, and in what is tested

CONFIG = TranslateConfig(
    source_symbols="chars", target_symbols="chars", cell="rnn", hidden=64, embedding=32,
    dropout=0.0, attention="location", bridge=False, smoothing=0.0, batch=64, steps=1000, lr=5e-3,
)  # fmt: skip
SORTING = replace(
    CONFIG, hidden=128, steps=3000
)  # which letter is next is harder to say than where


def config(task: str) -> TranslateConfig:
    """A task's settings."""
    return SORTING if task == "sort" else CONFIG


def examples(task: str, count: int, lengths: tuple[int, int], seed: int) -> list[tuple[str, str]]:
    """Pairs of a task: letters drawn evenly, in lengths drawn evenly.

    >>> [(source, target)] = examples("reverse", 1, (3, 3), seed=0)
    >>> source[::-1] == target
    True
    """
    if task not in TASKS:
        raise SettingError(f"the task must be one of {', '.join(TASKS)}, not {task!r}")
    generator, least, most = Generator(seed), *lengths
    sizes = generator.integers(least, most + 1, (count,)).tolist()
    drawn = ["".join(ascii_lowercase[i] for i in generator.integers(0, 26, (n,))) for n in sizes]
    return [(text, TASKS[task](text)) for text in drawn]


def exact(translator: Translator, pairs: Sequence[tuple[str, str]], beams: int = 1) -> float:
    """The share of sources whose translation is the target, letter for letter."""
    found = translator.translate([source for source, _ in pairs], beams=beams, batch=256)
    right = [best.text == target for (best, *_), (_, target) in zip(found, pairs, strict=True)]
    return sum(right) / len(right)
