"""Plots have the letters of their labels, or say in one line that no font has them."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tinygrad_rnn.cli.picture import draw_adding, draw_attention, families

font_manager = pytest.importorskip("matplotlib.font_manager")
ft2font = pytest.importorskip("matplotlib.ft2font")


def letters(family: str) -> set[int]:
    path = font_manager.findfont(family, fallback_to_default=False)
    return {*ft2font.FT2Font(path).get_charmap()}


def draw(path: Path, letter: str) -> None:
    draw_attention(path, ["a", letter], [letter], np.ones((1, 2)) / 2)


def test_a_letter_of_another_font(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    letter = chr(min(letters("STIXNonUnicode") - letters("DejaVu Sans")))
    assert len(families("a" + letter)) == 2
    draw(tmp_path / "other.png", letter)
    assert capsys.readouterr().err == ""
    assert families("plain text") == ["DejaVu Sans"]


def test_a_letter_that_no_font_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "boxes.png"
    draw(path, "\U0001f9ff\U000e0001")  # a tag that no font draws
    said = capsys.readouterr().err
    assert said.startswith(f"hint: {path} shows some letters as boxes: no installed font has them")
    assert said.count("\n") == 1
    assert path.read_bytes().startswith(b"\x89PNG")


def test_fonts_are_closed_after_the_search() -> None:
    before = len(os.listdir("/dev/fd"))
    families("\U0001f9ff\U000e0001")
    assert len(os.listdir("/dev/fd")) == before


def test_adding_s_curves_can_be_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: drawn.append(self))
    learned = SimpleNamespace(before=[1.0, 2.0], after=[1.0, 2.0], errors={0: 1.0, 1: 0.5})
    draw_adding(tmp_path / "a.png", {"rnn": learned, "lstm": learned})
    [figure] = drawn
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["rnn", "lstm"]
    for axes in figure.axes:
        styles = [line.get_linestyle() for line in axes.lines]
        assert styles == ["-", "--"]
