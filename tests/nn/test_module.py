"""Modules: finding, saving, loading, moving parameters."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


# ---------------------------------------------------------------- what it holds


class Tree(tg.nn.Module):
    """Members of any form, as they were drawn."""

    def __init__(self, **members: Any) -> None:
        vars(self).update(members)


LEAVES = st.builds(lambda: tg.nn.Linear(1, 1)) | st.builds(lambda: tg.nn.Parameter(tg.ones((1,))))
FORMS = st.recursive(
    LEAVES | st.integers() | st.builds(lambda: tg.ones((2,))),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.lists(inner, max_size=3).map(deque)
        | st.dictionaries(st.sampled_from("ab") | st.integers(0, 1), inner, max_size=2)
        | st.dictionaries(st.sampled_from("ab"), inner, max_size=2).map(lambda d: Tree(**d))
        | st.lists(LEAVES.filter(callable), max_size=3).map(tg.nn.ModuleList)
        | st.lists(LEAVES.filter(callable), max_size=3).map(lambda m: Chain(*m))
    ),
    max_leaves=8,
)


class Chain(tg.nn.Sequential):
    """A chain that has a layer of its own, too."""

    def __init__(self, *modules: Any) -> None:
        super().__init__(*modules)
        self.head = tg.nn.Linear(1, 1)


def leaves(value: Any) -> list[tg.nn.Parameter]:
    """All parameters within a drawn form, found by what it is made of."""
    if isinstance(value, tg.nn.Parameter):
        return [value]
    if isinstance(value, Chain):
        return [p for m in (*value, value.head) for p in leaves(m)]
    if isinstance(value, tg.nn.ModuleList):
        return [p for m in value for p in leaves(m)]
    if isinstance(value, tg.nn.Module):
        return leaves(vars(value))
    if isinstance(value, dict):
        return leaves(list(value.values()))
    return [p for v in value for p in leaves(v)] if isinstance(value, (list, tuple, deque)) else []


@given(st.dictionaries(st.sampled_from("xyz"), FORMS, max_size=3))
def test_every_parameter_is_found_saved_moved_frozen_and_copied(members: dict[str, Any]) -> None:
    tree = Tree(**members)
    tree.itself, tree.again = tree, members.get("x")
    expected = {id(p) for p in leaves(members)}
    found = list(tree.parameters())
    assert {id(p) for p in found} == expected
    assert len(found) == len(expected)
    assert {id(p) for _, p in tree.named_parameters()} == expected
    state = tree.state_dict()
    assert {id(v.data) for v in state.values()} == {id(p.data) for p in found}
    tree.load_state_dict({name: np.full(v.shape, i) for i, (name, v) in enumerate(state.items())
                          if not name.startswith("again")})  # fmt: skip
    assert all(v.numpy().ravel()[0] == list(state).index(n)
               for n, v in tree.state_dict().items() if not n.startswith("again"))  # fmt: skip
    copies = [deepcopy(tree), pickle.loads(pickle.dumps(tree))]
    for copied in copies:
        assert [n for n, _ in copied.named_parameters()] == [n for n, _ in tree.named_parameters()]
        for (name, p), q in zip(tree.named_parameters(), copied.parameters(), strict=True):
            assert type(q) is tg.nn.Parameter, name
            assert p is not q
            np.testing.assert_array_equal(p.numpy(), q.numpy(), strict=True)
    assert all(not m.training for _, m in tree.eval().named_modules())
    assert {p.dtype.name for p in tree.to("float64").parameters()} <= {"float64"}
    assert not any(p.requires_grad for p in tree.requires_grad_(False).parameters())


def test_what_would_be_left_out_in_silence_is_refused() -> None:
    class Shared(tg.nn.Module):
        layer = tg.nn.Linear(1, 1)

    wrong = {
        "'w' is a Tensor that requires grad": Tree(w=tg.ones((2,), requires_grad=True)),
        "'a.0' is a Tensor that requires grad": Tree(a=[tg.ones((2,), requires_grad=True)]),
        "'s' is a set of modules": Tree(s={tg.nn.Linear(1, 1)}),
        "Shared: 'layer' is an attribute of the class": Shared(),
    }
    for words, model in wrong.items():
        with pytest.raises(tg.InvalidTypeError, match=words):
            list(tg.nn.Sequential(model).parameters() if "Shared" in words else model.parameters())
    computed = Tree(state=tg.ones((2,), requires_grad=True) * 2, words={"a", "b"})
    assert list(computed.parameters()) == []
    with pytest.raises(
        tg.nn.StateDictError, match=r"two parameters have the name 'heads.a.b.weight'"
    ):
        Tree(heads={"a.b": tg.nn.Linear(1, 1), "a": {"b": tg.nn.Linear(1, 1)}}).state_dict()


def test_modules_that_hold_each_other_are_walked_once() -> None:
    parent, child = Tree(w=tg.nn.Parameter(tg.ones((1,)))), tg.nn.Linear(1, 1)
    parent.child, child.parent = child, parent
    parent.loop = loop = [child]
    loop.append(loop)
    assert list(parent.state_dict()) == ["w", "child.weight", "child.bias",
                                         "loop.0.weight", "loop.0.bias"]  # fmt: skip
    assert [n for n, _ in child.named_parameters()] == ["weight", "bias", "parent.w"]
    visits: list[str] = []
    parent.apply(lambda module: visits.append(type(module).__name__))
    assert visits == ["Tree", "Linear"]
    assert repr(parent).splitlines()[1:3] == ["  child: Linear(1, 1)", "    parent: ..."]
    copied = deepcopy(parent)
    assert copied.child.parent is copied
    assert copied.loop[0] is copied.child


def test_nesting_may_be_deeper_than_pythons_stack() -> None:
    model: Any = tg.nn.Linear(1, 1)
    for _ in range(2000):
        model = tg.nn.Sequential(model)
    copied = deepcopy(model.to("float64").eval())
    ((name, value),) = list(copied.state_dict().items())[:1]
    assert name == "0." * 2000 + "weight"
    assert value.numpy() == next(model.parameters()).numpy()
    model.load_state_dict(copied.state_dict())


def test_deleted_and_reassigned_members_are_as_they_are_now() -> None:
    model = Model()
    model.scale = tg.nn.Parameter(tg.zeros((4,)))
    del model.embed
    model.layers.append(tg.nn.Linear(3, 1))
    names = dict(model.named_parameters())
    assert names["scale"].shape == (4,)
    assert "heads.a.weight" in names
    assert "layers.2.bias" in names
    assert not any(name.startswith("embed") for name in names)


# ---------------------------------------------------------------- state dicts


def tied() -> tg.nn.Sequential:
    model = tg.nn.Sequential(tg.nn.Embedding(5, 3), tg.nn.Linear(3, 5))
    model[1].weight = model[0].weight
    return model


@pytest.mark.parametrize("kept", ["0.weight", "1.weight"])
def test_of_a_tied_parameter_one_name_is_enough(kept: str) -> None:
    model = tied()
    table = np.arange(15, dtype="float32").reshape(5, 3)
    model.load_state_dict({kept: table, "1.bias": np.zeros(5, "float32")})
    np.testing.assert_array_equal(model[0].weight.numpy(), table)
    assert model[1].weight is model[0].weight


def test_a_tied_parameter_is_still_missed_and_its_names_may_not_differ() -> None:
    bias = np.zeros(5, "float32")
    with pytest.raises(tg.nn.StateDictError, match=r"missing '0.weight' .*or '1.weight', which"):
        tied().load_state_dict({"1.bias": bias})
    both = {"0.weight": np.zeros((5, 3)), "1.weight": np.ones((5, 3)), "1.bias": bias}
    with pytest.raises(tg.nn.StateDictError, match=r"'0.weight' and '1.weight' are one parameter"):
        tied().load_state_dict(both)
    tied().load_state_dict({**both, "1.weight": np.zeros((5, 3), "float32")})
    untied = tg.nn.Sequential(tg.nn.Embedding(5, 3), tg.nn.Linear(3, 5))
    with pytest.raises(tg.nn.StateDictError, match=r"missing '1.weight'"):
        untied.load_state_dict({"0.weight": np.zeros((5, 3)), "1.bias": bias})


LAYOUTS: list[Callable[[Any], Any]] = [
    lambda a: a.tolist(),
    lambda a: a.astype(">f8"),
    lambda a: np.asfortranarray(a),
    lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    lambda a: a[::-1][::-1].astype("float16").astype("float64"),
    lambda a: tg.tensor(a, requires_grad=True),
    lambda a: a.astype("int8"),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_are_taken_whatever_their_memory(layout: Any, dtype: str) -> None:
    model = tg.nn.Linear(3, 2, bias=False, dtype=dtype)
    value = np.array([[1, -2, 3], [4, 5, 6.0]])
    model.load_state_dict({"weight": layout(value)})
    np.testing.assert_array_equal(model.weight.numpy(), value.astype(dtype), strict=True)
    assert model.weight.data.flags.c_contiguous
    assert model.weight.dtype.isnative
    model.load_state_dict({"weight": [[np.nan, np.inf, 0.1]] * 2})
    np.testing.assert_array_equal(model.weight.numpy()[0], np.array([np.nan, np.inf, 0.1], dtype))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.ones((2, 3), bool), "'weight': expected real numbers, got bool"),
        (np.ones((2, 3), "c8"), "'weight': expected real numbers, got complex64"),
        ([[True] * 3] * 2, "'weight': expected real numbers, got bool"),
        ([["a", "b", "c"]] * 2, "'weight': "),
        ([[1, 2, 3], [4]], "'weight': "),
        (None, "'weight': expected an array or a Tensor, got NoneType"),
        ({"weight": np.ones((2, 3))}, "'weight': expected an array or a Tensor, got dict"),
        (np.ones((3, 2)), r"'weight': expected shape \[2, 3\], got \[3, 2\]"),
        (1.0, r"'weight': expected shape \[2, 3\], got \[\]"),
    ],
)
def test_values_that_fit_no_parameter_are_named_and_nothing_changes(value: Any, words: str) -> None:
    model = tg.nn.Linear(3, 2, generator=tg.Generator(0))
    before = model.bias.numpy().copy()
    with pytest.raises(tg.nn.StateDictError, match=words):
        model.load_state_dict({"bias": np.ones(2), "weight": value})
    np.testing.assert_array_equal(model.bias.numpy(), before)


def test_what_is_no_state_dict_is_told_what_to_hand_over() -> None:
    model = tg.nn.Linear(3, 2)
    for wrong in (model, "model.safetensors", [np.ones((2, 3))], None):
        with pytest.raises(tg.InvalidTypeError, match=r"model.state_dict\(\), or tg.load"):
            model.load_state_dict(wrong)  # type: ignore[arg-type]
    with pytest.raises(tg.nn.StateDictError, match="unexpected 0"):
        model.load_state_dict({**model.state_dict(), 0: np.ones(1)})  # type: ignore[dict-item]


@pytest.mark.parametrize("target", ["int64", "bool", "complex64", "gpu", None, 3])
def test_moves_to_what_cannot_be_learned_are_refused(target: Any) -> None:
    model = tg.nn.Linear(3, 2)
    with pytest.raises(tg.TinygradRnnError):
        model.to(target)
    assert model.weight.dtype == "float32"
    assert model.weight.requires_grad
    with pytest.raises(tg.InvalidTypeError, match="mode: expected True or False, got 'no'"):
        model.train("no")  # type: ignore[arg-type]


def test_hooks_of_parameters_stay_through_whatever_happens_to_them() -> None:
    model, seen = tg.nn.Linear(1, 1, bias=False), list[str]()
    model.weight.register_hook(lambda g: seen.append(g.dtype.name))
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)

    def train(dtype: str) -> None:
        model(tg.ones((1, 1), dtype=dtype)).sum().backward()
        optimizer.step()

    train("float32")
    model.load_state_dict({"weight": [[2.0]]})
    train("float32")
    model.to("float64")
    train("float64")
    assert seen == ["float32", "float32", "float64"]
