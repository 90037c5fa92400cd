"""The base of tasks with one label for a sequence (many to one): classify and speech."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..data import PadSequences, TextError
from ..data.splits import Parts
from ..nn import Dropout, Linear, Module, cross_entropy
from ..nn.lengths import within_rows
from ..tensor import ops
from ..tensor.creation import as_tensor
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from ..train import inference
from .cells import CELLS
from .comparison import Comparison, Measure, confusion_table
from .predictor import Predictor, by_length
from .task import Task


def pooled(y: Tensor, lengths: Any) -> tuple[Tensor, Tensor]:
    """Pools a layer's outputs over the steps of each row: the largest value, and the mean.

    **Arguments** y: (T, B, H), zero past a row's length. lengths: (B,), each at least 1.
    **Returns** (B, H) twice.

    >>> y = as_tensor(np.array([[[-1.0], [-2.0]], [[-3.0], [0.0]]], np.float32))
    >>> [x.tolist() for x in pooled(y, [2, 1])]
    [[[-1.0], [-2.0]], [[-2.0], [-2.0]]]
    """
    steps = as_tensor(np.asarray(lengths), device=y.device)
    inside = within_rows(y, steps)[:, :, None]
    mean = y.sum(axis=0) / steps[:, None].astype(y.dtype)
    return ops.where(inside, y, -math.inf).max(axis=0), mean


class PooledModel(Module):
    """The layers of a model that reads a sequence in both directions, and scores its labels."""

    def add_layers(self, labels: int, config: Any, generator: Generator) -> None:
        """Creates the layers, after what reads the items. **Arguments** labels: their number."""
        self.dropout = Dropout(config.dropout, generator=generator)
        self.layers = CELLS[config.cell](
            config.embedding_dim, config.hidden_size, num_layers=config.num_layers,
            bidirectional=True, generator=generator,
        )  # fmt: skip
        self.head = Linear(4 * config.hidden_size, labels, generator=generator)

    def scores(self, x: Tensor, lengths: Any) -> Tensor:
        """Computes the labels' scores (B, labels). **Arguments** x: (T, B, E). lengths: (B,)."""
        y, _ = self.layers(self.dropout(x), lengths=lengths)
        found: Tensor = self.head(self.dropout(ops.concat(pooled(y, lengths), axis=1)))
        return found


class Labeller(Predictor):
    """Gives sequences their labels."""

    labels: list[str]
    encode: Callable[[Any], NDArray[Any]]  # what the network reads of an item, (T, ...)

    def batches(self, items: Sequence[Any]) -> Iterator[tuple[list[int], Tensor, Any]]:
        """Yields the places of items of similar length, their padded batch, and the lengths."""
        encoded = [self.encode(item) for item in items]
        for rows in by_length(encoded):
            x, lengths = PadSequences()([encoded[i] for i in rows])
            yield rows, x.to(self.device), lengths

    def log_probs(self, items: Sequence[Any]) -> NDArray[np.float64]:
        """Computes the log-probabilities of the labels, (N, labels)."""
        found = np.empty((len(items), len(self.labels)))
        with inference(self.model):
            for rows, x, lengths in self.batches(items):
                found[rows] = ops.log_softmax(self.model(x, lengths), axis=-1).numpy()
        return found

    def named(self, p: NDArray[np.float64]) -> dict[str, Any]:
        """Returns the likeliest label, and the labels' probabilities, for a record."""
        shares = dict(zip(self.labels, p.round(6).tolist(), strict=True))
        return {"label": self.labels[int(p.argmax())], "probabilities": shares}


class LabelTask(Task):
    """Trains a `Labeller` on items: tuples of a sequence, its label, and what else is known."""

    measure: ClassVar = Measure("accuracy")
    parts: Parts
    labels: list[str]  # those of the training, sorted
    # Yields other systems, with the numbers of the labels that each gives the test items.
    baselines: Callable[[Comparison], Iterator[tuple[str, Any]]]

    @classmethod
    def labels_of(cls, parts: Parts) -> list[str]:
        """Returns the labels in training. **Raises** TextError for one only, or others later."""
        labels = sorted({label for _, label, *_ in parts.training})
        if len(labels) < 2:
            raise TextError(
                f"every {cls.unit} to learn from has the label {labels[0]!r}: expected two labels "
                "at least"
            )
        if unknown := {label for _, label, *_ in [*parts.validation, *parts.test]} - {*labels}:
            raise TextError(
                f"the training {cls.unit}s have no label {min(unknown)!r}, as others do: add some, "
                "or leave the others out"
            )
        return labels

    def targets(self, items: Sequence[Any]) -> NDArray[np.int64]:
        """Returns the numbers of the items' labels."""
        places = {label: i for i, label in enumerate(self.labels)}
        return np.array([places[label] for _, label, *_ in items])

    def batch_loss(self, model: Any, batch: Any) -> tuple[Tensor, int]:
        """Computes the cross-entropy of the labels, and their number."""
        x, lengths, targets = batch
        return cross_entropy(model(x, lengths), targets), len(targets)

    def compare(self) -> Comparison:
        """Compares accuracies on the test items."""
        test, right = [item for item, *_ in self.parts.test], self.targets(self.parts.test)
        comparison = Comparison(f"{self.unit}s", [self.measure])

        def add(system: str, found: Any) -> None:
            hits = np.stack([np.equal(found, right), np.ones(len(right))], axis=1)
            comparison.add(system, accuracy=hits)

        for system, found in self.baselines(comparison):
            add(system, found)
        found = self.predicting().log_probs(test).argmax(axis=1)
        add(self.config.cell, found)
        self.confusion = np.zeros((len(self.labels), len(self.labels)), np.int64)
        np.add.at(self.confusion, (right, found), 1)
        comparison.notes.append(confusion_table(self.labels, self.confusion))
        return comparison

    def describe(self) -> str:
        """The data in a line."""
        return f"{self.parts.sizes(f'{self.unit}s')}; labels: {', '.join(self.labels)}"
