"""Translates texts by a trained encoder-decoder, and restores it from a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .. import nn
from ..data import END, VOCABULARIES, Vocabulary, in_order
from ..io.files import fitting
from ..nn.decoding import Hypothesis
from ..tensor.creation import as_tensor
from ..tensor.random import Generator
from ..train import inference
from .saved import Restored, check_sizes, restore_weights
from .search import search
from .settings import SettingError, check, check_memory
from .translate import TranslateConfig, translation_model


@dataclass(frozen=True)
class Translation:
    """One translation of a source."""

    text: str
    log_prob: float  # natural, of the text given the source
    score: float  # by which the search ranks translations
    tokens: list[str]  # the generated symbols, with the end symbol unless the length ran out
    attention: NDArray[Any] | None  # (tokens, source symbols with the end symbol)


@dataclass(frozen=True)
class Translator(Restored):
    """A translation model with its two vocabularies."""

    recipe, settings = "translate", TranslateConfig
    kinds: ClassVar = {f"{side}_vocabulary": (str, list, dict) for side in ("source", "target")}
    model: nn.Seq2Seq
    source: Vocabulary
    target: Vocabulary

    @classmethod
    def from_state(cls, state: dict[str, Any], device: str | None = None) -> Translator:
        """Builds the model from a checkpoint's state."""
        config, source, target = settings(state)
        model = translation_model(config, len(source), len(target), Generator(config.seed))
        restore_weights(model, state["model"], device)
        return cls(model, source, target)

    def state(self) -> dict[str, Any]:
        """Returns its own entries of a checkpoint."""
        return {"source_vocabulary": self.source.symbols, "target_vocabulary": self.target.symbols}

    def translate(
        self,
        texts: Sequence[str],
        *,
        beams: int = 5,
        n_best: int = 1,
        length_penalty: float = 0.6,
        max_length: int | None = None,
        batch_size: int = 32,
    ) -> list[list[Translation]]:
        """Translates texts, independently of each other.

        **Arguments** beams: of the beam search; 1 is greedy search. n_best: translations to return
        for each text. length_penalty: GNMT's alpha. max_length: symbols in a translation; twice the
        source's and ten, if None. batch_size: texts at a time. **Returns** for each text its
        translations, the best first; that of an empty text is empty. **Raises** SettingError, and
        ValueError for a model whose probabilities are NaN.
        """
        check("beams", beams, at_least=1)
        check("n_best", n_best, at_least=1)
        if n_best > beams:
            raise SettingError(f"`n_best` must be at most `beams`, {beams}, not {n_best}")
        check("length_penalty", length_penalty, float, at_least=0, at_most=10)
        check("max_length", 1 if max_length is None else max_length, at_least=1)
        check("batch_size", batch_size, at_least=1)
        logits = beams * min(batch_size, len(texts)) * len(self.target)
        check_memory("a search with so many `beams` and such a `batch_size`", 8 * logits)
        check_memory("a translation of `max_length`", 32 * (max_length or 1))
        no_target = np.empty(0, dtype=np.int64)
        places = [i for i, text in enumerate(texts) if text]
        sources = [(self.source.encode(texts[i]), no_target) for i in places]
        translations = [[Translation("", 0.0, 0.0, [], None)] for _ in texts]
        model, device = self.model, self.model.decoder.head.weight.device
        for indices, batch in in_order(sources, batch_size):
            # An end symbol is part of each length.
            most = [max_length or 2 * int(n) + 8 for n in batch.lengths]
            with inference(model):
                state = model.start(as_tensor(batch.source, device=device), lengths=batch.lengths)
                results = search(
                    model.decoder, state, len(indices), beams, n_best, length_penalty,
                    max_length=most,
                )  # fmt: skip
            for i, length, hypotheses in zip(indices, batch.lengths, results, strict=True):
                translations[places[i]] = [self._translation(h, int(length)) for h in hypotheses]
        return translations

    def _translation(self, hypothesis: Hypothesis, length: int) -> Translation:
        """Decodes a hypothesis of a source of a length."""
        attention = hypothesis.attention
        return Translation(
            self.target.decode(hypothesis.tokens),
            hypothesis.log_prob,
            hypothesis.score,
            self.target.tokens(hypothesis.tokens),
            None if attention is None else attention.numpy()[:, :length],
        )

    def source_tokens(self, text: str) -> list[str]:
        """Returns the symbols that the encoder reads, with the end symbol."""
        return self.source.tokens([*self.source.encode(text), END])


def settings(state: dict[str, Any]) -> tuple[TranslateConfig, Vocabulary, Vocabulary]:
    """Returns the settings and the vocabularies of source and target in a checkpoint's state.

    **Raises** CheckpointError if they do not fit its arrays.
    """
    config = TranslateConfig(**state["config"])
    with fitting():
        source, target = (
            VOCABULARIES[kind].restored(state[f"{side}_vocabulary"])
            for side, kind in (
                ("source", config.source_symbols),
                ("target", config.target_symbols),
            )
        )
    last = f"weight_hh_l{config.num_layers - 1}"
    check_sizes(
        state["model"],
        {
            "encoder.embedding.weight": (len(source), config.embedding_dim),
            "decoder.embedding.weight": (len(target), config.embedding_dim),
            f"encoder.layers.{last}": (None, config.hidden_size),
            f"decoder.layers.{last}": (None, config.hidden_size),
        },
    )
    return config, source, target
