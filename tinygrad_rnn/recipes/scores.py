"""Scores of translations: BLEU and chrF through `sacrebleu`, error rates by edit distance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import needs
from .settings import SettingError


def bleu_and_chrf(translations: Sequence[str], references: Sequence[str]) -> tuple[float, float]:
    """Computes the corpus's BLEU and chrF, from 0 to 100, with `sacrebleu`'s defaults.

    **Raises** SettingError if the package is missing, or the numbers of lines differ.
    """
    if len(translations) != len(references):
        raise SettingError(
            f"{len(translations)} translations cannot be compared with {len(references)} references"
        )
    with needs("sacrebleu", "BLEU", "pip install 'tinygrad_rnn[translate]'", SettingError):
        import sacrebleu
    corpus = [list(references)]
    return (
        float(sacrebleu.corpus_bleu(list(translations), corpus).score),
        float(sacrebleu.corpus_chrf(list(translations), corpus).score),
    )


ORDERS = range(1, 7)  # of chrF's n-grams of letters


def chrf_counts(text: str, reference: str) -> list[int]:
    """Counts what chrF is made of: for each order common n-grams, those of the text, and the true.

    >>> chrf_counts("a b", "abc")[:6]
    [2, 2, 3, 1, 1, 2]
    """
    counts = []
    for n in ORDERS:
        a, b = (
            Counter(letters[i : i + n] for i in range(len(letters) - n + 1))
            for letters in ("".join(one.split()) for one in (text, reference))
        )
        counts += [(a & b).total(), a.total() if b else 0, b.total()]
    return counts


def chrf(sums: NDArray[np.float64]) -> Any:
    """chrF (Popović 2015), from 0 to 100, of the sums (..., 18) of `chrf_counts` over texts."""
    parts = sums.reshape((*sums.shape[:-1], len(ORDERS), 3))
    common, found, true = (parts[..., i] for i in range(3))
    used = (found > 0) & (true > 0)
    orders = np.maximum(used.sum(axis=-1), 1)
    precision, recall = (
        np.where(used, common / np.maximum(n, 1), 0).sum(axis=-1) / orders for n in (found, true)
    )
    return 100 * 5 * precision * recall / np.maximum(4 * precision + recall, 1e-300)


def edits_to(text: str, references: Sequence[str]) -> tuple[int, int]:
    """Counts the edits to the nearest reference, and its symbols.

    >>> edits_to("D AO", ["D AO G", "K AE T"])
    (1, 3)
    """
    return min((edit_distance(text.split(), one.split()), len(one.split())) for one in references)


def edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Counts the fewest insertions, deletions and substitutions from a to b (Levenshtein 1966).

    >>> edit_distance("kitten", "sitting")
    3
    """
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            before, row[j] = row[j], min(before + (x != y), row[j] + 1, row[j - 1] + 1)
    return row[-1]
