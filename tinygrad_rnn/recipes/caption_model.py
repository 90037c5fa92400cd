"""The network of `caption`: an image in, a sequence of words out (one to many).

A small convolutional network turns the image into a grid of positions with their features. A
recurrent decoder starts from a linear map of the whole grid, and attends to its positions at each
word (Xu et al. 2015, "Show, Attend and Tell").
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2
from typing import Any

from .. import nn
from ..data.images import Pixels
from ..nn.seq2seq.bridge import sizes_of
from ..tensor import ops
from ..tensor.creation import as_tensor, zeros
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .cells import CELLS, check_weights_fit
from .settings import check_memory, setting
from .task import TaskSettings

GRID = 8  # at most so many positions along a side
BRIEF = 16  # features of a position in the decoder's initial state


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
