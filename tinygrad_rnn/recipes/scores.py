"""How good translations are: BLEU and chrF through `sacrebleu`, error rates by edit distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .run import SettingError


@dataclass(frozen=True)
class ErrorRates:
    """Errors against the references: of whole sequences, and of the symbols in them."""

    sequences: float  # the share that is none of its references
    symbols: float  # edits, over the symbols of the nearest references


def bleu_and_chrf(found: Sequence[str], references: Sequence[str]) -> tuple[float, float]:
    """The corpus's BLEU and chrF, from 0 to 100, as `sacrebleu` computes them by default.

    **Raises** SettingError if the package is missing, or the numbers of lines differ.
    """
    if len(found) != len(references):
        raise SettingError(
            f"{len(found)} translations cannot be compared with {len(references)} references"
        )
    try:
        import sacrebleu
    except ImportError:
        raise SettingError(
            "BLEU needs the package sacrebleu: pip install 'tinygrad_rnn[translate]'"
        ) from None
    whole = [list(references)]
    return (
        float(sacrebleu.corpus_bleu(list(found), whole).score),
        float(sacrebleu.corpus_chrf(list(found), whole).score),
    )


def error_rates(found: Sequence[str], references: Sequence[Sequence[str]]) -> ErrorRates:
    """Error rates of sequences of symbols with blanks between them.

    **Arguments** references: for each one all that are right; the nearest counts.

    >>> error_rates(["K AE T", "D AO"], [["K AE T"], ["D AO G", "D AA G"]])
    ErrorRates(sequences=0.5, symbols=0.16666666666666666)
    """
    wrong = edits = symbols = 0
    for text, right in zip(found, references, strict=True):
        distance, length = min(
            (edit_distance(text.split(), one.split()), len(one.split())) for one in right
        )
        wrong += distance > 0
        edits += distance
        symbols += length
    return ErrorRates(wrong / len(found), edits / symbols)


def edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """The fewest insertions, deletions and substitutions that make b of a (Levenshtein 1966).

    >>> edit_distance("kitten", "sitting")
    3
    """
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            before, row[j] = row[j], min(before + (x != y), row[j] + 1, row[j - 1] + 1)
    return row[-1]
