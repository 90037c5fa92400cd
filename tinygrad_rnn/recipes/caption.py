"""Captions of images (one to many): trains a `Captioner`.

`caption_model.py` has the network, `captioner.py` the search, `caption_table.py` the baselines, and
`caption_picture.py` the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..data import PAD, DataLoader, TextError
from ..data.images import Pixels, emoji_images, read_captioned
from ..data.parallel import columns
from ..data.splits import Parts
from ..data.words import WordVocabulary
from ..nn import cross_entropy
from ..tensor.creation import as_tensor
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .bootstrap import f1
from .caption_model import CaptionConfig
from .caption_picture import draw_captions
from .caption_table import against_baselines, scores
from .captioner import Captioner
from .comparison import Comparison
from .task import Task


class Caption(Task):
    """Train an image captioner, and compare it with the nearest image in pixels.

    An image's captions are all counted as right.
    """

    recipe, unit, figure = "caption", "word", "validation error of words {:.1%}"
    settings, predictor = CaptionConfig, Captioner
    quick: ClassVar = {"epochs": 6, "hidden_size": 96, "shift": 0, "dropout": 0.1}
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
        generator, self.parts = Generator(config.seed), data
        captions = [text for item in data.training for text in item.captions]
        if len(set(captions)) < 2:
            raise TextError(
                f"every image to learn from has the caption {captions[0]!r}: use more images"
            )
        known = WordVocabulary.of(captions, config.vocab_size)
        samples = [
            (item.pixels, known.encode(text)[: config.max_length - 1])
            for item in data.training
            for text in item.captions
        ]
        loader = DataLoader(
            samples, config.batch_size, shuffle=True, generator=generator, collate=collate
        )
        captioner = Captioner(config, generator, known.symbols)
        super().__init__(data, captioner, loader, generator, device, worst=1.0)
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
        y, x = drawn[..., None] + np.arange(height)
        moved: Pixels = wide[np.arange(count)[:, None, None], y[:, :, None], x[:, None]]
        return moved

    def evaluate(self, quick: bool = False) -> float:
        """Computes 1 - F1 of the words of the validation images' captions, by greedy search."""
        writer, images = self.current, [item.pixels for item in self.parts.validation]
        found = [writer.vocabulary.decode(best.tokens) for best in writer.search(images, 1)]
        sums = scores(found, self.parts.validation)["word F1"].sum(axis=0)
        return 1 - float(f1(sums))

    def compare(self) -> Comparison:
        """Compares captions of the test images; draws nothing from them before."""
        self.records = list(self.predicting().predict(self.parts.test))
        found = [record["caption"] for record in self.records]
        return against_baselines(self.parts, self.config.cell, found)

    def draw(self, path: Path, comparison: Comparison) -> None:
        """Draws test images with their captions."""
        draw_captions(self.parts.test, self.records, path)

    def describe(self) -> str:
        """The data in a line."""
        return f"{self.parts.sizes('images')}; {len(self.current.vocabulary):,} words"


Batch = tuple[Pixels, NDArray[np.int64], NDArray[np.int64]]


def collate(samples: Sequence[tuple[Pixels, NDArray[np.int64]]]) -> Batch:
    """Makes a batch: images (B, H, W, 3), the decoder's inputs (T, B), and its targets (T, B)."""
    words = [ids for _, ids in samples]
    pixels = np.stack([pixels for pixels, _ in samples])
    return pixels, columns(words, before=True), columns(words, before=False)
