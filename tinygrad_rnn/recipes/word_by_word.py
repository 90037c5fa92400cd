"""Translation word by word: what a network must beat.

Each word becomes the one that most probably stands for it, by the first of the IBM models (Brown
et al. 1993): a target's word is due to one of the source's words, whichever it is, so

    t(f | e)  <-  sum over sentences, f in them of  t(f | e) / sum over their e' of t(f | e')

divided by what that is for all f together; each round makes the text more probable.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..data.vocabulary import MARKS
from ..data.words import WordVocabulary, words

ROUNDS = 8


class WordByWord:
    """A dictionary learnt from pairs of texts.

    **Arguments** pairs: source and target. rounds: of the estimation.

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
        self.best = _likeliest(e, key % size, t, len(self.source))

    def translate(self, text: str) -> str:
        """A text's words, each replaced; one that was never seen stays as it is."""
        found = (
            self.target.symbols[self.best[i] - MARKS] if self.best[i] else word
            for i, word in zip(self.source.encode(text), words(text), strict=True)
        )
        return "".join(found).removeprefix(" ")  # symbols have the blank before them


def _likeliest(
    e: NDArray[np.int64], f: NDArray[np.int64], t: NDArray[np.float64], size: int
) -> NDArray[np.int64]:
    """For each e its likeliest f, 0 where none is known."""
    best = np.zeros(size, dtype=np.int64)
    rising = np.argsort(t, kind="stable")
    best[e[rising]] = f[rising]  # of several the last, that is the likeliest, stays
    return best
