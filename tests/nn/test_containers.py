"""Modules by position: a list of them does what lists do, and a chain is one, too."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg


class Net(tg.nn.Sequential):
    """A chain with a head of its own."""

    def __init__(self) -> None:
        super().__init__(tg.nn.Linear(2, 3), tg.tanh)
        self.head = tg.nn.Linear(3, 1)
        self.scale = tg.nn.Parameter(tg.ones((1,)))
        self.drop = tg.nn.Dropout(0.5)

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        y: tg.Tensor = self.drop(self.head(super().forward(x)) * self.scale)
        return y


def test_a_subclass_has_the_layers_of_its_own_as_well() -> None:
    net = Net()
    names = ["scale", "0.weight", "0.bias", "head.weight", "head.bias"]
    assert [name for name, _ in net.named_parameters()] == names
    assert list(net.state_dict()) == names
    assert [n for n, _ in net.named_modules()] == ["", "0", "head", "drop"]
    assert not net.eval().drop.training
    assert repr(net).splitlines()[2] == "  head: Linear(3, 1)"


def test_an_optimizer_trains_its_head() -> None:
    net = Net().eval()
    optimizer = tg.optim.SGD(net.parameters(), lr=0.1)
    before = net.head.bias.numpy().copy()
    net(tg.ones((4, 2))).sum().backward()
    optimizer.step()
    assert (net.head.bias.numpy() != before).all()


def test_lists_and_chains_of_modules() -> None:
    layers = tg.nn.ModuleList([tg.nn.Linear(2, 2)])
    layers.append(tg.nn.Linear(2, 2))
    assert len(list(layers)) == len(layers) == 2
    assert [n for n, _ in layers.named_parameters()][-1] == "1.bias"
    chain = tg.nn.Sequential(*layers, tg.tanh)
    assert chain(tg.zeros((1, 2))).shape == (1, 2)
    assert repr(chain).splitlines()[1] == "  0: Linear(2, 2)"
    with pytest.raises(TypeError, match="Module defines no forward"):
        tg.nn.Module()()


POSITION = st.integers(-4, 4)
CHANGE = st.one_of(
    st.tuples(st.just("append")),
    st.tuples(st.just("extend"), st.integers(0, 2)),
    st.tuples(st.just("insert"), POSITION),
    st.tuples(st.just("set"), POSITION),
    st.tuples(st.just("del"), POSITION | st.slices(4)),
    st.tuples(st.just("get"), POSITION | st.slices(4)),
)


@given(st.sampled_from([tg.nn.ModuleList, lambda m: tg.nn.Sequential(*m)]), st.lists(CHANGE))
def test_it_is_a_list_whatever_is_done_to_it(kind: Any, changes: list[tuple[Any, ...]]) -> None:
    def new(n: int) -> list[tg.nn.Module]:
        return [tg.nn.Dropout(0.5) for _ in range(n)]

    def apply(to: Any, what: str, at: Any, modules: Any) -> Any:
        try:
            if what in ("append", "extend"):
                getattr(to, what)(modules[0] if what == "append" else modules)
            elif what == "insert":
                to.insert(at, modules[0])
            elif what == "set":
                to[at] = modules[0]
            elif what == "del":
                del to[at]
            else:
                found = to[at]
                return [id(m) for m in found] if isinstance(at, slice) else id(found)
        except IndexError:
            return IndexError
        return None

    plain = new(3)
    ours = kind(plain)
    for what, *at in changes:
        modules = new(at[0] if what == "extend" else 1)
        args = (what, at[0] if at else None, modules)
        assert apply(ours, *args) == apply(plain, *args)
        assert [id(m) for m in ours] == [id(m) for m in plain]
        assert len(ours) == len(plain)
        assert [n for n, _ in ours.named_modules()][1:] == [str(i) for i in range(len(plain))]


def test_a_slice_is_of_the_same_kind_and_shares_its_modules() -> None:
    chain = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.tanh, tg.nn.Linear(3, 1))
    assert chain[:2](tg.zeros((4, 2))).shape == (4, 3)
    assert chain[-1] is chain[1:][1]
    assert type(tg.nn.ModuleList(chain[::2])[:1]) is tg.nn.ModuleList
    nested = tg.nn.Sequential(chain[:1], tg.nn.Sequential(chain[1:]))
    assert [n for n, _ in nested.named_parameters()][-1] == "1.0.1.bias"


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: tg.nn.ModuleList(tg.nn.Linear(1, 1)), "ModuleList: expected modules, got Linear"),
        (lambda: tg.nn.ModuleList([tg.tanh]), "item 0: expected a module, got <operation tanh"),
        (lambda: tg.nn.ModuleList([tg.nn.Linear]), "expected a module, got the class Linear"),
        (lambda: tg.nn.ModuleList().append(None), "ModuleList: item 0: .* got None"),
        (lambda: tg.nn.Sequential([tg.tanh]), "item 0: .* each an argument of its own, got "),
        (lambda: tg.nn.Sequential(tg.tanh, tg.nn.Dropout), "item 1: .* got the class Dropout"),
        (lambda: tg.nn.Sequential(tg.tanh).extend([3]), "Sequential: item 0: .* got 3"),
        (lambda: tg.nn.Sequential(tg.tanh)["0"], "expected an integer or a slice, got '0'"),
        (lambda: tg.nn.Sequential(tg.tanh).insert(0.5, tg.tanh), "expected an integer"),
        (lambda: tg.nn.Sequential(tg.tanh)[1], "Sequential: 1 is outside its 1 items"),
    ],
)
def test_what_cannot_be_in_one_is_named(build: Any, words: str) -> None:
    with pytest.raises(tg.TinygradRnnError, match=words):
        build()
