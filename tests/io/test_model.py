"""A saved model comes back with its class, its options, its weights and its ties."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.io import CheckpointError, load_matching, load_model, save_model
from tinygrad_rnn.io.configuration import CLASSES
from tinygrad_rnn.io.weights import to_bytes


def seq2seq(**options: Any) -> nn.Seq2Seq:
    encoder = nn.Encoder(nn.Embedding(6, 3), nn.GRU(3, 4, bidirectional=True), dropout=0.1)
    attention = nn.AdditiveAttention(4, 8)
    decoder = nn.Decoder(nn.Embedding(6, 3), nn.LSTM(3, 4), attention, **options)
    return nn.Seq2Seq(encoder, decoder)


MADE: list[nn.Module] = [
    nn.Dropout(0.1),
    nn.Embedding(4, 3, padding_idx=1, dropout=0.2),
    nn.LayerNorm(3, eps=1e-3),
    nn.Linear(3, 4, bias=False),
    nn.CRF(3, forbidden=[(None, 1), (0, 2)]),
    nn.RNN(2, 3, 2, "relu", bidirectional=True, merge=None),
    nn.GRU(2, 3, reverse=True),
    nn.GRU(2, 3, reset_after=True, learn_initial=True, dtype="float64"),
    nn.GRU(2, 3, bias=False, merge="sum", residual=True, recurrent_activation=tg.hard_sigmoid),
    nn.LSTM(2, 3, zoneout=(0.1, 0.2), peephole=True, layer_norm=True, activation="relu"),
    nn.LSTM(2, 3, 2, True, True, 0.5, True, 2, coupled_gates=True, cell_clip=2.0, forget_bias=1.0),
    nn.Recurrent(nn.GRUCell(2, 3), fused=True),
    nn.Recurrent(lambda n: nn.LSTMCell(n, 3), 2, 2, bidirectional=True),
    nn.Recurrent(nn.LSTMCell(2, 3), reverse=True),
    nn.RNNCell(2, 3),
    nn.GRUCell(2, 3, reset_after=True),
    nn.LSTMCell(2, 3, coupled_gates=True),
    nn.ConvLSTMCell(2, 3, (3, 5), peephole_size=(5, 6)),
    nn.IndRNNCell(2, 3, nonlinearity="tanh"),
    nn.JANETCell(2, 3, beta=0.5),
    nn.MGUCell(2, 3, bias=False),
    nn.MLSTMCell(2, 4, num_heads=2),
    nn.SLSTMCell(2, 3),
    nn.SRUCell(2, 2),
    nn.MinGRUCell(2, 3),
    nn.MinLSTMCell(2, 3),
    nn.MinGRU(2, 3, reverse=True),
    nn.MinLSTM(2, 3, batch_first=True),
    nn.DotAttention(2, scaled=True),
    nn.GeneralAttention(2, 3, "sparsemax"),
    nn.CoverageAttention(2, 3),
    nn.LocationAttention(2, 3, filters=4, reach=2),
    nn.MultiHeadAttention(4, 3, heads=2),
    nn.Pointer(3),
    nn.Bridge(nn.GRU(3, 4), nn.LSTM(3, 5)),
    seq2seq(),
    seq2seq(tied=True, copy=True, readout_size=3),
    nn.Sequential(nn.Linear(2, 3), tg.tanh, nn.Sequential(nn.LayerNorm(3)), nn.LSTM(3, 4)),
    nn.ModuleList([nn.Linear(2, 2), nn.Dropout(0.3)]),
    nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Tanh()}),
    nn.Sequential(nn.Conv1d(2, 3, 3, padding=1), nn.BatchNorm1d(3), nn.Conv2d(2, 3, 3), nn.GELU(),
                  nn.Flatten(), nn.Identity(), nn.ReLU(), nn.SiLU(), nn.Sigmoid()),
    nn.BatchNorm1d(3, affine=False, momentum=None),
    nn.ModuleList([nn.BCEWithLogitsLoss(), nn.CTCLoss(), nn.CrossEntropyLoss(), nn.L1Loss(),
                   nn.GaussianNLLLoss(), nn.HuberLoss(), nn.MSELoss(), nn.NLLLoss(),
                   nn.StudentTNLLLoss()]),
]  # fmt: skip
NO_FILE = {"Module", "Attention", "Cell", "Bridge", "Encoder", "Decoder", "AdditiveAttention"}


@pytest.mark.parametrize("model", MADE, ids=lambda m: type(m).__name__)
def test_a_model_comes_back(model: nn.Module, tmp_path: Path) -> None:
    if isinstance(model, nn.Bridge):
        with pytest.raises(tg.InvalidTypeError, match=r"Bridge: .* takes 'encoder'"):
            save_model(tmp_path / "m", model)
        return
    save_model(tmp_path / "m", model)
    back = load_model(tmp_path / "m")
    same(back, model)
    save_model(tmp_path / "again", back)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()


def same(back: nn.Module, model: nn.Module) -> None:
    assert repr(back) == repr(model)
    before, after = model.state_dict(), back.state_dict()
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name].numpy(), value.numpy(), strict=True)
    assert len(list(back.parameters())) == len(list(model.parameters()))


def test_every_module_is_tried() -> None:
    tried = {type(part).__name__ for model in MADE for _, part in model.named_modules()}
    assert set(CLASSES) - tried <= NO_FILE


def test_a_seq2seq_computes_the_same(tmp_path: Path) -> None:
    model = seq2seq(tied=True, readout_size=3).eval()
    save_model(tmp_path / "m", model)
    back = load_model(tmp_path / "m").eval()
    source, target = tg.tensor([[1, 2], [3, 0]]), tg.tensor([[1, 1], [5, 2]])
    assert (
        back(source, target, lengths=[2, 1]).tolist()
        == model(source, target, lengths=[2, 1]).tolist()
    )
    assert back.decoder.head.weight is back.decoder.embedding.weight


class Tagger(nn.Module):
    """A model of a user's own."""

    def __init__(self, symbols: int, layer: nn.Module, names: list[str], scale: float = 2.0):
        self.symbols, self.layer, self.names, self.scale = symbols, layer, names, scale
        self.maps = {"a": [nn.Linear(3, symbols)], "b": nn.Linear(symbols, 3)}
        self.shared = nn.Embedding(symbols, 3)
        self.maps["a"][0].weight = self.shared.weight  # type: ignore[index]


class Inner(nn.Module):
    def __init__(self, size: int) -> None:
        self.size = size
        self.map = nn.Linear(size, size)


class Forgetful(nn.Module):
    def __init__(self, depth: int) -> None:
        self.maps = [nn.Linear(2, 2) for _ in range(depth)]


def test_a_class_of_ones_own_is_named_by_its_reader(tmp_path: Path) -> None:
    path = tmp_path / "m"
    model = Tagger(5, Inner(3), ["x", "y"])
    save_model(path, model)
    back = load_model(path, cls=[Tagger, Inner])
    same(back, model)
    assert back.names == ["x", "y"]
    assert back.maps["a"][0].weight is back.shared.weight
    with pytest.raises(CheckpointError, match=r"class Tagger, .* load_model\(path, cls=Tagger\)"):
        load_model(path)
    with pytest.raises(CheckpointError, match="class Inner"):
        load_model(path, cls=Tagger)
    with pytest.raises(tg.InvalidTypeError, match="cls: expected a class"):
        load_model(path, cls="Tagger")


def test_options_that_are_no_attributes_are_passed(tmp_path: Path) -> None:
    model = Forgetful(2)
    with pytest.raises(tg.InvalidTypeError, match=r"self\.depth in __init__, or pass\s+config="):
        save_model(tmp_path / "m", model)
    with pytest.raises(tg.InvalidTypeError, match=r"config: Forgetful: missing .* 'depth'"):
        save_model(tmp_path / "m", model, config={})
    save_model(tmp_path / "m", model, config={"depth": 2})
    same(load_model(tmp_path / "m", cls=Forgetful), model)


class ByName(nn.Module):
    """Its options are of any name."""

    def __init__(self, **sizes: int) -> None:
        self.sizes = sizes
        self.layers = {name: nn.Linear(2, size) for name, size in sizes.items()}


class ByPosition(nn.Module):
    def __init__(self, *sizes: int) -> None:
        self.sizes = sizes
        self.layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]


def test_constructors_that_take_any_number_of_arguments(tmp_path: Path) -> None:
    path, model = tmp_path / "m.safetensors", ByName(a=1, b=3)
    tg.io.save_model(path, model)
    back = tg.io.load_model(path, cls=ByName)
    assert back.sizes == model.sizes
    assert back.state_dict().keys() == model.state_dict().keys()
    with pytest.raises(tg.InvalidTypeError, match=r"ByPosition: 'sizes' cannot be passed by name"):
        tg.io.save_model(path, ByPosition(2, 3))
    assert tg.io.load_model(path, cls=ByName).sizes == model.sizes
    wrong: Any = [3]
    with pytest.raises(tg.InvalidTypeError, match=r"config: expected .* as a dict, got list"):
        tg.io.save_model(path, model, config=wrong)


def test_the_order_of_arguments_is_said(tmp_path: Path) -> None:
    model: Any = nn.Linear(1, 2)
    path: Any = tmp_path / "m"
    for call, message in (
        (lambda: tg.save(model.state_dict(), path), r"tg\.save\(path, tensors\)"),
        (lambda: tg.io.save_model(model, path), r"tg\.io\.save_model\(path, model\)"),
    ):
        with pytest.raises(tg.InvalidTypeError, match=message):
            call()


def test_what_a_file_cannot_hold_is_named(tmp_path: Path) -> None:
    for model, words in [
        (nn.Sequential(lambda x: x), r"Sequential\[0\]"),
        (nn.RNN(2, 3, nonlinearity=lambda x: tg.tanh(x)), "RNN: nonlinearity"),
        (Tagger(2, Inner(3), ["x"], float("nan")), "Tagger: scale: expected a finite"),
    ]:
        with pytest.raises(tg.TinygradRnnError, match=words):
            save_model(tmp_path / "m", model)
    with pytest.raises(tg.InvalidTypeError, match="expected a module, got dict"):
        save_model(tmp_path / "m", {})  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_weights_are_mapped_and_the_file_stays(tmp_path: Path) -> None:
    model = nn.Linear(30, 40)
    save_model(tmp_path / "m", model)
    raw = (tmp_path / "m").read_bytes()
    back = load_model(tmp_path / "m")
    assert not back.weight.data.flags.owndata
    back.weight.data[:] = 7
    assert (tmp_path / "m").read_bytes() == raw
    assert load_model(tmp_path / "m").weight.tolist() == model.weight.tolist()
    x = tg.ones((2, 30))
    tg.optim.SGD(back.parameters(), lr=0.1).zero_grad()
    back(x).sum().backward()
    tg.optim.SGD(back.parameters(), lr=0.1).step()
    assert (tmp_path / "m").read_bytes() == raw
    with pytest.raises(tg.TinygradRnnError, match="device"):
        load_model(tmp_path / "m", device="nowhere")
    with pytest.raises(tg.DeviceError, match=r"^device: expected its name, .* got 0"):
        load_model(tmp_path / "m", device=0)  # type: ignore[arg-type]
    with pytest.raises(tg.InvalidTypeError, match=r"^load_matching: source: expected a"):
        load_matching(nn.Linear(2, 1), 3)  # type: ignore[arg-type]


def write(path: Path, tree: Any, tensors: Any, **metadata: str) -> None:
    given = {"format": "tinygrad_rnn.model", "version": "1", "config": json.dumps(tree)}
    path.write_bytes(to_bytes(tensors, {**given, **metadata}))


LINEAR = {"class": "Linear", "options": {"in_features": 2, "out_features": 3, "bias": True}}
WEIGHTS = {"weight": np.ones((3, 2), "f4"), "bias": np.ones(3, "f4")}


def test_a_file_of_version_1_loads(tmp_path: Path) -> None:
    write(tmp_path / "m", LINEAR, WEIGHTS)
    assert load_model(tmp_path / "m")(tg.ones((2,))).tolist() == [3.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("config", "metadata", "words"),
    [
        (LINEAR, {"format": "pt"}, "no model of tg.io.save_model"),
        (LINEAR, {"version": "2"}, "version '2' .* reads versions 1 to 1"),
        (LINEAR, {"version": "-1"}, "version '-1'"),
        (LINEAR, {"version": "x" * 99}, "version 'x{20}'"),
        (LINEAR, {"config": "{"}, "configuration is not JSON"),
        (LINEAR, {"config": "[" * 100_000}, "configuration is not JSON"),
        (LINEAR, {"tied": '[["weight", "bias"]]'}, "bias"),
        (LINEAR, {"tied": '[["weight", "no.where"]]'}, "cannot be tied"),
        (LINEAR, {"tied": "[[1]]"}, "not JSON"),
        ([], {}, "a module without a class"),
        ({"class": "os.system", "options": {"command": "ls"}}, {}, "class os.system"),
        ({"class": "Embedding", "options": {"num_embeddings": 3}}, {}, "do not fit Embedding"),
        ({"class": "Linear"}, {}, "do not fit Linear"),
        ({"class": "Module", "options": {}}, {}, "weight"),
        ({**LINEAR, "options": {"in_features": 10**12, "out_features": 1}}, {}, "larger than"),
        (
            {**LINEAR, "options": {"in_features": 99_999, "out_features": 99_999}},
            {},
            "allocate|memory",
        ),
        ({"class": "LayerNorm", "options": {"features": 10**12}}, {}, "larger than the file"),
        ({"class": "Sequential", "items": [{"operation": "load"}]}, {}, "which is no value"),
        ({"class": "Sequential", "items": [{"operation": "__import__"}]}, {}, "is no value"),
    ],
)
def test_a_wrong_configuration_is_refused(
    config: Any, metadata: dict[str, str], words: str, tmp_path: Path
) -> None:
    write(tmp_path / "m", config, WEIGHTS, **metadata)
    with pytest.raises((CheckpointError, tg.nn.StateDictError), match=words):
        load_model(tmp_path / "m")


def test_deep_configurations_are_refused(tmp_path: Path) -> None:
    tree: Any = LINEAR
    for _ in range(200):
        tree = {"class": "Sequential", "items": [tree]}
    write(tmp_path / "m", tree, WEIGHTS)
    with pytest.raises(CheckpointError, match="over 50 deep"):
        load_model(tmp_path / "m")


def test_every_mismatch_is_listed(tmp_path: Path) -> None:
    write(tmp_path / "m", LINEAR, {"weight": np.ones((2, 2), "f4"), "b": np.ones(3, "f4")})
    with pytest.raises(nn.StateDictError) as raised:
        load_model(tmp_path / "m")
    for words in (
        "'weight': expected shape [3, 2], got [2, 2]",
        "missing 'bias'",
        "unexpected 'b'",
    ):
        assert words in str(raised.value)


def test_nothing_is_imported(tmp_path: Path) -> None:
    write(tmp_path / "m", {"class": "antigravity.Flyer", "own": True, "options": {}}, WEIGHTS)
    with pytest.raises(CheckpointError, match="antigravity"):
        load_model(tmp_path / "m")
    assert "antigravity" not in sys.modules


def test_partial_loading_reports(tmp_path: Path) -> None:
    old = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    new = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 5), nn.Linear(5, 1))
    before = new.state_dict()["2.weight"].tolist()
    tg.save(
        tmp_path / "w", {**old.state_dict(), "head": tg.ones((2,)), "2.bias": tg.ones((1,)) > 0}
    )
    report = load_matching(new, tmp_path / "w")
    assert report.loaded == ["0.bias", "0.weight"]
    assert report.missing == ["2.weight"]
    assert report.unexpected == ["head"]
    assert report.mismatched == [
        "1.bias [4] for [5]", "1.weight [4, 3] for [5, 3]", "2.bias bool for float32",
    ]  # fmt: skip
    assert "2 loaded\n1 missing: 2.weight" in str(report)
    assert new[0].weight.tolist() == old[0].weight.tolist()
    assert new.state_dict()["2.weight"].tolist() == before


def test_partial_loading_of_tied_parameters() -> None:
    model = seq2seq(tied=True, readout_size=3)
    report = load_matching(model, {"decoder.head.weight": tg.ones((6, 3))})
    assert report.loaded == ["decoder.head.weight"]
    assert not {"decoder.head.weight", "decoder.embedding.weight"} & {*report.missing}
    assert model.decoder.embedding.weight.numpy().min() == 1
