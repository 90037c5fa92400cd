"""Writes captions of images by the network of `caption_model.py`, and shows where it looked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..data import PAD, START, UNKNOWN
from ..data.images import Captioned, Pixels, read_images
from ..data.words import WordVocabulary
from ..nn.decoding import Constraints, Hypothesis
from ..tensor.random import Generator
from ..train import inference
from .caption_model import CaptionConfig, CaptionModel
from .predictor import AT_A_TIME, Predictor
from .search import search

WORDS_ONLY = Constraints(forbidden=((PAD,), (START,), (UNKNOWN,)))


class Captioner(Predictor):
    """Writes captions, and shows where it looked."""

    settings = CaptionConfig
    kinds: ClassVar = {"words": [str]}
    words: Sequence[str]

    def build(self, generator: Generator) -> CaptionModel:
        """Builds the model."""
        self.vocabulary = WordVocabulary.restored(self.words)
        return CaptionModel(len(self.vocabulary), self.config, generator)

    def read(self, path: str | Path) -> list[Captioned]:
        """Reads an image, those of a folder, or those that a table names."""
        return read_images(path, self.config.image_size, self.config.file)

    def search(self, images: Sequence[Pixels], beams: int) -> Iterator[Hypothesis]:
        """Yields the likeliest caption that the search finds for each image."""
        decoder = self.model.decoder
        for at in range(0, len(images), AT_A_TIME):
            pixels = np.stack(images[at : at + AT_A_TIME])
            with inference(self.model):
                found = search(
                    decoder, decoder.start(*self.model.encode(pixels)), len(pixels), beams,
                    max_length=self.config.max_length, constraints=WORDS_ONLY,
                )  # fmt: skip
            yield from (best for [best] in found)

    def predict(self, items: Sequence[Captioned]) -> Iterator[dict[str, Any]]:
        """Writes a caption for each image, with the attention (rows, columns) at each word."""
        found = self.search([item.pixels for item in items], self.config.beams)
        for item, best in zip(items, found, strict=True):
            assert best.attention is not None
            looks = best.attention.numpy().reshape(-1, self.config.grid, self.config.grid)
            words = self.vocabulary.tokens(best.tokens)
            yield {
                "file": item.file,
                "caption": self.vocabulary.decode(best.tokens),
                "log_prob": round(best.log_prob, 4),
                "words": [
                    {"word": word.strip(), "attention": look.astype(float).round(4).tolist()}
                    for word, look in zip(words, looks, strict=True)
                ],
            }

    def show(self, record: dict[str, Any]) -> Any:
        """Shows the file and its caption, with its probability."""
        return f"{record['file']}  {record['caption']}  {np.exp(record['log_prob']):.1%}"
