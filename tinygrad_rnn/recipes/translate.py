"""Translation by an encoder-decoder: lines to lines, words to phones, sequences to sequences.

    P(y_1 ... y_T | x) = P(y_1 | x) P(y_2 | y_1, x) ... P(END | y_1 ... y_T, x)

The encoder reads the source in both directions; the decoder writes, and at each step looks at the
source through an attention.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import nn
from ..data import END, START, VOCABULARIES, Vocabulary, in_order
from ..io import load_checkpoint
from ..nn import decoding
from ..tensor.creation import as_tensor, full
from ..tensor.random import Generator
from .charlm import CELLS, check_weights_fit
from .divergence import check_weights
from .run import SettingError, check_memory, check_settings, inference, whole
from .saved import Kinds, check_entries, check_sizes, fitting

ATTENTIONS: dict[str, Any] = {
    "none": None,
    "general": nn.GeneralAttention,
    "additive": nn.AdditiveAttention,
    "multi-head": nn.MultiHeadAttention,
    "location": nn.LocationAttention,
    "coverage": nn.CoverageAttention,
}
SCHEDULES: dict[str, Any] = {
    "constant": nn.teacher_forcing.constant,
    "linear": nn.teacher_forcing.linear,
    "exponential": nn.teacher_forcing.exponential,
    "inverse-sigmoid": nn.teacher_forcing.inverse_sigmoid,
}


@dataclass(frozen=True)
class TranslateConfig:
    """All that determines a training run, besides its pairs.

    **Raises** SettingError for the first setting outside its range.
    """

    cell: str = "lstm"
    hidden: int = 256  # units in a layer, and in each direction of the encoder
    layers: int = 1  # of the encoder, and of the decoder
    embedding: int = 128  # entries of a symbol's vector
    dropout: float = 0.2  # probability, before, between and after the layers
    attention: str = "additive"
    bridge: bool = True  # whether the decoder begins with what the encoder ends with
    feeding: bool = False  # whether a step is told what the one before made of the source
    tied: bool = False  # whether one matrix serves as the target's embedding and its output
    copy: bool = False  # whether symbols of the source may be copied; both sides share a vocabulary
    source_symbols: str = "words"  # what the sources are made of: chars, words, bpe
    target_symbols: str = "words"
    most: int = 8000  # symbols in a vocabulary
    longest: int = 60  # symbols in a sequence to learn from; pairs with longer ones are left out
    smoothing: float = 0.1  # the share of each target that is spread over all symbols
    truth: str = "constant:1"  # how often a step reads the truth rather than its own output
    batch: int = 64  # pairs
    steps: int = 2500  # updates of the weights
    lr: float = 2e-3  # the peak, after warming up
    clip: float = 1.0  # the longest gradient
    seed: int = 0

    def __post_init__(self) -> None:
        for name, options in (
            ("cell", CELLS),
            ("attention", ATTENTIONS),
            ("source_symbols", VOCABULARIES),
            ("target_symbols", VOCABULARIES),
        ):
            if getattr(self, name) not in options:
                raise SettingError(
                    f"{name} must be one of {', '.join(options)}, not {getattr(self, name)!r}"
                )
        numbers = ("hidden", "layers", "embedding", "most", "longest", "batch", "steps")
        check_settings(self, *numbers)
        if not 0 <= self.smoothing < 1:
            raise SettingError(f"smoothing must be at least 0 and below 1, not {self.smoothing}")
        if self.attention == "multi-head" and self.hidden % 4:
            raise SettingError(f"hidden must be a multiple of the 4 heads, not {self.hidden}")
        if self.attention == "none" and not self.bridge:
            raise SettingError("without attention and bridge nothing of the source is left to read")
        if self.copy and self.attention == "none":
            raise SettingError("copy needs an attention, whose weights say what to copy")
        if self.copy and self.source_symbols != self.target_symbols:
            raise SettingError(
                "copy needs one vocabulary for both sides: make target_symbols "
                f"{self.source_symbols}, as source_symbols is, not {self.target_symbols}"
            )
        self.schedule()

    def schedule(self) -> nn.teacher_forcing.Schedule:
        """The probability of the truth, as a function of the updates made so far."""
        kind, _, number = self.truth.partition(":")
        try:
            if not math.isfinite(value := float(number)):
                raise ValueError(f"{number} is not finite")
            made: nn.teacher_forcing.Schedule = SCHEDULES[kind](value)
        except (KeyError, ValueError) as error:
            why = "" if isinstance(error, KeyError) else f" ({error})"
            raise SettingError(
                f"truth must be one of {', '.join(SCHEDULES)}, a colon and its number, as in "
                f"linear:0.0001, not {self.truth!r}{why}"
            ) from None
        return made


def translation_model(
    config: TranslateConfig, sources: int, targets: int, generator: Generator
) -> nn.Seq2Seq:
    """The encoder-decoder of a configuration.

    **Arguments** sources, targets: the sizes of the two vocabularies. generator: draws the initial
    weights, and the dropout masks later.
    """
    check_weights_fit(config, sources + targets, 2 * config.layers)
    layer, size, width = CELLS[config.cell], config.hidden, config.embedding
    between = config.dropout if config.layers > 1 else 0.0

    def layers(features: int, **options: Any) -> Any:
        return layer(features, size, config.layers, dropout=between, generator=generator, **options)

    encoder = nn.Encoder(
        nn.Embedding(sources, width, generator=generator),
        layers(width, bidirectional=True),
        config.dropout,
        generator=generator,
    )
    kind = ATTENTIONS[config.attention]
    fed = (width if config.tied else size) if config.feeding else 0
    decoder = nn.Decoder(
        nn.Embedding(targets, width, generator=generator),
        layers(width + fed),
        kind and kind(size, encoder.memory_size, generator=generator),
        input_feeding=config.feeding,
        tied=config.tied,
        copy=config.copy,
        dropout=config.dropout,
        generator=generator,
    )
    bridge = None if config.bridge else _from_zeros
    return nn.Seq2Seq(encoder, decoder, bridge, generator=generator)


def _from_zeros(state: Any) -> None:
    """The bridge to a decoder that begins with zeros, whatever the encoder ends with."""


@dataclass(frozen=True)
class Translation:
    """A source's translation, or one of several."""

    text: str
    log_prob: float  # natural, of the text given the source
    score: float  # what it was ranked by
    tokens: list[str]  # the symbols that were written, the end among them if it was reached
    attention: NDArray[Any] | None  # (tokens, source symbols), the source's end among those


@dataclass(frozen=True)
class Translator:
    """A model with what it needs to read one language and write another."""

    model: nn.Seq2Seq
    source: Vocabulary
    target: Vocabulary

    @classmethod
    def load(cls, folder: str | Path, device: str | None = None) -> Translator:
        """Loads the model of a training run's checkpoint.

        **Raises** CheckpointError if there is none, or it is damaged or of something else,
        DivergedError if weights are not finite.
        """
        return cls.from_state(checked(load_checkpoint(folder), folder), device)

    @classmethod
    def from_state(cls, state: dict[str, Any], device: str | None = None) -> Translator:
        """The model in a checkpoint's state."""
        config, source, target = settings(state)
        model = translation_model(config, len(source), len(target), Generator(config.seed))
        model.load_state_dict(state["model"])
        check_weights(model)
        if device is not None:
            model.to(device)
        return cls(model, source, target)

    def translate(
        self,
        texts: Sequence[str],
        *,
        beams: int = 5,
        n_best: int = 1,
        length_penalty: float = 0.6,
        longest: int | None = None,
        batch: int = 32,
    ) -> list[list[Translation]]:
        """Translates texts, each by itself.

        **Arguments** beams: how many translations grow side by side; 1 takes the most probable
        symbol each time. n_best: how many to give of them. length_penalty: GNMT's alpha. longest:
        symbols that one may have; twice the source's and ten, if None. batch: texts at a time.
        **Returns** for each text its translations, the best first; an empty text has an empty one.
        **Raises** SettingError, and ValueError for a model whose probabilities are NaN.
        """
        for name, value in (("beams", beams), ("n-best", n_best), ("batch", batch)):
            whole(name, value)
        if n_best > beams:
            raise SettingError(f"n-best must be at most the beams, {beams}, not {n_best}")
        whole("longest", 1 if longest is None else longest)
        logits = beams * min(batch, len(texts)) * len(self.target)
        check_memory("beams and batch of this size", 8 * logits)
        check_memory("a translation as long as longest", 32 * (longest or 1))
        if not 0 <= length_penalty <= 10:
            raise SettingError(
                f"length-penalty must be 0 or more, at most 10, not {length_penalty}"
            )
        nothing = np.empty(0, dtype=np.int64)
        read = [i for i, text in enumerate(texts) if text]
        sources = [(self.source.encode(texts[i]), nothing) for i in read]
        found = [[Translation("", 0.0, 0.0, [], None)] for _ in texts]
        for places, side_by_side in in_order(sources, batch):
            most = longest or 2 * len(side_by_side.source) + 10
            hypotheses = self._search(
                side_by_side.source, side_by_side.lengths, beams, n_best, length_penalty, most
            )
            for place, length, row in zip(places, side_by_side.lengths, hypotheses, strict=True):
                found[read[place]] = [self._written(h, int(length)) for h in row]
        return found

    def _search(
        self,
        source: NDArray[np.int64],
        lengths: NDArray[np.int64],
        beams: int,
        n_best: int,
        length_penalty: float,
        longest: int,
    ) -> list[list[decoding.Hypothesis]]:
        on = self.model.decoder.head.weight.device
        with inference(self.model):
            state = self.model.start(as_tensor(source, device=on), lengths=lengths)
        first = full((len(lengths),), START, dtype="int64", device=on)
        options: dict[str, Any] = {"max_length": longest, "end": END, "rows": self.model.rows}
        with inference(self.model):
            if beams == 1:
                found = decoding.greedy(self.model.step, state, first, **options)
                return [[hypothesis] for hypothesis in found]
            return decoding.beam_search(
                self.model.step,
                state,
                first,
                beams=beams,
                n_best=n_best,
                length_penalty=decoding.gnmt(length_penalty),
                **options,
            )

    def _written(self, hypothesis: decoding.Hypothesis, length: int) -> Translation:
        looked = hypothesis.attention
        return Translation(
            self.target.decode(hypothesis.tokens),
            hypothesis.log_prob,
            hypothesis.score,
            self.target.tokens(hypothesis.tokens),
            None if looked is None else looked.numpy()[:, :length],
        )

    def source_tokens(self, text: str) -> list[str]:
        """The symbols that the encoder reads of a text, its end among them."""
        return self.source.tokens([*self.source.encode(text), END])


_ENTRIES: Kinds = {
    "config": dict,
    "source_vocabulary": (str, list, dict),
    "target_vocabulary": (str, list, dict),
    "model": dict,
    "step": int,
    "pairs": dict,
    "heldout": (float, type(None)),
}


def checked(state: dict[str, Any], folder: str | Path) -> dict[str, Any]:
    """A checkpoint's state, if it is one of this recipe; raises CheckpointError otherwise.

    A setting that there was not yet when it was written is as it is by default.
    """
    check_entries(state, folder, "translate", TranslateConfig, _ENTRIES)
    defaults = {field.name: field.default for field in fields(TranslateConfig)}
    return {**state, "config": {**defaults, **state["config"]}}


def settings(state: dict[str, Any]) -> tuple[TranslateConfig, Vocabulary, Vocabulary]:
    """The settings and the source's and the target's vocabulary in a checkpoint's state.

    **Raises** CheckpointError if its arrays are not theirs.
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
    last = f"weight_hh_l{config.layers - 1}"
    check_sizes(
        state["model"],
        {
            "encoder.embedding.weight": (len(source), config.embedding),
            "decoder.embedding.weight": (len(target), config.embedding),
            f"encoder.layers.{last}": (None, config.hidden),
            f"decoder.layers.{last}": (None, config.hidden),
        },
    )
    return config, source, target
