"""Classification of texts: a sequence in, one label out (many to one).

A recurrent network reads the words in both directions. The largest and the mean value of each unit
over time give the scores of the labels, and each word adds a score of its own, as in a linear
model, whose first value is that of Naive Bayes.
"""

from __future__ import annotations

import io
import math
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .. import plot
from ..data import DataLoader, PadSequences, TextError
from ..data.datasets import lines
from ..data.sets import SETS
from ..data.tables import TABLES, Table, read_input
from ..data.words import words
from ..nn import Dropout, Embedding, Linear, Module, cross_entropy
from ..optim import AdamW, Optimizer
from ..tensor import ops
from ..tensor.autodiff import grad
from ..tensor.creation import arange, as_tensor
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from ..train import check_weights, inference
from .bag_of_words import NaiveBayes, logistic_regression
from .charlm import CELLS, check_weights_fit
from .comparison import Comparison, Measure
from .settings import Settings, setting
from .task import Index, Parts, Task, pooled

Item = tuple[str, str, float]  # a text, its label, and how sure the label is
BAYES = 0.3  # of Naive Bayes' scores, where the words' own scores begin


@dataclass(frozen=True)
class ClassifyConfig(Settings):
    """All that determines a training, except its data."""

    text: str = setting("text", "The column of the texts.")
    label: str = setting("label", "The column of the labels.")
    confidence: str = setting("", "The column of how sure each label is, 0 to 1, if there is one.")
    cell: str = setting("lstm", "Recurrent cell.", one_of=CELLS)
    hidden_size: int = setting(128, "Units in a direction.", at_least=1)
    num_layers: int = setting(1, "Recurrent layers.", at_least=1)
    embedding_dim: int = setting(100, "Embedding size of a word.", at_least=1)
    vocab_size: int = setting(20_000, "Most words to know.", at_least=1)
    max_length: int = setting(400, "Words of a text that are read.", at_least=1)
    dropout: float = setting(0.5, "Dropout probability.", at_least=0, below=1)
    word_dropout: float = setting(0.2, "Probability to drop a word.", at_least=0, below=1)
    weight_decay: float = setting(0.01, "Weight decay of AdamW.", at_least=0)
    batch_size: int = setting(32, "Texts in an update.", at_least=1)
    epochs: int = setting(5, "Passes over the texts; --resume may raise it.", at_least=1)
    lr: float = setting(1e-3, "Peak learning rate of AdamW.", above=0)
    clip: float = setting(1.0, "Clip the gradient's norm at this value.", above=0)
    limit: int = setting(0, "Texts to use at most; all, if 0.", at_least=0)
    seed: int = setting(0, "Seed of the split, the weights and dropout.", at_least=0)


class TextModel(Module):
    """Embedding, recurrent layers in both directions, pooling over time, and a linear map.

    **Arguments** words, labels: their numbers. generator: draws weights and masks.
    """

    def __init__(
        self, words: int, labels: int, config: ClassifyConfig, generator: Generator
    ) -> None:
        super().__init__()
        check_weights_fit(config, words, 2 * config.num_layers)
        drop = config.word_dropout
        self.embedding = Embedding(words, config.embedding_dim, dropout=drop, generator=generator)
        self.embedding.weight.data[:] *= 0.1
        self.single = Embedding(words, labels, dropout=drop, generator=generator)
        self.single.weight.data[:] = 0
        self.dropout = Dropout(config.dropout, generator=generator)
        self.layers = CELLS[config.cell](
            config.embedding_dim, config.hidden_size, num_layers=config.num_layers,
            bidirectional=True, generator=generator,
        )  # fmt: skip
        self.head = Linear(4 * config.hidden_size, labels, generator=generator)

    def forward(self, ids: Any, lengths: Any) -> Tensor:
        """**Arguments** ids: (T, B). lengths: (B,). **Returns** scores (B, labels)."""
        return self.read(self.embedding(ids), self.single(ids), lengths)

    def read(self, vectors: Tensor, singles: Tensor, lengths: Any) -> Tensor:
        """Computes the scores from the words' vectors (T, B, E), and their own scores (T, B, K)."""
        steps = as_tensor(np.asarray(lengths), device=vectors.device)
        inside = (arange(len(vectors), device=vectors.device)[:, None] < steps)[:, :, None]
        y, _ = self.layers(self.dropout(vectors), lengths=lengths)
        scores = self.head(self.dropout(ops.concat(pooled(y, lengths), axis=1)))
        return scores + ops.where(inside, singles, 0).sum(axis=0)


@dataclass(frozen=True)
class Classifier:
    """A model with its words and labels: predicts labels, and says what each word contributes."""

    model: TextModel
    index: Index
    labels: list[str]
    config: ClassifyConfig

    @classmethod
    def from_state(cls, state: dict[str, Any], device: str | None = None) -> Classifier:
        """Builds the classifier from a checkpoint's state."""
        config, index = ClassifyConfig(**state["config"]), Index(state["words"])
        model = TextModel(len(index), len(state["labels"]), config, Generator(config.seed))
        model.load_state_dict(state["chosen"] or state["model"])
        check_weights(model)
        if device is not None:
            model.to(device)
        return cls(model, index, state["labels"], config)

    def read(self, path: str | Path) -> list[str]:
        """Reads the column of texts of a table; or, of another file, each line."""
        if str(path).lower().endswith(TABLES):
            return Table.read(path).texts(self.config.text)
        return [line for line in lines(read_input(path)) if line.strip()]

    def log_probs(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Computes the log-probabilities of the labels, (N, labels)."""
        found = np.empty((len(texts), len(self.labels)))
        with inference(self.model):
            for rows, ids, lengths in self._batches(texts):
                found[rows] = ops.log_softmax(self.model(ids, lengths), axis=-1).numpy()
        return found

    def predict(self, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Predicts a label for each text, with its probability and the words' contributions.

        A word's contribution is the gradient of the label's log-odds, times the word's vector
        (gradient x input; Shrikumar et al. 2017): how much the word speaks for the label.
        """
        records: list[dict[str, Any]] = [{} for _ in texts]
        self.model.eval()
        for rows, ids, lengths in self._batches(texts):
            leaves = [tables(ids).detach() for tables in (self.model.embedding, self.model.single)]
            for leaf in leaves:
                leaf.requires_grad = True
            scores = self.model.read(leaves[0], leaves[1], lengths)
            log_p = ops.log_softmax(scores, axis=-1)
            best = log_p.numpy().argmax(axis=-1)
            others = ops.where(np.eye(len(self.labels), dtype=bool)[best], -1e9, scores)
            odds = scores[np.arange(len(rows)), best] - ops.logsumexp(others, axis=-1)
            gradients = grad(odds.sum(), leaves)
            products = [(g * x).sum(axis=-1) for g, x in zip(gradients, leaves, strict=True)]
            shares = (products[0] + products[1]).numpy()
            for j, row in enumerate(rows):
                p = np.exp(log_p.numpy()[j].astype(np.float64)).round(6).tolist()
                records[row] = {
                    "text": texts[row],
                    "label": self.labels[best[j]],
                    "probabilities": dict(zip(self.labels, p, strict=True)),
                    "words": [
                        [word, round(float(share), 4)]
                        for word, share in zip(tokens(texts[row]), shares[:, j], strict=False)
                    ],
                }
        yield from records

    def show(self, record: dict[str, Any]) -> Any:
        """Shows the label, its probability, and the words: green ones speak for it, red against."""
        from rich.text import Text

        label = record["label"]
        line = Text(f"{label}  {record['probabilities'][label]:.1%}  ")
        largest = max([abs(share) for _, share in record["words"]], default=0) or 1
        for word, share in record["words"]:
            rest = round(255 * (1 - 0.75 * abs(share) / largest))
            red, green = (rest, 255) if share > 0 else (255, rest)
            line.append(word, f"black on rgb({red},{green},{rest})").append(" ")
        return line

    def _batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], Tensor, Any]]:
        encoded = [encode(self.index, text, self.config) for text in texts]
        order = sorted(range(len(texts)), key=lambda i: len(encoded[i]))
        for start in range(0, len(order), 64):
            rows = order[start : start + 64]
            ids, lengths = PadSequences()([encoded[i] for i in rows])
            yield rows, ids.to(self.model.head.weight.device), lengths


def tokens(text: str) -> list[str]:
    """Splits a text into words, in lower case, and punctuation.

    >>> tokens("It's GOOD, isn't it?")
    ["it's", 'good', ',', "isn't", 'it', '?']
    """
    return [word for word in (piece.strip() for piece in words(text.lower())) if word]


def encode(index: Index, text: str, config: ClassifyConfig) -> NDArray[np.int64]:
    """Returns the ids of a text's words: at least one, of an unknown word."""
    ids = index.ids(tokens(text)[: config.max_length])
    return ids if len(ids) else np.zeros(1, np.int64)


def movie_sentences() -> list[Item]:
    """Reads sentences of movie reviews; the label is the sign of the mean rating by people.

    The farther the rating is from 0, the surer is the label.

    **Raises** TextError if the archive of the package vaderSentiment is not there.
    """
    inner = SETS["movies"].read("additional_resources/hutto_ICWSM_2014.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        file = archive.extractfile("hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt")
        assert file is not None
        rows = [line.split("\t", 2) for line in file.read().decode("utf-8", "replace").splitlines()]
    rated = [(text.strip(), float(rating)) for _, rating, text in rows]
    return [
        (text, "positive" if r > 0 else "negative", 1 / (1 + math.exp(-1.5 * abs(r))))
        for text, r in rated
        if r
    ]


class Classify(Task):
    """Train a classifier of texts, and compare it with Naive Bayes and logistic regression."""

    recipe, unit, shown = "classify", "text", "validation error {:.1%}"
    settings, predictor = ClassifyConfig, Classifier
    kinds: ClassVar = {"words": list, "labels": list}
    quick: ClassVar = {"limit": 3000, "epochs": 2, "hidden_size": 32, "embedding_dim": 32}
    data_help = (
        "CSV, TSV or JSON lines with a column of texts and one of labels. One file is split; of "
        "two the second is the test, of three the third."
    )
    default = "movie sentences"

    @classmethod
    def read(cls, files: Sequence[str], config: Any) -> Parts:
        """Reads texts with their labels, and splits them."""
        parts = [labelled(path, config) for path in files] or [movie_sentences()]
        return Parts.of(parts, config.seed, config.limit)

    def __init__(self, data: Parts, config: ClassifyConfig, device: str | None = None) -> None:
        generator = Generator(config.seed)
        self.parts = data
        self.labels = sorted({label for _, label, _ in data.training})
        if unknown := {label for _, label, _ in [*data.validation, *data.test]} - {*self.labels}:
            raise TextError(f"the training texts have no label {min(unknown)!r}, as others do")
        if len(self.labels) < 2:
            raise TextError(f"every training text has the label {self.labels[0]!r}: use more texts")
        self.texts = [tokens(text) for text, _, _ in data.training]
        self.index = Index.of(self.texts, config.vocab_size)
        self.targets = [self.labels.index(label) for _, label, _ in data.training]
        sure = np.array([confidence for _, _, confidence in data.training], np.float32)
        others = (1 - sure) / (len(self.labels) - 1)
        shares = np.tile(others[:, None], (1, len(self.labels)))
        shares[np.arange(len(sure)), self.targets] = sure
        samples = [
            (encode(self.index, text, config), share)
            for (text, _, _), share in zip(data.training, shares, strict=True)
        ]
        loader = DataLoader(
            samples, config.batch_size, shuffle=True, generator=generator, collate=PadSequences(),
            lengths=[len(ids) for ids, _ in samples],
        )  # fmt: skip
        self.bayes = NaiveBayes(self.texts, self.targets)
        model = TextModel(len(self.index), len(self.labels), config, generator)
        for word, row in self.index.places.items():
            scores = self.bayes.log_likelihood[self.bayes.places[word]]
            model.single.weight.data[row] = BAYES * (scores - scores.mean())
        super().__init__(data, model, loader, config, generator, device, worst=1.0)
        self.symbols = sum(map(len, self.texts))

    def optimizer_of(self, model: Module) -> Optimizer:
        """Creates AdamW, which shrinks the weights."""
        config = self.config
        return AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)

    def batch_loss(self, model: Any, batch: Any) -> tuple[Tensor, int]:
        """Computes the cross-entropy of the labels, and their number."""
        ids, lengths, targets = batch
        return cross_entropy(model(ids, lengths), targets), len(targets)

    def evaluate(self, quick: bool = False) -> float:
        """Computes the share of the validation texts with a wrong label."""
        return 1 - float(np.mean(self._right(self._classifier(), self.parts.validation)))

    def compare(self) -> Comparison:
        """Compares accuracies on the test texts; draws nothing from them before."""
        config, test = self.config, self.parts.test
        comparison = Comparison("texts", [Measure("accuracy")])
        texts = [tokens(text) for text, _, _ in test]
        right = [self.labels.index(label) for _, label, _ in test]

        def add(system: str, found: Any) -> None:
            hits = np.equal(found, right)
            comparison.add(system, accuracy=np.stack([hits, np.ones(len(right))], axis=1))

        add("majority", np.full(len(right), np.argmax(np.bincount(self.targets))))
        add("Naive Bayes", self.bayes.predict(texts))
        linear = logistic_regression(self.texts, self.targets, texts)
        if linear is None:
            comparison.notes.append(
                "logistic regression needs scikit-learn: pip install 'tinygrad_rnn[baselines]'"
            )
        else:
            add("logistic regression", linear)
        found = self.predicting().log_probs([text for text, _, _ in test]).argmax(axis=1)
        add(config.cell, found)
        self.confusion = np.zeros((len(self.labels), len(self.labels)), np.int64)
        np.add.at(self.confusion, (right, found), 1)
        comparison.notes.append(confusion_table(self.labels, self.confusion))
        return comparison

    def draw(self, path: Path, comparison: Comparison) -> None:
        """Draws the losses, the confusion matrix, and what the words of a test text contribute."""
        figure, (first, second, third, right) = plot.panels(2, 2, 12, 8)
        steps = [record["step"] for record in self.history]
        plot.curves(
            {"validation error": (steps, [record["validation"] for record in self.history])},
            xlabel="updates", ylabel="share of wrong labels", ax=first,
        )  # fmt: skip
        comparison.draw(second)
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

    def describe(self) -> str:
        """The data in a line."""
        parts = self.parts
        return (
            f"texts: {len(parts.training):,} to learn from, {len(parts.validation):,} for "
            f"validation, {len(parts.test):,} for the test; labels: {', '.join(self.labels)}"
        )

    def state(self) -> dict[str, Any]:
        """Returns the words and the labels."""
        return {"words": self.index.tokens, "labels": self.labels}

    def _classifier(self) -> Classifier:
        """Returns the model as it is now."""
        assert isinstance(self.model, TextModel)
        return Classifier(self.model, self.index, self.labels, self.config)

    def _right(self, classifier: Classifier, items: Sequence[Item]) -> NDArray[np.bool_]:
        """Tells which items get their label."""
        found = classifier.log_probs([text for text, _, _ in items]).argmax(axis=1)
        right: NDArray[np.bool_] = found == [self.labels.index(label) for _, label, _ in items]
        return right


def labelled(path: str, config: ClassifyConfig) -> list[Item]:
    """Reads the texts and the labels of a table. **Raises** TableError, also for one label only."""
    table = Table.read(path)
    texts, labels = table.texts(config.text), table.texts(config.label)
    if len(set(labels)) < 2:
        raise table.error(
            0, config.label, f"every row has the label {labels[0]!r}: expected two labels at least"
        )
    sure = [1.0] * len(table)
    if config.confidence:
        sure = table.numbers(config.confidence)
        for row, value in enumerate(sure):
            if not 0 <= value <= 1:
                raise table.error(row, config.confidence, f"expected 0 to 1, got {value:g}")
    return list(zip(texts, labels, sure, strict=True))


def confusion_table(labels: Sequence[str], counts: NDArray[np.int64]) -> str:
    r"""Writes a confusion matrix: a row for each true label, a column for each predicted one.

    >>> print(confusion_table(["no", "yes"], np.array([[5, 1], [0, 12]])))
    true \ found  no  yes
    no             5    1
    yes            0   12
    """
    head = "true \\ found"
    width = max(len(head), *map(len, labels))
    widths = [max(len(label), len(str(counts.max()))) for label in labels]
    rows = [(head, labels), *zip(labels, counts.astype(str).tolist(), strict=True)]
    return "\n".join(
        f"{name:{width}}  " + "  ".join(f"{x:>{w}}" for x, w in zip(cells, widths, strict=True))
        for name, cells in rows
    )
