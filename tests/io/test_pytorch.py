"""Modules and optimizers go to PyTorch and back, with equal outputs and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.io import CheckpointError, from_torch, to_torch

torch: Any = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

COUNT = 100


def drawn(seed: int) -> tuple[Any, list[Any]]:
    """A module of PyTorch's, in float64, and its inputs."""
    rng = np.random.default_rng(seed)

    def below(n: int, least: int = 1) -> int:
        return int(rng.integers(least, n + 1))

    def reals(*shape: int) -> Any:
        return rng.normal(size=shape)

    kind = ["RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell", "Linear", "Embedding",
            "LayerNorm", "MultiheadAttention", "Sequential", "Conv1d"][seed % 12]  # fmt: skip
    t, b, i, h = below(4), below(3), below(4), below(4, 2)
    of = {"dtype": torch.float64}
    if kind in ("RNN", "GRU", "LSTM"):
        layers, both, first, bias = below(2), below(2) == 1, below(2) == 1, below(3) > 1
        more: dict[str, Any] = {}
        if kind == "RNN":
            more = {"nonlinearity": ["tanh", "relu"][below(2) - 1]}
        if kind == "LSTM" and below(2) == 1:
            more = {"proj_size": below(h - 1)}
        module = getattr(torch.nn, kind)(
            i, h, layers, bias=bias, batch_first=first, bidirectional=both, **more, **of
        )
        return module, [reals(*((b, t) if first else (t, b)), i)]
    if kind.endswith("Cell"):
        return getattr(torch.nn, kind)(i, h, bias=below(2) == 1, **of), [reals(b, i)]
    if kind == "Linear":
        return torch.nn.Linear(i, h, below(2) == 1, **of), [reals(t, b, i)]
    if kind == "Embedding":
        return torch.nn.Embedding(7, h, [None, 2, -1][below(3) - 1], **of), [
            rng.integers(0, 7, (t, b))
        ]
    if kind == "Conv1d":
        norm = torch.nn.BatchNorm1d(4, affine=below(2) == 1, **of)
        torch.nn.init.normal_(norm.running_mean)
        convolution = torch.nn.Conv1d(2, 4, below(3), padding=1, bias=below(2) == 1, groups=2, **of)
        return torch.nn.Sequential(convolution, norm, torch.nn.GELU()).eval(), [reals(b, 2, 5)]
    if kind == "LayerNorm":
        module = torch.nn.LayerNorm(h, eps=10.0 ** -below(6, 2), **of)
        torch.nn.init.normal_(module.weight)
        return module, [reals(t, b, h)]
    if kind == "MultiheadAttention":
        memory = below(5) if below(2) == 1 else 4
        module = torch.nn.MultiheadAttention(4, 2, kdim=memory, vdim=memory, **of)
        torch.nn.init.normal_(module.in_proj_bias)
        return module, [reals(t, b, 4), reals(below(4), b, memory)]
    parts = [torch.nn.Linear(i, h, **of), torch.nn.Tanh(), torch.nn.LayerNorm(h, **of),
             torch.nn.Dropout(0.5),
             torch.nn.Sequential(torch.nn.SiLU(), torch.nn.LSTM(h, 2, **of))]  # fmt: skip
    return torch.nn.Sequential(*parts).eval(), [reals(t, b, i)]


def leaves(value: Any) -> list[Any]:
    return [v for part in value for v in leaves(part)] if isinstance(value, tuple) else [value]


@pytest.mark.parametrize("seed", range(COUNT))
def test_outputs_and_gradients_are_equal_in_both_directions(seed: int) -> None:
    theirs, inputs = drawn(seed)
    ours = from_torch(theirs)
    back = to_torch(ours)
    assert str(back) == str(theirs)
    for name, p in theirs.state_dict().items():
        assert back.state_dict()[name].numpy().tobytes() == p.numpy().tobytes()
    attends = isinstance(theirs, torch.nn.MultiheadAttention)
    given = [torch.tensor(x) for x in inputs]
    xs = [tg.tensor(x) for x in inputs]
    expected = leaves(theirs(*given, given[1]) if attends else theirs(*given))
    results = leaves(ours(*xs))
    weights = [np.random.default_rng(9).normal(size=y.shape) for y in expected]
    for k, (y, result) in enumerate(zip(expected, results, strict=True)):
        found = result.numpy()
        np.testing.assert_allclose(
            found.swapaxes(0, 1) if attends and k else found,  # their weights have the batch first

            y.detach().numpy(), rtol=1e-9, atol=1e-12,
        )  # fmt: skip
    if attends:
        expected, results, weights = expected[:1], results[:1], weights[:1]
    sum((y * torch.tensor(w)).sum() for y, w in zip(expected, weights, strict=True)).backward()
    total: Any = sum((y * w).sum() for y, w in zip(results, weights, strict=True))
    total.backward()
    gradients = {n: p.grad for n, p in ours.named_parameters()}
    renamed = to_gradients(gradients) if attends else gradients
    for name, p in theirs.named_parameters():
        np.testing.assert_allclose(
            np.asarray(renamed[name]), p.grad.numpy(), rtol=1e-7, atol=1e-10, err_msg=name
        )


def to_gradients(gradients: Any) -> dict[str, Any]:
    """Gradients of an attention under PyTorch's names."""
    named = {n: g.numpy() for n, g in gradients.items()}
    parts = ("query", "key", "value")
    maps = [named[f"{n}.weight"] for n in parts]
    found = {f"{n}_proj_weight": g for n, g in zip("qkv", maps, strict=True)}
    if len({g.shape for g in maps}) == 1:
        found["in_proj_weight"] = np.concatenate(maps)
    found["in_proj_bias"] = np.concatenate([named[f"{n}.bias"] for n in parts])
    return {**found, "out_proj.weight": named["out.weight"], "out_proj.bias": named["out.bias"]}


def test_modes_frozen_parameters_and_dtypes() -> None:
    theirs = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.GRU(3, 4).half()).eval()
    theirs[0].bias.requires_grad_(False)
    ours = from_torch(theirs)
    assert not ours.training
    assert not ours[0].bias.requires_grad
    assert ours[0].weight.requires_grad
    assert ours[1].weight_ih_l0.dtype == np.float16
    back = to_torch(ours)
    assert not back.training
    assert not back[0].bias.requires_grad
    assert back[1].weight_ih_l0.dtype == torch.float16


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.LSTM(2, 3, peephole=True, zoneout=0.1, merge="sum", layer_norm=True),
         r"LSTM: PyTorch has no zoneout=0\.1, layer_norm=True, peephole=True, merge='sum'"),
        (nn.GRU(2, 3), r"GRU: PyTorch has no reset_after=False"),
        (nn.GRU(2, 3, reset_after=True, activation="relu"), "activation='relu'"),
        (nn.LSTM(2, 3, reverse=True), "reverse=True"),
        (nn.RNN(2, 3, nonlinearity="sigmoid"), "nonlinearity='sigmoid'"),
        (nn.LSTMCell(2, 3, proj_size=2), "proj_size=2"),
        (nn.Embedding(3, 2, dropout=0.1), "dropout=0.1"),
        (nn.Dropout(0.1, shared_axis=0), "shared_axis=0"),
        (nn.MultiHeadAttention(4, 3, hidden_size=8), "hidden_size=8"),
        (nn.Sequential(nn.Linear(2, 2), nn.MGUCell(2, 3)), r"\[1\] is a MGUCell, which is not"),
        (nn.Sequential(tg.erf), r"\[0\] is .*erf.*, which is not converted"),
    ],
)  # fmt: skip
def test_options_that_pytorch_lacks_are_named(module: Any, words: str) -> None:
    with pytest.raises(tg.TinygradRnnError, match=rf"to_torch: .*{words}"):
        to_torch(module)


class Own(torch.nn.Module):  # type: ignore[misc, name-defined]
    pass


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (torch.nn.Conv3d(2, 3, 3), r"source is a .*Conv3d, which is not converted"),
        (torch.nn.Linear(2, 3, device="meta"), r"\[3, 2\] has no elements"),
        (torch.optim.SGD([torch.zeros(1)]), r"optimizer\.load_state_dict"),
        (torch.nn.Sequential(Own()), r"\[0\] is a .*Own.*load_state_dict"),
        (torch.nn.Embedding(3, 2, max_norm=1.0, sparse=True), "max_norm=1.0, sparse=True"),
        (torch.nn.LayerNorm((2, 3)), r"normalized_shape=\(2, 3\)"),
        (torch.nn.LayerNorm(3, bias=False), "bias=False"),
        (torch.nn.MultiheadAttention(4, 2, batch_first=True), "batch_first=True"),
        (torch.nn.MultiheadAttention(4, 2, add_zero_attn=True), "add_zero_attn=True"),
    ],
)
def test_options_that_we_lack_are_named(module: Any, words: str) -> None:
    with pytest.raises(tg.TinygradRnnError, match=rf"from_torch: .*{words}"):
        from_torch(module)


@pytest.mark.parametrize("seed", range(20))
def test_shared_modules_and_tied_parameters_stay_so(seed: int) -> None:
    """An update changes the same numbers on both sides."""
    rng = np.random.default_rng(seed)
    of = {"dtype": torch.float64}
    h = int(rng.integers(2, 5))
    table, shared = torch.nn.Embedding(5, h, **of), torch.nn.Linear(h, h, **of)
    stack = torch.nn.LSTM(h, h, 2, **of)
    if seed % 2:
        stack.weight_hh_l1 = stack.weight_hh_l0
    inner = torch.nn.Sequential(torch.nn.Tanh(), shared)
    if seed % 3:
        inner.append(torch.nn.Linear(h, h, **of))
        inner[-1].bias = shared.bias
    last = torch.nn.Linear(h, 5, bias=False, **of)
    last.weight = table.weight
    theirs = torch.nn.Sequential(table, shared, inner, shared, last)
    ids = rng.integers(0, 5, (3, 2))
    ours = from_torch(theirs)
    again = to_torch(ours)
    assert ours[1] is ours[3]
    assert ours[0].weight is ours[4].weight
    assert again[1] is again[3]
    assert again[0].weight is again[4].weight
    optimizer = tg.optim.SGD(ours.parameters(), lr=0.1)
    ours(ids).square().sum().backward()
    optimizer.step()
    for module in (theirs, again):
        step = torch.optim.SGD(module.parameters(), lr=0.1)
        module(torch.tensor(ids)).square().sum().backward()
        step.step()
        for name, value in module.state_dict().items():
            np.testing.assert_allclose(ours.state_dict()[name].numpy(), value, atol=1e-9)
    layers = from_torch(torch.nn.ModuleDict({"0": stack, "b": stack}))
    assert layers["0"] is layers["b"]
    assert layers["0"].weight_hh_l1 is layers["0"].weight_hh_l0 or not seed % 2
    back = to_torch(layers)
    assert back["0"] is back["b"]
    assert len(list(back.parameters())) == 8 - seed % 2


def test_images_and_flattening_are_converted() -> None:
    theirs = torch.nn.Sequential(torch.nn.Conv2d(1, 2, (2, 3), stride=2), torch.nn.Flatten(1, 2))
    x = np.random.default_rng(0).normal(size=(3, 1, 6, 7)).astype("float32")
    expected = theirs(torch.tensor(x)).detach().numpy()
    ours = from_torch(theirs)
    np.testing.assert_allclose(ours(x).numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(
        to_torch(ours)(torch.tensor(x)).detach().numpy(), expected, atol=1e-6
    )


def test_what_is_no_module_is_refused() -> None:
    for convert in (from_torch, to_torch):
        with pytest.raises(tg.InvalidTypeError, match="source: expected a module"):
            convert(3)


OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.9, "momentum": 0.5}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.99), "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.1}),
]


@pytest.mark.parametrize(("kind", "options"), OPTIMIZERS)
def test_training_goes_on_in_the_other_library(kind: str, options: dict[str, Any]) -> None:
    theirs = torch.nn.Linear(3, 2, dtype=torch.float64)
    ours = from_torch(theirs)
    own = getattr(tg.optim, kind)(ours.parameters(), **options)
    other = getattr(torch.optim, kind)(theirs.parameters(), **options)
    x = np.random.default_rng(0).normal(size=(4, 3))

    def step(ours: Any, own: Any, theirs: Any, other: Any) -> None:
        own.zero_grad()
        (ours(tg.tensor(x)) ** 2).sum().backward()
        own.step()
        other.zero_grad()
        (theirs(torch.tensor(x)) ** 2).sum().backward()
        other.step()

    def agree(ours: Any, theirs: Any) -> None:
        for name, p in ours.state_dict().items():
            np.testing.assert_allclose(p.numpy(), theirs.state_dict()[name].numpy(), rtol=1e-6)

    for _ in range(3):
        step(ours, own, theirs, other)
    agree(ours, theirs)
    new_theirs, new_ours = to_torch(ours), from_torch(theirs)
    new_other = getattr(torch.optim, kind)(new_theirs.parameters())
    new_other.load_state_dict(to_torch(own))
    new_own = getattr(tg.optim, kind)(new_ours.parameters())
    new_own.load_state_dict(from_torch(other.state_dict()))
    for _ in range(3):
        step(ours, own, theirs, other)
        step(new_ours, new_own, new_theirs, new_other)
    for module in (new_ours, ours):
        agree(module, theirs)
        agree(module, new_theirs)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(CheckpointError, match=r"to_torch needs the package torch.*pip install"):
        to_torch(nn.Linear(2, 3))


def test_trees_of_tensors_are_converted_and_the_rest_stays() -> None:
    ours = tg.ones((2,))
    found = from_torch({"ours": ours, "rows": ([torch.ones(1), 2], "word", None)})
    assert found["ours"] is ours
    assert isinstance(found["rows"][0][0], tg.Tensor)
    assert (found["rows"][0][1], found["rows"][1:]) == (2, ("word", None))
    back = to_torch(found)
    assert isinstance(back["ours"], torch.Tensor)
    assert isinstance(back["rows"][0][0], torch.Tensor)
