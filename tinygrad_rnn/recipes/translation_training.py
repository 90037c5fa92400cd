"""Training a translation model on pairs of texts, batched by length."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

from ..data import PAD, VOCABULARIES, Batch, Buckets, TextError, Vocabulary, in_order
from ..data.parallel import Pair
from ..nn import cross_entropy
from ..tensor.creation import as_tensor
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .divergence import worst_bits
from .run import Run, fingerprint, inference, longer
from .saved import fitting
from .translate import TranslateConfig, Translator, settings, translation_model

SLICE = 500  # held-out pairs that are looked at while training

Texts = tuple[str, str]


class TranslationTraining(Run):
    """A training run on pairs; iterating it makes the updates that are left.

    **Arguments** pairs: of texts, source and target. config: everything else. device: where; the
    default, if None. heldout: pairs to measure with; one of twenty of the pairs, drawn by the seed,
    if None. known: the vocabularies of source and target; of the pairs, if None.

    **Raises** TextError if nothing is left to learn from.

    >>> config = TranslateConfig(hidden=8, embedding=4, batch=4, steps=3)
    >>> pairs = [(f"{n} and {m}", f"{m} und {n}") for n in range(5) for m in range(5)]
    >>> training = TranslationTraining(pairs, config)
    >>> [progress.step for progress in training]
    [1, 2, 3]
    >>> [found] = training.translator.translate(["1 and 2"])
    >>> isinstance(found[0].text, str)
    True
    """

    recipe, unit = "translate", "symbol"

    def __init__(
        self,
        pairs: Sequence[Texts],
        config: TranslateConfig,
        device: str | None = None,
        *,
        heldout: Sequence[Texts] | None = None,
        known: tuple[Vocabulary, Vocabulary] | None = None,
    ) -> None:
        generator = Generator(config.seed)
        self.fingerprint = fingerprint("\n".join("\t".join(pair) for pair in pairs))
        if heldout is None:
            pairs, heldout = parted(pairs, config.seed)
        if known is None:
            sources, targets = zip(*pairs, strict=True)
            kinds = [VOCABULARIES[s] for s in (config.source_symbols, config.target_symbols)]
            if config.copy:
                source = target = kinds[0].of(sources + targets, config.most)
            else:
                source, target = (
                    kind.of(texts, config.most)
                    for kind, texts in zip(kinds, (sources, targets), strict=True)
                )
        else:
            source, target = known
        model = translation_model(config, len(source), len(target), generator)
        super().__init__(model, config, generator, device)
        self.translator = Translator(model, source, target)
        learnt = [p for p in self._encoded(pairs) if max(map(len, p)) <= config.longest]
        if not learnt:
            raise TextError(
                f"no pair is left to learn from: all are longer than {config.longest} symbols; "
                "raise longest"
            )
        self.left_out = len(pairs) - len(learnt)
        self.buckets = Buckets(learnt, config.batch, config.seed)
        self.heldout = self._encoded(heldout)
        self.truth = config.schedule()

    def _encoded(self, pairs: Sequence[Texts]) -> list[Pair]:
        source, target = self.translator.source, self.translator.target
        return [(source.encode(a), target.encode(b)) for a, b in pairs]

    def next_loss(self) -> tuple[Tensor, int]:
        """The mean surprise at the symbols of the next batch of targets."""
        batch = next(self.buckets)
        truth = self.truth(self.step)
        return self._loss(batch, truth, self.config.smoothing), batch.symbols

    def evaluate(self, quick: bool = False) -> float:
        """Bits per symbol of the held-out targets, or, to be quick, of the first of them.

        The truth is read at every step, and targets are not smoothed. It disturbs nothing.
        """
        nats, symbols = 0.0, 0
        with inference(self.model):
            for _, batch in in_order(self.heldout[:SLICE] if quick else self.heldout, 64):
                nats += float(self._loss(batch, 1.0, 0.0).item()) * batch.symbols
                symbols += batch.symbols
        return nats / symbols / math.log(2)

    def worst(self) -> float:
        """Bits per symbol far beyond those of guessing evenly."""
        return worst_bits(len(self.translator.target))

    def _loss(self, batch: Batch, truth: float, smoothing: float) -> Tensor:
        on = self.translator.model.decoder.head.weight.device
        source, given, wanted = (
            as_tensor(ids, device=on) for ids in (batch.source, batch.given, batch.wanted)
        )
        logits = self.model(source, given, lengths=batch.lengths, truth=truth)
        return cross_entropy(logits, wanted, ignore_index=PAD, label_smoothing=smoothing)

    def state(self) -> dict[str, Any]:
        """The pairs' fingerprint, the vocabularies, and how far in the pairs it is."""
        return {
            "pairs": self.fingerprint,
            "source_vocabulary": self.translator.source.symbols,
            "target_vocabulary": self.translator.target.symbols,
            "position": self.buckets.position,
        }

    @classmethod
    def resume(
        cls,
        saved: dict[str, Any],
        pairs: Sequence[Texts],
        steps: int | None = None,
        device: str | None = None,
        *,
        heldout: Sequence[Texts] | None = None,
    ) -> TranslationTraining:
        """Goes on with a run from its checkpoint.

        **Arguments** saved: what `io.load_checkpoint` gave. pairs, heldout: the same. steps: how
        many updates to make in all, if that is to change. **Raises** TextError for other pairs,
        SettingError for fewer steps than were made, CheckpointError for entries that do not fit.
        """
        config, source, target = settings(saved)
        config = longer(config, saved, steps)
        run = cls(pairs, config, device, heldout=heldout, known=(source, target))
        if run.fingerprint != saved["pairs"]:
            raise TextError("these are other pairs than the checkpoint's")
        run.restore(saved)
        with fitting():
            run.buckets.position = operator.index(saved["position"])
        return run


def parted(pairs: Sequence[Texts], seed: int) -> tuple[list[Texts], list[Texts]]:
    """Pairs to learn from, and one of twenty to measure with, drawn by a seed."""
    if len(pairs) < 2:
        raise TextError(f"{len(pairs)} pairs are too few to learn from and to measure with")
    order = Generator(seed).permutation(len(pairs)).tolist()
    apart = set(order[: max(1, len(pairs) // 20)])
    return (
        [pair for i, pair in enumerate(pairs) if i not in apart],
        [pair for i, pair in enumerate(pairs) if i in apart],
    )
