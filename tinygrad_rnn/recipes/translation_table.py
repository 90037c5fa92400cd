"""Translations of test pairs compared with baselines: chrF, exact matches, and BLEU."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..data.splits import Texts
from .comparison import Comparison, Measure
from .scores import bleu_and_chrf, chrf, chrf_counts
from .translation_training import TranslationTraining
from .word_by_word import WordByWord


def against_baselines(
    training: TranslationTraining,
    items: str,
    learnt: Sequence[Texts],
    test: Sequence[Texts],
    **more: Callable[[str], str],
) -> Comparison:
    """Compares the translations of a trained model with those of baselines.

    **Arguments** items: what the pairs are. learnt: the pairs of the training. more: functions that
    translate a text, by name, besides none at all and `WordByWord`.
    """
    sources, references = zip(*test, strict=True)
    baselines: dict[str, Callable[[str], str]] = {
        "untranslated": str,
        "word by word": WordByWord(learnt).translate,
        **more,
    }
    systems = {name: list(map(translate, sources)) for name, translate in baselines.items()}
    ours = training.translator.translate(sources)
    systems[training.config.cell] = [best.text for best, *_ in ours]
    comparison = Comparison(items, [Measure("chrF", chrf, "{:.1f}"), Measure("exact")])
    for system, texts in systems.items():
        pairs = list(zip(texts, references, strict=True))
        exact = [(text == right, 1) for text, right in pairs]
        comparison.add(system, chrF=[chrf_counts(*pair) for pair in pairs], exact=exact)
    with comparison.optional():
        bleu = {name: bleu_and_chrf(texts, references)[0] for name, texts in systems.items()}
        shown = ", ".join(f"{value:.1f} {name}" for name, value in bleu.items())
        comparison.notes.append(f"BLEU: {shown}")
    return comparison
