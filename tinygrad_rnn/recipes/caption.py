"""Captions of images: an image in, a sequence of words out (one to many).

A small convolutional network turns the image into a grid of positions with their features. A
recurrent decoder starts from a linear map of the whole grid, and attends to its positions at each
word (Xu et al. 2015, "Show, Attend and Tell").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, log2
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .. import plot
from ..data import END, PAD, START, UNKNOWN, DataLoader, TextError, Vocabulary
from ..data.images import Captioned, Pixels, emoji_images, read_captioned, read_images
from ..data.words import WordVocabulary
from ..nn import (
    AdditiveAttention,
    BatchNorm1d,
    Conv2d,
    Decoder,
    Embedding,
    Linear,
    Module,
    ModuleList,
    Parameter,
    cross_entropy,
    decoding,
)
from ..nn.decoding import Constraints, Hypothesis
from ..nn.seq2seq.bridge import sizes_of
from ..tensor import ops
from ..tensor.creation import as_tensor, full, zeros
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from ..train import check_weights, inference
from .charlm import CELLS, check_weights_fit
from .classify import tokens
from .comparison import Comparison, Measure, f1
from .settings import Settings, check_memory, setting
from .task import Parts, Task

GRID = 8  # at most so many positions along a side
BRIEF = 16  # features of a position in the decoder's initial state
AT_A_TIME = 64  # images
ROWS, WORDS = 5, 8  # of the picture: images, and words of a caption
STOP = "</s>"  # the end of a caption
GREY = 0.45  # of what the attention leaves out
WORDS_ONLY = Constraints(forbidden=((PAD,), (START,), (UNKNOWN,)))


@dataclass(frozen=True)
class CaptionConfig(Settings):
    """All that determines a training, except its data."""

    file: str = setting("file", "The column of the images' files.")
    caption: str = setting("caption", "The column of the captions.")
    image_size: int = setting(32, "Height and width of an image.", at_least=16, at_most=512)
    channels: int = setting(32, "Channels of the first convolution.", at_least=1)
    cell: str = setting("lstm", "Recurrent cell.", one_of=CELLS)
    hidden_size: int = setting(192, "Units in a layer.", at_least=1)
    num_layers: int = setting(1, "Recurrent layers.", at_least=1)
    embedding_dim: int = setting(64, "Embedding size of a word.", at_least=1)
    vocab_size: int = setting(10_000, "Most words to know.", at_least=1)
    max_length: int = setting(30, "Most words in a caption.", at_least=1)
    shift: int = setting(1, "Move images in training by up to so many pixels.", at_least=0)
    dropout: float = setting(0.3, "Dropout probability.", at_least=0, below=1)
    label_smoothing: float = setting(0.0, "Label smoothing.", at_least=0, below=1)
    beams: int = setting(5, "Beams of the search; 1 is greedy.", at_least=1, at_most=1000)
    batch_size: int = setting(16, "Captions in an update.", at_least=1)
    epochs: int = setting(25, "Passes over the captions; --resume may raise it.", at_least=1)
    lr: float = setting(3e-3, "Peak learning rate of Adam.", above=0)
    clip: float = setting(1.0, "Clip the gradient's norm at this value.", above=0)
    limit: int = setting(0, "Images to use at most; all, if 0.", at_least=0)
    seed: int = setting(0, "Seed of the split, the weights and dropout.", at_least=0)

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


class CaptionModel(Module):
    """Convolutions over the image, and a decoder with attention to their positions.

    **Arguments** words: their number, with the marks. generator: draws weights and masks.
    """

    def __init__(self, words: int, config: CaptionConfig, generator: Generator) -> None:
        super().__init__()
        check_weights_fit(config, words)
        factory: dict[str, Any] = {"generator": generator}
        features, hidden = 2 * config.channels, config.hidden_size
        sizes = [3, *[config.channels] * (len(config.strides) - 2), features, features]
        self.convolutions = ModuleList(
            Conv2d(sizes[i], sizes[i + 1], 3, stride, 1, **factory)
            for i, stride in enumerate(config.strides)
        )
        self.norms = ModuleList(BatchNorm1d(size) for size in sizes[1:])
        self.places = Parameter(zeros((config.grid**2, 1, features)))
        layers = CELLS[config.cell](
            config.embedding_dim, hidden, num_layers=config.num_layers, **factory
        )
        self.decoder = Decoder(
            Embedding(words, config.embedding_dim, **factory), layers,
            AdditiveAttention(hidden, features, **factory), dropout=config.dropout, **factory,
        )  # fmt: skip
        self.parts, self.rows = len(sizes_of(layers).parts), config.num_layers
        self.brief = Linear(features, BRIEF, **factory)
        positions = config.grid**2
        self.first = Linear(positions * BRIEF, self.parts * self.rows * hidden, **factory)

    def encode(self, pixels: Pixels) -> tuple[Any, Any]:
        """Returns the source and the initial state of the decoder. **Arguments** (B, H, W, 3)."""
        x = as_tensor(pixels.astype(np.float32) / 127.5 - 1, device=self.places.device)
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


@dataclass(frozen=True)
class Captioner:
    """A model with its vocabulary: writes captions, and shows where it looked."""

    model: CaptionModel
    vocabulary: Vocabulary
    config: CaptionConfig

    @classmethod
    def from_state(cls, state: dict[str, Any], device: str | None = None) -> Captioner:
        """Builds the captioner from a checkpoint's state."""
        config = CaptionConfig(**state["config"])
        vocabulary = WordVocabulary.restored(state["words"])
        model = CaptionModel(len(vocabulary), config, Generator(config.seed))
        model.load_state_dict(state["chosen"] or state["model"])
        check_weights(model)
        if device is not None:
            model.to(device)
        return cls(model, vocabulary, config)

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
                    yield from decoding.greedy(decoder.step, state, start, **options)
                    continue
                found = decoding.beam_search(
                    decoder.step, state, start, beams=beams,
                    length_penalty=decoding.gnmt(0.6), **options,
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


class Caption(Task):
    """Train a writer of captions for images, and compare it with the nearest image in pixels.

    An image's captions are all counted as right.
    """

    recipe, unit, shown = "caption", "word", "validation error of words {:.1%}"
    settings, predictor = CaptionConfig, Captioner
    kinds: ClassVar = {"words": (list, tuple)}
    quick: ClassVar = {"epochs": 6, "hidden_size": 96, "channels": 16}
    data_help = (
        "A folder of images with a captions.csv; or a CSV, TSV or JSON lines beside the images, "
        "with a column of files and one of captions. One is split by images; of two the second is "
        "the test, of three the third."
    )
    default = "emoji with their names"

    @classmethod
    def read(cls, files: Sequence[str], config: Any) -> Parts:
        """Reads images with their captions, and splits them.

        Of the emoji combinations are held out: a base, a gender and a skin tone that occur, but
        not together.
        """
        if files:
            found = [
                read_captioned(path, config.image_size, config.file, config.caption)
                for path in files
            ]
            return Parts.of(found, config.seed, config.limit)
        items = emoji_images(config.image_size)
        toned = ["skin tone" in item.captions[0] for item in items]
        combined = [item for item, tone in zip(items, toned, strict=True) if tone]
        parts = Parts.of([combined], config.seed, config.limit)
        rest = [item for item, tone in zip(items, toned, strict=True) if not tone]
        return Parts([*rest[: config.limit or None], *parts.training], parts.validation, parts.test)

    def __init__(self, data: Parts, config: CaptionConfig, device: str | None = None) -> None:
        generator = Generator(config.seed)
        self.parts = data
        captions = [text for item in data.training for text in item.captions]
        if len(set(captions)) < 2:
            raise TextError(
                f"every image to learn from has the caption {captions[0]!r}: use more images"
            )
        self.captions = captions
        self.vocabulary = WordVocabulary.of(captions, config.vocab_size)
        samples = [
            (item.pixels, self.vocabulary.encode(text)[: config.max_length - 1])
            for item in data.training
            for text in item.captions
        ]
        loader = DataLoader(
            samples, config.batch_size, shuffle=True, generator=generator, collate=collate
        )
        model = CaptionModel(len(self.vocabulary), config, generator)
        super().__init__(data, model, loader, config, generator, device, worst=1.0)
        self.symbols = sum(len(ids) + 1 for _, ids in samples)

    def batch_loss(self, model: Any, batch: Any) -> tuple[Tensor, int]:
        """Computes the cross-entropy of the words, and their number."""
        pixels, inputs, targets = batch
        pixels = self._shifted(pixels)
        loss = cross_entropy(
            model(pixels, inputs), as_tensor(targets, device=self.device), ignore_index=PAD,
            label_smoothing=self.config.label_smoothing,
        )  # fmt: skip
        return loss, int((targets != PAD).sum())

    def _shifted(self, pixels: Pixels) -> Pixels:
        """Moves each image by a few pixels, drawn at random; its border fills the gap."""
        most = self.config.shift
        if not most:
            return pixels
        size, (count, height) = 2 * most + 1, pixels.shape[:2]
        wide = np.pad(pixels, [(0, 0), (most, most), (most, most), (0, 0)], "edge")
        drawn = self.generator.integers(0, size, (2, count))
        rows, columns = drawn[..., None] + np.arange(height)
        moved: Pixels = wide[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None]]
        return moved

    def evaluate(self, quick: bool = False) -> float:
        """Computes 1 - F1 of the words of the validation images' captions, by greedy search."""
        assert isinstance(self.model, CaptionModel)
        writer = Captioner(self.model, self.vocabulary, self.config)
        images = [item.pixels for item in self.parts.validation]
        found = [self.vocabulary.decode(best.tokens) for best in writer.search(images, 1)]
        sums = scores(found, self.parts.validation)["word F1"].sum(axis=0)
        return 1 - float(f1(sums))

    def compare(self) -> Comparison:
        """Compares captions of the test images; draws nothing from them before."""
        test = self.parts.test
        comparison = Comparison("images", [Measure("exact"), Measure("word F1", f1)])
        frequent = most_frequent(self.captions)
        comparison.add("most frequent caption", **scores([frequent] * len(test), test))
        near = nearest(self.parts.training, test)
        comparison.add("nearest image", **scores([item.captions[0] for item in near], test))
        self.records = list(self.predicting().predict(test))
        ours = scores([record["caption"] for record in self.records], test)
        comparison.add(self.config.cell, **ours)
        known = set(self.captions)
        if all(known.isdisjoint(item.captions) for item in test):
            comparison.notes.append(
                "no test caption occurs in training: exact ones are new combinations of words"
            )
        return comparison

    def draw(self, path: Path, comparison: Comparison) -> None:
        """Draws test images with their captions, and where the attention was at each word."""
        shown = min(ROWS, len(self.records))
        figure, axes = plot.panels(shown, WORDS + 1, 1.4 * (WORDS + 1), 1.95 * shown)
        for one in axes:
            one.axis("off")
        order = sorted(range(len(self.records)), key=lambda i: len(self.records[i]["words"]))
        for row in range(shown):
            at = order[len(order) * (2 * row + 1) // (2 * shown)]  # short and long captions
            item, record = self.parts.test[at], self.records[at]
            first, *others = axes[row * (WORDS + 1) : (row + 1) * (WORDS + 1)]
            first.imshow(item.pixels)
            first.set_title("image", fontsize=9)
            right = record["caption"] in item.captions
            verdict = "right" if right else f"it is: {item.captions[0]}"
            below = f"written: {record['caption']} ({verdict})"
            first.text(0, -0.06, below, va="top", transform=first.transAxes).set_in_layout(False)
            spoken = [
                one for one in record["words"] if one["word"] != STOP and words_of(one["word"])
            ]
            for axis, word in zip(others, spoken, strict=False):
                axis.imshow(lit(item.pixels, np.array(word["attention"])))
                axis.set_title(word["word"], fontsize=9)
        figure.get_layout_engine().set(hspace=0.14)
        figure.suptitle("held-out images, and where the decoder looked at each word", fontsize=11)
        plot.save(figure, path)

    def describe(self) -> str:
        """The data in a line."""
        parts = self.parts
        return (
            f"images: {len(parts.training):,} to learn from, {len(parts.validation):,} for "
            f"validation, {len(parts.test):,} for the test; {len(self.vocabulary):,} words"
        )

    def state(self) -> dict[str, Any]:
        """Returns the words."""
        return {"words": self.vocabulary.symbols}


Batch = tuple[Pixels, NDArray[np.int64], NDArray[np.int64]]


def collate(samples: Sequence[tuple[Pixels, NDArray[np.int64]]]) -> Batch:
    """Makes a batch: images (B, H, W, 3), the decoder's inputs (T, B), and its targets (T, B)."""
    steps = 1 + max(len(ids) for _, ids in samples)
    inputs = np.full((steps, len(samples)), PAD, np.int64)
    targets = inputs.copy()
    for column, (_, ids) in enumerate(samples):
        inputs[: len(ids) + 1, column] = [START, *ids]
        targets[: len(ids) + 1, column] = [*ids, END]
    return np.stack([pixels for pixels, _ in samples]), inputs, targets


def words_of(caption: str) -> list[str]:
    """Splits a caption into words, without punctuation."""
    return [word for word in tokens(caption) if any(map(str.isalnum, word))]


def scores(found: Sequence[str], items: Sequence[Captioned]) -> dict[str, NDArray[np.float64]]:
    """Computes the statistics of captions: whether they are right, and common words for F1.

    The caption of an image that has the best F1 counts.

    >>> item = Captioned("a.png", np.zeros((1, 1, 3), np.uint8), ["a red dog", "dog"])
    >>> {name: x.tolist() for name, x in scores(["a dog"], [item]).items()}
    {'exact': [[0.0, 1.0]], 'word F1': [[2.0, 2.0, 3.0]]}
    """
    exact, common = [], []
    for text, item in zip(found, items, strict=True):
        words = Counter(words_of(text))
        counts = []
        for caption in item.captions:
            right = Counter(words_of(caption))
            counts.append(((words & right).total(), words.total(), right.total()))
        exact.append([text in item.captions, 1])
        common.append(max(counts, key=lambda n: 2 * n[0] / max(1, n[1] + n[2])))
    return {"exact": np.array(exact, np.float64), "word F1": np.array(common, np.float64)}


def most_frequent(captions: Sequence[str]) -> str:
    """Returns the most frequent caption; of equally frequent ones that of the commonest words.

    >>> most_frequent(["a red dog", "a cat", "a dog"])
    'a dog'
    """
    whole = Counter(captions)
    words = Counter(word for caption in captions for word in words_of(caption))

    def common(caption: str) -> float:
        found = words_of(caption)
        return sum(words[word] for word in found) / max(1, len(found))

    return max(sorted(whole), key=lambda caption: (whole[caption], common(caption)))


def nearest(training: Sequence[Captioned], test: Sequence[Captioned]) -> list[Captioned]:
    """Returns for each test image the training image with the smallest distance of pixels."""
    known = np.stack([item.pixels.ravel() for item in training]).astype(np.float32)
    squares = (known**2).sum(axis=1)
    found = []
    for item in test:
        distances = squares - 2 * (known @ item.pixels.ravel().astype(np.float32))
        found.append(training[int(distances.argmin())])
    return found


def lit(pixels: Pixels, weights: NDArray[Any]) -> NDArray[Any]:
    """Turns an image grey where the attention was not. **Arguments** weights: (rows, columns)."""
    cells = np.arange(len(pixels)) * len(weights) // len(pixels)
    light = (weights / weights.max())[cells][:, cells, None]
    image = pixels / 255
    shown: NDArray[np.float64] = light * image + (1 - light) * (0.25 * image + 0.75 * GREY)
    return shown
