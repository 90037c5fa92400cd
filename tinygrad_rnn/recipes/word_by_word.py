"""Translation word by word: the baseline for a network.

It replaces each word by its most probable translation under IBM model 1 (Brown et al. 1993), which
aligns each target word with one source word. Expectation maximisation estimates

    t(f | e)  <-  sum over sentences, f in them of  t(f | e) / sum over their e' of t(f | e')

normalised over f.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..data.vocabulary import MARKS
from ..data.words import WordVocabulary, words

ROUNDS = 8


class WordByWord:
    """A dictionary that is estimated from pairs of texts.

    **Arguments** pairs: source and target. rounds: of expectation maximisation.

    >>> pairs = [("a house", "una casa"), ("a table", "una mesa"), ("the house", "la casa")]
    >>> WordByWord(pairs).translate("the table")
    'la mesa'
    """

    def __init__(self, pairs: Sequence[tuple[str, str]], rounds: int = ROUNDS) -> None:
        self.source, self.target = (WordVocabulary.of(side) for side in zip(*pairs, strict=True))
        encoded = [(np.unique(self.source.encode(e)), self.target.encode(f)) for e, f in pairs]
        # One entry for each word of a source beside each word of its target.
        of, to, place, start = [], [], [], 0
        for e, f in encoded:
            of.append(np.tile(e, len(f)))
            to.append(np.repeat(f, len(e)))
            place.append(np.repeat(np.arange(start, start + len(f)), len(e)))
            start += len(f)
        size = len(self.target)
        key, where = np.unique(np.concatenate(of) * size + np.concatenate(to), return_inverse=True)
        due = np.concatenate(place)
        e = key // size
        t = np.ones(len(key))
        for _ in range(rounds):
            share = t[where]
            share /= np.bincount(due, share)[due]
            count = np.bincount(where, share, len(key))
            t = count / np.bincount(e, count)[e]
        rising = np.argsort(t, kind="stable")
        self.best = np.zeros(len(self.source), np.int64)  # 0 for an unknown word
        self.best[e[rising]] = (key % size)[rising]  # the last assignment is the most probable one

    def translate(self, text: str) -> str:
        """Replaces each word of a text; unknown words stay as they are."""
        translated = (
            self.target.symbols[self.best[i] - MARKS] if self.best[i] else word
            for i, word in zip(self.source.encode(text), words(text), strict=True)
        )
        return "".join(translated).removeprefix(" ")  # symbols include the blank before them
