"""The output of each command; each mistake ends in one line and exit status 2."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

import tinygrad_rnn as tg
from tinygrad_rnn import testing
from tinygrad_rnn.cli import checks
from tinygrad_rnn.cli.app import app
from tinygrad_rnn.io import load_checkpoint, save_checkpoint
from tinygrad_rnn.recipes import CharLMConfig

from .forks import run_forked

TEXT = "".join(f"{n} times {n} is {n * n}, не так ли?\n" for n in range(60))
SIZES = {
    "hidden_size": 8,
    "embedding_dim": 4,
    "batch_size": 4,
    "bptt": 8,
    "dropout": 0.2,
    "lr": 0.01,
}
TINY = [p for name, n in SIZES.items() for p in (f"--{name.replace('_', '-')}", str(n))]
COMMAND = [sys.executable, "-c", "from tinygrad_rnn.cli import main; main()"]
SOURCES = str(Path(tg.__file__).parents[1])
ENVIRONMENT = {**os.environ, "PYTHONPATH": SOURCES, "COLUMNS": "90", "PYTHONWARNINGS": "error"}
TIMEOUT = 300  # seconds, of a command that takes one or two on an idle machine

SIGNALS_ITSELF = """
import os
from tinygrad_rnn.cli import main
from tinygrad_rnn.train.display import Lines
update = Lines.update
def update_and_signal(display, progress):
    update(display, progress)
    if progress.step == {step}:
        os.kill(os.getpid(), {number})
Lines.update = update_and_signal
main()
"""


def signals_itself(number: signal.Signals, step: int) -> list[str]:
    """COMMAND, whose process sends itself a signal after an update, however fast it runs."""
    return [sys.executable, "-c", SIGNALS_ITSELF.format(step=step, number=int(number))]


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Returns a function that runs `tinygrad-rnn` in a new folder with `text.txt`."""
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")

    def command(*arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        raw = run_forked(ENVIRONMENT, tmp_path, *arguments)
        done = subprocess.CompletedProcess(
            raw.args, raw.returncode, raw.stdout.decode(), raw.stderr.decode()
        )
        assert done.returncode == status, (done.stdout, done.stderr)
        return done

    return command


def train(run: Run, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    return run("train", "charlm", "--text", "text.txt", *TINY, *arguments, status=status)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Trains a model, and returns its folder."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text(TEXT, "utf-8")
    command = ["train", "charlm", "--text", "text.txt", *TINY, "--steps", "30", "--out", "run"]
    subprocess.run([*COMMAND, *command], cwd=folder, env=ENVIRONMENT, check=True, timeout=TIMEOUT)
    return str(folder / "run")


# ---------------------------------------------------------------- train


def test_training_prints_lines_and_its_result(run: Run, tmp_path: Path) -> None:
    done = train(run, "--steps", "210", "--cell", "gru")
    lines = done.stdout.splitlines()
    assert done.stderr == ""
    assert re.fullmatch(r"model: gru with [\d,]+ weights on cpu", lines[0])
    assert lines[1] == f"text: text.txt, {len(TEXT):,} characters, {len(set(TEXT))} symbols"
    figures = (
        r"loss [\d.]+  held-out [\d.]+ bits/char  grad norm [\d.]+  [\d,]+k? chars/s  \d+:\d\d left"
    )
    steps = [line for line in lines if line.startswith("step ")]
    assert [line.split()[1] for line in steps] == ["100/210", "200/210", "210/210"]
    assert all(re.fullmatch(rf"step \d+/210  {figures}", line) for line in steps)
    assert any(line.startswith("    | ") for line in lines)  # a sample
    assert re.search(r"^held-out: \d\.\d{3} bits/char$", done.stdout, re.M)
    assert lines[-2:] == ["to use it:", "tinygrad-rnn generate runs/charlm"]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.stdout)  # no control codes
    assert (tmp_path / "runs/charlm/checkpoint.json").exists()


def in_terminal(folder: Path, *arguments: str, **environment: str) -> str:
    """Runs `tinygrad-rnn` in a terminal. **Returns** what it shows, without colours."""
    ours, theirs = os.openpty()
    settings = {**ENVIRONMENT, "TERM": "xterm", **environment}
    with subprocess.Popen(
        [*COMMAND, *arguments], cwd=folder, env=settings, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:  # the other end is closed
            pass
        os.close(ours)
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.decode()) + f"status {process.returncode}"


def test_a_terminal_gets_a_bar(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    command = ["train", "charlm", "--text", "text.txt", *TINY, "--steps", "20", "--out", "run"]
    screen = in_terminal(tmp_path, *command, COLUMNS="120")
    assert screen.endswith("status 0")
    figures = (
        r"loss [\d.]+  held-out [\d.]+ bits/char  grad norm [\d.]+  [\d,]+k? chars/s  0:00 left"
    )
    assert re.search(rf"100% ━+ {figures}", screen)
    assert re.search(r"held-out: \d\.\d{3} bits/char\s", screen)


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "ascii"},
    ],
)
def test_a_terminal_without_unicode_shows_escaped_letters(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("你好, 世界\n" * 60, "utf-8")
    command = ["train", "charlm", "--text", "text.txt", *TINY, "--steps", "3", "--out", "run"]
    trained = in_terminal(tmp_path, *command, **environment)
    scored = in_terminal(tmp_path, "score", "run", "你好", **environment)
    assert re.search(r"\| '\\u4f60' +\| .*\n.*\| '\\u597d' +\|", scored), scored
    for screen in (trained, scored, in_terminal(tmp_path, "--help", **environment)):
        assert screen.isascii()
        assert screen.endswith("status 0")
        assert "?" not in screen
        assert ("PYTHONIOENCODING=utf-8 before the command shows them" in screen) == (
            "\\u" in screen
        )


def weights(folder: Path) -> dict[str, bytes]:
    state = load_checkpoint(folder)
    arrays = {**state["model"], **{f"hidden {i}": h for i, h in enumerate(state["hidden"])}}
    return {name: array.tobytes() for name, array in arrays.items()}


def test_ctrl_c_then_resume_is_the_uninterrupted_run(run: Run, tmp_path: Path) -> None:
    steps = "300"
    whole = train(run, "--steps", steps, "--out", "whole")

    command = ["train", "charlm", "--text", "text.txt", *TINY, "--steps", steps, "--out", "cut off"]
    done = subprocess.run(
        [*signals_itself(signal.SIGINT, 130), *command],  # between two evaluations
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT,
    )
    assert (done.returncode, done.stderr) == (130, "")
    assert "stopped after step 130 of 300 and saved" in done.stdout
    assert done.stdout.splitlines()[-1] == "tinygrad-rnn train charlm --out 'cut off' --resume"

    resumed = run("train", "charlm", "--out", "cut off", "--resume")
    assert "resuming after step 130 of 300" in resumed.stdout
    assert weights(tmp_path / "cut off") == weights(tmp_path / "whole")
    result = [line for line in whole.stdout.splitlines() if line.startswith("held-out")]
    assert result[0] in resumed.stdout.splitlines()

    again = run("train", "charlm", "--out", "cut off", "--resume")  # a finished run
    assert result[0] in again.stdout.splitlines()
    assert "tinygrad-rnn train charlm --out 'cut off' --resume --steps 600" in again.stdout
    assert "chars/s" not in again.stdout


def test_resume_may_extend(run: Run, tmp_path: Path) -> None:
    train(run, "--steps", "5", "--out", "run")
    # The same options again are no contradiction; the text is found where it was.
    done = run("train", "charlm", *TINY, "--steps", "8", "--out", "run", "--resume")
    assert "resuming after step 5 of 8" in done.stdout
    assert load_checkpoint(tmp_path / "run")["step"] == 8


# ---------------------------------------------------------------- generate, score, info, gradcheck


def test_generate(run: Run, trained: str) -> None:
    options = ["--prompt", "7 times", "--length", "30", "--seed", "5"]
    one, same = (run("generate", trained, *options).stdout for _ in range(2))
    assert one == same
    assert one.startswith("7 times")
    assert len(one) == len("7 times") + 30 + 1
    other = run("generate", trained, "--length", "30", "--temperature", "0.5", "--top-k", "3",
                "--top-p", "0.9", "--seed", "5").stdout  # fmt: skip
    assert len(other) == 31
    assert len(run("generate", trained, "--length", "30", "--int8").stdout) == 31


def test_generate_streams_through_a_pipe(run: Run, trained: str) -> None:
    """The first character arrives long before the command could generate this length."""
    with subprocess.Popen(
        [*COMMAND, "generate", trained, "--length", "100000000"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert len(process.stdout.read(1)) == 1
        process.stdout.close()  # as `head` does
        assert process.wait(timeout=TIMEOUT) == 1
        assert process.stderr.read() == b""


def test_score(run: Run, trained: str) -> None:
    text = "8 times не\n"
    out = run("score", trained, text).stdout
    cells = [re.findall(r"[^│|]+", line) for line in out.splitlines() if "│" in line]
    rows = [[cell.strip() for cell in row] for row in cells]
    assert [row[0] for row in rows] == [*map(repr, text), "all"]
    factors = np.array([float(row[1]) for row in rows[:-1]])
    running = np.array([float(row[2]) for row in rows[:-1]])
    np.testing.assert_allclose(np.cumsum(np.log(factors)), running, atol=0.05)
    assert float(rows[-1][1]) == pytest.approx(np.exp(running[-1]), rel=0.01)
    assert float(rows[-1][2]) == running[-1]
    bits = float(re.search(r"([\d.]+) bits/char over 11 characters", out)[1])  # type: ignore[index]
    assert bits == pytest.approx(-running[-1] / 11 / np.log(2), abs=1e-3)


def test_scores_of_files_as_json_and_in_sum(run: Run, trained: str, tmp_path: Path) -> None:
    text = TEXT[:1200]
    (tmp_path / "part.txt").write_text(text, "utf-8")
    found = json.loads(run("score", trained, "--file", "part.txt", "--json").stdout)
    assert "".join(row["symbol"] for row in found["symbols"]) == text
    total = sum(row["log_prob"] for row in found["symbols"])
    assert found["log_prob"] == pytest.approx(total, abs=1e-9)
    assert found["bits_per_char"] == pytest.approx(-total / 1200 / np.log(2))
    brief = json.loads(run("score", trained, "--file", "part.txt", "--json", "--summary").stdout)
    assert brief == {name: found[name] for name in ("characters", "log_prob", "bits_per_char")}
    out = run("score", trained, "--file", "part.txt").stdout
    assert out.startswith("1,200 characters: their sum only; --json has each of them\n")
    exponent = re.search(r"all +│ +\d\.\d+e(-\d+) ", out)[1]  # type: ignore[index]
    assert int(exponent) == np.floor(total / np.log(10)) < -308  # no float is so small
    assert len(out.splitlines()) < 9


def test_score_in_a_narrow_terminal(
    trained: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    out = CliRunner().invoke(app, ["score", trained, "8 times"]).output
    assert "…" not in out
    assert all(
        re.search(rf"{letter}' +0\.\d{{6}} +-\d+\.\d{{4}} *$", out, re.M) for letter in "8ime"
    )


def test_score_needs_one_text(run: Run, trained: str) -> None:
    for given in ([], ["a", "--file", "text.txt"]):
        assert "type it, or name a file" in mistake(run("score", trained, *given, status=2))


def test_a_short_text_shrinks_batch_and_window(run: Run, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("to be or not to be, " * 20)
    out = run("train", "charlm", "--text", "short.txt", "--steps", "2").stdout
    assert out.startswith(
        "hint: the text is short: --batch-size 11 --bptt 32 in place of 64 and 32\n"
    )
    assert re.search(r"hint: 380 symbols are little to learn from: .* fewer --steps", out)
    (tmp_path / "shorter.txt").write_text("to be")
    out = run(
        "train", "charlm", "--text", "shorter.txt", "--steps", "2", "--out", "other"
    ).stdout  # fmt: skip
    assert "--batch-size 1 --bptt 3 in place" in out
    assert run("train", "charlm", "--resume", "--steps", "3").returncode == 0


def test_enough_text_has_no_hint(run: Run) -> None:
    assert "hint" not in train(run, "--steps", "1").stdout


def test_version_and_module(run: Run) -> None:
    assert run("--version").stdout == f"tinygrad-rnn {tg.__version__}\n"
    project = tomllib.loads((Path(SOURCES) / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["version"] == tg.__version__
    command = [sys.executable, "-m", "tinygrad_rnn", "train", "-h"]
    out = subprocess.check_output(command, env=ENVIRONMENT, encoding="utf-8")
    assert "tinygrad-rnn train [OPTIONS]" in out


def test_gradcheck_tells_its_progress_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [info for info in testing.op_infos() if info.name in ("tanh", "exp")]
    monkeypatch.setattr(testing, "op_infos", lambda: rows)
    monkeypatch.setattr(checks, "LINE_EVERY", 0.0)
    result = CliRunner().invoke(app, ["gradcheck"])
    assert "checked 1 of 2\n" in result.stderr
    assert "checked" not in result.stdout


def test_info(run: Run) -> None:
    out = run("info").stdout
    for name in ("tinygrad_rnn", "Python", "NumPy", "CuPy", "devices", "kernels"):
        assert re.search(rf"^{name}  +\S", out, re.M)
    assert np.__version__ in out


def broken(seed: int, device: str) -> tuple[float, float]:
    raise tg.GradcheckError(f"wrong by 1 with seed {seed} on {device}")


@pytest.mark.parametrize("sound", [True, False])
def test_gradcheck(sound: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [info for info in testing.op_infos() if info.name in ("tanh", "matmul")]
    if not sound:
        rows.append(SimpleNamespace(name="wrong", kind="operation", check=broken))  # type: ignore[arg-type]
    monkeypatch.setattr(testing, "op_infos", lambda: rows)
    result = CliRunner().invoke(app, ["gradcheck", "--seed", "3"])
    assert result.exit_code == (0 if sound else 1)
    assert re.search(r"tanh +│ operation +(│ +\d\.\de-\d+ +){3}│", result.output)
    if sound:
        assert "2 of 2 pass on cpu with seed 3" in result.output
    else:
        assert "wrong: wrong by 1 with seed 3 on cpu" in result.output
        assert "2 of 3 pass" in result.output


CELLS = """
import tinygrad_rnn as tg

wrong_tanh = tg.Op("wrong_tanh", lambda xp, x: xp.tanh(x)).vjp(x=lambda g, y: g * (1 - y))


class Leaky(tg.nn.Cell):
    def step(self, x, h):
        h = 0.75 * h + 0.25 * tg.tanh(x @ self.weight_ih.mT + h @ self.weight_hh.mT)
        return h, h
"""
WRONG = (
    CELLS
    + """

class Wrong(Leaky):
    def step(self, x, h):
        return super().step(x, wrong_tanh(h))
"""
)


def test_gradcheck_of_the_cells_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "cells.py"
    file.write_text(CELLS, "utf-8")
    result = CliRunner().invoke(app, ["gradcheck", str(file)])
    assert result.exit_code == 0
    assert re.search(r"Leaky +│ cell +(│ +\d\.\de-\d+ +){3}│", result.output)
    assert "1 of 1 pass on cpu with seed 0" in result.output


def test_gradcheck_finds_the_wrong_rule_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "cells.py"
    file.write_text(WRONG, "utf-8")
    result = CliRunner().invoke(app, ["gradcheck", str(file)])
    assert result.exit_code == 1
    assert "Wrong: gradcheck: steps: derivative of order 1" in result.output.replace("\n", "")
    assert "1 of 2 pass" in result.output


@pytest.mark.parametrize(
    ("replaced", "by", "told"),
    [
        ("import tinygrad_rnn as tg", "", "line 4: NameError: name 'tg' is not defined"),
        ("h):", "h)", "line 8: SyntaxError: expected ':'"),
        ("self.weight_ih.mT", "self.weight_ih", "line 9: ShapeError: matmul: expected"),
        ("return h, h", "return h", "Leaky.step: expected the output and the state, (y, state)"),
    ],
)
def test_gradcheck_names_the_line_of_a_file_that_raises(
    replaced: str, by: str, told: str, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "cells.py"
    file.write_text(CELLS.replace(replaced, by), "utf-8")
    assert told in mistake(run("gradcheck", str(file), status=2))


def test_gradcheck_of_a_file_without_cells(run: Run) -> None:
    assert "no such file" in mistake(run("gradcheck", "nowhere.py", status=2)).lower()
    for folder in (".", ""):
        assert ". is a folder; expected a Python" in mistake(run("gradcheck", folder, status=2))


def test_help_names_the_commands(run: Run) -> None:
    out = run("--help").stdout
    assert all(name in out for name in ("train", "generate", "score", "gradcheck", "info"))
    out = run("train", "charlm", "--help").stdout
    for name, value in vars(CharLMConfig()).items():
        option = rf"--{name.replace('_', '-')} ((?!│ --).)*default: \({value}"
        assert re.search(option, out, re.S), name
    assert all(f"--{name}" in out for name in ("text", "device", "out", "resume"))


# ---------------------------------------------------------------- mistakes


def mistake(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    # No call that nobody typed; Leaky is a class in a file of the user's.
    assert not re.match(r"error: (?!Leaky)[A-Z]\w*\.[a-z]\w*: ", done.stderr)
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--hidden-size 0", "--hidden-size must be at least 1, not 0"),
        ("--batch-size -2", "--batch-size must be at least 1"),
        ("--steps 0", "--steps must be at least 1"),
        ("--cell elman", "--cell must be one of rnn, gru, lstm"),
        ("--dropout 1", "--dropout must be at least 0 and below 1"),
        ("--lr 0", "--lr must be above 0"),
        ("--hidden-size many", "Invalid value for '--hidden-size'"),
        ("--size 3", "No such option: --size"),
        ("--text nowhere.txt", "no such text file: nowhere.txt"),
        ("--text .", "is a folder"),
        ("--text empty.txt", "empty.txt is empty"),
        ("--text latin.txt", "not UTF-8: byte 0xE9 at offset 3"),
        ("--text short.txt", "one window needs --batch-size x --bptt + 1 = 2: add more text"),
        ("--device tpu", "unknown device 'tpu'"),
        ("--batch-size 2 --out text.txt/run", "text.txt is not a folder"),
        ("--resume --out nowhere", "no checkpoint in nowhere: there is no such folder"),
        (
            "--hidden-size 99999999999999999999",
            "--hidden-size must be at most 2,147,483,647",
        ),
        (
            "--hidden-size 1000000",
            "of this size (--hidden-size, --num-layers, --embedding-dim) needs",
        ),
        ("--device=", "unknown device ''"),
        (f"--batch-size 2 --out {'a' * 300}", "File name too long"),
        ("--text wide.txt", "byte 0xFF at offset 0, in line 1; it looks like UTF-16"),
        ("--text binary.txt", "is not a text: byte 0x00 at offset 6, in line 2"),
    ],
)
def test_mistakes_in_training(run: Run, tmp_path: Path, arguments: str, said: str) -> None:
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "short.txt").write_text("to")
    (tmp_path / "wide.txt").write_text(TEXT, "utf-16")
    (tmp_path / "binary.txt").write_bytes(b"text\nx\0")
    given = arguments.split()
    if "--text" not in given:
        given += ["--text", "text.txt"]
    assert said in mistake(run("train", "charlm", *given, status=2))


def test_mistakes_in_resuming(run: Run, tmp_path: Path, trained: str) -> None:
    refused = mistake(train(run, "--out", trained, status=2))
    assert "holds a checkpoint already: add --resume" in refused
    resume = ["train", "charlm", "--out", trained, "--resume"]
    refused = mistake(run(*resume, "--hidden-size", "9", status=2))
    assert "--hidden-size is 9, but 8 in the checkpoint: leave it out to resume" in refused
    (tmp_path / "other.txt").write_text("another text " * 100)
    assert "training data differ" in mistake(run(*resume, "--text", "other.txt", status=2))
    assert "--steps is 3" in mistake(run(*resume, "--steps", "3", status=2))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["generate", "{run}", "--prompt", "2 × 2"], "'×' (U+00D7) at position 2"),
        (["generate", "{run}", "--prompt", "2 × Z"], "characters; nor is 'Z'"),
        (["generate", "{run}", "--temperature", "-1"], "--temperature must be at least 0"),
        (["generate", "{run}", "--top-p", "0"], "--top-p must be above 0 and at most 1"),
        (["generate", "{run}", "--top-k", "0"], "--top-k must be at least 1"),
        (["generate", "{run}", "--length", "-1"], "--length must be at least 0"),
        (["generate", "{run}", "--seed", "-1"], "'--seed'"),
        (["generate", "nowhere"], "no checkpoint in nowhere"),
        (["generate"], "Missing argument"),
        (["score", "{run}", "Z"], "'Z' (U+005A) at position 0"),
        (["score", "{run}", ""], "nothing to score"),
        (["score", "half", "a"], "checkpoint.json is damaged"),
        (["gradcheck", "--seed", "x"], "Invalid value for '--seed'"),
        ([], "Missing command"),
        (["train"], "Missing command"),
        (["grow"], "No such command 'grow'"),
    ],
)
def test_mistakes(run: Run, tmp_path: Path, trained: str, arguments: list[str], said: str) -> None:
    whole = Path(trained, "checkpoint.json").read_text("utf-8")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "checkpoint.json").write_text(whole[: len(whole) // 2], "utf-8")
    given = [argument.replace("{run}", trained) for argument in arguments]
    assert said in mistake(run(*given, status=2))


def test_a_checkpoint_that_contradicts_itself(run: Run, tmp_path: Path, trained: str) -> None:
    state = load_checkpoint(Path(trained))
    for value in (9, 10**9):
        config = {**state["config"], "hidden_size": value}
        save_checkpoint(tmp_path / "other", {**state, "config": config})
        assert "expected shape" in mistake(run("generate", "other", status=2))


def test_an_edited_checkpoint(run: Run, tmp_path: Path, trained: str) -> None:
    shutil.copytree(trained, tmp_path / "edited")
    index = tmp_path / "edited" / "checkpoint.json"
    index.write_text(
        index.read_text("utf-8").replace('"hidden_size": 8', '"hidden_size": 9'), "utf-8"
    )
    refused = mistake(run("generate", "edited", status=2))
    assert "checkpoint.json is damaged: its contents have changed" in refused


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_in_place_of_the_model(run: Run, tmp_path: Path, trained: str) -> None:
    shutil.copytree(trained, tmp_path / "piped")
    [model] = (tmp_path / "piped").glob("model-*")
    model.unlink()
    os.mkfifo(model)
    assert "is not a regular file" in mistake(run("generate", "piped", status=2))


@pytest.mark.parametrize(
    "command", ["train charlm", "generate {run}", "score {run} 7", "gradcheck"]
)
def test_cuda_without_a_gpu(command: str, trained: str, run: Run) -> None:
    if tg.cuda.is_available():
        assert tg.cuda.why_not() == ""
        return
    given = command.replace("{run}", trained).split()
    refused = mistake(run(*given, "--device", "cuda", status=2))
    assert tg.cuda.why_not() in refused


@pytest.mark.parametrize("rate", ["1e9", "1e38", "1e300"])
def test_a_run_that_diverges_at_its_last_step(run: Run, tmp_path: Path, rate: str) -> None:
    done = train(run, "--steps", "1", "--lr", rate, "--out", "run", status=1)
    assert "training has diverged: step 1 left " in mistake(done)
    assert load_checkpoint(tmp_path / "run")["step"] == 0  # the one before


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_numbers_that_go_wrong(
    run: Run, tmp_path: Path, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "PYTHONWARNINGS", "default")
    options = ("--steps", "40", "--lr", "1e38", "--on-nan", policy, "--out", "run")
    *warned, error = train(run, *options, status=1).stderr.splitlines()
    assert len(warned) == 10
    for line in warned:
        assert re.match(
            r"warning: step \d+ gave loss .*: (skipped its batch|rolled back to step 0)", line
        )
    assert re.match(r"error: training has diverged: .*, the 11th failure in a row: ", error)


def test_a_loss_that_explodes(run: Run) -> None:
    options = ("--steps", "200", "--lr", "9", "--clip", "1e9", "--out", "run")
    said = mistake(train(run, *options, "--explosion", "1.01", status=1))
    assert re.search(r"diverged: step \d+ gave loss \S+, the largest before was", said)
    wrong = train(run, *options, "--explosion", "1", status=2)
    assert "--explosion must be above 1, not 1.0" in mistake(wrong)


def test_a_damaged_checkpoint_falls_back(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "PYTHONWARNINGS", "default")
    options = ("--keep-last", "2", "--best", "--verify", "--out", "run")
    first = train(run, "--steps", "3", *options).stdout.splitlines()
    assert "the best model is in run/best" in first
    assert run("generate", "run/best", "--length", "5").stdout
    last = load_checkpoint(tmp_path / "run")
    (tmp_path / "run/checkpoint.json").write_text("damaged")
    again = run("train", "charlm", "--resume", "--out", "run")
    [line] = again.stderr.splitlines()
    assert line.startswith("warning: run/checkpoint.json is damaged")
    assert "loading the one before it, checkpoint.json." in line
    same = load_checkpoint(tmp_path / "run")
    assert same["heldout"] == last["heldout"]
    for name, array in last["model"].items():
        np.testing.assert_array_equal(same["model"][name], array)


@pytest.mark.parametrize("text", ["a" * 99, "\n" * 99, "ab" * 50])
def test_texts_of_hardly_a_symbol(run: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "few.txt").write_text(text)
    done = run("train", "charlm", "--text", "few.txt", *TINY, "--steps", "2", "--out", "run")
    assert f"99 characters, {len(set(text))} symbols" in done.stdout.replace("100", "99")
    assert len(run("generate", "run", "--length", "9").stdout) == 10


@pytest.mark.parametrize(
    ("name", "value", "command"),
    [
        ("TINYGRAD_RNN_KERNELS", "fastest", ["info"]),
        ("TINYGRAD_RNN_KERNELS", "fastest", ["train", "charlm", "--text", "text.txt"]),
        ("TINYGRAD_RNN_DEVICE", "tpu", ["info"]),
        ("TINYGRAD_RNN_DEVICE", "cuda:x", ["train", "charlm", "--text", "text.txt"]),
    ],
)
def test_environment_variables_with_unknown_values(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str, command: list[str]
) -> None:
    monkeypatch.setitem(ENVIRONMENT, name, value)
    assert value in mistake(run(*command, status=2))


def shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a script in which `$C` is the command."""
    quoted = shlex.join(COMMAND)
    return subprocess.run(
        ["sh", "-c", script.replace("$C", quoted)], cwd=folder, env=ENVIRONMENT,
        capture_output=True, encoding="utf-8", timeout=TIMEOUT,
    )  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("$C info > /dev/full", "error: cannot write the output: No space left on device\n"),
        ("$C train charlm --text gone > /dev/full 2>&1", ""),
        ("$C info | true; exit 1", ""),
        ("$C info >&- && exit 1", ""),
        ("$C grow 2>&-", ""),
        ("mkdir gone && cd gone && rmdir ../gone && $C train charlm --out run", "error: "),
    ],
)
def test_closed_streams_and_removed_folders(tmp_path: Path, script: str, said: str) -> None:
    done = shell(script, tmp_path)
    assert done.returncode
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == bool(said)


def test_a_file_gets_utf_8_whatever_the_terminal_has(
    run: Run, trained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "PYTHONIOENCODING", "ascii")
    assert run("generate", trained, "--prompt", "не", "--length", "0").stdout == "не\n"
