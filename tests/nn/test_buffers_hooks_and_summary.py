"""Buffers, hooks of calls, partial state dicts, summaries and what notebooks show."""

from __future__ import annotations

import copy
import pickle
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn


class Centre(nn.Module):
    """Subtracts a running mean."""

    def __init__(self) -> None:
        self.weight = nn.Parameter(tg.ones((3,)))
        self.register_buffer("mean", tg.zeros((3,)))
        self.register_buffer("steps", np.zeros((), "int64"))
        self.register_buffer("scratch", tg.ones((2,)), persistent=False)

    mean: tg.Tensor
    steps: tg.Tensor
    scratch: tg.Tensor

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        self.mean = 0.5 * self.mean + 0.5 * x.detach().mean(axis=0)
        self.steps = self.steps + 1
        return (x - self.mean) * self.weight


class Model(nn.Module):
    def __init__(self) -> None:
        self.centre = Centre()
        self.out = nn.Linear(3, 2, generator=tg.Generator(0))

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        return self.out(self.centre(x))


@pytest.mark.quick
def test_buffers_are_saved_loaded_moved_and_not_learned() -> None:
    model, other = Model(), Model()
    model(tg.ones((4, 3)))
    state = model.state_dict()
    assert list(state) == ["centre.weight", "centre.mean", "centre.steps", "out.weight", "out.bias"]
    assert [name for name, _ in model.named_buffers()] == [
        "centre.mean", "centre.steps", "centre.scratch",
    ]  # fmt: skip
    assert "centre.mean" not in dict(model.named_parameters())
    other.load_state_dict(state)
    assert other.centre.mean.tolist() == [0.5, 0.5, 0.5]
    assert other.centre.steps.item() == 1
    model.to("float64")
    assert model.centre.mean.dtype == "float64"
    assert model.centre.steps.dtype == "int64"
    assert model.centre.mean.tolist() == [0.5, 0.5, 0.5]
    for again in (copy.deepcopy(other), pickle.loads(pickle.dumps(other))):
        again(tg.ones((4, 3)))
        assert again.centre.steps.item() == 2
        assert other.centre.steps.item() == 1


def test_buffers_that_cannot_be_are_refused() -> None:
    module = Centre()
    for name, tensor, said in [
        ("forward", tg.ones((1,)), "has an attribute 'forward' already"),
        ("weight", tg.ones((1,)), "has an attribute 'weight' already"),
        ("a.b", tg.ones((1,)), "expected that of an attribute"),
        ("more", tg.ones((1,), requires_grad=True), "requires grad"),
        ("more", "text", "numbers"),
    ]:
        with pytest.raises(tg.TinygradRnnError, match=said):
            module.register_buffer(name, tensor)
    module.mean = None  # type: ignore[assignment]
    with pytest.raises(TypeError, match="the buffer 'mean': expected a Tensor, got NoneType"):
        module.state_dict()


def test_a_state_dict_that_fits_in_part_is_loaded_in_part_and_reported() -> None:
    model = Model()
    state = {"out.weight": np.ones((2, 3), "float32"), "head.weight": np.ones(4)}
    with pytest.raises(nn.StateDictError, match=r"missing 'centre.weight'.*unexpected 'head"):
        model.load_state_dict(state)
    report = model.load_state_dict(state, strict=False)
    assert report.missing_keys == ["centre.weight", "centre.mean", "centre.steps", "out.bias"]
    assert report.unexpected_keys == ["head.weight"]
    assert model.out.weight.tolist() == [[1.0] * 3] * 2
    assert model.load_state_dict(model.state_dict()) == ([], [])
    before = model.state_dict()
    with pytest.raises(nn.StateDictError, match="expected shape"):
        model.load_state_dict({"out.weight": np.zeros((3, 3)), "out.bias": [0, 0]}, strict=False)
    np.testing.assert_array_equal(model.out.bias.numpy(), before["out.bias"].numpy())  # type: ignore[union-attr]


def test_integers_are_not_loaded_from_reals() -> None:
    with pytest.raises(nn.StateDictError, match=r"'steps'.*int64"):
        Centre().load_state_dict({**Centre().state_dict(), "steps": np.array(1.5)})


def test_modules_and_children() -> None:
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, nn.Sequential(nn.Tanh(), shared), shared)
    assert [name for name, _ in model.named_children()] == ["0", "1"]
    assert list(model.children()) == [shared, model[1]]
    assert [type(m).__name__ for m in model.modules()] == [
        "Sequential", "Linear", "Sequential", "Tanh",
    ]  # fmt: skip
    assert [name for name, _ in model.named_modules("m")] == ["m", "m.0", "m.1", "m.1.0"]


# ---------------------------------------------------------------- hooks


def test_hooks_see_and_replace_arguments_and_outputs_until_they_are_removed() -> None:
    layer, seen = nn.Linear(3, 2), list[Any]()

    def after(module: Any, args: Any, y: tg.Tensor) -> None:
        seen.append((module, args[0].shape, y.shape))

    handles = [
        layer.register_forward_hook(after),
        layer.register_forward_hook(lambda m, a, y: 2 * y),
        layer.register_forward_pre_hook(lambda m, a: a[0] * 0 + 1),
    ]
    x = tg.randn(4, 3, generator=tg.Generator(0))
    expected = 2 * (tg.ones((4, 3)) @ layer.weight.mT + layer.bias)  # type: ignore[operator]
    np.testing.assert_allclose(layer(x).numpy(), expected.detach().numpy(), rtol=1e-6)
    assert seen == [(layer, (4, 3), (4, 2))]
    for handle in handles:
        handle.remove()
        handle()
    plain = tg.linear(x, layer.weight, layer.bias)
    np.testing.assert_array_equal(layer(x).detach().numpy(), plain.detach().numpy())
    assert len(seen) == 1
    with pytest.raises(TypeError, match="register_forward_hook: hook: expected a function"):
        layer.register_forward_hook(None)  # type: ignore[arg-type]


@given(st.lists(st.integers(0, 2), max_size=6), st.randoms())
def test_a_handle_removes_its_own_registration(functions: list[int], random: Random) -> None:
    layer, seen = nn.Identity(), list[int]()
    hooks = [lambda *_, i=i: seen.append(i) for i in range(3)]
    expected = [(layer.register_forward_hook(hooks[i]), i) for i in functions]
    with layer.register_forward_hook(lambda *_: seen.append(9)):
        layer(1.0)
        assert seen == [*functions, 9]
    while expected:
        handle, _ = expected.pop(random.randrange(len(expected)))
        handle.remove(), handle.remove()
        seen.clear()
        layer(1.0)
        assert seen == [i for _, i in expected]


def test_errors_of_a_hook_are_the_users() -> None:
    layer = nn.Linear(3, 2)

    def hook(*_: Any) -> None:
        raise KeyError("mine")

    layer.register_forward_hook(hook)
    with pytest.raises(KeyError, match=r"^'mine'$"):
        layer(tg.zeros((1, 3)))


def test_a_copy_has_hooks_of_its_own() -> None:
    layer, seen = nn.Linear(3, 2), list[int]()
    remove = layer.register_forward_hook(lambda m, a, y: seen.append(1))
    other = copy.deepcopy(layer)
    remove()
    layer(tg.zeros((1, 3)))
    assert seen == []
    other(tg.zeros((1, 3)))
    assert seen == [1]


# ---------------------------------------------------------------- summaries and notebooks


def test_a_summary_has_shapes_parameters_and_shares() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 4))
    model[2].requires_grad_(False)
    table = nn.summary(model, tg.zeros((2, 4)))
    assert str(table).splitlines() == [
        "layer        output  parameters  share",
        "--------------------------------------",
        "Sequential   (2, 4)           0   0.0%",
        "0 (Linear)   (2, 8)          40  52.6%",
        "1 (Dropout)  (2, 8)           0   0.0%",
        "2 (Linear)   (2, 4)          36  47.4%",
        "--------------------------------------",
        "76 parameters, 36 of them frozen, 304 B",
    ]
    assert model.training
    assert model[1].training
    assert "<td>0 (Linear)</td>" in table._repr_html_()
    assert not any(m._hooks and m._hooks.after for m in model.modules())


class Tied(nn.Module):
    """A recurrent model whose output layer shares the embedding's weight."""

    def __init__(self) -> None:
        self.embedding = nn.Embedding(10, 4)
        self.rnn = nn.LSTM(4, 4, batch_first=True)
        self.out = nn.Linear(4, 10, bias=False)
        self.out.weight = self.embedding.weight
        self.unused = nn.Linear(2, 2)

    def forward(self, ids: Any, lengths: Any = None) -> tg.Tensor:
        y, _ = self.rnn(self.embedding(ids), lengths=lengths)
        return self.out(y)


def test_a_summary_counts_a_shared_weight_once_and_shows_tuples() -> None:
    model = Tied()
    table = nn.summary(model, np.zeros((2, 5), int), lengths=[5, 3])
    rows = {row.name: row for row in table.rows}
    assert rows["embedding"].parameters == 40
    assert rows["out"].parameters == 0
    assert rows["unused"].output == "-"
    assert rows["rnn"].output == "(2, 5, 4), (1, 2, 4), (1, 2, 4)"
    assert sum(row.parameters for row in table.rows) == table.parameters
    assert {row.output for row in nn.summary(model).rows} == {"-"}


def test_a_summary_that_fails_leaves_the_model_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(4, 8))
    with pytest.raises(tg.ShapeError):
        nn.summary(model, tg.zeros((2, 5)))
    assert model.training
    assert not any(m._hooks and m._hooks.after for m in model.modules())
    with pytest.raises(TypeError, match="summary: model: expected a Module, got the class Linear"):
        nn.summary(nn.Linear, tg.zeros((2, 5)))  # type: ignore[arg-type]


def test_notebooks_show_tensors_as_tables() -> None:
    html = tg.tensor([[0.5, 2.0], [3.0, 4.0]], requires_grad=True)._repr_html_()
    assert "<td>0.5</td><td>2</td>" in html
    assert "<caption>Tensor (2, 2), float32, requires_grad</caption>" in html
    long = tg.arange(10_000).reshape(100, 100)._repr_html_()
    assert long.count("<tr>") == 11
    assert "<td>9999</td>" in long
    assert "…" in long
    assert "⋮" in long
    assert tg.zeros((2, 2, 2))._repr_html_().startswith("<pre>tensor(")
    assert tg.tensor(1.0)._repr_html_() == "<pre>tensor(1.)</pre>"
    assert tg.zeros((0, 2))._repr_html_().startswith("<pre>")
