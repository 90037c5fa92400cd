"""The network of `speech`: reads the frames of a sequence, and gives a label.

A recurrent network reads the frames in both directions, up to the sequence's own end. The largest
and the mean value of each unit over time give the scores of the labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..data import TextError
from ..data.ts import read_ts
from ..nn import Linear
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .cells import check_weights_fit
from .labels import Labeller, PooledModel
from .settings import setting
from .task import TaskSettings


@dataclass(frozen=True)
class SpeechConfig(TaskSettings):
    """All that determines a training, except its data."""

    cell: str = "gru"
    hidden_size: int = 64
    embedding_dim: int = setting(32, "Size of the projection of a frame.", at_least=1)
    dropout: float = 0.3
    noise: float = setting(
        0.3, "Standard deviation of the noise on standardised frames.", at_least=0
    )


class SpeechModel(PooledModel):
    """A linear map of frames, recurrent layers in both directions, pooling over time, and scores.

    **Arguments** channels, labels: their numbers. generator: draws weights and masks.
    """

    def __init__(
        self, channels: int, labels: int, config: SpeechConfig, generator: Generator
    ) -> None:
        super().__init__()
        check_weights_fit(config, config.embedding_dim, channels + labels, 2 * config.num_layers)
        self.frames = Linear(channels, config.embedding_dim, generator=generator)
        self.add_layers(labels, config, generator)

    def forward(self, x: Tensor, lengths: Any) -> Tensor:
        """**Arguments** x: (T, B, channels). lengths: (B,). **Returns** scores (B, labels)."""
        return self.scores(self.frames(x), lengths)


class Recognizer(Labeller):
    """Gives sequences their labels; it knows the mean and the deviation of each channel."""

    settings = SpeechConfig
    kinds: ClassVar = {"labels": [str], "scales": [[float]]}
    scales: list[list[float]]

    def build(self, generator: Generator) -> SpeechModel:
        """Builds the model."""
        return SpeechModel(len(self.scales), len(self.labels), self.config, generator)

    def read(self, path: str | Path) -> list[NDArray[np.float32]]:
        """Reads the sequences of a .ts file; labels in it do not count."""
        cases = read_ts(path, labelled=False)
        if (channels := cases[0][0].shape[1]) != len(self.scales):
            raise TextError(
                f"{path} has {channels} channels, but the model reads {len(self.scales)}"
            )
        return [x for x, _ in cases]

    def predict(self, sequences: Sequence[NDArray[np.float32]]) -> Iterator[dict[str, Any]]:
        """Predicts a label for each sequence, with the labels' probabilities."""
        yield from map(self.named, np.exp(self.log_probs(sequences)))

    def show(self, record: dict[str, Any]) -> str:
        """Shows the label and its probability."""
        return f"{record['label']}  {record['probabilities'][record['label']]:.1%}"

    def encode(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardises the channels."""
        centre, width = np.array(self.scales, np.float32).T
        scaled: NDArray[np.float32] = (x - centre) / width
        return scaled
