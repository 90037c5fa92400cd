"""Classification of sequences of measurements: a speaker by the vowels (many to one, ragged).

`recognizer.py` has the network; here are the training, the baselines, and the picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from .. import plot
from ..data import DataLoader, PadSequences, TextError
from ..data.sets import japanese_vowels
from ..data.splits import Parts
from ..data.ts import read_ts
from ..tensor.creation import as_tensor
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .comparison import Comparison, Measure
from .dtw import dtw
from .labels import LabelTask
from .recognizer import Recognizer, SpeechConfig


class Speech(LabelTask):
    """Train a classifier of sequences of vectors, and compare it with dynamic time warping."""

    recipe, unit, figure = "speech", "sequence", "validation -log P {:.4f} nats"
    settings, predictor = SpeechConfig, Recognizer
    measure = Measure("accuracy", shown="{:.2%}")
    quick: ClassVar = {"limit": 400, "epochs": 12, "hidden_size": 32}
    data_help = (
        ".ts files of labelled sequences. One file is split; of two the second is the test, of "
        "three the third."
    )
    default = "Japanese vowels"

    @classmethod
    def read(cls, files: Sequence[str], config: Any) -> Parts:
        """Reads sequences with their labels, and splits them."""
        parts = [read_ts(path) for path in files] or japanese_vowels()
        for cases, path in zip(parts, files, strict=False):
            if (a := cases[0][0].shape[1]) != (b := parts[0][0][0].shape[1]):
                raise TextError(f"{path} has {a} channels, but {files[0]} has {b}")
        return Parts.of(parts, config.seed, config.limit)

    def __init__(self, data: Parts, config: SpeechConfig, device: str | None = None) -> None:
        generator, self.parts = Generator(config.seed), data
        self.labels = self.labels_of(data)
        frames = np.concatenate([x for x, _ in data.training]).astype(np.float64)
        spread = frames.std(axis=0)
        scales = np.stack([frames.mean(axis=0), np.where(spread > 1e-12, spread, 1)], axis=1)
        recognizer = Recognizer(config, generator, self.labels, scales.tolist())
        x = [recognizer.encode(x) for x, _ in data.training]
        loader = DataLoader(
            list(zip(x, self.targets(data.training).tolist(), strict=True)), config.batch_size,
            shuffle=True, generator=generator, collate=PadSequences(), lengths=list(map(len, x)),
        )  # fmt: skip
        super().__init__(data, recognizer, loader, generator, device)
        self.symbols = len(frames)

    def batch_loss(self, model: Any, batch: Any) -> tuple[Tensor, int]:
        """Computes the cross-entropy of the labels of noisy sequences, and their number."""
        x, *rest = batch
        noise = self.generator.normal(x.shape).astype("float32") * self.config.noise
        return super().batch_loss(model, (x + as_tensor(noise, device=x.device), *rest))

    def evaluate(self, quick: bool = False) -> float:
        """Computes the mean -log P of the validation labels: accuracies of few items are coarse."""
        items = self.parts.validation
        log_p = self.current.log_probs([x for x, _ in items])
        return -float(log_p[np.arange(len(items)), self.targets(items)].mean())

    def baselines(self, comparison: Comparison) -> Iterator[tuple[str, Any]]:
        """Yields the most frequent label, and that of the nearest sequence."""
        known, test = [*self.parts.training, *self.parts.validation], self.parts.test
        targets = self.targets(known)
        yield "majority", np.full(len(test), np.argmax(np.bincount(targets)))
        print("warping every pair of sequences ...", flush=True)
        nearest = dtw([x for x, _ in test], [x for x, _ in known]).argmin(axis=1)
        yield "1-NN, DTW", targets[nearest]

    def compare(self) -> Comparison:
        """Compares accuracies, and adds the interval of ours."""
        comparison = super().compare()
        low, high = wilson(int(np.trace(self.confusion)), int(self.confusion.sum()))
        comparison.notes.insert(
            0, f"95 % interval of the accuracy of {self.config.cell}: {low:.1%} to {high:.1%}"
        )
        return comparison

    def draw(self, path: Path, comparison: Comparison) -> None:
        """Draws the confusion matrix."""
        plot.save(plot.confusion(self.confusion, self.labels), path)

    def describe(self) -> str:
        """The data in a line."""
        lengths = [len(x) for part in self.parts for x, _ in part]
        return (
            f"{self.parts.sizes('sequences')}; {min(lengths)} to {max(lengths)} steps of "
            f"{len(self.current.scales)} channels; labels: {', '.join(self.labels)}"
        )


def wilson(right: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Computes the 95 % interval of a probability from right answers (Wilson 1927).

    >>> [round(x, 3) for x in wilson(9, 10)]
    [0.596, 0.982]
    """
    centre = (right + z * z / 2) / (count + z * z)
    half = z * math.sqrt(right * (count - right) / count + z * z / 4) / (count + z * z)
    return centre - half, centre + half
