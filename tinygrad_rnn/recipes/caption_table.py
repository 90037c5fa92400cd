"""Captions of test images compared with baselines: those that are right, and F1 of their words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..data.images import Captioned
from ..data.splits import Parts
from .bootstrap import f1
from .classifier import tokens
from .comparison import Comparison, Measure


def against_baselines(parts: Parts, name: str, ours: Sequence[str]) -> Comparison:
    """Compares the captions that a model gives the test images with those of baselines.

    **Arguments** name, ours: of the model, and its captions.
    """
    test, captions = parts.test, [text for item in parts.training for text in item.captions]
    systems = {
        "most frequent caption": [most_frequent(captions)] * len(test),
        "nearest image": [item.captions[0] for item in nearest(parts.training, test)],
        name: ours,
    }
    comparison = Comparison("images", [Measure("exact"), Measure("word F1", f1)])
    for system, found in systems.items():
        comparison.add(system, **scores(found, test))
    known = set(captions)
    if all(known.isdisjoint(item.captions) for item in test):
        comparison.notes.append(
            "no test caption occurs in training: exact ones are new combinations of words"
        )
    return comparison


def words_of(caption: str) -> list[str]:
    """Splits a caption into words, without punctuation."""
    return [word for word in tokens(caption) if any(map(str.isalnum, word))]


def scores(found: Sequence[str], items: Sequence[Captioned]) -> dict[str, NDArray[np.float64]]:
    """Computes the statistics of captions: whether they are right, and common words for F1.

    The caption of an image that has the best F1 counts.

    >>> item = Captioned("a.png", np.zeros((1, 1, 3), np.uint8), ["a red dog", "dog"])
    >>> {name: x.tolist() for name, x in scores(["a dog"], [item]).items()}
    {'exact': [[0.0, 1.0]], 'word F1': [[2.0, 2.0, 3.0]]}
    """
    exact, common = [], []
    for text, item in zip(found, items, strict=True):
        words = Counter(words_of(text))
        counts = []
        for caption in item.captions:
            right = Counter(words_of(caption))
            counts.append(((words & right).total(), words.total(), right.total()))
        exact.append([text in item.captions, 1])
        common.append(max(counts, key=lambda n: 2 * n[0] / max(1, n[1] + n[2])))
    return {"exact": np.array(exact, np.float64), "word F1": np.array(common, np.float64)}


def most_frequent(captions: Sequence[str]) -> str:
    """Returns the most frequent caption; of equally frequent ones that of the commonest words.

    >>> most_frequent(["a red dog", "a cat", "a dog"])
    'a dog'
    """
    whole = Counter(captions)
    words = Counter(word for caption in captions for word in words_of(caption))

    def common(caption: str) -> float:
        found = words_of(caption)
        return sum(words[word] for word in found) / max(1, len(found))

    return max(sorted(whole), key=lambda caption: (whole[caption], common(caption)))


def nearest(training: Sequence[Captioned], test: Sequence[Captioned]) -> list[Captioned]:
    """Returns for each test image the training image with the smallest distance of pixels."""
    known = np.stack([item.pixels.ravel() for item in training]).astype(np.float32)
    squares = (known**2).sum(axis=1)
    found = []
    for item in test:
        distances = squares - 2 * (known @ item.pixels.ravel().astype(np.float32))
        found.append(training[int(distances.argmin())])
    return found
