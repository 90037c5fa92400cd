"""Modules: finding, saving, loading, moving parameters."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg


class Model(tg.nn.Module):
    def __init__(self) -> None:
        self.embed = tg.nn.Embedding(7, 3)
        self.layers = [tg.nn.Linear(3, 3), tg.nn.Dropout(0.5)]
        self.heads = {"a": tg.nn.Linear(3, 7), "b": tg.nn.LayerNorm(3)}
        self.scale = tg.nn.Parameter(tg.ones((1,)))
        self.constant = tg.ones((3,))
        self.heads["a"].weight = self.embed.weight  # tied

    def forward(self, ids: object) -> tg.Tensor:
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return self.heads["a"](self.heads["b"](x) * self.scale)


def test_parameters_are_found_wherever_they_are_each_once() -> None:
    assert [name for name, _ in Model().named_parameters()] == [
        "scale",
        "embed.weight",
        "layers.0.weight",
        "layers.0.bias",
        "heads.a.bias",
        "heads.b.weight",
        "heads.b.bias",
    ]


def test_a_state_dict_goes_round_and_holds_tied_names_twice() -> None:
    a, b = Model(), Model()
    assert "heads.a.weight" in a.state_dict()
    b.load_state_dict(a.state_dict())
    ids = [[1, 2]]
    a.eval(), b.eval()
    np.testing.assert_array_equal(a(ids).numpy(), b(ids).numpy())
    a.scale.data += 1.0
    assert b.scale.item() == 1.0


def test_a_state_dict_that_does_not_fit_names_everything_and_changes_nothing() -> None:
    model = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Linear(3, 1))
    before = model.state_dict()["0.bias"].tolist()
    with pytest.raises(tg.nn.StateDictError) as caught:
        model.load_state_dict(
            {"0.weight": np.zeros((2, 3)), "0.bias": np.ones(3), "x.y": np.ones(1)}
        )
    for words in (
        "missing '1.weight' [1, 3]",
        "missing '1.bias' [1]",
        "unexpected 'x.y'",
        "'0.weight': expected shape [3, 2], got [2, 3]",
    ):
        assert words in str(caught.value)
    assert model.state_dict()["0.bias"].tolist() == before


def test_modes_moves_and_visits_reach_every_module() -> None:
    model = Model()
    assert model.training
    assert model.layers[1].training
    assert not model.eval().layers[1].training
    assert {p.dtype.name for p in model.to("float64").parameters()} == {"float64"}
    assert model.heads["a"].weight is model.embed.weight
    seen: list[str] = []
    model.apply(lambda module: seen.append(type(module).__name__))
    assert sorted(seen) == ["Dropout", "Embedding", "LayerNorm", "Linear", "Linear", "Model"]
    model.requires_grad_(False)
    assert not model([[1]]).requires_grad


def test_zero_grad_forgets() -> None:
    model = tg.nn.Linear(2, 1)
    model(tg.ones((1, 2))).sum().backward()
    assert model.weight.grad is not None
    model.zero_grad()
    assert model.weight.grad is None


def test_operations_on_parameters_give_plain_tensors() -> None:
    p = tg.nn.Parameter(tg.ones((2,)))
    assert type(p * 2) is tg.Tensor
    assert type(tg.tanh(p)) is tg.Tensor
    assert type(p.detach()) is tg.Tensor


def test_lists_and_chains_of_modules() -> None:
    layers = tg.nn.ModuleList([tg.nn.Linear(2, 2)])
    layers.append(tg.nn.Linear(2, 2))
    assert len(list(layers)) == len(layers) == 2
    assert [n for n, _ in layers.named_parameters()][-1] == "1.bias"
    chain = tg.nn.Sequential(*layers, tg.tanh)
    assert chain(tg.zeros((1, 2))).shape == (1, 2)
    assert repr(chain).splitlines()[1] == "  0: Linear(2, 2, bias=True)"
    with pytest.raises(TypeError, match="Module defines no forward"):
        tg.nn.Module()()
