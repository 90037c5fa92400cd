"""Images with captions: those of users' files, read by Pillow, and emoji with their names.

Every image becomes a square of (size, size, 3) bytes. White pads one that is not square,
and replaces transparency.
"""

from __future__ import annotations

import io
import json
import struct
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import needs
from .datasets import TextError, read_bytes
from .sets import SETS
from .tables import STANDARD_INPUT, Table

IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")
TABLE = "captions.csv"  # in a folder of images
GLYPH, BOX = 109, (136, 128)  # the only size of Noto's bitmaps, and the box of one
FULLY_QUALIFIED = 2  # the status of an emoji with all its code points
OFTEN = 5  # emoji that a word must name

Pixels = NDArray[np.uint8]


class Captioned(NamedTuple):
    """An image with its captions."""

    file: str
    pixels: Pixels  # (size, size, 3)
    captions: list[str]  # one or more; none if they are unknown


def pillow() -> Any:
    """Returns the package PIL. **Raises** TextError if it is missing."""
    with needs("Pillow", "an image", "pip install 'tinygrad_rnn[images]'", TextError):
        import PIL.Image
        import PIL.ImageDraw
        import PIL.ImageFont
        import PIL.ImageOps
    return PIL


def read_image(path: str | Path, size: int) -> Pixels:
    """Reads an image file, or the standard input if path is `-`. **Raises** TextError."""
    if str(path) == STANDARD_INPUT:
        return decode_image(sys.stdin.buffer.read(), "the standard input", size)
    try:
        raw = read_bytes(path)
    except OSError as error:
        raise TextError(f"cannot read the image {path}: {error.strerror}") from None
    except ValueError as error:  # no regular file, or a NUL in the name
        raise TextError(f"cannot read the image {str(path)!r}: {error}") from None
    return decode_image(raw, str(path), size)


def decode_image(raw: bytes, name: str, size: int) -> Pixels:
    """Decodes an image. **Arguments** name: for errors. **Raises** TextError."""
    pil = pillow()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", pil.Image.DecompressionBombWarning)
            with pil.Image.open(io.BytesIO(raw)) as found:
                layer = pil.ImageOps.exif_transpose(found).convert("RGBA")
            image = pil.Image.new("RGBA", layer.size, "white")
            image.alpha_composite(layer)
            square = pil.ImageOps.pad(image.convert("RGB"), (size, size), color="white")
    except (pil.Image.DecompressionBombWarning, pil.Image.DecompressionBombError):
        raise TextError(f"{name} has too many pixels: make it smaller") from None
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error) as error:
        why = "it is no image that Pillow knows" if "identify" in str(error) else error
        raise TextError(f"cannot decode {name}: {why}; expected PNG or JPEG") from None
    return np.asarray(square)


def read_images(path: str | Path, size: int, file: str) -> list[Captioned]:
    """Reads the images to caption: one, those of a folder, or those that a table names.

    **Arguments** file: the column of a table. **Raises** TextError.
    """
    place = Path(path)
    if place.suffix.lower() in (".csv", ".tsv", ".jsonl", ".ndjson"):
        table, items = Table.read(path), {}
        for row, name in enumerate(table.texts(file)):
            if name not in items:
                items[name] = Captioned(
                    name, _beside(table, row, file, place.parent / name, size), []
                )
        return list(items.values())
    if not place.is_dir():
        return [Captioned(str(path), read_image(path, size), [])]
    found = sorted(one for one in place.iterdir() if one.suffix.lower() in IMAGES)
    if not found:
        raise TextError(f"the folder {path} has no images ({', '.join(IMAGES)})")
    return [Captioned(str(one), read_image(one, size), []) for one in found]


def read_captioned(path: str | Path, size: int, file: str, caption: str) -> list[Captioned]:
    """Reads a table of images with their captions; several rows may be about one image.

    **Arguments** path: the table, beside which the files lie; or a folder with a `captions.csv`.
    file, caption: the columns. **Raises** TextError, which names the row of a missing image.
    """
    place = Path(path)
    if place.is_dir():
        place /= TABLE
    table = Table.read(place)
    items: dict[str, Captioned] = {}
    for row, (name, text) in enumerate(zip(table.texts(file), table.texts(caption), strict=True)):
        if name not in items:
            items[name] = Captioned(name, _beside(table, row, file, place.parent / name, size), [])
        items[name].captions.append(" ".join(text.lower().split()))
    return list(items.values())


def _beside(table: Table, row: int, file: str, path: Path, size: int) -> Pixels:
    """Reads the image that a row of a table names. **Raises** TableError."""
    pillow()
    try:
        return read_image(path, size)
    except TextError as error:
        raise table.error(row, file, str(error)) from None


def emoji_images(size: int) -> list[Captioned]:
    """Draws the emoji of Noto's font, whose names have only words that several names have.

    **Raises** TextError if the package `emoji` or the font is missing.
    """
    named = json.loads(SETS["emoji-names"].read("unicode_codes/emoji.json"))
    raw, pil = SETS["emoji-images"].read(""), pillow()
    try:
        font = pil.ImageFont.truetype(io.BytesIO(raw), GLYPH)
    except OSError as error:
        raise TextError(
            f"{SETS['emoji-images'].root} is no font of bitmaps of {GLYPH} pixels ({error}): "
            f"install that of Debian by `{SETS['emoji-images'].command}`"
        ) from None
    items: dict[bytes, Captioned] = {}
    for emoji, about in named.items():
        if about["status"] != FULLY_QUALIFIED or font.getlength(emoji) > BOX[0] + 1:
            continue  # drawn as several emoji
        image = pil.Image.new("RGB", BOX, "white")
        pil.ImageDraw.Draw(image).text((0, 0), emoji, font=font, fill="black", embedded_color=True)
        pixels = np.asarray(image.resize((size, size)))
        if pixels.min() < 255:  # the font has it
            name = about["en"].strip(":").replace("_", " ").lower()
            items.setdefault(pixels.tobytes(), Captioned(emoji, pixels, [name]))
    counts = Counter(word for one in items.values() for word in one.captions[0].split())
    return [
        one
        for one in items.values()
        if all(counts[word] >= OFTEN for word in one.captions[0].split())
    ]
