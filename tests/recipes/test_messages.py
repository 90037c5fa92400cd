"""Messages of LibreOffice: the catalogue, the split, the baselines, and the command."""

from __future__ import annotations

import gettext
import struct
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tinygrad_rnn.cli.app import app
from tinygrad_rnn.data import TextError
from tinygrad_rnn.recipes import messages as programs
from tinygrad_rnn.recipes.scores import bleu_and_chrf, chrf, chrf_counts

from ..commands import table

NUMBERS = "一二三四五六七八九"
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def write_catalogue(file: Path, pairs: dict[str, str]) -> None:
    """Writes a catalogue of gettext: both tables of lengths and offsets, then the texts."""
    rows = sorted({"": "Content-Type: text/plain; charset=UTF-8\n", **pairs}.items())
    texts = [text.encode() for side in zip(*rows, strict=True) for text in side]
    start, table, blob = 28 + 8 * len(texts), b"", b""
    for text in texts:
        table += struct.pack("<2I", len(text), start + len(blob))
        blob += text + b"\0"
    count = len(rows)
    head = struct.pack("<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 0)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(head + table + blob)
    with file.open("rb") as opened:
        gettext.GNUTranslations(opened)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a language with 729 messages, and some that do not count."""
    pairs = {
        f"MENU|{a}{b}{c}\x04_{WORDS[a]} {WORDS[b]} {WORDS[c]}": "".join(
            NUMBERS[i] for i in (a, b, c)
        )
        + f"(_{WORDS[a][0].upper()})"
        for a in range(9)
        for b in range(9)
        for c in range(9)
    }
    pairs |= {"A\x04OK": "好", "A\x04one\nline": "一\n行", "A\x04the same": "the same"}
    write_catalogue(tmp_path / "zh_CN" / "LC_MESSAGES" / "sw.mo", pairs)
    return tmp_path


def test_messages_of_one_line_without_the_marks_of_keys(folder: Path) -> None:
    parts = programs.messages(folder=folder, test=100, validation=50)
    every = [*parts.training, *parts.validation, *parts.test]
    assert len(every) == 729
    assert ("一二三", "one two three") in every
    assert len({source for source, _ in every}) == 729
    assert parts == programs.messages(folder=folder, test=100, validation=50)


def test_what_is_missing_or_damaged(folder: Path) -> None:
    with pytest.raises(TextError, match=r"has 729 messages: .* install libreoffice-l10n-zh-cn"):
        programs.messages(folder=folder)
    with pytest.raises(TextError, match=r"nl has 0 messages: .*libreoffice-l10n-nl; .*--folder"):
        programs.messages("nl", folder)
    for damage in (b"no catalogue", b"\xde\x12\x04\x95" + b"\xff" * 40, b""):
        (folder / "zh_CN" / "LC_MESSAGES" / "sw.mo").write_bytes(damage)
        with pytest.raises(TextError, match=r"sw\.mo is no catalogue of gettext: "):
            programs.messages(folder=folder)


def test_chrf_is_that_of_sacrebleu() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    rng = np.random.default_rng(0)
    for _ in range(50):
        texts, references = (
            ["".join(rng.choice(list("abc  "), rng.integers(1, 15))) for _ in range(4)]
            for _ in range(2)
        )
        counts = [chrf_counts(*pair) for pair in zip(texts, references, strict=True)]
        expected = sacrebleu.corpus_chrf(texts, [references]).score
        assert float(chrf(np.sum(counts, axis=0))) == pytest.approx(expected)


def test_the_command(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    pytest.importorskip("sacrebleu")
    monkeypatch.setenv("COLUMNS", "120")
    of = programs.messages
    monkeypatch.setattr(programs, "messages", lambda *places: of(*places, test=60, validation=20))
    out = str(tmp_path / "run")
    options = ["--folder", str(folder), "--quick", "--lr", "0.01", "--batch-size", "32"]
    done = CliRunner().invoke(app, ["train", "messages", *options, "--out", out])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "messages: 649" in done.output
    figures = table(done.output, 2)
    assert list(figures) == ["untranslated", "word by word", "most similar message", "lstm"]
    assert figures["untranslated"] < figures["most similar message"] < figures["lstm"]
    again = CliRunner().invoke(app, ["train", "messages", "--resume", "--out", out])
    assert again.exit_code == 0  # the folder is remembered
    assert table(again.output, 2) == figures
    systems = bleu_and_chrf(["one two"], ["one two"])
    assert systems[1] == pytest.approx(100)
