"""The network of `classify`: reads the words of a text, and gives a label.

A recurrent network reads the words in both directions. The largest and the mean value of each unit
over time give the scores of the labels, and each word adds a score of its own, as in a linear
model, whose first value is that of Naive Bayes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..data.tables import TABLES, Table, text_lines
from ..data.words import words
from ..nn import Embedding
from ..nn.lengths import within_rows
from ..tensor import ops
from ..tensor.autodiff import grad
from ..tensor.creation import as_tensor
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .cells import check_weights_fit
from .labels import Labeller, PooledModel
from .predictor import Index, log_odds
from .settings import setting
from .task import TaskSettings


@dataclass(frozen=True)
class ClassifyConfig(TaskSettings):
    """All that determines a training, except its data."""

    text: str = setting("text", "The column of the texts.")
    label: str = setting("label", "The column of the labels.")
    confidence: str = setting("", "The column of how sure each label is, 0 to 1, if there is one.")
    embedding_dim: int = setting(100, "Embedding size of a word.", at_least=1)
    vocab_size: int = setting(20_000, "Most words to know.", at_least=1)
    max_length: int = setting(400, "Words of a text that are read.", at_least=1)
    word_dropout: float = setting(0.2, "Probability to drop a word.", at_least=0, below=1)
    weight_decay: float = setting(0.01, "Weight decay of AdamW.", at_least=0)
    batch_size: int = 32
    epochs: int = 5
    lr: float = 1e-3


class TextModel(PooledModel):
    """Embedding, recurrent layers in both directions, pooling over time, and a linear map.

    **Arguments** words, labels: their numbers. generator: draws weights and masks.
    """

    def __init__(
        self, words: int, labels: int, config: ClassifyConfig, generator: Generator
    ) -> None:
        super().__init__()
        check_weights_fit(config, config.embedding_dim, words, 2 * config.num_layers)
        drop = config.word_dropout
        self.embedding = Embedding(words, config.embedding_dim, dropout=drop, generator=generator)
        self.embedding.weight.data[:] *= 0.1
        self.single = Embedding(words, labels, dropout=drop, generator=generator)
        self.single.weight.data[:] = 0
        self.add_layers(labels, config, generator)

    def forward(self, ids: Any, lengths: Any) -> Tensor:
        """**Arguments** ids: (T, B). lengths: (B,). **Returns** scores (B, labels)."""
        return self.read(self.embedding(ids), self.single(ids), lengths)

    def read(self, vectors: Tensor, singles: Tensor, lengths: Any) -> Tensor:
        """Computes the scores from the words' vectors (T, B, E), and their own scores (T, B, K)."""
        steps = as_tensor(np.asarray(lengths), device=vectors.device)
        inside = within_rows(vectors, steps)[:, :, None]
        return self.scores(vectors, lengths) + ops.where(inside, singles, 0).sum(axis=0)


class Classifier(Labeller):
    """Gives texts their labels, and says what each word contributes."""

    settings = ClassifyConfig
    kinds: ClassVar = {"words": [str], "labels": [str]}
    words: list[str]

    def build(self, generator: Generator) -> TextModel:
        """Builds the model."""
        self.index = Index(self.words)
        return TextModel(len(self.index), len(self.labels), self.config, generator)

    def read(self, path: str | Path) -> list[str]:
        """Reads the column of texts of a table; or, of another file, each line."""
        if str(path).lower().endswith(TABLES):
            return Table.read(path).texts(self.config.text)
        return text_lines(path)

    def encode(self, text: str) -> NDArray[np.int64]:
        """Returns the ids of a text's words."""
        return encode(self.index, text, self.config)

    def predict(self, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Predicts a label for each text, with its probability and the words' contributions.

        A word's contribution is the gradient of the label's log-odds, times the word's vector
        (gradient x input; Shrikumar et al. 2017): how much the word speaks for the label.
        """
        records: list[dict[str, Any]] = [{} for _ in texts]
        self.model.eval()
        for rows, ids, lengths in self.batches(texts):
            leaves = [tables(ids).detach() for tables in (self.model.embedding, self.model.single)]
            for leaf in leaves:
                leaf.requires_grad = True
            scores = self.model.read(leaves[0], leaves[1], lengths)
            log_p = ops.log_softmax(scores, axis=-1)
            best = log_p.numpy().argmax(axis=-1)
            gradients = grad(log_odds(scores, best).sum(), leaves)
            products = [(g * x).sum(axis=-1) for g, x in zip(gradients, leaves, strict=True)]
            shares = (products[0] + products[1]).numpy()
            for j, row in enumerate(rows):
                records[row] = {
                    "text": texts[row],
                    **self.named(np.exp(log_p.numpy()[j].astype(np.float64))),
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
