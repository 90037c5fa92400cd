"""Classification of sequences of measurements: a speaker by the vowels (many to one, ragged).

A recurrent network reads the frames of an utterance in both directions, up to its own end. The
largest and the mean value of each unit over time give the scores of the labels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .. import plot
from ..data import DataLoader, PadSequences, TextError
from ..data.sets import SETS
from ..data.ts import Case, parse_ts, read_ts
from ..nn import Dropout, Linear, Module, cross_entropy
from ..tensor import ops
from ..tensor.creation import as_tensor
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from ..train import check_weights, inference
from .charlm import CELLS, check_weights_fit
from .classify import confusion_table
from .comparison import Comparison, Measure
from .dtw import nearest
from .settings import Settings, setting
from .task import Parts, Task, pooled

Sequences = Sequence[NDArray[np.float32]]


@dataclass(frozen=True)
class SpeechConfig(Settings):
    """All that determines a training, except its data."""

    cell: str = setting("gru", "Recurrent cell.", one_of=CELLS)
    hidden_size: int = setting(64, "Units in a direction.", at_least=1)
    num_layers: int = setting(1, "Recurrent layers.", at_least=1)
    embedding_dim: int = setting(32, "Units that read a frame.", at_least=1)
    dropout: float = setting(0.3, "Dropout probability.", at_least=0, below=1)
    noise: float = setting(0.3, "Deviation of the noise on frames of deviation 1.", at_least=0)
    batch_size: int = setting(16, "Sequences in an update.", at_least=1)
    epochs: int = setting(40, "Passes over the sequences; --resume may raise it.", at_least=1)
    lr: float = setting(3e-3, "Peak learning rate of Adam.", above=0)
    clip: float = setting(1.0, "Clip the gradient's norm at this value.", above=0)
    limit: int = setting(0, "Sequences to use at most; all, if 0.", at_least=0)
    seed: int = setting(0, "Seed of the split, the weights, dropout and noise.", at_least=0)


class SpeechModel(Module):
    """A linear map of frames, recurrent layers in both directions, pooling over time, and scores.

    **Arguments** channels, labels: their numbers. generator: draws weights and masks.
    """

    def __init__(
        self, channels: int, labels: int, config: SpeechConfig, generator: Generator
    ) -> None:
        super().__init__()
        check_weights_fit(config, channels + labels, 2 * config.num_layers)
        self.frames = Linear(channels, config.embedding_dim, generator=generator)
        self.dropout = Dropout(config.dropout, generator=generator)
        self.layers = CELLS[config.cell](
            config.embedding_dim, config.hidden_size, num_layers=config.num_layers,
            bidirectional=True, generator=generator,
        )  # fmt: skip
        self.head = Linear(4 * config.hidden_size, labels, generator=generator)

    def forward(self, x: Tensor, lengths: Any) -> Tensor:
        """**Arguments** x: (T, B, channels). lengths: (B,). **Returns** scores (B, labels)."""
        y, _ = self.layers(self.dropout(self.frames(x)), lengths=lengths)
        scores: Tensor = self.head(self.dropout(ops.concat(pooled(y, lengths), axis=1)))
        return scores


@dataclass(frozen=True)
class Recognizer:
    """A model with its labels, and the mean and the deviation of each channel."""

    model: SpeechModel
    labels: list[str]
    scales: list[list[float]]
    config: SpeechConfig

    @classmethod
    def from_state(cls, state: dict[str, Any], device: str | None = None) -> Recognizer:
        """Builds the recognizer from a checkpoint's state."""
        config, labels, scales = SpeechConfig(**state["config"]), state["labels"], state["scales"]
        model = SpeechModel(len(scales), len(labels), config, Generator(config.seed))
        model.load_state_dict(state["chosen"] or state["model"])
        check_weights(model)
        if device is not None:
            model.to(device)
        return cls(model, labels, scales, config)

    def read(self, path: str | Path) -> list[NDArray[np.float32]]:
        """Reads the sequences of a .ts file; labels in it do not count."""
        cases = read_ts(path, labelled=False)
        if (channels := cases[0][0].shape[1]) != len(self.scales):
            raise TextError(
                f"{path} has {channels} channels, but the model reads {len(self.scales)}"
            )
        return [x for x, _ in cases]

    def predict(self, sequences: Sequences) -> Iterator[dict[str, Any]]:
        """Predicts a label for each sequence, with the labels' probabilities."""
        for row in np.exp(self.log_probs(sequences)):
            p = dict(zip(self.labels, row.round(6).tolist(), strict=True))
            yield {"label": self.labels[int(row.argmax())], "probabilities": p}

    def show(self, record: dict[str, Any]) -> str:
        """Shows the label and its probability."""
        return f"{record['label']}  {record['probabilities'][record['label']]:.1%}"

    def log_probs(self, sequences: Sequences) -> NDArray[np.float64]:
        """Computes the log-probabilities of the labels, (N, labels)."""
        found = np.empty((len(sequences), len(self.labels)))
        order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
        device = self.model.head.weight.device
        with inference(self.model):
            for start in range(0, len(order), 64):
                rows = order[start : start + 64]
                x, lengths = PadSequences()([self.scaled(sequences[i]) for i in rows])
                found[rows] = ops.log_softmax(self.model(x.to(device), lengths), axis=-1).numpy()
        return found

    def scaled(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardises the channels."""
        centre, width = np.array(self.scales, np.float32).T
        scaled: NDArray[np.float32] = (x - centre) / width
        return scaled


def japanese_vowels() -> list[list[Case]]:
    """Reads the utterances of nine speakers, to learn from and for the test.

    **Raises** TextError if the package aeon is not installed.
    """
    names = [f"datasets/data/JapaneseVowels/JapaneseVowels_{part}.ts" for part in ("TRAIN", "TEST")]
    return [parse_ts(SETS["vowels"].read(name).decode("utf-8", "replace"), name) for name in names]


class Speech(Task):
    """Train a classifier of sequences of measurements, and compare it with warped neighbours."""

    recipe, unit, shown = "speech", "sequence", "validation -log P {:.4f} nats"
    settings, predictor = SpeechConfig, Recognizer
    kinds: ClassVar = {"labels": list, "scales": list}
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
        generator = Generator(config.seed)
        self.parts = data
        self.labels = sorted({label for _, label in data.training})
        if len(self.labels) < 2:
            raise TextError(
                f"every sequence has the label {self.labels[0]!r}: expected two at least"
            )
        if unknown := {label for _, label in [*data.validation, *data.test]} - {*self.labels}:
            raise TextError(f"the training sequences have no label {min(unknown)!r}, as others do")
        frames = np.concatenate([x for x, _ in data.training]).astype(np.float64)
        spread = frames.std(axis=0)
        scales = np.stack([frames.mean(axis=0), np.where(spread > 1e-12, spread, 1)], axis=1)
        model = SpeechModel(len(scales), len(self.labels), config, generator)
        self.recognizer = Recognizer(model, self.labels, scales.tolist(), config)
        samples = [
            (self.recognizer.scaled(x), self.labels.index(label)) for x, label in data.training
        ]
        loader = DataLoader(
            samples, config.batch_size, shuffle=True, generator=generator, collate=PadSequences(),
            lengths=[len(x) for x, _ in samples],
        )  # fmt: skip
        super().__init__(data, model, loader, config, generator, device)
        self.symbols = len(frames)

    def batch_loss(self, model: Any, batch: Any) -> tuple[Tensor, int]:
        """Computes the cross-entropy of the labels of noisy sequences, and their number."""
        x, lengths, targets = batch
        noise = self.generator.normal(x.shape).astype("float32") * self.config.noise
        x = x + as_tensor(noise, device=x.device)
        return cross_entropy(model(x, lengths), targets), len(targets)

    def evaluate(self, quick: bool = False) -> float:
        """Computes the mean -log P of the validation labels: accuracies of few items are coarse."""
        log_p = self.recognizer.log_probs([x for x, _ in self.parts.validation])
        right = [self.labels.index(label) for _, label in self.parts.validation]
        return -float(log_p[np.arange(len(right)), right].mean())

    def compare(self) -> Comparison:
        """Compares accuracies on the test sequences."""
        test = [x for x, _ in self.parts.test]
        right = np.array([self.labels.index(label) for _, label in self.parts.test])
        known = [*self.parts.training, *self.parts.validation]
        comparison = Comparison("sequences", [Measure("accuracy", shown="{:.2%}")])

        def add(system: str, found: Any) -> None:
            hits = np.equal(found, right)
            comparison.add(system, accuracy=np.stack([hits, np.ones(len(right))], axis=1))

        targets = np.array([self.labels.index(label) for _, label in known])
        add("majority", np.full(len(right), np.argmax(np.bincount(targets))))
        print("warping every pair of sequences ...", flush=True)
        add("1-NN, DTW", targets[nearest([x for x, _ in known], test)])
        found = self.predicting().log_probs(test).argmax(axis=1)
        add(self.config.cell, found)
        self.confusion = np.zeros((len(self.labels), len(self.labels)), np.int64)
        np.add.at(self.confusion, (right, found), 1)
        low, high = wilson(int((found == right).sum()), len(right))
        comparison.notes += [
            f"95 % interval of the accuracy of {self.config.cell}: {low:.1%} to {high:.1%}",
            confusion_table(self.labels, self.confusion),
        ]
        return comparison

    def draw(self, path: Path, comparison: Comparison) -> None:
        """Draws the confusion matrix."""
        plot.save(plot.confusion(self.confusion, self.labels), path)

    def describe(self) -> str:
        """The data in a line."""
        parts = self.parts
        lengths = [len(x) for part in parts for x, _ in part]
        return (
            f"sequences: {len(parts.training):,} to learn from, {len(parts.validation):,} for "
            f"validation, {len(parts.test):,} for the test; {min(lengths)} to {max(lengths)} steps "
            f"of {len(self.recognizer.scales)} channels; labels: {', '.join(self.labels)}"
        )

    def state(self) -> dict[str, Any]:
        """Returns the labels and the channels' scales."""
        return {"labels": self.labels, "scales": self.recognizer.scales}


def wilson(right: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Computes the 95 % interval of a probability from right answers (Wilson 1927).

    >>> [round(x, 3) for x in wilson(9, 10)]
    [0.596, 0.982]
    """
    centre = (right + z * z / 2) / (count + z * z)
    half = z * math.sqrt(right * (count - right) / count + z * z / 4) / (count + z * z)
    return centre - half, centre + half
