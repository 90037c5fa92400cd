"""Helpers of all plots: fonts with the letters of the labels, files, and a notebook's picture."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygrad_rnn import plot

font_manager = pytest.importorskip("matplotlib.font_manager")
ft2font = pytest.importorskip("matplotlib.ft2font")


def letters(family: str) -> set[int]:
    path = font_manager.findfont(family, fallback_to_default=False)
    return {*ft2font.FT2Font(path).get_charmap()}


def draw(path: Path, letter: str) -> None:
    plot.save(plot.attention(np.ones((1, 2)) / 2, ["a", letter], [letter]), path)


def test_a_letter_of_another_font(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    letter = chr(min(letters("STIXNonUnicode") - letters("DejaVu Sans")))
    assert len(plot.families("a" + letter)) == 2
    draw(tmp_path / "other.png", letter)
    assert capsys.readouterr().err == ""
    assert plot.families("plain text") == ["DejaVu Sans"]


def test_a_letter_that_no_font_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "boxes.png"
    draw(path, "\U0001f9ff\U000e0001")  # a tag that no font draws
    said = capsys.readouterr().err
    assert said.startswith(f"hint: {path} shows some letters as boxes: no installed font has them")
    assert said.count("\n") == 1
    assert path.read_bytes().startswith(b"\x89PNG")


def test_fonts_are_closed_after_the_search() -> None:
    before = len(os.listdir("/dev/fd"))
    plot.families("\U0001f9ff\U000e0001")
    assert len(os.listdir("/dev/fd")) == before


def test_files_that_cannot_be_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"end its name in \.png, not 'curve\.jpg'"):
        plot.check_file("curve.jpg")
    (tmp_path / "a.png").mkdir()
    with pytest.raises(ValueError, match="not a regular file"):
        plot.check_file(tmp_path / "a.png")
    plot.check_file(tmp_path / "new.png")
    assert not (tmp_path / "new.png").exists()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for call in (lambda: plot.check_file("a.png"), lambda: plot.heat_map([[1.0]])):
        with pytest.raises(ValueError, match=r"pip install 'tinygrad_rnn\[plot\]'"):
            call()


def test_matplotlib_is_imported_by_the_first_plot() -> None:
    code = (
        "import sys, tinygrad_rnn as tg; assert 'tinygrad_rnn.plot' not in sys.modules; tg.plot;"
        "assert not any(name.startswith('matplotlib') for name in sys.modules);"
        "assert tg.plot.heat_map([[1.0]])._repr_png_()[:4] == b'\\x89PNG';"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
