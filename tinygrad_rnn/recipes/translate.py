"""Translation by an encoder-decoder: lines to lines, words to phones, sequences to sequences.

    P(y_1 ... y_T | x) = P(y_1 | x) P(y_2 | y_1, x) ... P(END | y_1 ... y_T, x)

The encoder reads the source in both directions. The decoder generates the target, and attends to
the source at each step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import nn
from ..data import END, START, VOCABULARIES, Vocabulary, in_order
from ..io import load_checkpoint
from ..io.files import fitting
from ..nn import decoding
from ..tensor.creation import as_tensor, full
from ..tensor.random import Generator
from ..train import check_weights, inference
from .charlm import CELLS, check_weights_fit
from .saved import check_entries, check_sizes
from .settings import SettingError, Settings, check, check_memory, setting

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
class TranslateConfig(Settings):
    """All that determines a training, except its pairs."""

    cell: str = setting("lstm", "Recurrent cell.", one_of=CELLS)
    hidden_size: int = setting(256, "Units in a layer, for each direction.", at_least=1)
    num_layers: int = setting(1, "Layers of the encoder, and of the decoder.", at_least=1)
    embedding_dim: int = setting(128, "Embedding size of a symbol.", at_least=1)
    dropout: float = setting(
        0.2, "Dropout probability, before, between and after the layers.", at_least=0, below=1
    )
    attention: str = setting("additive", "Attention of the decoder.", one_of=ATTENTIONS)
    bridge: bool = setting(True, "Start the decoder with the encoder's final state.")
    input_feeding: bool = setting(
        False, "Feed each step's attentional state to the next step (Luong et al. 2015)."
    )
    tied: bool = setting(False, "Tie the target's embedding and the output matrix.")
    copy: bool = setting(False, "Copy mechanism; both sides share a vocabulary.")
    source_symbols: str = setting("words", "Symbols of the source.", one_of=VOCABULARIES)
    target_symbols: str = setting("words", "Symbols of the target.", one_of=VOCABULARIES)
    vocab_size: int = setting(8000, "Maximal size of a vocabulary.", at_least=1)
    max_length: int = setting(
        60, "Maximal number of symbols; training omits longer pairs.", at_least=1
    )
    label_smoothing: float = setting(
        0.1,
        "Label smoothing: the probability that is spread over all symbols.",
        at_least=0,
        below=1,
    )
    teacher_forcing: str = setting(
        "constant:1",
        "Probability of teacher forcing, by update: constant:P, linear:SLOPE, exponential:K or "
        "inverse-sigmoid:K.",
    )
    batch_size: int = setting(64, "Pairs in an update.", at_least=1)
    steps: int = setting(2500, "Updates in all.", at_least=1)
    lr: float = setting(2e-3, "Peak learning rate of Adam.", above=0)
    clip: float = setting(1.0, "Clip the gradient's norm at this value.", above=0)
    seed: int = setting(0, "Seed of all random numbers.", at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attention == "multi-head" and self.hidden_size % 4:
            raise SettingError(
                f"`hidden_size` must be a multiple of the 4 heads, not {self.hidden_size}"
            )
        if self.attention == "none" and not self.bridge:
            raise SettingError("without `attention` and `bridge` the decoder reads no source")
        if self.copy and self.attention == "none":
            raise SettingError("`copy` needs an `attention`, whose weights choose what to copy")
        if self.copy and self.source_symbols != self.target_symbols:
            raise SettingError(
                f"`copy` needs one vocabulary for both sides: `target_symbols` must be "
                f"{self.source_symbols}, as `source_symbols` is, not {self.target_symbols}"
            )
        self.schedule()

    def schedule(self) -> nn.teacher_forcing.Schedule:
        """Returns the teacher forcing ratio as a function of the number of updates."""
        kind, _, number = self.teacher_forcing.partition(":")
        try:
            if not math.isfinite(value := float(number)):
                raise ValueError(f"{number} is not finite")
            schedule: nn.teacher_forcing.Schedule = SCHEDULES[kind](value)
        except (KeyError, ValueError) as error:
            why = "" if isinstance(error, KeyError) else f" ({error})"
            raise SettingError(
                f"`teacher_forcing` must be one of {', '.join(SCHEDULES)}, a colon and its number, "
                f"as in linear:0.0001, not {self.teacher_forcing!r}{why}"
            ) from None
        return schedule


def translation_model(
    config: TranslateConfig, sources: int, targets: int, generator: Generator
) -> nn.Seq2Seq:
    """Builds the encoder-decoder of a configuration.

    **Arguments** sources, targets: the sizes of the two vocabularies. generator: draws the initial
    weights and the dropout masks.
    """
    check_weights_fit(config, sources + targets, 2 * config.num_layers)
    size, width = config.hidden_size, config.embedding_dim
    options: dict[str, Any] = {
        "num_layers": config.num_layers,
        "dropout": config.dropout if config.num_layers > 1 else 0.0,
        "generator": generator,
    }

    encoder = nn.Encoder(
        nn.Embedding(sources, width, generator=generator),
        CELLS[config.cell](width, size, bidirectional=True, **options),
        config.dropout,
        generator=generator,
    )
    kind = ATTENTIONS[config.attention]
    fed = (width if config.tied else size) if config.input_feeding else 0
    decoder = nn.Decoder(
        nn.Embedding(targets, width, generator=generator),
        CELLS[config.cell](width + fed, size, **options),
        kind and kind(size, encoder.memory_size, generator=generator),
        input_feeding=config.input_feeding,
        tied=config.tied,
        copy=config.copy,
        dropout=config.dropout,
        generator=generator,
    )
    bridge = None if config.bridge else _zero_state
    return nn.Seq2Seq(encoder, decoder, bridge, generator=generator)


def _zero_state(state: Any) -> None:
    """The bridge to a decoder whose initial state is zero, whatever the encoder's final state."""


@dataclass(frozen=True)
class Translation:
    """One translation of a source."""

    text: str
    log_prob: float  # natural, of the text given the source
    score: float  # by which the search ranks translations
    tokens: list[str]  # the generated symbols, with the end symbol unless the length ran out
    attention: NDArray[Any] | None  # (tokens, source symbols with the end symbol)


@dataclass(frozen=True)
class Translator:
    """A translation model with its two vocabularies."""

    model: nn.Seq2Seq
    source: Vocabulary
    target: Vocabulary

    @classmethod
    def load(cls, folder: str | Path, device: str | None = None) -> Translator:
        """Loads the model from the checkpoint of a training.

        **Raises** CheckpointError if there is none, or it is damaged or of another recipe,
        DivergedError if weights are not finite.
        """
        return cls.from_state(checked(load_checkpoint(folder), folder), device)

    @classmethod
    def from_state(cls, state: dict[str, Any], device: str | None = None) -> Translator:
        """Builds the model from a checkpoint's state."""
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
            first = full((len(indices),), START, dtype="int64", device=device)
            options: dict[str, Any] = {
                # An end symbol is part of each length.
                "max_length": [max_length or 2 * int(n) + 8 for n in batch.lengths],
                "end": END,
                "batch_axis": model.batch_axis,
            }
            with inference(model):
                state = model.start(as_tensor(batch.source, device=device), lengths=batch.lengths)
                if beams == 1:
                    greedy = decoding.greedy(model.step, state, first, **options)
                    results = [[hypothesis] for hypothesis in greedy]
                else:
                    results = decoding.beam_search(
                        model.step, state, first, beams=beams, n_best=n_best,
                        length_penalty=decoding.gnmt(length_penalty), **options,
                    )  # fmt: skip
            for i, length, hypotheses in zip(indices, batch.lengths, results, strict=True):
                translations[places[i]] = [self._translation(h, int(length)) for h in hypotheses]
        return translations

    def _translation(self, hypothesis: decoding.Hypothesis, length: int) -> Translation:
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


def checked(state: dict[str, Any], folder: str | Path) -> dict[str, Any]:
    """Returns a checkpoint's state. **Raises** CheckpointError if it is not one of this recipe."""
    symbols = (str, list, dict)
    kinds = {"source_vocabulary": symbols, "target_vocabulary": symbols}
    return check_entries(state, folder, "translate", TranslateConfig, kinds)


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
