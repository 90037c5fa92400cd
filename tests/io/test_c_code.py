"""The exported C code compiles without warnings and computes what the model computes."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.io import export_c
from tinygrad_rnn.io.c_operations import EXPORTED
from tinygrad_rnn.io.configuration import CLASSES
from tinygrad_rnn.kernels.quantize import quantize_int8
from tinygrad_rnn.nn.recurrent.layer import RecurrentLayer

from .own_cells import Counting, MinimalGatedCell
from .test_model import MADE

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
FLAGS = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion",
         "-Wno-float-conversion", "-Wno-double-promotion"]  # fmt: skip
WRAPPER = """
#include "{name}.h"
static {name}_state at;
void reset(void) {{ {name}_reset(&at); }}
void step({argument}, float *y) {{ {name}_step(&at, x, y); }}
"""


def compiled(model: Any, folder: Path, name: str = "model", **options: Any) -> Any:
    """A library with the exported functions."""
    export_c(model, folder / f"{name}.h", name=name, **options)
    ids = isinstance(model, nn.Sequential) and isinstance(model[0], nn.Embedding)
    argument = "int x" if ids else "const float *x"
    (folder / "wrapper.c").write_text(WRAPPER.format(name=name, argument=argument))
    library = folder / "library.so"
    command = ["gcc", *FLAGS, "-shared", "-fPIC", folder / "wrapper.c", "-o", library, "-lm"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return ctypes.CDLL(str(library))


def run(library: Any, xs: Any, outputs: int) -> Any:
    """All steps of a sequence."""
    pointer = ctypes.POINTER(ctypes.c_float)
    library.reset()
    ys = np.full((len(xs), outputs), np.nan, "float32")
    for x, y in zip(xs, ys, strict=True):
        given = int(x) if np.ndim(x) == 0 else np.ascontiguousarray(x).ctypes.data_as(pointer)
        library.step(given, y.ctypes.data_as(pointer))
    return ys


def ours(model: Any, xs: Any) -> Any:
    """The output at all steps."""

    def run(stage: Any, value: Any) -> Any:
        if isinstance(stage, (RecurrentLayer, nn.MinGRU, nn.MinLSTM)):
            return stage(value)[0]
        if not isinstance(stage, nn.Sequential):
            return stage(value[:, 0]).expand_dims(1)
        for part in stage:
            value = run(part, value)
        return value

    return run(model, tg.tensor(xs)[:, None]).numpy()[:, 0]


def rounded(model: Any) -> Any:
    """A copy with matrices of 8 bits, as numbers."""
    copy = deepcopy(model)
    for p in copy.parameters():
        if p.ndim == 2:
            p.data = quantize_int8(np, p.data)[0]
    return copy


G = tg.Generator(0)
CELLS = [
    *(kind(3, 4, generator=G) for kind in (
        nn.RNNCell, nn.GRUCell, nn.LSTMCell, nn.MGUCell, nn.JANETCell, nn.IndRNNCell, nn.SRUCell,
        nn.SLSTMCell, nn.MinGRUCell, nn.MinLSTMCell,
    )),
    nn.SRUCell(3, 3, generator=G), nn.MLSTMCell(3, 4, num_heads=2, generator=G),
]  # fmt: skip
FUNCTIONS: list[Any] = [
    nn.Tanh(), nn.ReLU(), nn.Sigmoid(), nn.SiLU(), nn.GELU(), nn.GELU("tanh"), nn.Identity(),
    nn.Flatten(), tg.softmax, tg.log_softmax, tg.softplus, tg.elu, tg.leaky_relu, tg.hard_sigmoid,
    tg.log_sigmoid, tg.square, abs, tg.exp,
    lambda x: tg.concat([x[:, ::2], 2 * tg.flip(x, axis=1)], axis=-1),
    lambda x: tg.where(x > 0, x - x.max(axis=-1, keepdims=True), x.sum(axis=-1, keepdims=True)),
    lambda x: (x.reshape(-1, 2, 2) @ x.reshape(-1, 2, 2).mT).reshape(-1, 4),
]  # fmt: skip
MODELS: list[Any] = [
    nn.RNN(3, 5, generator=G),
    nn.RNN(3, 4, 2, "relu", bias=False, residual=True, generator=G),
    nn.GRU(3, 5, 2, generator=G),
    nn.GRU(3, 5, reset_after=True, learn_initial=True, generator=G),
    nn.GRU(3, 4, reset_after=True, bias=False, activation="relu", generator=G),
    nn.LSTM(3, 5, 2, residual=True, generator=G),
    nn.LSTM(3, 5, peephole=True, forget_bias=1.0, generator=G),
    nn.LSTM(3, 5, peephole=True, coupled_gates=True, cell_clip=0.1, generator=G),
    nn.LSTM(3, 5, 2, proj_size=2, learn_initial=True, coupled_gates=True, generator=G),
    nn.Sequential(nn.Embedding(7, 3, generator=G), nn.Dropout(0.5), nn.GRU(3, 4, generator=G),
                  nn.Linear(4, 6, generator=G), tg.sigmoid),
    nn.Sequential(nn.Linear(3, 4, False, generator=G), tg.tanh,
                  nn.Sequential(nn.LSTM(4, 3, generator=G), nn.RNN(3, 2, generator=G)), tg.relu),
    nn.Linear(3, 2, generator=G),
    nn.LSTM(3, 4, 2, layer_norm=True, zoneout=(0.1, 0.3), peephole=True, generator=G),
    nn.GRU(3, 4, layer_norm=True, reset_after=True, zoneout=0.3, generator=G),
    nn.RNN(3, 4, nonlinearity=lambda x: tg.clip(x, -1, 0.5) * tg.sigmoid(x), generator=G),
    nn.GRU(3, 4, activation="elu", recurrent_activation="hard_sigmoid", generator=G),
    *(nn.Recurrent(cell) for cell in CELLS),
    nn.Recurrent(lambda n: nn.LSTMCell(n, 4, generator=G), 3, 2, residual=True, zoneout=0.2),
    nn.Recurrent(MinimalGatedCell(3, 4)),
    nn.utils.quantized(nn.GRU(3, 4, 2, generator=G)),
    nn.MinGRU(3, 4, generator=G), nn.MinLSTM(3, 4, generator=G),
    nn.LayerNorm(3), nn.BatchNorm1d(3),
    *(nn.Sequential(nn.Linear(3, 4, generator=G), function) for function in FUNCTIONS),
]  # fmt: skip


class Branching(nn.Module):
    """A model whose branch depends on values."""

    def forward(self, x: Any) -> Any:
        return tg.tanh(x) if x.sum().item() > 0 else tg.relu(x)


class Frozen(nn.Module):
    """A constant that is computed from the input."""

    def forward(self, x: Any) -> Any:
        return x + x.numpy() ** 2


@needs_gcc
@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_the_code_computes_what_the_model_computes(model: Any, int8: bool, tmp_path: Path) -> None:
    model, rng = deepcopy(model).eval(), np.random.default_rng(0)
    for name, p in model.named_parameters():
        if name.startswith(("h0", "c0", "0.h0")):
            p.data = rng.normal(size=p.shape)
    embeds = isinstance(model, nn.Sequential) and isinstance(model[0], nn.Embedding)
    xs = rng.integers(0, 7, 9) if embeds else rng.normal(size=(9, 3)).astype("float32")
    expected = ours(rounded(model) if int8 else model, xs)
    library = compiled(model, tmp_path, int8=int8)
    for _ in range(2):  # a reset forgets
        found = run(library, xs, expected.shape[1])
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@needs_gcc
def test_two_models_in_one_program(tmp_path: Path) -> None:
    export_c(nn.GRU(2, 3), tmp_path / "a.h", name="first")
    export_c(nn.LSTM(2, 3), tmp_path / "b.h", name="second", int8=True)
    main = "int main(void) { return FIRST_INPUTS - SECOND_INPUTS; }"
    source = f'#include "a.h"\n#include "b.h"\n{main}'
    (tmp_path / "m.c").write_text(source)
    command = ["gcc", *FLAGS, tmp_path / "m.c", "-o", tmp_path / "m", "-lm"]
    subprocess.run(command, check=True, capture_output=True)
    subprocess.run([tmp_path / "m"], check=True)


def test_int8_takes_a_quarter_of_the_memory(tmp_path: Path) -> None:
    model = nn.LSTM(30, 40)
    sizes = []
    for int8 in (False, True):
        export_c(model, tmp_path / "m.h", int8=int8)
        head = (tmp_path / "m.h").read_text()[:400]
        sizes.append(int(head.split("Weights ")[1].split(" bytes")[0].replace(",", "")))
    assert sizes[0] == 4 * (160 * 70 + 160)
    assert sizes[1] == 160 * 70 + 4 * (160 * 2 + 160)
    assert "state 320 bytes" in head


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.LSTM(2, 3, bidirectional=True), "LSTM: bidirectional=True is not exported"),
        (nn.GRU(2, 3, reverse=True), "GRU: reverse=True is not exported"),
        (nn.MinGRU(2, 3, reverse=True), "MinGRU: reverse=True is not exported"),
        (nn.RNN(2, 3, nonlinearity="erf"), "RNN: RNNCell: the operation 'erf' is not exported"),
        (nn.Recurrent(nn.ConvLSTMCell(2, 3, 3), 2), "Recurrent: ConvLSTMCell"),
        (nn.Recurrent(Counting(), 3), "its state has int64"),
        (nn.Sequential(nn.Linear(2, 3), Branching()), "other operations for other inputs"),
        (nn.Sequential(nn.Linear(2, 3), Frozen()), "a constant depends on the inputs"),
        (nn.Sequential(nn.Linear(2, 3), nn.MGUCell(3, 4)), "MGUCell.* is not exported to C"),
        (nn.Sequential(nn.Linear(2, 3), tg.cumsum), "the operation 'cumsum' is not exported"),
        (nn.Sequential(nn.Linear(2, 3), nn.GRU(4, 3)), "GRU: expected 3 inputs"),
        (nn.Sequential(tg.tanh), "expected it to begin with"),
        (nn.Sequential(), "an empty chain"),
    ],
)
def test_what_is_not_exported_is_named(model: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(tg.InvalidValueError, match=f"export_c: .*{words}"):
        export_c(model, tmp_path / "m.h")
    assert not list(tmp_path.iterdir())


MADE_HERE = {type(part).__name__ for model in MODELS for _, part in model.named_modules()}
REFUSED = {*CLASSES} - MADE_HERE - {"Module", "Cell", "Attention"}


def test_the_page_lists_what_is_exported() -> None:
    text = (Path(__file__).parents[2] / "docs" / "interop.md").read_text("utf-8")
    table = text.split("## C\n")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| ([\w ]+) \| (.*) \|$", table, re.M))
    named = {kind: {*re.findall(r"`(\w+)`", words)} for kind, words in rows.items()}
    assert named["operations"] == EXPORTED
    exported = named["layers"] | named["cells"] | named["modules"]
    assert exported == MADE_HERE - {"MinimalGatedCell"}
    assert named["refused"] == REFUSED


def names(model: nn.Module) -> set[str]:
    return {type(part).__name__ for _, part in model.named_modules()}


@pytest.mark.parametrize("model", [model for model in MADE if names(model) & REFUSED])
def test_modules_of_sequences_are_refused_by_name(model: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(tg.TinygradRnnError, match=f"export_c: .*({'|'.join(names(model))})"):
        export_c(model, tmp_path / "m.h")


@pytest.mark.parametrize("name", ["int", "a b", "", "1a", "x" * 32, "a;", "ä", 3])
def test_names_are_names_in_c(name: Any, tmp_path: Path) -> None:
    with pytest.raises(tg.InvalidValueError, match="name: expected a name in C"):
        export_c(nn.GRU(2, 3), tmp_path / "m.h", name=name)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = nn.Linear(2, 3)
    model.weight.data[0, 0] = np.inf
    for int8 in (False, True):
        with pytest.raises(tg.InvalidValueError, match="infinite or NaN"):
            export_c(model, tmp_path / "m.h", int8=int8)
