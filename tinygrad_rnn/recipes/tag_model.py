"""The network of `tag`: reads a sentence, and scores the tags of each word.

A word is its vector and what a GRU reads from its letters. Recurrent layers read the sentence in
both directions, so that a tag depends on the words before and after. A CRF gives the best sequence
of tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..nn import CRF, GRU, Dropout, Embedding, Linear, Module, cross_entropy
from ..nn.lengths import within_rows
from ..tensor import ops
from ..tensor.creation import as_tensor, zeros
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .cells import CELLS, check_weights_fit
from .settings import setting
from .spans import forbidden
from .task import TaskSettings


@dataclass(frozen=True)
class TagConfig(TaskSettings):
    """All that determines a training, except its data."""

    example: str = setting("addresses", "Without --data.", one_of=("addresses", "bank"))
    column: str = setting(
        "", "Column of the tags: a name of CoNLL-U, or a number; '' for upos, or the last."
    )
    hidden_size: int = 100
    embedding_dim: int = setting(64, "Embedding size of a word.", at_least=1)
    letter_dim: int = setting(
        32, "Units of the GRU over a word's letters, in a direction.", at_least=1
    )
    vocab_size: int = setting(30_000, "Maximal size of the vocabulary.", at_least=1)
    bidirectional: bool = setting(True, "Read in both directions.")
    crf: bool = setting(True, "Score sequences of tags by a CRF.")
    word_dropout: float = setting(
        0.2, "Word dropout: probability that a word is read as unknown.", at_least=0, below=1
    )
    lr: float = 4e-3


@dataclass(frozen=True)
class Words:
    """A batch of sentences: T words at most, B sentences, N words in all."""

    ids: Tensor  # (T, B)
    lengths: Any  # (B,)
    letters: Tensor  # (letters, N)
    letter_lengths: Any  # (N,)
    places: Tensor  # (T, B): of each word among the N, counted from 1; 0 for none


class TagModel(Module):
    """Words and letters, recurrent layers, and a linear map to the tags' scores.

    **Arguments** words, letters, tags: the numbers of words and letters, and the tags. generator:
    draws weights and masks.
    """

    def __init__(
        self, words: int, letters: int, tags: Sequence[str], config: TagConfig, generator: Generator
    ) -> None:
        super().__init__()
        directions = 1 + config.bidirectional
        check_weights_fit(config, config.embedding_dim, words, directions * config.num_layers)
        width = config.embedding_dim + 2 * config.letter_dim
        self.words = Embedding(words, config.embedding_dim, generator=generator)
        self.letters = Embedding(letters, config.letter_dim, generator=generator)
        self.reader = GRU(
            config.letter_dim, config.letter_dim, bidirectional=True, generator=generator
        )
        self.dropout = Dropout(config.dropout, generator=generator)
        self.layers = CELLS[config.cell](
            width, config.hidden_size, num_layers=config.num_layers,
            bidirectional=config.bidirectional, generator=generator,
        )  # fmt: skip
        self.head = Linear(directions * config.hidden_size, len(tags), generator=generator)
        self.crf = None
        if config.crf:
            self.crf = CRF(len(tags), forbidden=forbidden(tags), generator=generator)

    def forward(self, words: Words) -> Tensor:
        """**Returns** the scores of the tags, (T, B, K)."""
        return self.read(self.vectors(words), words.lengths)

    def vectors(self, words: Words) -> Tensor:
        """Returns what stands for each word: its vector, and what its letters say, (T, B, E)."""
        _, state = self.reader(self.letters(words.letters), lengths=words.letter_lengths)
        read = ops.concat([state[0], state[1]], axis=1)
        none = zeros((1, read.shape[1]), device=read.device)
        spelled = ops.concat([none, read])[words.places]
        return ops.concat([self.words(words.ids), spelled], axis=2)

    def read(self, vectors: Tensor, lengths: Any) -> Tensor:
        """Computes the scores of the tags from the words' vectors."""
        y, _ = self.layers(self.dropout(vectors), lengths=lengths)
        scores: Tensor = self.head(self.dropout(y))
        return scores

    def loss(self, words: Words, tags: Tensor) -> Tensor:
        """Computes the mean of -log P(tags | words) over words; tags: (T, B)."""
        scores = self(words)
        if self.crf is not None:
            total = -self.crf(scores, tags, lengths=words.lengths, reduction="sum")
            return total / int(np.sum(words.lengths))
        inside = within_rows(scores, as_tensor(words.lengths, device=scores.device))
        return cross_entropy(scores, ops.where(inside, tags, -100), ignore_index=-100)

    def best(self, words: Words) -> list[list[int]]:
        """Returns the best tags of each sentence."""
        scores = self(words)
        if self.crf is not None:
            return self.crf.decode(scores, lengths=words.lengths)[0]
        found = scores.numpy().argmax(axis=2)
        return [found[:n, i].tolist() for i, n in enumerate(words.lengths)]
