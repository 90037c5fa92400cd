"""Tagging: a tag for each word of a sentence (many to many, aligned).

`tag_model.py` has the network; here are the training and the baselines. One of them reads in one
direction only: the lecture's "bank" is one of a river, or one of money, by the words that follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from ..data import DataLoader, TextError, pad_sequence
from ..data.conll import Sentence, parse_conll
from ..data.sets import addresses, bank_sentences
from ..data.splits import Parts
from ..data.tables import read_input
from ..tensor import ops
from ..tensor.creation import as_tensor
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .bootstrap import f1, share
from .comparison import Comparison, Measure
from .predictor import Index
from .spans import MostFrequentTag, features_crf, is_bio, spans
from .tag_model import TagConfig
from .tagger import Tagger
from .task import Task


class Tag(Task):
    """Train a word tagger, and compare it with a CRF on features, and with one direction."""

    recipe, unit, figure = "tag", "word", "validation error {:.2%}"
    uses = ("predict", "look")
    settings, predictor = TagConfig, Tagger
    quick: ClassVar = {"epochs": 8, "hidden_size": 64, "letter_dim": 24}
    data_help = (
        "CoNLL (a word a line, its tag in the last column) or CoNLL-U. One file is split; of two "
        "the second is the test, of three the third."
    )
    default = "labelled addresses"

    @classmethod
    def read(cls, files: Sequence[str], config: Any) -> Parts:
        """Reads sentences with their tags, and splits them."""
        parts = [parse_conll(read_input(path), path, config.column) for path in files]
        if not parts:
            parts = [bank_sentences(400, 0) if config.example == "bank" else addresses()]
        return Parts.of(parts, config.seed, config.limit)

    def __init__(self, data: Parts, config: TagConfig, device: str | None = None) -> None:
        generator, self.parts = Generator(config.seed), data
        tags = sorted({tag for part in data for sentence in part for _, tag in sentence})
        if len(tags) < 2:
            raise TextError(f"every word has the tag {tags[0]!r}: expected two tags at least")
        self.tags, texts = tags, _words(data.training)
        lower = [[word.lower() for word in text] for text in texts]
        words = Index.of(lower, config.vocab_size).tokens
        letters = Index.of((word for text in texts for word in text), 5000).tokens
        self.tagger = Tagger(config, generator, words, letters, tags)
        loader = DataLoader(
            data.training, config.batch_size, shuffle=True, generator=generator,
            collate=list, lengths=[len(sentence) for sentence in data.training],
        )  # fmt: skip
        super().__init__(data, self.tagger, loader, generator, device)
        self.symbols = sum(map(len, texts))

    def batch_loss(self, model: Any, batch: Any) -> tuple[Tensor, int]:
        """Computes -log P of the tags, by word; some words are hidden, so that letters count."""
        words = self.tagger.encode(_words(batch))
        places = {tag: i for i, tag in enumerate(self.tags)}
        tags = pad_sequence([np.array([places[t] for _, t in s]) for s in batch])
        hidden = self.generator.random(words.ids.shape) < self.config.word_dropout
        words = replace(
            words, ids=ops.where(as_tensor(hidden, device=words.ids.device), 0, words.ids)
        )
        return model.loss(words, tags.to(words.ids.device)), sum(map(len, batch))

    def evaluate(self, quick: bool = False) -> float:
        """Computes the share of the validation words with a wrong tag."""
        sums = self._counts(self.parts.validation, self.tagger.tag(_words(self.parts.validation)))
        return 1 - float(share(sums["accuracy"].sum(axis=0)))

    def compare(self) -> Comparison:
        """Compares words with the right tag, and spans, on the test sentences."""
        test, training = self.parts.test, self.parts.training
        kind = "entity F1" if is_bio(self.tags) else "span F1"
        comparison = Comparison("sentences", [Measure("accuracy"), Measure(kind, f1)])

        def add(system: str, found: Sequence[Sequence[str]]) -> None:
            counts = self._counts(test, found)
            comparison.add(system, **{"accuracy": counts["accuracy"], kind: counts["spans"]})

        add("most frequent tag", MostFrequentTag(training).predict(_words(test)))
        with comparison.optional():
            add("CRF on features", features_crf(training, _words(test)))
        if self.config.bidirectional:
            print("training the same model in one direction, with as many units ...", flush=True)
            units = 2 * self.config.hidden_size
            one_way = replace(self.config, bidirectional=False, hidden_size=units)
            other = type(self)(self.parts, one_way, self.device)
            for _ in other:
                pass
            add(f"{self.config.cell}, one way", other.predicting().tag(_words(test)))
        name = f"{self.config.cell}, both ways" * self.config.bidirectional
        add(name or self.config.cell, self.predicting().tag(_words(test)))
        return comparison

    def describe(self) -> str:
        """The data in a line."""
        return f"{self.parts.sizes('sentences')}; {len(self.tags)} tags"

    def _counts(
        self, sentences: Sequence[Sentence], found: Sequence[Sequence[str]]
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Counts right words and words, and right, found and true spans, of each sentence."""
        bio, right, parts = is_bio(self.tags), [], []
        for sentence, tags in zip(sentences, found, strict=True):
            true = [tag for _, tag in sentence]
            right.append((sum(a == b for a, b in zip(true, tags, strict=True)), len(true)))
            a, b = spans(true, bio), spans(tags, bio)
            parts.append((len(a & b), len(b), len(a)))
        return {"accuracy": np.array(right, float), "spans": np.array(parts, float)}


def _words(sentences: Sequence[Sentence]) -> list[list[str]]:
    return [[word for word, _ in sentence] for sentence in sentences]
