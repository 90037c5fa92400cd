"""Tagging: a tag for each word of a sentence (many to many, aligned).

A word is its vector and what a GRU reads from its letters. Recurrent layers read the sentence in
both directions, so that a tag depends on the words before and after: the lecture's "bank" is one of
a river, or one of money, by the words that follow. A CRF gives the best sequence of tags.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..data import DataLoader, TextError, pad_sequence
from ..data.conll import Sentence, parse_conll
from ..data.datasets import lines
from ..data.sets import SETS
from ..data.tables import read_input
from ..nn import CRF, GRU, Dropout, Embedding, Linear, Module, cross_entropy
from ..tensor import ops
from ..tensor.creation import arange, as_tensor, zeros
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from ..train import check_weights, inference
from .charlm import CELLS, check_weights_fit
from .comparison import Comparison, Measure, f1
from .settings import Settings, setting
from .spans import MostFrequentTag, features_crf, forbidden, is_bio, spans
from .task import Index, Parts, Task

LETTERS = 24  # of a word that are read


@dataclass(frozen=True)
class TagConfig(Settings):
    """All that determines a training, except its data."""

    example: str = setting("addresses", "Without --data.", one_of=("addresses", "bank"))
    column: str = setting(
        "", "Column of the tags: a name of CoNLL-U, or a number; '' for upos, or the last."
    )
    cell: str = setting("lstm", "Recurrent cell.", one_of=CELLS)
    hidden_size: int = setting(100, "Units in a direction.", at_least=1)
    num_layers: int = setting(1, "Recurrent layers.", at_least=1)
    embedding_dim: int = setting(64, "Embedding size of a word.", at_least=1)
    letter_dim: int = setting(32, "Units that read a word's letters, in a direction.", at_least=1)
    vocab_size: int = setting(30_000, "Most words to know.", at_least=1)
    bidirectional: bool = setting(True, "Read in both directions.")
    crf: bool = setting(True, "Choose the best sequence of tags, by a CRF.")
    dropout: float = setting(0.5, "Dropout probability.", at_least=0, below=1)
    word_dropout: float = setting(0.2, "Probability of an unknown word.", at_least=0, below=1)
    batch_size: int = setting(16, "Sentences in an update.", at_least=1)
    epochs: int = setting(40, "Passes over the sentences; --resume may raise it.", at_least=1)
    lr: float = setting(4e-3, "Peak learning rate of Adam.", above=0)
    clip: float = setting(1.0, "Clip the gradient's norm at this value.", above=0)
    limit: int = setting(0, "Sentences to use at most; all, if 0.", at_least=0)
    seed: int = setting(0, "Seed of the split, the weights and dropout.", at_least=0)


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
        check_weights_fit(config, words, directions * config.num_layers)
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
        _, state = self.reader(self.letters(words.letters), lengths=words.letter_lengths)
        read = ops.concat([state[0], state[1]], axis=1)
        none = zeros((1, read.shape[1]), device=read.device)
        spelled = ops.concat([none, read])[words.places]
        x = self.dropout(ops.concat([self.words(words.ids), spelled], axis=2))
        y, _ = self.layers(x, lengths=words.lengths)
        scores: Tensor = self.head(self.dropout(y))
        return scores

    def loss(self, words: Words, tags: Tensor) -> Tensor:
        """Computes the mean of -log P(tags | words) over words; tags: (T, B)."""
        scores = self(words)
        if self.crf is not None:
            total = -self.crf(scores, tags, lengths=words.lengths, reduction="sum")
            return total / int(np.sum(words.lengths))
        inside = arange(len(scores), device=scores.device)[:, None] < as_tensor(
            words.lengths, device=scores.device
        )
        return cross_entropy(scores, ops.where(inside, tags, -100), ignore_index=-100)

    def best(self, words: Words) -> list[list[int]]:
        """Returns the best tags of each sentence."""
        scores = self(words)
        if self.crf is not None:
            return self.crf.decode(scores, lengths=words.lengths)[0]
        found = scores.numpy().argmax(axis=2)
        return [found[:n, i].tolist() for i, n in enumerate(words.lengths)]


@dataclass(frozen=True)
class Tagger:
    """A model with its words, letters and tags."""

    model: TagModel
    words: Index
    letters: Index
    tags: list[str]
    config: TagConfig

    @classmethod
    def from_state(cls, state: dict[str, Any], device: str | None = None) -> Tagger:
        """Builds the tagger from a checkpoint's state."""
        config, words, letters = (
            TagConfig(**state["config"]), Index(state["words"]), Index(state["letters"])
        )  # fmt: skip
        generator = Generator(config.seed)
        model = TagModel(len(words), len(letters), state["tags"], config, generator)
        model.load_state_dict(state["chosen"] or state["model"])
        check_weights(model)
        if device is not None:
            model.to(device)
        return cls(model, words, letters, state["tags"], config)

    def read(self, path: str | Path) -> list[list[str]]:
        """Reads the words of a CoNLL or CoNLL-U file; of another, each line's, between blanks."""
        text = read_input(path)
        if str(path).lower().endswith((".conll", ".conllu", ".iob", ".bio")):
            sentences = parse_conll(text, str(path), tagged=False)
            return [[word for word, _ in sentence] for sentence in sentences]
        return [line.split() for line in lines(text) if line.strip()]

    def predict(self, sentences: Sequence[Sequence[str]]) -> Iterator[dict[str, Any]]:
        """Tags sentences."""
        for words, tags in zip(sentences, self.tag(sentences), strict=True):
            yield {"words": list(words), "tags": tags}

    def tag(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """Returns the tags of sentences."""
        found: list[list[str]] = []
        with inference(self.model):
            for start in range(0, len(sentences), 64):
                batch = self.encode(sentences[start : start + 64])
                found += [[self.tags[i] for i in row] for row in self.model.best(batch)]
        return found

    def show(self, record: dict[str, Any]) -> Any:
        """Shows each word with its tag, in a colour of the tag."""
        from rich.text import Text

        line = Text()
        for word, tag in zip(record["words"], record["tags"], strict=True):
            line.append(word, "bold").append(f"/{tag} ", f"color({self.tags.index(tag) % 6 + 1})")
        return line

    def encode(self, sentences: Sequence[Sequence[str]]) -> Words:
        """Makes a batch of sentences, none of them empty."""
        device = self.model.head.weight.device
        flat = [word for sentence in sentences for word in sentence]
        ends = np.cumsum([len(sentence) for sentence in sentences])
        lower = [self.words.ids([word.lower() for word in sentence]) for sentence in sentences]
        letters = [self.letters.ids(list(word[:LETTERS])) for word in flat]
        places = [np.arange(e - len(s), e) + 1 for s, e in zip(sentences, ends, strict=True)]
        return Words(
            ids=pad_sequence(lower).to(device),
            lengths=[len(sentence) for sentence in sentences],
            letters=pad_sequence(letters).to(device),
            letter_lengths=[len(word) for word in letters],
            places=pad_sequence(places).to(device),
        )


def addresses() -> list[Sentence]:
    """Reads labelled addresses. **Raises** TextError if the archive of usaddress is not there."""
    root = ET.fromstring(SETS["addresses"].read("training/labeled.xml"))
    return [[((part.text or "").strip(), part.tag) for part in address] for address in root]


RIVER = ["of the river", "where the boats lie", "and fished", "under the willows"]
MONEY = ["to withdraw cash", "that gave the loan", "and paid a cheque", "before it closed"]
BEGINNINGS = ["I went to the", "she walked to the", "we came to the", "they met at the"]


def bank_sentences(count: int, seed: int) -> list[Sentence]:
    """Draws sentences in which the words after "bank" say which of the two it is.

    >>> [sentence] = bank_sentences(1, seed=3)
    >>> dict(sentence)["bank"] in ("RIVER", "MONEY")
    True
    """
    generator, found = Generator(seed), []
    for kind, i, j in generator.integers(0, 4, (count, 3)).tolist():
        tag, ends = ("RIVER", RIVER) if kind % 2 else ("MONEY", MONEY)
        words = [*BEGINNINGS[i].split(), "bank", *ends[j].split()]
        found.append([(word, tag if word == "bank" else "O") for word in words])
    return found


class Tag(Task):
    """Train a tagger of words, and compare it with a CRF on features, and with one direction."""

    recipe, unit, shown = "tag", "word", "validation error {:.2%}"
    settings, predictor = TagConfig, Tagger
    kinds: ClassVar = {"words": list, "letters": list, "tags": list}
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
        generator = Generator(config.seed)
        self.parts = data
        tags = sorted({tag for part in data for sentence in part for _, tag in sentence})
        if len(tags) < 2:
            raise TextError(f"every word has the tag {tags[0]!r}: expected two tags at least")
        texts = [[word.lower() for word, _ in sentence] for sentence in data.training]
        self.words = Index.of(texts, config.vocab_size)
        self.letters = Index.of((word for s in data.training for word, _ in s), 5000)
        self.tags = tags
        model = TagModel(len(self.words), len(self.letters), tags, config, generator)
        self.tagger = Tagger(model, self.words, self.letters, tags, config)
        loader = DataLoader(
            data.training, config.batch_size, shuffle=True, generator=generator,
            collate=list, lengths=[len(sentence) for sentence in data.training],
        )  # fmt: skip
        super().__init__(data, model, loader, config, generator, device)
        self.symbols = sum(map(len, texts))

    def batch_loss(self, model: Any, batch: Any) -> tuple[Tensor, int]:
        """Computes -log P of the tags, by word; some words are hidden, so that letters count."""
        words = self.tagger.encode([[word for word, _ in sentence] for sentence in batch])
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
        return 1 - float(sums["accuracy"].sum(axis=0)[0] / sums["accuracy"].sum(axis=0)[1])

    def compare(self) -> Comparison:
        """Compares words with the right tag, and spans, on the test sentences."""
        test, training = self.parts.test, self.parts.training
        kind = "entity F1" if is_bio(self.tags) else "span F1"
        comparison = Comparison("sentences", [Measure("accuracy"), Measure(kind, f1)])

        def add(system: str, found: Sequence[Sequence[str]]) -> None:
            counts = self._counts(test, found)
            comparison.add(system, **{"accuracy": counts["accuracy"], kind: counts["spans"]})

        add("most frequent tag", MostFrequentTag(training).predict(_words(test)))
        found = features_crf(training, _words(test))
        if found is None:
            comparison.notes.append(
                "a CRF on features needs python-crfsuite: pip install 'tinygrad_rnn[baselines]'"
            )
        else:
            add("CRF on features", found)
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
        counts = [f"{len(part):,}" for part in self.parts]
        return (
            f"sentences: {counts[0]} to learn from, {counts[1]} for validation, {counts[2]} for "
            f"the test; {len(self.tags)} tags"
        )

    def state(self) -> dict[str, Any]:
        """Returns the words, the letters and the tags."""
        return {"words": self.words.tokens, "letters": self.letters.tokens, "tags": self.tags}

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
