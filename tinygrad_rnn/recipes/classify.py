"""Classification of texts: a sequence in, one label out (many to one).

`classifier.py` has the network; here are the training, the baselines, and the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from .. import plot
from ..data import DataLoader, PadSequences
from ..data.sets import movie_sentences
from ..data.splits import Parts
from ..data.tables import Table
from ..tensor.random import Generator
from .bag_of_words import NaiveBayes, logistic_regression
from .classifier import Classifier, ClassifyConfig, encode, tokens
from .comparison import Comparison
from .labels import LabelTask
from .picture import draw_differences
from .predictor import Index

Item = tuple[str, str, float]  # a text, its label, and how sure the label is
BAYES = 0.3  # of Naive Bayes' scores, where the words' own scores begin


class Classify(LabelTask):
    """Train a classifier of texts, and compare it with Naive Bayes and logistic regression."""

    recipe, unit, figure = "classify", "text", "validation error {:.1%}"
    uses = ("predict", "look")
    settings, predictor = ClassifyConfig, Classifier
    quick: ClassVar = {"limit": 3000, "epochs": 2, "hidden_size": 32, "embedding_dim": 32}
    data_help = (
        "CSV, TSV or JSON lines with a column of texts and one of labels. One file is split; of "
        "two the second is the test, of three the third."
    )
    default = "movie sentences"

    @classmethod
    def read(cls, files: Sequence[str], config: Any) -> Parts:
        """Reads texts with their labels, and splits them."""
        parts: list[list[Item]] = []
        for path in files:
            parts.append(labelled(path, config, parts[0] if parts else []))
        parts = parts or [movie_sentences()]
        return Parts.of(parts, config.seed, config.limit)

    def __init__(self, data: Parts, config: ClassifyConfig, device: str | None = None) -> None:
        generator, self.parts = Generator(config.seed), data
        self.labels = self.labels_of(data)
        self.texts = [tokens(text) for text, _, _ in data.training]
        index = Index.of(self.texts, config.vocab_size)
        targets = self.targets(data.training)
        sure = np.array([confidence for _, _, confidence in data.training], np.float32)
        others = (1 - sure) / (len(self.labels) - 1)
        shares = np.tile(others[:, None], (1, len(self.labels)))
        shares[np.arange(len(sure)), targets] = sure
        x = [encode(index, text, config) for text, _, _ in data.training]
        loader = DataLoader(
            list(zip(x, shares, strict=True)), config.batch_size, shuffle=True,
            generator=generator, collate=PadSequences(), lengths=list(map(len, x)),
        )  # fmt: skip
        classifier = Classifier(config, generator, index.tokens, self.labels)
        self.bayes = NaiveBayes(self.texts, targets.tolist())
        for word, row in index.places.items():
            scores = self.bayes.log_likelihood[self.bayes.places[word]]
            classifier.model.single.weight.data[row] = BAYES * (scores - scores.mean())
        super().__init__(data, classifier, loader, generator, device, worst=1.0)
        self.symbols = sum(map(len, self.texts))

    def evaluate(self, quick: bool = False) -> float:
        """Computes the share of the validation texts with a wrong label."""
        items = self.parts.validation
        found = self.current.log_probs([text for text, _, _ in items]).argmax(axis=1)
        return 1 - float(np.mean(found == self.targets(items)))

    def baselines(self, comparison: Comparison) -> Iterator[tuple[str, Any]]:
        """Yields the most frequent label, Naive Bayes and logistic regression."""
        texts = [tokens(text) for text, _, _ in self.parts.test]
        targets = self.targets(self.parts.training)
        yield "majority", np.full(len(texts), np.argmax(np.bincount(targets)))
        yield "Naive Bayes", self.bayes.predict(texts)
        with comparison.optional():
            yield "logistic regression", logistic_regression(self.texts, targets.tolist(), texts)

    def draw(self, path: Path, comparison: Comparison) -> None:
        """Draws the losses, the confusion matrix, and what the words of a test text contribute."""
        figure, (first, second, third, right) = plot.panels(2, 2, 12, 8)
        steps = [record["step"] for record in self.history]
        plot.curves(
            {"validation error": (steps, [record["validation"] for record in self.history])},
            xlabel="updates", ylabel="share of wrong labels", ax=first,
        )  # fmt: skip
        draw_differences(comparison, second)
        plot.confusion(self.confusion, self.labels, ax=third)
        fitting = [text for text, _, _ in self.parts.test if 4 < len(tokens(text)) < 20]
        [record] = self.predicting().predict((fitting or [self.parts.test[0][0]])[:1])
        names, shares = zip(*record["words"], strict=True)
        right.barh(range(len(names)), shares, color="0.6", edgecolor="black")
        right.set_yticks(range(len(names)), names)
        right.invert_yaxis()
        right.axvline(0, color="black", linewidth=0.8)
        right.set(title=f"speaks for {record['label']!r}", xlabel="contribution (log-odds)")
        plot.save(figure, path)


def labelled(path: str, config: ClassifyConfig, first: Sequence[Item] = ()) -> list[Item]:
    """Reads the texts and the labels of a table.

    **Arguments** first: the items of the first file, if this is another, which has no other labels.
    **Raises** TableError, also for a first file with one label only.
    """
    table = Table.read(path)
    texts, labels = table.texts(config.text), table.texts(config.label)
    known = {label for _, label, _ in first} or set(labels)
    if len(known) < 2:
        raise table.error(
            0, config.label, f"every row has the label {labels[0]!r}: expected two labels at least"
        )
    for row, label in enumerate(labels):
        if label not in known:
            raise table.error(row, config.label, f"the first file has no label {label!r}")
    sure = [1.0] * len(table)
    if config.confidence:
        sure = table.numbers(config.confidence)
        for row, value in enumerate(sure):
            if not 0 <= value <= 1:
                raise table.error(row, config.confidence, f"expected 0 to 1, got {value:g}")
    return list(zip(texts, labels, sure, strict=True))
