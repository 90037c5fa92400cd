"""Models that others published run here as in their own programs, and ours in theirs."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.io import export_seq2seq, import_onnx

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]  # of their programs

DOCS = Path(__file__).parents[2] / "docs"


def page(name: str) -> Any:
    """Runs the code blocks of a page. **Returns** the names that they define."""
    code = re.findall(r"^```python\n(.*?)^```", (DOCS / name).read_text("utf-8"), re.S | re.M)
    names: dict[str, Any] = {}
    exec(compile("\n".join(code), name, "exec"), names)
    return SimpleNamespace(**names)


# ---------------------------------------------------------------- g2p-en


WORDS = ["activationist", "recurrence", "backpropagation", "gru", "zyzzyva", "o'clock", "a",
         "floccinaucinihilipilification"]  # fmt: skip


@pytest.fixture
def g2p(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Their module; it looks for dictionaries that its network does not read."""
    nltk = pytest.importorskip("nltk")
    monkeypatch.setattr(nltk, "download", lambda *args, **more: True)
    module = pytest.importorskip("g2p_en.g2p")
    monkeypatch.setattr(module, "cmudict", SimpleNamespace(dict=dict))
    return module


def test_pronunciations_are_those_of_g2p_en(g2p: Any) -> None:
    theirs, ours = g2p.G2p(), page("g2p.md")
    expected = [theirs.predict(word) for word in WORDS]
    found = ours.phonemes(ours.model, WORDS)
    assert [[theirs.idx2p[id] for id in row] for row in found] == expected
    word = theirs.encode("activationist")
    weights = (theirs.enc_w_ih, theirs.enc_w_hh, theirs.enc_b_ih, theirs.enc_b_hh)
    memory = theirs.gru(word, word.shape[1], *weights)[0]
    source = np.array([ours.letters("activationist")]).T
    np.testing.assert_allclose(ours.model.encoder(source)[0].numpy()[:, 0], memory, atol=1e-5)


def test_g2p_en_runs_a_model_of_ours(
    g2p: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = page("g2p.md")
    ours.write(tmp_path / "same.npz", ours.model)
    with np.load(tmp_path / "same.npz") as same, np.load(ours.folder / "checkpoint20.npz") as first:
        assert {*same.files} == {*first.files} == {*ours.NAMES}
        for name in first.files:
            assert same[name].tobytes() == first[name].tobytes()
    other = ours.seq2seq()
    rng = np.random.default_rng(0)
    for p in other.parameters():
        p.data = rng.normal(size=p.shape, scale=0.3)
    ours.write(tmp_path / "checkpoint20.npz", other)
    monkeypatch.setattr(g2p, "dirname", str(tmp_path))
    monkeypatch.setattr(g2p, "construct_homograph_dictionary", dict)
    theirs = g2p.G2p()
    expected = [theirs.predict(word) for word in WORDS]
    found = [[theirs.idx2p[id] for id in row] for row in ours.phonemes(other, WORDS)]
    assert found == expected
    assert len({*map(str, found)}) > 4


def test_its_encoder_and_decoder_go_on_to_onnx(g2p: Any, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    ours, theirs = page("g2p.md"), g2p.G2p()
    source = np.array([ours.letters("recurrence")]).T
    paths = tmp_path / "encoder.onnx", tmp_path / "decoder.onnx"
    export_seq2seq(ours.model, *paths, source)
    encoder, decoder = (runtime.InferenceSession(str(path)) for path in paths)
    (state,), symbol, found = encoder.run(None, {"source": source}), 2, []
    for _ in range(20):
        logits, state = decoder.run(None, {"symbols": np.array([symbol]), "state_0": state})
        symbol = int(logits.argmax())
        if symbol == 3:
            break
        found.append(theirs.idx2p[symbol])
    assert found == theirs.predict("recurrence")


# ---------------------------------------------------------------- Silero VAD


@pytest.fixture(scope="module")
def silero() -> Any:
    pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    return pytest.importorskip("silero_vad")


def recording(frames: int = 20) -> Any:
    """A voice-like sound between two silences."""
    t = np.arange(frames * 512 + 100) / 16000
    pitch = 2 * np.pi * 140 * (t + 0.002 * np.sin(9 * t))
    voice = sum(np.sin(k * pitch) / k for k in range(1, 12)) * (1 + np.sin(25 * t))
    noise = np.random.default_rng(0).normal(size=len(t)) * 0.01
    return (0.1 * voice * ((t > 0.15) & (t < 0.5)) + noise).astype("float32")


def probabilities(wrapper: Any, audio: Any) -> Any:
    import torch

    padded = np.pad(audio, (0, -len(audio) % 512))
    frames = torch.from_numpy(padded.reshape(-1, 1, 512))
    wrapper.reset_states()
    return np.array([wrapper(frame, 16000).item() for frame in frames])


def test_speech_is_where_silero_finds_it(silero: Any) -> None:
    ours, audio = page("silero.md"), recording()
    found = ours.speech(ours.model, audio)
    assert found.max() > 0.5 > found.min()
    for theirs in (silero.load_silero_vad(), silero.load_silero_vad(onnx=True)):
        np.testing.assert_allclose(found, probabilities(theirs, audio), atol=1e-5)


def test_the_safetensors_of_silero_compute_what_pytorch_computes(silero: Any) -> None:
    import torch
    from safetensors.torch import load_file
    from torch.nn import functional as F

    ours, rng = page("silero.md"), np.random.default_rng(0)
    w = load_file(ours.data / "silero_vad_16k.safetensors")
    frames = torch.from_numpy(rng.normal(size=(3, 576), scale=0.1).astype("float32"))
    state = torch.from_numpy(rng.normal(size=(2, 3, 128), scale=0.1).astype("float32"))
    x = F.conv1d(F.pad(frames, (0, 64), "reflect")[:, None], w["stft_conv.weight"], stride=128)
    x = (x[:, :129] ** 2 + x[:, 129:] ** 2).sqrt()
    for i, stride in enumerate((1, 2, 2, 1), 1):
        x = F.relu(F.conv1d(x, w[f"conv{i}.weight"], w[f"conv{i}.bias"], stride, padding=1))
    cell = torch.nn.LSTMCell(128, 128)
    cell.load_state_dict({n[10:]: v for n, v in w.items() if n.startswith("lstm_cell.")})
    h, c = cell(x[..., 0], tuple(state))
    y = torch.sigmoid(F.conv1d(F.relu(h)[..., None], w["final_conv.weight"], w["final_conv.bias"]))
    found, last = ours.earlier(tg.tensor(frames.numpy()), tg.tensor(state.numpy()))
    np.testing.assert_allclose(found.numpy(), y[..., 0].detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(last.numpy(), torch.stack([h, c]).detach().numpy(), atol=1e-5)


def test_silero_runs_a_model_of_ours(silero: Any, tmp_path: Path) -> None:
    from silero_vad.utils_vad import OnnxWrapper

    ours, audio, rng = page("silero.md"), recording(), np.random.default_rng(0)
    for moved in (0.0, 0.02):
        for p in ours.model.parameters():
            p.data = p.numpy() + rng.normal(size=p.shape) * moved
        ours.export(ours.model, tmp_path / "own.onnx")
        theirs = probabilities(OnnxWrapper(str(tmp_path / "own.onnx")), audio)
        np.testing.assert_allclose(theirs, ours.speech(ours.model, audio), atol=1e-5)


FILES = ["silero_vad", "silero_vad_half", "silero_vad_16k_op15", "silero_vad_16k_sequence",
         "silero_vad_op18_ifless", "silero_vad_openvino_16k"]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_every_graph_that_silero_ships_is_imported(silero: Any, name: str) -> None:
    import onnxruntime

    path = Path(silero.__file__).parent / "data" / f"{name}.onnx"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    theirs, model = onnxruntime.InferenceSession(str(path), options), import_onnx(path)
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"input": (1, 576), "state": (2, 1, 128),
                                          "h": (1, 1, 128), "c": (1, 1, 128)}  # fmt: skip
    feeds = {i.name: rng.normal(size=shapes[i.name], scale=0.1).astype("float32")
             for i in theirs.get_inputs() if i.name != "sr"}  # fmt: skip
    if "sr" in model.inputs:
        feeds["sr"] = np.array(16000)
    for ours, expected in zip(model(**feeds), theirs.run(None, feeds), strict=True):
        np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_an_imported_graph_can_be_trained_on(silero: Any) -> None:
    model, x = page("silero.md").imported, recording(4)[None, :576]
    y, _ = model(x, np.zeros((2, 1, 128), "float32"), np.array(16000))
    y.sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.ndim > 1)
    assert tg.isfinite(next(iter(model.parameters())).grad).all()
