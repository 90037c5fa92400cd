"""Captions of images: folders and tables of one's own, held-out combinations, resuming, errors."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tinygrad_rnn.data import TextError, images
from tinygrad_rnn.data.images import Captioned, decode_image, emoji_images, read_captioned
from tinygrad_rnn.data.sets import SETS
from tinygrad_rnn.io import load_checkpoint
from tinygrad_rnn.recipes.caption import Caption, collate
from tinygrad_rnn.recipes.caption_model import CaptionConfig
from tinygrad_rnn.recipes.caption_picture import lit
from tinygrad_rnn.recipes.caption_table import nearest, scores

from .commands import Run, predictions, table

COLORS = {"red": "#f02020", "green": "#20a020", "blue": "#2020f0", "black": "#101010"}
SHAPES = ("ring", "square", "bar")
SIDES = {"left": (1, 6), "right": (11, 6), "top": (6, 1), "bottom": (6, 11)}
HELD_OUT = {
    *(("red", "bar", "left"), ("green", "ring", "right"), ("blue", "square", "left")),
    *(("red", "ring", "top"), ("green", "square", "bottom"), ("blue", "bar", "top")),
}
SMALL = [
    *("--image-size", "16", "--channels", "12", "--hidden-size", "32", "--embedding-dim", "16"),
    *("--batch-size", "16", "--lr", "0.01", "--dropout", "0.1", "--beams", "2"),
]


def drawn(color: str, shape: str, side: str, noise: np.random.Generator) -> Image.Image:
    """A shape at one side of a grainy image."""
    grain = noise.integers(200, 256, (20, 20, 3)).astype(np.uint8)
    image = Image.fromarray(grain)
    x, y = SIDES[side] + noise.integers(0, 2, 2)
    pen, fill = ImageDraw.Draw(image), COLORS[color]
    if shape == "ring":
        pen.ellipse((x, y, x + 7, y + 7), outline=fill, width=2)
    elif shape == "square":
        pen.rectangle((x, y, x + 7, y + 7), fill=fill)
    else:
        pen.rectangle((x, y + 3, x + 7, y + 5), fill=fill)
    return image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with captions.csv, and test.csv with the combinations that it lacks."""
    folder, noise = tmp_path / "photos", np.random.default_rng(0)
    folder.mkdir()
    rows: dict[bool, list[str]] = {False: ["file,caption"], True: ["file,caption"]}
    for color in COLORS:
        for shape in SHAPES:
            for side in SIDES:
                held = (color, shape, side) in HELD_OUT
                for i in range(4):
                    name = f"{color}-{shape}-{side}-{i}.png"
                    drawn(color, shape, side, noise).save(folder / name)
                    rows[held].append(f'{name},"a {color} {shape}, on the {side}"')
    (folder / "captions.csv").write_text("\n".join(rows[False]))
    (folder / "test.csv").write_text("\n".join(rows[True]))
    return folder


def test_combinations_that_were_held_out_are_named(run: Run, photos: Path) -> None:
    data = ["--data", "photos", "--data", "photos/test.csv"]
    said = run("train", "caption", *data, *SMALL, "--epochs", "24", "--out", "run")
    exact, f1 = table(said, 2), table(said, 4)
    assert set(exact) == {"most frequent caption", "nearest image", "lstm"}
    assert exact["nearest image"] == exact["most frequent caption"] == 0  # they only repeat
    assert exact["lstm"] > 60
    assert f1["lstm"] > f1["nearest image"] > f1["most frequent caption"]
    assert "no test caption occurs in training" in said

    shown = run("predict", "run", "photos/red-bar-left-0.png")
    assert shown.startswith("photos/red-bar-left-0.png  a ")
    records = predictions("photos", "run")
    assert len(records) == 48 * 4
    right = [Path(r["file"]).stem.split("-")[:3] for r in records]
    hits = [r["caption"] == "a {}, on the {}".format(" ".join(x[:2]), x[2])
            for r, x in zip(records, right, strict=True)]  # fmt: skip
    assert np.mean(hits) > 0.8
    for word in records[0]["words"]:
        assert np.shape(word["attention"]) == (8, 8)
        assert np.sum(word["attention"]) == pytest.approx(1, abs=0.01)
    assert [word["word"] for word in records[0]["words"]][-1] == "</s>"
    named = run("predict", "run", "photos/test.csv").splitlines()
    assert len(named) == 24


def test_an_image_from_the_standard_input(
    run: Run,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run("train", "caption", "--data", "photos", *SMALL, "--epochs", "1", "--out", "run")
    raw = (photos / "red-bar-left-0.png").read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(raw)))
    predictor = Caption.predictor.from_state(load_checkpoint("run"))
    [item] = predictor.read("-")
    [same] = predictor.read(photos / "red-bar-left-0.png")
    np.testing.assert_array_equal(item.pixels, same.pixels)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,caption\nx.png,a\n", "row 2, column 'file': cannot read the image"),
        ("file,caption\nbad.png,a\n", "row 2, column 'file': cannot decode"),
        ("file,caption\n.,a\n", "row 2, column 'file': cannot read the image"),
        ("name,caption\nx.png,a\n", "no column 'file': it has 'name', 'caption'"),
        ("file,caption\nx.png,\n", "row 2, column 'caption': missing value"),
        ("file,caption\n0.png,a\n1.png,a\n2.png,a\n", "has the caption 'a': use more images"),
        ("file,caption\n0.png,a\n0.png,b\n", "1 items are too few"),
        ("file,caption\n0.png,\xe9\n", "is not UTF-8"),
        ("\x89PNG\r\n", "it looks like an image"),
    ],
)
def test_captions_that_cannot_be_learnt_from(
    run: Run,
    tmp_path: Path,
    content: str,
    message: str,
) -> None:
    (tmp_path / "captions.csv").write_bytes(content.encode("latin-1"))
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    for i in range(3):
        Image.new("RGB", (16, 16), (i, i, i)).save(tmp_path / f"{i}.png")
    said = run("train", "caption", "--data", ".", "--out", "run", status=2)
    assert message in said


def test_predict_refuses_what_is_no_image(run: Run, photos: Path) -> None:
    run("train", "caption", "--data", "photos", *SMALL, "--epochs", "1", "--out", "run")
    (photos / "empty").mkdir()
    for file, message in {
        "photos/none.png": "cannot read the image photos/none.png: No such file",
        "photos/empty": "the folder photos/empty has no images (.png, .jpg",
        "run/checkpoint.json": "cannot",
    }.items():
        said = run("predict", "run", file, status=2)
        assert message in said


def test_a_damaged_image_never_shows_a_traceback() -> None:
    noise = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "GIF"):
        file = io.BytesIO()
        drawn("red", "ring", "left", noise).save(file, kind)
        whole = file.getvalue()
        for _ in range(60):
            raw = bytearray(whole[: noise.integers(0, len(whole))])
            for at in noise.integers(0, max(1, len(raw)), 4 * bool(raw)):
                raw[at] = noise.integers(0, 256)
            try:
                assert decode_image(bytes(raw), "x", 16).shape == (16, 16, 3)
            except TextError as error:
                assert "\n" not in str(error)  # noqa: PT017


def test_images_become_squares_on_white() -> None:
    def decoded(image: Image.Image) -> Any:
        file = io.BytesIO()
        image.save(file, "PNG")
        return decode_image(file.getvalue(), "x", 8)

    wide = decoded(Image.new("RGB", (16, 8), "black"))
    assert (wide[:2] == 255).all()
    assert (wide[2:6] == 0).all()
    assert (wide[6:] == 255).all()
    assert (decoded(Image.new("RGBA", (8, 8), (0, 0, 0, 0))) == 255).all()
    assert (decoded(Image.new("L", (8, 8), 7)) == 7).all()
    assert (decoded(Image.new("1", (8, 8), 0)) == 0).all()


def test_an_image_may_have_several_captions(tmp_path: Path) -> None:
    for name in "ab":
        Image.new("RGB", (16, 16)).save(tmp_path / f"{name}.jpg")
    rows = ["image,caption", "a.jpg,A  dog", "b.jpg,cat", "a.jpg,the dog"]
    (tmp_path / "captions.txt").write_text("\n".join(rows))
    items = read_captioned(tmp_path / "captions.txt", 16, "image", "caption")
    assert [(item.file, item.captions) for item in items] == [
        ("a.jpg", ["a dog", "the dog"]), ("b.jpg", ["cat"]),
    ]  # fmt: skip
    found = scores(["the dog", "the cat"], items)
    assert found["exact"].tolist() == [[1, 1], [0, 1]]
    assert found["word F1"].tolist() == [[2, 2, 2], [1, 2, 1]]


def test_batches_shifts_and_neighbours() -> None:
    noise = np.random.default_rng(0)
    grid = noise.integers(0, 256, (3, 4, 4, 3)).astype(np.uint8)
    pixels, inputs, targets = collate([(grid[0], np.array([7, 8])), (grid[1], np.array([9]))])
    assert (pixels == grid[:2]).all()
    assert inputs.T.tolist() == [[1, 7, 8], [1, 9, 0]]
    assert targets.T.tolist() == [[7, 8, 2], [9, 2, 0]]
    known = [Captioned(str(i), one, ["x"]) for i, one in enumerate(grid)]
    near = [
        Captioned("", np.clip(one.astype(int) + 3, 0, 255).astype(np.uint8), []) for one in grid
    ]
    assert [item.file for item in nearest(known, near)] == ["0", "1", "2"]
    light = lit(np.full((16, 16, 3), 255, np.uint8), np.eye(8))
    assert light[0, 1, 0] == 1
    assert light[0, 2, 0] == pytest.approx(0.25 + 0.75 * 0.45)


def test_a_shift_moves_an_image_and_repeats_its_border(photos: Path) -> None:
    config = CaptionConfig(image_size=16, shift=2, hidden_size=4, embedding_dim=4, channels=2)
    training = Caption(Caption.read([str(photos)], config), config)
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, 3)
    seen = set()
    for moved in training._shifted(ramp.repeat(60, 0)):
        down, right = divmod(int(moved[8, 8, 0]) - 8 * 17, 16)
        down, right = (down + 1, right - 16) if right > 8 else (down, right)
        seen.add((down, right))
        rows, columns = (np.clip(np.arange(16) + d, 0, 15) for d in (down, right))
        np.testing.assert_array_equal(moved, ramp[0][rows][:, columns])
    assert seen <= {(i, j) for i in range(-2, 3) for j in range(-2, 3)}
    assert len(seen) > 15


def test_emoji_need_their_names_and_their_font(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TINYGRAD_RNN_DATA", str(tmp_path))
    names = {chr(65 + i): {"en": f":letter_{i % 2}:", "status": 2} for i in range(12)}
    names |= {"z": {"en": ":letter_once:", "status": 2}, "y": {"en": ":letter:", "status": 3}}
    raw = {"emoji-names": json.dumps(names).encode(), "emoji-images": b"no font"}

    def read(self: Any, file: str) -> bytes:
        return raw[self.name]

    with monkeypatch.context() as patch:
        patch.setattr(type(SETS["emoji-names"]), "read", read)
        with pytest.raises(TextError, match="is no font of bitmaps of 109 pixels"):
            emoji_images(16)
        pil, plain_font = images.pillow(), images.pillow().ImageFont.load_default(size=60)
        patch.setattr(pil.ImageFont, "truetype", lambda *_: plain_font)
        items = emoji_images(16)
    assert [item.file for item in items] == list(names)[:12]
    assert {item.captions[0] for item in items} == {"letter 0", "letter 1"}
