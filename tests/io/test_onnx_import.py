"""Imported graphs compute what onnxruntime computes, and can be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.io import CheckpointError, export_onnx, import_onnx
from tinygrad_rnn.recipes.charlm import CharLMConfig, CharModel
from tinygrad_rnn.tensor import tree

from .test_onnx_export import Tagger, run

onnx: Any = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.oracle

COUNT = 100
FLOAT = 1  # the format's numbers of dtypes
INT32 = 6
GATES, PARTS = {"RNN": 1, "GRU": 3, "LSTM": 4}, {"RNN": 1, "GRU": 2, "LSTM": 3}
ACTIVATIONS = ["Tanh", "Sigmoid", "Relu", "HardSigmoid", "Softsign", "Softplus", "LeakyRelu",
               "Elu", "ScaledTanh", "Affine", "ThresholdedRelu"]  # fmt: skip


def write(
    path: Path, nodes: list[Any], inputs: dict[str, int], outputs: list[str], arrays: Any,
    opset: int = 18,
) -> None:  # fmt: skip
    helper = onnx.helper
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info(n, kind, None) for n, kind in inputs.items()],
        [helper.make_tensor_value_info(n, FLOAT, None) for n in outputs],
        [onnx.numpy_helper.from_array(a, n) for n, a in arrays.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    path.write_bytes(made.SerializeToString())


def recurrent(seed: int, path: Path) -> tuple[list[str], dict[str, Any]]:
    """Writes a node with drawn attributes and inputs. **Returns** outputs and inputs."""
    rng = np.random.default_rng(seed)

    def of(*values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    kind, direction = ["RNN", "GRU", "LSTM"][seed % 3], of("forward", "reverse", "bidirectional")
    n, steps, batch, features, size = 1 + (direction == "bidirectional"), of(1, 4), of(1, 3), 3, 4
    arrays: dict[str, Any] = {}

    def array(name: str, *shape: int) -> str:
        arrays[name] = rng.normal(size=shape, scale=0.5).astype("float32")
        return name

    rows = GATES[kind] * size
    given: dict[str, Any] = {"x": rng.normal(size=(steps, batch, features)).astype("float32")}
    inputs = ["x", array("w", n, rows, features), array("r", n, rows, size)]
    inputs.append(array("b", n, 2 * rows) if of(0, 1) else "")
    inputs.append("lengths" if of(0, 1) else "")
    if inputs[-1]:
        given["lengths"] = rng.integers(1, steps + 1, batch).astype("int32")
    inputs.append(array("h0", n, batch, size) if of(0, 1) else "")
    attributes: dict[str, Any] = {"hidden_size": size, "direction": direction}
    if kind == "LSTM":
        inputs.append(array("c0", n, batch, size) if of(0, 1) else "")
        inputs.append(array("p", n, 3 * size) if of(0, 1) else "")
        attributes["input_forget"] = of(0, 0, 1)
    if kind == "GRU":
        attributes["linear_before_reset"] = of(0, 1)
    if of(0, 1):
        attributes["clip"] = 0.5
    if of(0, 1):
        names = [of(*ACTIVATIONS) for _ in range(PARTS[kind] * n)]
        attributes["activations"] = names
        alphas = [0.3 for name in names if name in ACTIVATIONS[3:4] + ACTIVATIONS[6:]]
        betas = [0.6 for name in names if name in ("HardSigmoid", "ScaledTanh", "Affine")]
        attributes |= {"activation_alpha": alphas} if alphas else {}
        attributes |= {"activation_beta": betas} if betas else {}
    outputs = ["y", "h", *(["c"] if kind == "LSTM" else [])]
    node = onnx.helper.make_node(kind, inputs, outputs, **attributes)
    types = {"x": FLOAT, "lengths": INT32}
    write(path, [node], {name: types[name] for name in given}, outputs, arrays)
    return outputs, given


@pytest.mark.parametrize("seed", range(COUNT))
def test_recurrent_operators_with_drawn_attributes(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    outputs, given = recurrent(seed, path)
    expected = run(path, given)
    model = import_onnx(path)
    results = model(**{name: tg.tensor(value) for name, value in given.items()})
    for name, result in zip(outputs, results, strict=True):
        np.testing.assert_allclose(result.numpy(), expected[name], rtol=1e-4, atol=1e-5)
    sum((y * y).sum() for y in results).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_layout_puts_the_batch_first(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {"w": rng.normal(size=(2, 4, 3)), "r": rng.normal(size=(2, 4, 4)),
              "h0": rng.normal(size=(2, 5, 4))}  # fmt: skip
    found = []
    for layout in (0, 1):
        given = dict(arrays)
        if layout:
            given["h0"] = given["h0"].swapaxes(0, 1)
        node = onnx.helper.make_node("RNN", ["x", "w", "r", "", "", "h0"], ["y", "h"],
                                     direction="bidirectional", hidden_size=4,
                                     layout=layout)  # fmt: skip
        given = {n: np.ascontiguousarray(a, "float32") for n, a in given.items()}
        write(tmp_path / "m", [node], {"x": FLOAT}, ["y", "h"], given)
        x = tg.tensor(rng.normal(size=(2, 5, 3)).astype("float32") * 0 + 0.3)
        found.append(import_onnx(tmp_path / "m")(x.swapaxes(0, 1) if layout else x))
    np.testing.assert_allclose(
        found[1][0].numpy(), tg.permute_dims(found[0][0], (2, 0, 1, 3)).numpy(), rtol=1e-6
    )
    np.testing.assert_allclose(found[1][1].numpy(), found[0][1].swapaxes(0, 1).numpy(), rtol=1e-6)


MODELS: list[tuple[Any, dict[str, Any]]] = [
    (Tagger(), {"ids": np.array([[1, 2, 3], [4, 0, 8]]), "lengths": np.array([2, 1, 2])}),
    (CharModel(9, CharLMConfig(cell="gru", hidden_size=5), tg.Generator(0)),
     {"ids": np.array([[1, 2, 3], [4, 0, 8]])}),
    (nn.Sequential(nn.Linear(3, 4), tg.gelu, nn.LayerNorm(4), tg.log_softmax),
     {"x": np.ones((2, 5, 3), "float32")}),
    (nn.LSTM(3, 4, 2, peephole=True, coupled_gates=True, bidirectional=True, batch_first=True),
     {"x": np.ones((2, 5, 3), "float32"), "lengths": np.array([5, 0])}),
]  # fmt: skip


@pytest.mark.parametrize(("model", "given"), MODELS)
def test_what_was_exported_comes_back(model: Any, given: Any, tmp_path: Path) -> None:
    export_onnx(model, tmp_path / "m.onnx", given)
    back = import_onnx(tmp_path / "m.onnx")
    results = back(**{name: tg.tensor(value) for name, value in given.items()})
    model.eval()
    expected = tree.leaves(model(**{n: tg.tensor(v) for n, v in given.items()}))
    for a, b in zip(expected, results if isinstance(results, tuple) else (results,), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)
    assert sum(p.size for p in back.parameters()) >= sum(p.size for p in model.parameters())
    assert back.state_dict().keys() == {n for n, _ in back.named_parameters()}


NODES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("Gemm", [(4, 3), (5, 4), (5,)], {"alpha": 0.5, "beta": 2.0, "transA": 1, "transB": 1}),
    ("Slice", [(4, 5, 3), [-1, 1], [-9, 4], [0, 1], [-2, 1]], {}),
    ("Slice", [(4, 5), [-3], [2**40], [1]], {}),
    ("Gather", [(4, 5), np.array([[0, -1], [2, 3]])], {"axis": 1}),
    ("Reshape", [(4, 6), [0, 2, -1]], {}),
    ("Flatten", [(4, 2, 3)], {"axis": -1}),
    ("Squeeze", [(4, 1, 1), [1]], {}), ("Squeeze", [(4, 1, 1)], {}),
    ("Unsqueeze", [(4,), [0, 2]], {}), ("Transpose", [(4, 5, 3)], {}),
    ("Transpose", [(4, 5, 3)], {"perm": [1, 2, 0]}), ("Concat", [(2, 3), (2, 1)], {"axis": -1}),
    ("LayerNormalization", [(4, 5, 3), (5, 3), (5, 3)], {"axis": 1, "epsilon": 0.1}),
    ("Softmax", [(4, 5, 3)], {"axis": 1}), ("LogSoftmax", [(4, 5)], {}),
    ("ReduceSum", [(4, 5), [0]], {"keepdims": 0}), ("ReduceMean", [(4, 5)], {}),
    ("ReduceL2", [(4, 5), [-1]], {}), ("ReduceMax", [(4, 5), [1]], {"keepdims": 1}),
    ("ArgMax", [(4, 5)], {"axis": 1}), ("CumSum", [(4, 5), np.array(1)], {}),
    ("HardSigmoid", [(4, 5)], {"alpha": 0.3}), ("LeakyRelu", [(4, 5)], {}),
    ("Elu", [(4, 5)], {"alpha": 0.3}), ("Clip", [(4, 5), np.float32(-0.5), np.float32(0.5)], {}),
    ("Expand", [(1, 5), [3, 1]], {}), ("Pad", [(4, 5), [1, 0, 0, 2], np.float32(3)], {}),
    ("Max", [(4, 5), (5,), (1,)], {}), ("Mean", [(4, 5), (4, 5)], {}), ("Div", [(4,), (4,)], {}),
    ("Softsign", [(4, 5)], {}), ("Reciprocal", [(4, 5)], {}), ("Cast", [(4, 5)], {"to": FLOAT}),
    ("Einsum", [(4, 5), (5, 3)], {"equation": "ab,bc->ca"}), ("Dropout", [(4, 5)], {}),
    ("Where", [np.array([True, False]), (3, 2), (3, 2)], {}), ("Pow", [(4,), np.float32(2)], {}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "inputs", "attributes"), NODES)
def test_other_operators(kind: str, inputs: Any, attributes: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [f"i{i}" for i in range(len(inputs))]
    arrays = {
        n: rng.normal(size=v).astype("float32") if isinstance(v, tuple) else np.asarray(v)
        for n, v in zip(names, inputs, strict=True)
    }
    nodes = [onnx.helper.make_node(kind, names, ["y"], **attributes)]
    outputs = ["y"]
    if kind == "ArgMax":
        nodes.append(onnx.helper.make_node("Cast", ["y"], ["z"], to=FLOAT))
        outputs = ["z"]
    first = arrays["i0"]
    given = {"i0": arrays.pop("i0")} if first.dtype == np.float32 else {}
    write(tmp_path / "m.onnx", nodes, dict.fromkeys(given, FLOAT), outputs, arrays)
    expected = run(tmp_path / "m.onnx", given)[outputs[0]]
    result = import_onnx(tmp_path / "m.onnx")(*map(tg.tensor, given.values()))
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert result.shape == expected.shape


def test_a_softmax_of_older_versions(tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("Softmax", ["x"], ["y"], axis=1)]
    write(tmp_path / "m.onnx", nodes, {"x": FLOAT}, ["y"], {}, opset=11)
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    expected = run(tmp_path / "m.onnx", {"x": x})["y"]
    np.testing.assert_allclose(
        import_onnx(tmp_path / "m.onnx")(tg.tensor(x)).numpy(), expected, rtol=1e-5
    )


def node(kind: str, inputs: list[str], outputs: list[str], **more: Any) -> Any:
    return onnx.helper.make_node(kind, inputs, outputs, **more)


def branch(name: str, nodes: list[Any], w: Any, output: str = "r") -> Any:
    helper = onnx.helper
    result = helper.make_tensor_value_info(output, FLOAT, None)
    return helper.make_graph(nodes, name, [], [result], [onnx.numpy_helper.from_array(w, "w")])


def test_a_condition_chooses_a_branch_whose_weights_can_be_trained(tmp_path: Path) -> None:
    w = np.random.default_rng(0).normal(size=(3, 2)).astype("float32")
    chosen = node(
        "If", ["c"], ["y"], then_branch=branch("a", [node("MatMul", ["z", "w"], ["r"])], w),
        else_branch=branch("b", [node("Sin", ["z"], ["n"]), node("MatMul", ["n", "w"], ["r"])], -w),
    )  # fmt: skip
    write(tmp_path / "m", [node("Neg", ["x"], ["z"]), chosen], {"x": FLOAT, "c": 9}, ["y"], {})
    model, x = import_onnx(tmp_path / "m"), np.ones((4, 3), "float32")
    assert [p.shape for p in model.parameters()] == [(3, 2), (3, 2)]
    for c in (True, False):
        expected = run(tmp_path / "m", {"x": x, "c": np.array(c)})["y"]
        y = model(x, np.array(c))
        np.testing.assert_allclose(y.numpy(), expected, rtol=1e-5)
        model.zero_grad()
        y.sum().backward()
        for p in model.parameters():
            assert (p.grad is not None) == (p.tolist() == (w if c else -w).tolist())
    with pytest.raises(tg.InvalidValueError, match=r"node 0 \(MatMul\)"):
        model(np.ones((4, 4), "float32"), np.array(True))


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
def test_padding_and_convolutions(mode: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {"w": rng.normal(size=(4, 2, 3)).astype("f4"), "b": np.ones(4, "f4"),
              "pads": np.array([0, 0, 1, 0, 0, 2])}  # fmt: skip
    nodes = [node("Pad", ["x", "pads"], ["p"], mode=mode),
             node("Conv", ["p", "w", "b"], ["y"], pads=[0, 1], strides=[2], group=2)]  # fmt: skip
    write(tmp_path / "m", nodes, {"x": FLOAT}, ["y"], arrays)
    x = rng.normal(size=(2, 4, 9)).astype("f4")
    expected = run(tmp_path / "m", {"x": x})["y"]
    np.testing.assert_allclose(import_onnx(tmp_path / "m")(x).numpy(), expected, rtol=1e-5)


ONE = np.ones(1, "f4")
INSIDE = [branch("a", [node("Relu", ["x"], ["r"])], ONE),
          branch("b", [node("Sin", ["q"], ["s"]), node("Loop", ["x"], ["r"])], ONE)]  # fmt: skip
REFUSED: list[tuple[list[Any], str]] = [
    ([node("If", ["x"], ["y"], then_branch=INSIDE[0], else_branch=INSIDE[1])],
     r"node 0 \(If\): node 0 \(Sin\) reads q, .*; node 0 \(If\): node 1 \(Loop\) has no eq"),
    ([node("MaxPool", ["x"], ["y"], name="one")], r"node 0 'one' \(MaxPool\) has no equivalent"),
    ([node("Relu", ["x"], ["a"]), node("Gemm", ["a", "w"], ["y"], name="g", gamma=2)],
     r"node 1 'g' \(Gemm\) has gamma, which has no equivalent"),
    ([node("Relu", ["z"], ["y"])], r"node 0 \(Relu\) reads z, which no node before computes"),
    ([node("Relu", ["x"], ["z"])], "no node computes the output y"),
    ([node("If", ["x"], ["a"]), node("Loop", ["x"], ["y"])], r"\(If\).*; node 1 \(Loop\)"),
    ([node("Relu", ["x"], ["y"], domain="com.x")], r"com\.x\.Relu\) has no equivalent"),
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "words"), REFUSED)
def test_nodes_that_cannot_be_imported_are_named(nodes: Any, words: str, tmp_path: Path) -> None:
    write(tmp_path / "m", nodes, {"x": FLOAT}, ["y"], {"w": np.ones((2, 2), "f4")})
    with pytest.raises(CheckpointError, match=words):
        import_onnx(tmp_path / "m")


def test_wrong_values_name_the_node(tmp_path: Path) -> None:
    write(tmp_path / "m", [node("MatMul", ["x", "w"], ["y"], name="mm")], {"x": FLOAT}, ["y"],
          {"w": np.ones((2, 2), "f4")})  # fmt: skip
    model = import_onnx(tmp_path / "m")
    with pytest.raises(tg.InvalidValueError, match=r"node 0 'mm' \(MatMul\)"):
        model(tg.ones((3, 3)))
    with pytest.raises(tg.InvalidTypeError, match="missing inputs: x"):
        model()
    with pytest.raises(tg.InvalidTypeError, match="expected the inputs x"):
        model(z=tg.ones((3, 3)))


def test_weights_in_other_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "m", [node("Relu", ["w"], ["y"])], {}, ["y"], {"w": np.ones((2, 2), "f4")})
    model = onnx.ModelProto.FromString((tmp_path / "m").read_bytes())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    tensor.external_data.add(key="location", value="/etc/passwd")
    (tmp_path / "m").write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match="'w' is in another file"):
        import_onnx(tmp_path / "m")


def test_sizes_that_are_not_there_take_no_memory(tmp_path: Path) -> None:
    write(tmp_path / "m", [node("Relu", ["w"], ["y"])], {}, ["y"], {"w": np.ones((2, 2), "f4")})
    model = onnx.ModelProto.FromString((tmp_path / "m").read_bytes())
    model.graph.initializer[0].dims[0] = 2**60
    (tmp_path / "m").write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match="damaged"):
        import_onnx(tmp_path / "m")
    for raw in (b"", b"words", b"\x80" * 99):
        (tmp_path / "m").write_bytes(raw)
        with pytest.raises(CheckpointError, match=r"damaged|no outputs"):
            import_onnx(tmp_path / "m")
