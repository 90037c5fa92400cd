"""Translation by an encoder-decoder: lines to lines, words to phones, sequences to sequences.

    P(y_1 ... y_T | x) = P(y_1 | x) P(y_2 | y_1, x) ... P(END | y_1 ... y_T, x)

The encoder reads the source in both directions. The decoder generates the target, and attends to
the source at each step. `translator.py` searches for translations, `translation_training.py` trains
the model, and `translation_table.py` compares it with baselines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .. import nn
from ..data import VOCABULARIES
from ..tensor.random import Generator
from .cells import CELLS, check_weights_fit
from .settings import SettingError, Settings, setting

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
    size, width = config.hidden_size, config.embedding_dim
    check_weights_fit(config, width, sources + targets, 2 * config.num_layers)
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
