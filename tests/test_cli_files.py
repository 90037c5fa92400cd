"""The commands export, import and inspect."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tinygrad_rnn as tg
from tinygrad_rnn.cli.app import app
from tinygrad_rnn.io import load_model, save_checkpoint, save_model
from tinygrad_rnn.recipes import (
    CharLM,
    CharLMConfig,
    CharLMTraining,
    TranslateConfig,
    TranslationTraining,
)

TEXT = "to be, or not to be, that is the question " * 4
PAIRS = [(f"{n} and {m}", f"{m} und {n}") for n in range(4) for m in range(4)]


def command(*arguments: Any) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.fixture(scope="module")
def charlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("charlm")
    config = CharLMConfig(hidden_size=4, embedding_dim=3, batch_size=2, bptt=5, steps=9)
    run = CharLMTraining(TEXT, config)
    next(run)
    save_checkpoint(folder, run.checkpoint())
    return folder


def test_weights_and_a_header_in_c(charlm: Path, tmp_path: Path) -> None:
    weights = tmp_path / "m.safetensors"
    assert "wrote" in command("export", charlm, weights)
    model = CharLM.load(charlm).model
    assert tg.load(weights).keys() == model.state_dict().keys()
    command("export", charlm, tmp_path / "m.h", "--int8")
    assert "#define MODEL_SYMBOLS" in (tmp_path / "m.h").read_text()
    shown = command("inspect", weights)
    assert "layers.weight_hh_l0" in shown
    assert "[12, 4]" in shown
    assert "F32" in shown
    shown = command("inspect", charlm)
    assert "model.layers.weight_hh_l0" in shown
    assert "'hidden_size': 4" in shown


def test_graphs(charlm: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    for more in ((), ("--step",)):
        command("export", charlm, tmp_path / "m.onnx", *more)
        assert "GRU" not in command("inspect", tmp_path / "m.onnx")
        assert "nodes" in command("inspect", tmp_path / "m.onnx")
    assert "wrote" in command("import", tmp_path / "m.onnx")
    assert "head.weight" in tg.load(tmp_path / "m.safetensors")


def test_an_encoder_and_its_decoder(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    config = TranslateConfig(hidden_size=4, embedding_dim=3, batch_size=2, steps=9)
    run = TranslationTraining(PAIRS, config)
    next(run)
    save_checkpoint(tmp_path / "run", run.checkpoint())
    command("export", tmp_path / "run", tmp_path / "m.onnx")
    assert sorted(p.name for p in tmp_path.glob("*.onnx")) == ["m.decoder.onnx", "m.encoder.onnx"]
    with pytest.raises(
        tg.TinygradRnnError, match=r"train translate, which cannot be exported as \.h"
    ):
        command("export", tmp_path / "run", tmp_path / "m.h")


def test_a_model_is_inspected_without_building_it(tmp_path: Path) -> None:
    save_model(tmp_path / "m", tg.nn.LSTM(3, 4, peephole=True))
    shown = command("inspect", tmp_path / "m")
    assert "config:" in shown
    assert '"peephole": true' in shown
    assert "4 tensors" in shown or "5 tensors" in shown
    assert isinstance(load_model(tmp_path / "m"), tg.nn.LSTM)


def test_files_of_torch_save(tmp_path: Path) -> None:
    from tests.io.test_pickles import tensor, write

    write(tmp_path / "m.pt", {"model": {"w": tensor()}, "epoch": 3})
    shown = command("inspect", tmp_path / "m.pt")
    assert "model.w" in shown
    assert "epoch: 3" in shown
    assert "wrote 1 tensor " in command("import", tmp_path / "m.pt", "--out", tmp_path / "w")
    assert tg.load(tmp_path / "w")["model.w"].shape == (2, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["export", "{charlm}", "{tmp}/m.bin"], "must end in .onnx, .h or .safetensors"),
        (["export", "{charlm}", "{tmp}/m.h", "--step"], "--step is for .onnx"),
        (["export", "{charlm}", "{tmp}/m.onnx", "--int8"], "--int8 is for .h"),
        (["export", "{tmp}", "{tmp}/m.h"], "no checkpoint in"),
        (["import", "{tmp}/none.pt"], "cannot read"),
        (["import", "{tmp}/m.safetensors"], "choose another --out"),
        (["import", ""], "is a folder; expected a file to read"),
        (["import", "{tmp}/m.pt", "--out", ""], "is a folder; expected a file to write"),
    ],
)
def test_mistakes_are_named(arguments: list[str], words: str, charlm: Path, tmp_path: Path) -> None:
    given = [a.format(charlm=charlm, tmp=tmp_path) for a in arguments]
    with pytest.raises(tg.TinygradRnnError, match=words):
        command(*given)


def test_a_file_that_was_not_named_is_not_replaced(tmp_path: Path) -> None:
    from tests.io.test_pickles import tensor, write

    path, other = write(tmp_path / "m.pt", {"w": tensor()}), tmp_path / "m.safetensors"
    tg.save(other, {"mine": tg.ones((2,))})
    with pytest.raises(tg.TinygradRnnError, match=r"m\.safetensors exists: --out"):
        command("import", path)
    assert list(tg.load(other)) == ["mine"]
    command("import", path, "--out", other)
    assert list(tg.load(other)) == ["w"]


def test_a_text_that_is_a_files_name(charlm: Path, tmp_path: Path) -> None:
    path = tmp_path / "\u6587.txt"
    path.write_text("x")
    with pytest.raises(tg.TinygradRnnError, match=r"is a file: --file .* scores what is in it"):
        command("score", charlm, path)


def test_a_file_without_its_option() -> None:
    for words, expected in (
        (["train", "charlm", "a.txt"], "(a.txt): files follow --text (see --help)"),
        (["export", "run", "m.h", "more"], "(more) (see --help)"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "tinygrad_rnn", *words], capture_output=True, text=True
        )
        assert done.returncode == 2
        assert done.stderr.endswith(expected + "\n")
