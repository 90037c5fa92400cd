"""Trains a translation model on pairs of texts, batched by length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from .. import plot
from ..data import PAD, VOCABULARIES, DataLoader, TextError, Vocabulary
from ..data.fingerprint import fingerprint
from ..data.parallel import Batch, Pair, collate_pairs, in_order, pair_lengths
from ..data.splits import Texts, hold_out
from ..nn import cross_entropy
from ..tensor.creation import as_tensor
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from ..train import inference, worst_bits
from .picture import draw_differences, draw_history
from .trainer import RecipeTrainer
from .translate import TranslateConfig, translation_model
from .translator import Translator, settings

SLICE = 500  # held-out pairs that a quick evaluation reads


class TranslationTraining(RecipeTrainer):
    """Trains a translation model on pairs of texts; iterating it makes the remaining updates.

    **Arguments** pairs: of texts, source and target. config: the settings. device: of the weights;
    the default device, if None. heldout: pairs to evaluate on; one of twenty of the pairs, drawn by
    the seed, if None. vocabularies: of source and target; those of the pairs, if None.

    **Raises** TextError if no pair is left to learn from.

    >>> config = TranslateConfig(hidden_size=8, embedding_dim=4, batch_size=4, steps=3)
    >>> pairs = [(f"{n} and {m}", f"{m} und {n}") for n in range(5) for m in range(5)]
    >>> training = TranslationTraining(pairs, config)
    >>> [progress.step for progress in training]
    [1, 2, 3]
    >>> [[best]] = training.translator.translate(["1 and 2"])
    >>> isinstance(best.text, str)
    True
    """

    recipe, unit, figure = "translate", "symbol", "held-out {:.3f} bits/symbol"
    uses, predictor = ("translate", "look"), Translator
    quick: ClassVar = {"hidden_size": 64, "embedding_dim": 64, "steps": 300}

    def __init__(
        self,
        pairs: Sequence[Texts],
        config: TranslateConfig,
        device: str | None = None,
        *,
        heldout: Sequence[Texts] | None = None,
        vocabularies: Sequence[Vocabulary] | None = None,
    ) -> None:
        generator = Generator(config.seed)
        self.fingerprint = fingerprint(pairs)
        if heldout is None:
            pairs, heldout = hold_out(pairs, config.seed)
        source, target = vocabularies or _vocabularies(pairs, config)
        model = translation_model(config, len(source), len(target), generator)
        self.current = self.translator = Translator(model, source, target)
        encoded = [p for p in self._encode(pairs) if max(map(len, p)) <= config.max_length]
        if not encoded:
            raise TextError(
                f"no pair is left to learn from: all are longer than {config.max_length} symbols; "
                "raise `max_length`"
            )
        self.symbols = sum(len(target) + 1 for _, target in encoded)
        self.omitted = len(pairs) - len(encoded)  # pairs longer than max_length
        batches = DataLoader(
            encoded, config.batch_size, True, lengths=pair_lengths(encoded), collate=collate_pairs
        )
        batches.seed = config.seed
        super().__init__(model, batches, config, generator, device, worst_bits(len(target)))
        self.pairs, self.heldout_texts = pairs, heldout
        self.heldout = self._encode(heldout)
        self.shown = sorted((a for a, _ in heldout), key=len)[len(heldout) // 2]  # of median length
        self.teacher_forcing = config.schedule()

    @property
    def title(self) -> str:
        """The cell and the attention."""
        return f"{self.config.cell}, {self.config.attention} attention,"

    def _encode(self, pairs: Sequence[Texts]) -> list[Pair]:
        source, target = self.translator.source, self.translator.target
        return [(source.encode(a), target.encode(b)) for a, b in pairs]

    def batch_loss(self, model: Any, batch: Batch) -> tuple[Tensor, int]:
        """Computes the mean cross-entropy of a batch, and its number of target symbols."""
        ratio = self.teacher_forcing(self.step)
        return self._loss(batch, ratio, self.config.label_smoothing), batch.symbols

    def evaluate(self, quick: bool = False) -> float:
        """Computes the bits per symbol of the held-out targets, or, if quick, of the first of them.

        With teacher forcing at every step, and without label smoothing.
        """
        nats, symbols = 0.0, 0
        with inference(self.model):
            for _, batch in in_order(self.heldout[:SLICE] if quick else self.heldout, 64):
                nats += float(self._loss(batch, 1.0, 0.0).item()) * batch.symbols
                symbols += batch.symbols
        return nats / symbols / math.log(2)

    def sample(self) -> str:
        """Translates the held-out source of median length."""
        [[best]] = self.translator.translate([self.shown], beams=1)
        return f"{self.shown}\n{best.text}"

    def draw(self, path: Path, comparison: Any) -> None:
        """Draws the losses, the comparison, and the attention over a held-out source."""
        [[best]] = self.translator.translate([self.shown], beams=1)
        count = 2 + (comparison is not None) + (best.attention is not None)
        rows, columns = (2, 2) if count == 4 else (1, count)
        figure, panels = plot.panels(rows, columns, 6 * columns, 4.5 * rows)
        draw_history(self, *panels[:2])
        if comparison is not None:
            draw_differences(comparison, panels[2])
        if best.attention is not None:
            read = self.translator.source_tokens(self.shown)
            plot.attention(best.attention, read, best.tokens, ax=panels[-1])
        plot.save(figure, path)

    def _loss(self, batch: Batch, ratio: float, smoothing: float) -> Tensor:
        """Computes the mean cross-entropy of a batch, with a teacher forcing ratio."""
        parts = (batch.source, batch.inputs, batch.targets)
        source, inputs, targets = (as_tensor(ids, device=self.device) for ids in parts)
        logits = self.model(source, inputs, lengths=batch.lengths, teacher_forcing_ratio=ratio)
        return cross_entropy(logits, targets, ignore_index=PAD, label_smoothing=smoothing)

    @classmethod
    def arguments(cls, saved: dict[str, Any]) -> dict[str, Any]:
        """Returns the settings and the vocabularies in a checkpoint."""
        config, *vocabularies = settings(saved)
        return {"config": config, "vocabularies": vocabularies}


def _vocabularies(pairs: Sequence[Texts], config: TranslateConfig) -> tuple[Vocabulary, Vocabulary]:
    """Collects the symbols of source and target; with `copy` both share a vocabulary."""
    sources, targets = zip(*pairs, strict=True)
    kinds = [VOCABULARIES[name] for name in (config.source_symbols, config.target_symbols)]
    if config.copy:
        shared = kinds[0].of(sources + targets, config.vocab_size)
        return shared, shared
    return kinds[0].of(sources, config.vocab_size), kinds[1].of(targets, config.vocab_size)
