"""The picture of captions: images, and where the decoder looked at each word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import plot
from ..data.images import Captioned, Pixels
from .caption_table import words_of

ROWS, WORDS = 5, 8  # images, and words of a caption
STOP = "</s>"  # the end of a caption
GREY = 0.45  # of what the attention leaves out


def draw_captions(
    items: Sequence[Captioned], records: Sequence[dict[str, Any]], path: Path
) -> None:
    """Draws images with their captions, and where the attention was at each word, as a PNG file.

    **Arguments** records: of the images, as `Captioner.predict` yields them.
    """
    shown = min(ROWS, len(records))
    figure, axes = plot.panels(shown, WORDS + 1, 1.4 * (WORDS + 1), 1.95 * shown)
    for one in axes:
        one.axis("off")
    order = sorted(range(len(records)), key=lambda i: len(records[i]["words"]))
    for row in range(shown):
        at = order[len(order) * (2 * row + 1) // (2 * shown)]  # short and long captions
        item, record = items[at], records[at]
        first, *others = axes[row * (WORDS + 1) : (row + 1) * (WORDS + 1)]
        first.imshow(item.pixels)
        first.set_title("image", fontsize=9)
        right = record["caption"] in item.captions
        verdict = "right" if right else f"it is: {item.captions[0]}"
        below = f"written: {record['caption']} ({verdict})"
        first.text(0, -0.06, below, va="top", transform=first.transAxes).set_in_layout(False)
        spoken = [one for one in record["words"] if one["word"] != STOP and words_of(one["word"])]
        for axis, word in zip(others, spoken, strict=False):
            axis.imshow(lit(item.pixels, np.array(word["attention"])))
            axis.set_title(word["word"], fontsize=9)
    figure.get_layout_engine().set(hspace=0.14)
    figure.suptitle("held-out images, and where the decoder looked at each word", fontsize=11)
    plot.save(figure, path)


def lit(pixels: Pixels, weights: NDArray[Any]) -> NDArray[Any]:
    """Turns an image grey where the attention was not. **Arguments** weights: (rows, columns)."""
    cells = np.arange(len(pixels)) * len(weights) // len(pixels)
    light = (weights / weights.max())[cells][:, cells, None]
    image = pixels / 255
    shown: NDArray[np.float64] = light * image + (1 - light) * (0.25 * image + 0.75 * GREY)
    return shown
