"""Exported graphs compute in onnxruntime what the models compute here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.io import CheckpointError, export_onnx, export_seq2seq, import_onnx
from tinygrad_rnn.recipes.charlm import CharLMConfig, CharModel
from tinygrad_rnn.recipes.memory import CELLS, MemoryConfig, Reader
from tinygrad_rnn.tensor import tree
from tinygrad_rnn.testing import OPERATIONS

from .own_cells import Counting, MinimalGatedCell

pytest.importorskip("onnx")
onnxruntime: Any = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.oracle

COUNT = 100


def session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(path: Path, feeds: dict[str, Any]) -> dict[str, Any]:
    made = session(path)
    names = [output.name for output in made.get_outputs()]
    return dict(zip(names, made.run(None, feeds), strict=True))


def agree(ours: Any, theirs: Any) -> None:
    for a, b in zip(tree.leaves(ours), theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-5, atol=1e-5)
        assert a.numpy().dtype == b.dtype


def drawn(seed: int) -> Any:
    """A recurrent layer with drawn options, in evaluation mode."""
    rng = np.random.default_rng(seed)

    def of(*values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    both = of(False, True)
    shared: dict[str, Any] = {
        "num_layers": of(1, 1, 2), "batch_first": of(False, True), "bidirectional": both,
        "merge": of("concat", "concat", "sum", "mean", "mul", None) if both else "concat",
        "reverse": not both and of(False, False, True), "generator": tg.Generator(seed),
    }  # fmt: skip
    if shared["merge"] is not None:
        shared["residual"] = of(False, False, True)
    more: dict[str, Any] = {}
    if of(False, False, True):
        more = {"layer_norm": of(False, True), "zoneout": of(0.0, 0.3)}
    kind = ["RNN", "GRU", "LSTM", "LSTM", "cell"][seed % 5]
    fused = {"bias": of(True, True, False), "learn_initial": of(False, False, True), **more}
    if kind == "RNN":
        activation = of("tanh", "tanh", "relu", "elu", tg.silu)
        return nn.RNN(3, 4, nonlinearity=activation, **fused, **shared)
    gates = {"activation": of("tanh", "tanh", "relu", "softplus"),
             "recurrent_activation": of("sigmoid", "sigmoid", "hard_sigmoid")}  # fmt: skip
    if kind == "GRU":
        return nn.GRU(3, 4, reset_after=of(False, True), **gates, **fused, **shared)
    if kind == "LSTM":
        return nn.LSTM(
            3, 4, proj_size=of(0, 0, 2), peephole=of(False, True), coupled_gates=of(False, True),
            cell_clip=of(None, None, 0.2), **gates, **fused, **shared,
        )  # fmt: skip
    cells: tuple[Any, ...] = (nn.GRUCell, nn.LSTMCell, nn.MGUCell, nn.JANETCell, nn.IndRNNCell,
                              nn.SLSTMCell, nn.MLSTMCell, nn.MinGRUCell,
                              nn.MinLSTMCell)  # fmt: skip
    cell = of(*cells)
    return nn.Recurrent(lambda n: cell(n, 4), 3, zoneout=of(0.0, 0.2), **shared)


@pytest.mark.parametrize("seed", range(COUNT))
def test_layers_with_drawn_options_and_lengths(seed: int, tmp_path: Path) -> None:
    layer, rng = drawn(seed).eval(), np.random.default_rng(seed)
    for name, p in layer.named_parameters():
        if name.startswith(("h0", "c0")):  # which are learned
            p.data = rng.normal(size=p.shape)
    steps, batch = int(rng.integers(1, 7)), int(rng.integers(1, 5))

    def inputs(steps: int, batch: int) -> dict[str, Any]:
        shape = (batch, steps, 3) if layer.batch_first else (steps, batch, 3)
        feeds: dict[str, Any] = {"x": rng.normal(size=shape).astype("float32")}
        if seed % 3:
            feeds["lengths"] = rng.integers(0, steps + 1, batch)
        if seed % 4 == 1:
            feeds["reset"] = rng.random(shape[:2]) < 0.4
        return feeds

    more = {"return_states": True} if seed % 4 in (1, 2) else {}

    example = inputs(steps, batch)
    if seed % 2:
        example["state"] = layer(tg.tensor(example["x"]))[1]
    export_onnx(layer, tmp_path / "m.onnx", {**example, **more})
    for given in (inputs(steps, batch), inputs(steps + 2, batch + 1)):
        feeds, arguments = dict(given), dict(given)
        if seed % 2:
            arguments["state"] = layer(tg.tensor(given["x"]))[1]
            leaves = tree.leaves(arguments["state"])
            names = ["state"] if len(leaves) == 1 else [f"state_{i}" for i in range(len(leaves))]
            feeds |= {n: part.numpy() for n, part in zip(names, leaves, strict=True)}
        arguments["x"] = tg.tensor(given["x"])
        agree(layer(**arguments, **more), run(tmp_path / "m.onnx", feeds).values())


def test_a_quantized_layer_is_exported_with_its_rounded_weights(tmp_path: Path) -> None:
    layer = nn.LSTM(3, 8, 2, generator=tg.Generator(0))
    model = nn.utils.quantized(layer)
    x = np.random.default_rng(0).normal(size=(5, 4, 3)).astype("float32")
    export_onnx(model, tmp_path / "m.onnx", x)
    agree(model(tg.tensor(x)), run(tmp_path / "m.onnx", {"x": x}).values())
    assert not np.allclose(layer(tg.tensor(x))[0].numpy(), model(tg.tensor(x))[0].numpy(), 1e-5)


@pytest.mark.parametrize("kind", [nn.MinGRU, nn.MinLSTM])
def test_parallel_layers(kind: Any, tmp_path: Path) -> None:
    for options in ({}, {"reverse": True, "batch_first": True}):
        layer = kind(3, 4, **options)
        x = np.random.default_rng(0).normal(size=(5, 6, 3)).astype("float32")
        lengths = np.array([0, 3, 5, 1, 2, 5][: 5 if options else 6])
        export_onnx(layer, tmp_path / "m.onnx", {"x": x, "lengths": lengths})
        expected = layer(tg.tensor(x), lengths=lengths)
        agree(expected, run(tmp_path / "m.onnx", {"x": x, "lengths": lengths}).values())


@pytest.mark.parametrize("cell", [MinimalGatedCell(3, 4), Counting()])
def test_cells_of_ones_own(cell: Any, tmp_path: Path) -> None:
    layer = nn.Recurrent(cell).eval()
    x = np.random.default_rng(0).normal(size=(5, 4, 3)).astype("float32")
    lengths = np.array([5, 0, 2, 4])
    export_onnx(layer, tmp_path / "m.onnx", {"x": x, "lengths": lengths})
    made = run(tmp_path / "m.onnx", {"x": x, "lengths": lengths})
    agree(layer(tg.tensor(x), lengths=lengths), made.values())


class Scanning(nn.Module):
    """A model that calls `tg.scan` itself, over weights and values that it has computed."""

    def __init__(self, **options: Any) -> None:
        self.w, self.options = nn.Linear(3, 4, generator=tg.Generator(0)), options

    def forward(self, x: Any, more: Any, lengths: Any = None, reset: Any = None) -> Any:
        bias = tg.tanh(self.w(more))  # of every row: the step reads it

        def step(state: Any, now: Any) -> Any:
            h, pair = state["h"], state["pair"]
            h = tg.tanh(self.w(now["x"]) + h * bias) * now["scale"]
            return {"h": h, "pair": (pair[1], h)}, (h, pair[0] + h)

        zero = tg.zeros((x.shape[1], 4))
        begin = {"h": zero + 1, "pair": (zero, bias)}
        xs = {"x": x, "scale": tg.sigmoid(x[..., :1])}
        return tg.scan(step, begin, xs, lengths=lengths, reset=reset, **self.options)


@pytest.mark.parametrize("given", [[], ["lengths"], ["reset"], ["lengths", "reset"]])
@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"fused": True}])
def test_models_that_scan(given: list[str], options: Any, tmp_path: Path) -> None:
    model, rng = Scanning(**options), np.random.default_rng(0)

    def inputs(steps: int, batch: int) -> dict[str, Any]:
        every = {
            "x": rng.normal(size=(steps, batch, 3)).astype("float32"),
            "more": rng.normal(size=(batch, 3)).astype("float32"),
            "lengths": rng.integers(0, steps + 1, batch), "reset": rng.random((steps, batch)) < 0.3,
        }  # fmt: skip
        return {name: every[name] for name in ("x", "more", *given)}

    export_onnx(model, tmp_path / "m.onnx", inputs(4, 3))
    for feeds in (inputs(4, 3), inputs(7, 2)):
        expected = model(tg.tensor(feeds["x"]), tg.tensor(feeds["more"]),
                         **{name: feeds[name] for name in given})  # fmt: skip
        agree(expected, run(tmp_path / "m.onnx", feeds).values())


class Tagger(nn.Module):
    """A model of one's own: tokens, layers, and arithmetic between them."""

    def __init__(self) -> None:
        self.embedding = nn.Embedding(9, 3, padding_idx=0)
        self.layers = nn.LSTM(3, 4, 2, bidirectional=True, generator=tg.Generator(0))
        self.norm, self.head, self.dropout = nn.LayerNorm(8), nn.Linear(8, 5), nn.Dropout(0.5)

    def forward(self, ids: Any, lengths: Any = None) -> Any:
        x, rows = self.embedding.inputs(ids, self.dropout)
        y, (h, _) = self.layers(x, ids=rows, lengths=lengths)
        y = self.dropout(self.norm(y))
        scores = tg.log_softmax(self.head(y), axis=-1)
        pooled = tg.concat([y.max(axis=0), y.mean(axis=0), h[-1]], axis=-1)
        return scores, {"pooled": pooled[:, 1:-1:2], "best": tg.argmax(y[-1], axis=-1)}


def test_a_model_of_ones_own(tmp_path: Path) -> None:
    model, rng = Tagger(), np.random.default_rng(0)
    given = {"ids": rng.integers(0, 9, (6, 4)), "lengths": np.array([6, 0, 1, 2])}
    export_onnx(model, tmp_path / "m.onnx", given)
    assert model.training
    shapes = [i.shape for i in session(tmp_path / "m.onnx").get_inputs()]
    assert shapes == [["time", "batch"], ["batch"]]
    agree(model.eval()(**given), run(tmp_path / "m.onnx", given).values())


def test_axes_of_ones_own(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 4), tg.gelu)
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    export_onnx(model, tmp_path / "m.onnx", x, axes={"x": (None, "frames")})
    assert [i.shape for i in session(tmp_path / "m.onnx").get_inputs()] == [[2, "frames", 3]]
    agree(model(tg.tensor(x)), run(tmp_path / "m.onnx", {"x": x}).values())


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_the_recipes_character_model_at_once_and_by_steps(cell: str, tmp_path: Path) -> None:
    config = CharLMConfig(cell=cell, hidden_size=6, num_layers=2, embedding_dim=3)
    model = CharModel(9, config, tg.Generator(0)).eval()
    ids = np.random.default_rng(0).integers(0, 9, (6, 4))
    export_onnx(model, tmp_path / "all.onnx", ids)
    agree(model(tg.tensor(ids)), run(tmp_path / "all.onnx", {"ids": ids}).values())
    export_onnx(model, tmp_path / "step.onnx", ids[0], method="step")
    step = session(tmp_path / "step.onnx")
    names = [output.name for output in step.get_outputs()]
    state = model.step(tg.tensor(ids[0]))[1]
    held = {f"state_{i}": part.numpy() * 0 for i, part in enumerate(tree.leaves(state))}
    expected, state = None, None
    for symbols in ids:
        expected, state = model.step(tg.tensor(symbols), state)
        found = dict(zip(names, step.run(None, {"ids": symbols, **held}), strict=True))
        held = {name: found[f"next_{name}"] for name in held}
    np.testing.assert_allclose(found["output"], expected.numpy(), rtol=1e-5, atol=1e-5)


CONVOLUTIONS: list[tuple[Any, tuple[int, ...]]] = [
    (nn.Conv1d(3, 4, 5, padding=2), (2, 3, 9)),
    (nn.Conv1d(4, 6, 2, 3, dilation=2, groups=2, bias=False), (2, 4, 9)),
    (nn.Conv1d(3, 4, 4, padding="same"), (2, 3, 9)),
    (nn.Conv2d(3, 4, (3, 2), (2, 1), padding=(1, 0)), (2, 3, 7, 8)),
    (nn.Conv1d(3, 4, 3, padding="valid"), (3, 9)),
]


@pytest.mark.parametrize(("layer", "shape"), CONVOLUTIONS)
def test_convolutions(layer: Any, shape: tuple[int, ...], tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    axes = {"x": ("batch",) if len(shape) == layer.axes + 2 else (None, "time")}
    export_onnx(layer, tmp_path / "m.onnx", x, axes=axes)
    agree(layer(tg.tensor(x)), run(tmp_path / "m.onnx", {"x": x}).values())
    agree(import_onnx(tmp_path / "m.onnx")(x), [layer(tg.tensor(x)).numpy()])


@pytest.mark.parametrize("cell", CELLS)
def test_the_models_for_long_dependencies(cell: str, tmp_path: Path) -> None:
    config = MemoryConfig(cell=cell, hidden_size=6, length=5)
    model = Reader(config, tg.Generator(0)).eval()
    x = np.random.default_rng(0).normal(size=(7, 3, 2)).astype("float32")
    export_onnx(model, tmp_path / "m.onnx", x)
    agree(model(tg.tensor(x)), run(tmp_path / "m.onnx", {"x": x}).values())


def seq2seq(kind: Any, **options: Any) -> nn.Seq2Seq:
    generator = tg.Generator(0)
    encoder = nn.Encoder(nn.Embedding(9, 3), nn.LSTM(3, 4, bidirectional=True, generator=generator))
    size = options.setdefault("readout_size", 5)
    attention = None if kind is None else kind(6, 8)
    layers = nn.LSTM(3 + (size if options.get("input_feeding") else 0), 6, generator=generator)
    return nn.Seq2Seq(encoder, nn.Decoder(nn.Embedding(9, 3), layers, attention, **options)).eval()


ATTENTIONS: list[tuple[Any, dict[str, Any]]] = [
    (None, {}),
    (nn.AdditiveAttention, {"input_feeding": True}),
    (nn.GeneralAttention, {"deep_output": True}),
    (lambda q, m: nn.MultiHeadAttention(q, m, heads=2), {}),
    (nn.LocationAttention, {}),
    (nn.CoverageAttention, {}),
    (nn.AdditiveAttention, {"copy": True}),
    (lambda q, m: nn.AdditiveAttention(q, m, normalize="sparsemax"),
     {"tied": True, "readout_size": 3}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "options"), ATTENTIONS)
def test_encoder_and_one_step_of_the_decoder(kind: Any, options: Any, tmp_path: Path) -> None:
    model, rng = seq2seq(kind, **options), np.random.default_rng(0)
    encoder, decoder = tmp_path / "encoder.onnx", tmp_path / "decoder.onnx"
    given = {"source": rng.integers(0, 9, (3, 2)), "lengths": np.array([3, 1])}
    export_seq2seq(model, encoder, decoder, given["source"], lengths=given["lengths"])
    given = {"source": rng.integers(0, 9, (6, 4)), "lengths": np.array([6, 3, 1, 2])}
    state = model.start(tg.tensor(given["source"]), lengths=given["lengths"])
    held = run(encoder, given)
    agree(state, held.values())
    step = session(decoder)
    inputs = {i.name for i in step.get_inputs()}
    names = [o.name for o in step.get_outputs()]
    symbols = np.array([1, 2, 3, 4])
    for _ in range(3):
        logits, state, *weights = model.step(tg.tensor(symbols), state)
        feeds = {"symbols": symbols, **{n: v for n, v in held.items() if n in inputs}}
        found = dict(zip(names, step.run(None, feeds), strict=True))
        agree((logits, *weights), [found[n] for n in ("output", "weights") if n in found])
        held |= {n.removeprefix("next_"): v for n, v in found.items() if n.startswith("next_")}
        symbols = found["output"].argmax(-1)


@pytest.mark.parametrize(("kind", "options"), ATTENTIONS[2:4] + ATTENTIONS[6:])
def test_all_steps_of_a_target_at_once(kind: Any, options: Any, tmp_path: Path) -> None:
    model, rng = seq2seq(kind, **options), np.random.default_rng(0)
    given = {"source": rng.integers(0, 9, (6, 4)), "target": rng.integers(0, 9, (5, 4)),
             "lengths": np.array([6, 3, 1, 2])}  # fmt: skip
    export_onnx(model, tmp_path / "m.onnx", given)
    expected = model(
        tg.tensor(given["source"]), tg.tensor(given["target"]), lengths=given["lengths"]
    )
    agree(expected, run(tmp_path / "m.onnx", given).values())


class Applied(nn.Module):
    """An operation as a model."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


FUNCTIONS: dict[str, Any] = {
    **{name: getattr(tg, name) for name in (
        "negative", "abs", "square", "exp", "exp2", "expm1", "sin", "cos", "tan", "sinh", "cosh",
        "tanh", "asinh", "atan", "erf", "sigmoid", "relu", "softplus", "log_sigmoid",
        "leaky_relu", "elu", "gelu", "silu", "hard_sigmoid", "sign", "floor", "ceil", "trunc",
        "round", "isfinite", "isnan", "softmax", "log_softmax", "sparsemax", "logsumexp",
        "zeros_like", "ones_like", "any", "all", "prod", "sum", "mean", "max", "min", "var", "std",
        "argmax", "argmin", "flip",
    )},
    "logs": lambda x: tg.log(abs(x) + 1) + tg.log2(abs(x) + 1) - tg.log10(abs(x) + 1),
    "log1p": lambda x: tg.log1p(abs(x)), "rsqrt": lambda x: tg.rsqrt(abs(x) + 1),
    "sqrt": lambda x: tg.sqrt(abs(x)), "acosh": lambda x: tg.acosh(abs(x) + 1),
    "asin": lambda x: tg.asin(tg.tanh(x)) + tg.acos(tg.tanh(x)) + tg.atanh(tg.tanh(x) / 2),
    "binary": lambda x: (x - 2 * x / 3 + x * x).maximum(0.5 - x) - tg.minimum(x, 1),
    "pow": lambda x: abs(x) ** 1.5 + 2**x, "remainder": lambda x: x % 0.7 + x // 0.7,
    "logaddexp": lambda x: tg.logaddexp(x, -x),
    "comparisons": lambda x: ((x > 0) & (x <= 1)) | ((x < -1) ^ (x >= 2)) | ~(x == x) | (x != x),
    "where": lambda x: tg.where(x > 0, x, -1), "clip": lambda x: x.clip(-0.5, 0.75),
    "reductions": lambda x: x.sum(axis=1, keepdims=True) - x.mean(axis=(0, 2), keepdims=True),
    "var": lambda x: tg.var(x, axis=-1, correction=1) + tg.std(x, axis=2, correction=1),
    "shapes": lambda x: x.reshape(x.shape[0] * x.shape[1], -1).expand_dims(1).squeeze(1).T,
    "moves": lambda x: tg.moveaxis(tg.swapaxes(x, 0, 1), 2, 0) + tg.permute_dims(x, (2, 1, 0)),
    "joined": lambda x: tg.stack([*x.unstack(2), tg.concat([x, x], 2)[..., 0]], 1),
    "indices": lambda x: x[1:, None, ..., -1] + x[:-1, :, 0:1].swapaxes(1, 2) * 0,
    "reversed": lambda x: x[::-1, :, ::2], "last": lambda x: x[-1, 0],
    "take": lambda x: tg.take(x, [2, 0, 1], axis=2), "cumsum": lambda x: tg.cumsum(x, axis=0),
    "along": lambda x: tg.take_along_axis(x, tg.argsort(x, axis=2), axis=2),
    "pad": lambda x: tg.pad(x, ((1, 0), (0, 2), (0, 0)), constant_values=3),
    "tril": lambda x: tg.tril(x, k=1) + tg.triu(x),
    "einsum": lambda x: tg.einsum("abc,dbc->bad", x, x),
    "matmul": lambda x: x @ x.mT, "one_hot": lambda x: tg.one_hot(tg.argmax(x, axis=2), 4),
    "astype": lambda x: (x * 3).astype("int64"), "size": lambda x: x.sum(axis=0) / len(x),
    "range": lambda x: x * tg.arange(len(x)).reshape(-1, 1, 1).astype("float32"),
    "zeros": lambda x: x + tg.zeros(x.shape) + tg.full((x.shape[1], 1), 2.0),
    "broadcast": lambda x: tg.broadcast_to(x[:1], x.shape),
    "windows": lambda x: tg.sliding_windows(x, (2, 2), stride=(1, 1), dilation=(2, 1)),
    "conv": lambda x: tg.conv(x[:, :1], tg.ones((2, 1, 2)), padding=1),
    "counts": lambda x: (x > 0).sum(axis=2) + tg.count_nonzero(x, axis=2) + (x > 0) @ [1, 1, 2],
    "masks": lambda x: ((x > 0) * (x > 1) + (x < -1)).max(axis=1) > (x > 0).prod(axis=1),
    "truth": lambda x: tg.where(x > 0, 1.0, 0.0) * (x > 0).argmax(axis=2, keepdims=True),
    "mask": lambda x: x * ((x > 0) / 0.5) + (x > 0).mean(axis=1, keepdims=True),
    "whole": lambda x: (x * 9).astype("int64") // 2 + (x * 9).astype("int64") // -4 % 3,
    "of integers": lambda x: (x * 9).astype("int64").std(axis=1) + (x > 0).mean(axis=1),
    "reals": lambda x: tg.sqrt(abs(x * 9).astype("int64")) + tg.isnan(x > 0) + tg.round(x > 0),
    "updated": lambda x: x @ tg.linear(x, tg.ones((3, 3)), tg.ones((3,))).mT,
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operations(name: str, tmp_path: Path) -> None:
    model = Applied(FUNCTIONS[name])
    x = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("float32")
    export_onnx(model, tmp_path / "m.onnx", x)
    agree(model(tg.tensor(x)), run(tmp_path / "m.onnx", {"x": x}).values())


def test_operations_that_are_exported_exist() -> None:
    from tinygrad_rnn.io.onnx_format.operations import BINARY, REDUCTIONS, TABLE, UNARY

    known = {info.name for info in OPERATIONS} | {"alias", "to"}
    assert {*UNARY, *BINARY, *REDUCTIONS, *TABLE} <= known


REFUSED: list[tuple[Any, str]] = [
    (lambda x: tg.linalg.norm(x), "there is no operator for"),
    (lambda x: x * float(x.sum().item()), "for other inputs|depends on"),
    (lambda x: x if x.sum().item() > 0 else -x, "other operations for other inputs|fixed"),
    (lambda x: sum(x.unstack()), "loops over steps in Python"),
    (lambda x: x[x > 0], "size depends on|index|number of axes|depends"),
    (lambda x: x + tg.as_tensor(x.numpy() ** 2), "depends on its inputs in a way"),
]


@pytest.mark.parametrize(("function", "words"), REFUSED)
def test_what_cannot_be_exported_is_named(function: Any, words: str, tmp_path: Path) -> None:
    x = np.random.default_rng(3).normal(size=(4, 5, 3)).astype("float32")
    with pytest.raises(tg.InvalidValueError, match=f"export_onnx: .*({words})"):
        export_onnx(Applied(function), tmp_path / "m.onnx", x)
    assert not list(tmp_path.iterdir())


def test_wrong_arguments_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x, path = nn.GRU(2, 3), np.ones((4, 2, 2), "float32"), tmp_path / "m.onnx"
    for call, words in [
        (lambda: export_onnx(len, path, x), "model: expected a module"),
        (lambda: export_onnx(layer, path, x, method="jump"), "method: GRU has no 'jump'"),
        (lambda: export_onnx(layer, path, {"y": x}), "example: GRU.forward: "),
        (lambda: export_onnx(layer, path, x, axes={"y": ("batch",)}), "axes: expected arguments"),
        (lambda: export_onnx(layer, path, {"x": x, "mask": x[..., 0] > 0}), r"mask=.*lengths= is"),
        (lambda: export_seq2seq(layer, path, path, x), "model: expected a Seq2Seq"),
    ]:  # fmt: skip
        with pytest.raises(tg.TinygradRnnError, match=words):
            call()
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(CheckpointError, match=r"needs the package onnx .*tinygrad_rnn\[onnx\]"):
        export_onnx(layer, path, x)


def test_one_sequence_without_a_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(tg.ShapeError, match=r"GRU reads one sequence \[5, 3\]; expected \(T, B"):
        tg.io.export_onnx(tg.nn.GRU(3, 4), tmp_path / "gru.onnx", tg.zeros((5, 3)))
