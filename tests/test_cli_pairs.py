"""The commands for pairs of sequences: their output, and their errors."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tinygrad_rnn.cli import train
from tinygrad_rnn.cli.app import app
from tinygrad_rnn.io import load_checkpoint
from tinygrad_rnn.recipes.phones import split

from .commands import table
from .forks import run_forked
from .recipes.test_verses import write_module
from .test_cli import ENVIRONMENT, TIMEOUT, mistake, signals_itself

WORDS = ["null", "eins", "zwei", "drei", "vier"]
SOURCE = [f"{a} {b} {c}" for a in range(5) for b in range(5) for c in range(5)]
TARGET = [" ".join(WORDS[int(n)] for n in line.split()) for line in SOURCE]
SETTINGS = {"hidden_size": 16, "embedding_dim": 8, "batch_size": 16, "lr": 0.02, "dropout": 0}
FILES = {"source": "a", "target": "b"}
SIZES = [
    part
    for name, value in {**SETTINGS, **FILES}.items()
    for part in (f"--{name.replace('_', '-')}", f"{value}")
]


def run(
    folder: Path, *arguments: str, status: int = 0, given: bytes = b""
) -> subprocess.CompletedProcess[str]:
    """Runs `tinygrad-rnn` in a folder."""
    raw = run_forked(ENVIRONMENT, folder, *arguments, given=given)
    done = subprocess.CompletedProcess(
        raw.args, raw.returncode, raw.stdout.decode(), raw.stderr.decode()
    )
    assert done.returncode == status, (done.stdout, done.stderr)
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Creates a folder with two texts, a model trained on them, and one without attention."""
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "a").write_text("\n".join(SOURCE) + "\n")
    (folder / "b").write_text("\n".join(TARGET) + "\n")
    done = run(folder, "train", "translate", *SIZES, "--steps", "200", "--out", "model")
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"model: lstm, additive attention, with [\d,]+ weights on cpu", lines[0])
    assert lines[1] == "text: 125 pairs, 9 and 9 symbols"
    assert any(re.match(r"step 100/200 .* bits/symbol .* symbols/s ", line) for line in lines)
    assert float(re.search(r"held-out: (.*) bits/symbol", done.stdout)[1]) < 0.5  # type: ignore[index]
    assert lines[-2:] == ["to use it:", "tinygrad-rnn translate model"]
    plain = ["--attention", "none", "--steps", "2", "--out", "plain"]
    run(folder, "train", "translate", *SIZES, *plain)
    return folder


def test_translate_a_file_and_the_input(folder: Path) -> None:
    out = run(folder, "translate", "model", "a").stdout.splitlines()
    assert len(out) == len(SOURCE)
    right = sum(one == other for one, other in zip(out, TARGET, strict=True))
    assert right > 110
    some = "\r\n".join([*SOURCE[:3], "", SOURCE[3]]).encode()
    assert run(folder, "translate", "model", given=some).stdout.splitlines() == [
        *out[:3], "", out[3],
    ]  # fmt: skip
    assert run(folder, "translate", "model", given=b"").stdout == ""


def test_what_is_unknown_is_reported(folder: Path) -> None:
    done = run(folder, "translate", "model", given=b"1 x 2\n1 2 3\ny x\n")
    assert len(done.stdout.splitlines()) == 3
    assert done.stderr == "unknown to the model, 3 in all: 'x' (2), 'y' (1)\n"


def test_one_translation_per_input_line(folder: Path) -> None:
    """Other line separators of Unicode do not end a line."""
    given = "1 2\r3\x854\u20281\x0b2\r\n\n3".encode()
    done = run(folder, "translate", "model", "--max-length", "3", given=given)
    assert done.stdout.count("\n") == 3
    (folder / "lines").write_bytes(given)
    same = run(folder, "translate", "model", "lines", "--max-length", "3")
    assert same.stdout == done.stdout


def test_a_device_that_never_ends_a_line(folder: Path) -> None:
    refused = mistake(run(folder, "translate", "model", status=2, given=b"1" * (2**20 + 1)))
    assert "line 1 of the input has more than 1,048,576 bytes" in refused


def test_a_script_without_blanks_is_hinted_at(folder: Path) -> None:
    (folder / "thai").write_text("สวัสดีชาวโลก\n" * len(SOURCE))
    sizes = ["--hidden-size", "8", "--embedding-dim", "4", "--batch-size", "4", "--steps", "1"]
    thai = ["train", "translate", "--source", "thai", "--target", "b", *sizes]
    done = run(folder, *thai, "--out", "words of Thai")
    assert re.search(
        r"^hint: the source is .*\(Thai\).* --source-symbols chars or ", done.stderr, re.MULTILINE
    )
    done = run(folder, *thai, "--source-symbols", "chars", "--out", "letters of Thai")
    assert "the source is" not in done.stderr


def test_several_translations_have_scores(folder: Path) -> None:
    out = run(folder, "translate", "model", "--n-best", "3", "--beams", "4", given=b"1 2 3\n4\n")
    rows = [line.split("\t") for line in out.stdout.splitlines()]
    assert [row[0] for row in rows] == ["1"] * 3 + ["2"] * 3
    for several in (rows[:3], rows[3:]):
        scores = [float(row[1]) for row in several]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] <= 0
    greedy = run(folder, "translate", "model", "--beams", "1", given=b"1 2 3\n").stdout
    assert greedy == rows[0][2] + "\n"


def test_reference(folder: Path) -> None:
    pytest.importorskip("sacrebleu")
    done = run(folder, "translate", "model", "a", "--reference", "b")
    assert len(done.stdout.splitlines()) == len(SOURCE)
    shown = re.fullmatch(r"BLEU \d+\.\d\d  chrF (\d+\.\d\d)\n", done.stderr)
    assert shown is not None
    assert float(shown[1]) > 80
    few = mistake(run(folder, "translate", "model", "--reference", "b", given=b"1\n", status=2))
    assert "1 translations cannot be compared with 125 references" in few


def test_attention_is_drawn(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    run(folder, "translate", "model", "--attention", "look.png", given=b"1 2 3\n")
    assert (folder / "look.png").read_bytes().startswith(b"\x89PNG")
    nowhere = ["translate", "model", "--attention", "nowhere/look.png"]
    assert "cannot write nowhere/look.png" in mistake(run(folder, *nowhere, given=b"1\n", status=2))
    other = run(folder, "translate", "model", "--attention", "x.svg", given=b"1\n", status=2)
    assert "end its name in .png, not 'x.svg'" in mistake(other)
    assert other.stdout == ""  # nothing was translated before
    (folder / "tamil").write_text("வணக்கம்\n")
    odd = run(folder, "translate", "model", "tamil", "--attention", "look.png")
    assert all(
        line.startswith(("look.png: the font", "unknown to")) for line in odd.stderr.splitlines()
    )


def test_resume(folder: Path) -> None:
    run(folder, "train", "translate", *SIZES, "--steps", "4", "--out", "short")
    done = run(folder, "train", "translate", "--steps", "6", "--out", "short", "--resume")
    assert "resuming after step 4 of 6" in done.stdout
    assert load_checkpoint(folder / "short")["step"] == 6
    refused = mistake(run(folder, "train", "translate", *SIZES, "--out", "short", status=2))
    assert "holds a checkpoint already: add --resume" in refused
    other = ["train", "translate", "--out", "short", "--resume", "--source-symbols", "chars"]
    refused = mistake(run(folder, *other, status=2))
    assert "--source-symbols is chars, but words in the checkpoint" in refused
    swapped = ["train", "translate", "--out", "short", "--resume", "--source", "b"]
    assert "training data differ" in mistake(run(folder, *swapped, status=2))


def test_ctrl_c_says_how_to_resume(tmp_path: Path) -> None:
    command = ["train", "task", "reverse", "--hidden-size", "8", "--out", "cut off"]
    done = subprocess.run(
        [*signals_itself(signal.SIGINT, 3), *command], cwd=tmp_path, env=ENVIRONMENT,
        capture_output=True, encoding="utf-8", timeout=TIMEOUT,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "")
    resume = "tinygrad-rnn train task reverse --out 'cut off' --resume"
    assert done.stdout.splitlines()[-1] == resume


def test_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "EXAMPLES", 40)
    monkeypatch.setattr(train, "TESTED", 10)
    monkeypatch.chdir(tmp_path)

    def task(*options: str) -> str:
        result = CliRunner().invoke(app, ["train", "task", "copy", *options])
        assert result.exit_code == 0, result.output
        return result.output

    once = task("--steps", "3", "--hidden-size", "8")
    assert re.search(r"exact: [\d.]+% of 10 with 1 to 12 letters", once)
    assert re.search(r"exact: [\d.]+% of 10 with 13 to 48 letters", once)
    assert (tmp_path / "runs/copy/checkpoint.json").exists()
    again = task("--resume")
    assert "resuming after step 3 of 3" in again
    assert once.splitlines()[-3:] == again.splitlines()[-3:]


def test_phones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = split("".join(f"{word} K AE1 T\n" for word in ("a", "b", "c", "d", "e")), 3, 1)
    monkeypatch.setattr(train.dictionary, "phones", lambda: few)
    monkeypatch.setenv("COLUMNS", "110")
    options = f"--steps 2 --hidden-size 8 --num-layers 1 --batch-size 4 --words 2 --out {tmp_path}"
    result = CliRunner().invoke(app, ["train", "phones", *options.split()])
    assert result.exit_code == 0, result.output
    assert "words: 1 pronunciations, 3 words to test" in result.output
    assert list(table(result.output, 2)) == ["letter by letter", "lstm"]


def test_verses(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    pytest.importorskip("sacrebleu")
    for name, lines in (("en", SOURCE), ("xx", TARGET)):
        longer = [f"{a} {b}" for a in lines for b in lines[:16]]
        write_module(tmp_path / name, [longer], [["7"]])
    options = (
        f"train verses --source en --target xx --folder {tmp_path} --hidden-size 8 --batch-size 4"
    )
    first = run(tmp_path, *options.split(), "--steps", "2", "--out", "model").stdout
    assert "verses: 0," not in first
    systems = ["untranslated", "word by word", "lstm"]
    assert list(table(first, 2)) == systems
    again = run(tmp_path, "train", "verses", "--resume", "--steps", "3", "--out", "model").stdout
    assert list(table(again, 2)) == systems  # the modules are remembered


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("train verses --folder . --source x --target x", "only 2 verses"),
        ("train verses --folder .", "no SWORD module in "),
        ("train translate", "needs --source and --target"),
        ("train translate --source a", "needs --source and --target"),
        ("train translate --source a --target nowhere", "no such text file: "),
        ("train translate --source a --target one", "125 lines and"),
        ("train translate --source a --target b --cell x", "--cell must be one of"),
        (
            "train translate --source a --target b --teacher-forcing often",
            "--teacher-forcing must be one of",
        ),
        ("train translate --resume --out nowhere", "no checkpoint in nowhere"),
        ("train task shuffle", "the task must be one of copy, reverse, sort"),
        ("translate nowhere", "no checkpoint in nowhere"),
        ("translate model nowhere", "no such text file: nowhere"),
        ("translate model --beams 0", "--beams must be at least 1"),
        (
            "translate model a --attention a.jpg",
            "error: a plot is a PNG file: end its name in .png",
        ),
        ("translate model --beams 2 --n-best 3", "--n-best must be at most --beams, 2, not 3"),
        ("translate plain --attention x.png", "no attention to draw"),
        (
            "generate model",
            "of train translate, which generate does not take: type tinygrad-rnn tr",
        ),
        ("train translate --source a --target b --teacher-forcing linear:nan", "nan is not finite"),
        ("train translate --source a --target pipe", "pipe is not a regular file"),
        (
            "translate model --beams 1000000000 --batch-size 99",
            "and such a --batch-size needs",
        ),
        ("translate model --max-length 2147483647", "a translation of --max-length needs about"),
        ("translate model latin", "latin is not UTF-8: byte 0xE9 at offset 3"),
    ],
)
def test_mistakes(folder: Path, arguments: str, said: str) -> None:
    (folder / "one").write_text("eins\n")
    if not (folder / "x").exists():
        write_module(folder / "x", [["a", "b"]], [[""]])
    (folder / "latin").write_bytes(b"caf\xe9")
    if "pipe" in arguments and not (folder / "pipe").exists():
        os.mkfifo(folder / "pipe")
    assert said in mistake(run(folder, *arguments.split(), status=2, given=b"1 2\n"))


def test_input_that_is_not_utf_8(folder: Path) -> None:
    done = run(folder, "translate", "model", status=2, given=b"1 2\ncaf\xe9\n")
    assert "the input is not UTF-8: byte 0xE9 at offset 7, in line 2" in mistake(done)
