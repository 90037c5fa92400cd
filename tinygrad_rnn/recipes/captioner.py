"""Captions of images: an image in, a sequence of words out (one to many).

A small convolutional network turns the image into a grid of positions with their features. A
recurrent decoder starts from a linear map of the whole grid, and attends to its positions at each
word (Xu et al. 2015, "Show, Attend and Tell").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, log2
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from .. import nn
from ..data import END, PAD, START, UNKNOWN
from ..data.images import Captioned, Pixels, read_images
from ..data.words import WordVocabulary
from ..nn.decoding import Constraints, Hypothesis, beam_search, gnmt, greedy
from ..nn.seq2seq.bridge import sizes_of
from ..tensor import ops
from ..tensor.creation import as_tensor, full, zeros
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from ..train import inference
from .cells import CELLS, check_weights_fit
from .predictor import AT_A_TIME, Predictor
from .settings import check_memory, setting
from .task import TaskSettings

GRID = 8  # at most so many positions along a side
BRIEF = 16  # features of a position in the decoder's initial state
WORDS_ONLY = Constraints(forbidden=((PAD,), (START,), (UNKNOWN,)))


@dataclass(frozen=True)
class CaptionConfig(TaskSettings):
    """All that determines a training, except its data."""

    file: str = setting("file", "The column of the images' files.")
    caption: str = setting("caption", "The column of the captions.")
    image_size: int = setting(32, "Height and width of an image.", at_least=16, at_most=512)
    channels: int = setting(32, "Channels of the first convolution.", at_least=1)
    hidden_size: int = 192
    embedding_dim: int = setting(64, "Embedding size of a word.", at_least=1)
    vocab_size: int = setting(10_000, "Most words to know.", at_least=1)
    max_length: int = setting(30, "Most words in a caption.", at_least=1)
    shift: int = setting(1, "Move images in training by up to so many pixels.", at_least=0)
    dropout: float = 0.3
    label_smoothing: float = setting(0.0, "Label smoothing.", at_least=0, below=1)
    beams: int = setting(5, "Beams of the search; 1 is greedy.", at_least=1, at_most=1000)
    epochs: int = 25

    def __post_init__(self) -> None:
        super().__post_init__()
        pixels = self.image_size**2 * self.batch_size
        check_memory("a batch of this `image_size`, `channels`", 8 * pixels * self.channels * 2)
        check_memory("convolutions of so many `channels`", 24 * 9 * 4 * self.channels**2)

    @property
    def strides(self) -> list[int]:
        """The strides of the convolutions: as many of 2 as the size of the image asks for."""
        return [2] * ceil(log2(self.image_size / GRID)) + [1]

    @property
    def grid(self) -> int:
        """Positions along a side, to which the decoder attends."""
        size = self.image_size
        for stride in self.strides:
            size = (size - 1) // stride + 1
        return size


class CaptionModel(nn.Module):
    """Convolutions over the image, and a decoder with attention to their positions.

    **Arguments** words: their number, with the marks. generator: draws weights and masks.
    """

    def __init__(self, words: int, config: CaptionConfig, generator: Generator) -> None:
        super().__init__()
        check_weights_fit(config, config.embedding_dim, words)
        factory: dict[str, Any] = {"generator": generator}
        features, hidden = 2 * config.channels, config.hidden_size
        sizes = [3, *[config.channels] * (len(config.strides) - 2), features, features]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(sizes[i], sizes[i + 1], 3, stride, 1, **factory)
            for i, stride in enumerate(config.strides)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(size) for size in sizes[1:])
        self.places = nn.Parameter(zeros((config.grid**2, 1, features)))
        layers = CELLS[config.cell](
            config.embedding_dim, hidden, num_layers=config.num_layers, **factory
        )
        self.decoder = nn.Decoder(
            nn.Embedding(words, config.embedding_dim, **factory), layers,
            nn.AdditiveAttention(hidden, features, **factory), dropout=config.dropout, **factory,
        )  # fmt: skip
        self.parts, self.rows = len(sizes_of(layers).parts), config.num_layers
        self.brief = nn.Linear(features, BRIEF, **factory)
        positions = config.grid**2
        self.first = nn.Linear(positions * BRIEF, self.parts * self.rows * hidden, **factory)

    def encode(self, pixels: Pixels) -> tuple[Any, Any]:
        """Returns the source and the initial state of the decoder. **Arguments** (B, H, W, 3)."""
        x = as_tensor(pixels.astype(self.places.dtype) / 127.5 - 1, device=self.places.device)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = convolution(x.permute_dims(0, 3, 1, 2)).permute_dims(0, 2, 3, 1)
            x = ops.relu(norm(x.reshape((-1, x.shape[-1]))).reshape(x.shape))
        grid = x.reshape((len(x), -1, x.shape[-1]))
        whole = ops.relu(self.brief(grid)).reshape((len(x), -1))
        state = ops.tanh(self.first(whole))
        state = state.reshape((len(x), self.parts, self.rows, -1)).permute_dims(1, 2, 0, 3)
        parts = tuple(state[i] for i in range(self.parts))
        source = self.decoder.prepare_memory(grid.swapaxes(0, 1) + self.places)
        return source, parts if self.parts > 1 else parts[0]

    def forward(self, pixels: Pixels, words: Any) -> Tensor:
        """**Arguments** pixels: (B, H, W, 3). words: (T, B), from START. **Returns** (T, B, V)."""
        logits: Tensor = self.decoder(words, *self.encode(pixels))[0]
        return logits


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
            start = full((len(pixels),), START, dtype="int64", device=decoder.head.weight.device)
            with inference(self.model):
                state = decoder.start(*self.model.encode(pixels))
                options: dict[str, Any] = {
                    "max_length": self.config.max_length, "end": END, "constraints": WORDS_ONLY,
                    "batch_axis": decoder.batch_axis,
                }  # fmt: skip
                if beams == 1:
                    yield from greedy(decoder.step, state, start, **options)
                    continue
                found = beam_search(
                    decoder.step, state, start, beams=beams,
                    length_penalty=gnmt(0.6), **options,
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
