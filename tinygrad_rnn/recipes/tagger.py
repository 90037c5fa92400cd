"""Gives each word of a sentence a tag by the network of `tag_model.py`, and says why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..data import pad_sequence
from ..data.conll import parse_conll
from ..data.tables import read_input, text_lines
from ..tensor.autodiff import grad
from ..tensor.creation import as_tensor
from ..tensor.random import Generator
from ..train import inference
from .predictor import AT_A_TIME, Index, Predictor, log_odds
from .tag_model import TagConfig, TagModel, Words

LETTERS = 24  # of a word that are read
EXPLAINED = 200  # words of a sentence, at most


class Tagger(Predictor):
    """Gives each word of a sentence a tag."""

    settings = TagConfig
    kinds: ClassVar = {"words": [str], "letters": [str], "tags": [str]}
    words: list[str]
    letters: list[str]
    tags: list[str]

    def build(self, generator: Generator) -> TagModel:
        """Builds the model."""
        self.index, self.spelling = Index(self.words), Index(self.letters)
        return TagModel(len(self.index), len(self.spelling), self.tags, self.config, generator)

    def read(self, path: str | Path) -> list[list[str]]:
        """Reads the words of a CoNLL or CoNLL-U file; of another, each line's, between blanks."""
        if str(path).lower().endswith((".conll", ".conllu", ".iob", ".bio")):
            sentences = parse_conll(read_input(path), str(path), tagged=False)
            return [[word for word, _ in sentence] for sentence in sentences]
        return [line.split() for line in text_lines(path)]

    def predict(self, sentences: Sequence[Sequence[str]]) -> Iterator[dict[str, Any]]:
        """Tags sentences."""
        for words, tags in zip(sentences, self.tag(sentences), strict=True):
            yield {"words": list(words), "tags": tags}

    def tag(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """Returns the tags of sentences."""
        found: list[list[str]] = []
        with inference(self.model):
            for start in range(0, len(sentences), AT_A_TIME):
                batch = self.encode(sentences[start : start + AT_A_TIME])
                found += [[self.tags[i] for i in row] for row in self.model.best(batch)]
        return found

    def explain(self, sentences: Sequence[Sequence[str]]) -> Iterator[dict[str, Any]]:
        """Tags sentences, and says what each word contributes to each tag.

        The contribution of word j to the tag of word i, [i][j], is the gradient of the log-odds of
        the tag, as the network's own scores give them, times what stands for word j (gradient x
        input). Of a sentence with more than EXPLAINED words there are none.
        """
        for record in self.predict(sentences):
            count, shares = len(record["words"]), []
            if count <= EXPLAINED:
                places = [self.tags.index(tag) for tag in record["tags"]]
                shares = self._contributions(record["words"], places).round(4).tolist()
            yield {**record, "contributions": shares}

    def _contributions(self, words: Sequence[str], tags: Sequence[int]) -> NDArray[np.float32]:
        """Computes all contributions at once, with a copy of the sentence for each tag."""
        count = len(words)
        self.model.eval()
        vectors = self.model.vectors(self.encode([words])).detach()
        x = as_tensor(np.repeat(vectors.numpy(), count, axis=1), device=self.device)
        x.requires_grad = True
        scores = self.model.read(x, [count] * count)[np.arange(count), np.arange(count)]
        (gradient,) = grad(log_odds(scores, tags).sum(), [x])
        found: NDArray[np.float32] = (gradient * x).sum(axis=-1).numpy().T
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
        device = self.device
        flat = [word for sentence in sentences for word in sentence]
        ends = np.cumsum([len(sentence) for sentence in sentences])
        lower = [self.index.ids([word.lower() for word in sentence]) for sentence in sentences]
        letters = [self.spelling.ids(list(word[:LETTERS])) for word in flat]
        places = [np.arange(e - len(s), e) + 1 for s, e in zip(sentences, ends, strict=True)]
        return Words(
            ids=pad_sequence(lower).to(device),
            lengths=[len(sentence) for sentence in sentences],
            letters=pad_sequence(letters).to(device),
            letter_lengths=[len(word) for word in letters],
            places=pad_sequence(places).to(device),
        )
