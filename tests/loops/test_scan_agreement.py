"""A fused scan is the plain one, whatever the step does, or it names what it cannot repeat."""

from __future__ import annotations

import copy
import re
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.tensor import tree
from tinygrad_rnn.testing import OPERATIONS, OpInfo, Sample, SeededSampler

from ..drawing import HypothesisSampler

STEPS = 4


def reals(values: Any) -> list[tg.Tensor]:
    """The Tensors of reals in a tree."""
    return [v for v in tree.leaves(values) if isinstance(v, tg.Tensor) and v.dtype.kind == "f"]


def results(run: Callable[[], Any], wanted: list[tg.Tensor]) -> tuple[Any, list[Any]]:
    """What a function gives, and the first and second derivatives of it."""
    value = run()
    live = [v for v in reals(value) if v.requires_grad]
    if not live:
        return value, []
    loss = sum((tg.sin(v).sum() for v in live), tg.zeros((), dtype=live[0].dtype))
    first = tg.grad(loss, wanted, create_graph=True)
    curved = [g for g in first if g.requires_grad]
    bend = sum(((g * g).sum() for g in curved), tg.zeros((), dtype=live[0].dtype))
    second = tg.grad(bend, wanted) if curved and bend.requires_grad else ()
    return value, [*first, *second]


def assert_same(found: Any, wanted: Any) -> None:
    """Two trees are of one structure, and their leaves of the same dtypes, shapes and values."""
    assert tree.difference(wanted, found) == ""
    for a, b in zip(tree.leaves(found, wanted), tree.leaves(wanted), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.requires_grad == b.requires_grad
        a, b = (v.detach().numpy() for v in (a, b))
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


def agree(run: Callable[[bool], Any], wanted: list[tg.Tensor]) -> str:
    """A fused run is the plain one, or is refused: the words, if it is; none otherwise."""
    value, derivatives = results(lambda: run(False), wanted)
    try:
        found, others = results(lambda: run(True), wanted)
    except tg.GraphError as error:
        words = str(error)
        if "expected a step that does the same whatever the values, got" not in words:
            raise
        return words
    assert_same(found, value)
    assert len(others) == len(derivatives)
    for a, b in zip(others, derivatives, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6, atol=1e-8)
    return ""


# ---------------------------------------------------------------- every operation


REFUSED = {  # what an operation may be refused with, if it may be
    "nonzero": "'nonzero', whose result has as many elements as the values say",
    # These are handed arrays, of which they make others at each step.
    **dict.fromkeys(["rnn", "gru", "lstm", "min_gru", "min_lstm", "scan"], "made inside the step"),
}


def stepped(info: OpInfo, d: Any) -> None:
    """An operation in the step of a scan, with inputs from everywhere."""
    sample: Sample = info.draw(d)
    sources = [d.one_of(["constant", "sequence", "carry", "detached"]) for _ in sample.inputs]
    shares = 1 - 0.1 * np.arange(STEPS)
    given = []
    for x, source in zip(sample.inputs, sources, strict=True):
        array = np.multiply.outer(shares, x) if source == "sequence" else np.asarray(x)
        given.append(tg.tensor(array, requires_grad=array.dtype.kind == "f"))
    start = tg.tensor(0.3, dtype="float64", requires_grad=True)
    linked, constant = d.one_of([True, False]), d.integer(0, 5) == 0
    options = {"reverse": d.one_of([True, False])}
    every = d.one_of([None, 2])

    def places(source: str) -> list[int]:
        return [i for i, s in enumerate(sources) if s == source]

    def less(v: tg.Tensor, total: tg.Tensor) -> tg.Tensor:
        """A value that stays where the operation takes it, and hangs on all that was before."""
        return v * (1 - 0.1 * tg.sigmoid(total)) if v.dtype.kind == "f" else v

    def step(state: Any, x: Any) -> Any:
        values = [v.detach() if s == "detached" else v for v, s in zip(given, sources, strict=True)]
        for i, v in zip(places("carry"), state["given"], strict=True):
            values[i] = v
        for i, v in zip(places("sequence"), x[1:], strict=True):
            values[i] = v
        if linked:
            values = [less(v, state["total"]) for v in values]
        with tg.no_grad() if constant else tg.enable_grad():
            y = sample.call(info.function, *values)
        total = sum((v.sum() for v in reals(y) if v.size), state["total"] * x[0])
        after = [less(v, total) for v in state["given"]]
        return {"given": after, "total": tg.tanh(total), "rest": (None, 3)}, (y, [total, None])

    def run(fused: bool) -> Any:
        first = {"rest": (None, 3), "given": [given[i] for i in places("carry")], "total": start}
        xs = (tg.tensor(shares), *[given[i] for i in places("sequence")])
        more = {"checkpoint_every": every} if fused else {}
        return tg.scan(step, first, xs, fused=fused, **options, **more)

    words = agree(run, [v for v in (*given, start) if v.requires_grad])
    assert not words or REFUSED.get(info.name, "refused without a reason") in words


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("info", OPERATIONS, ids=lambda info: info.name)
def test_every_operation_in_a_step(info: OpInfo) -> None:
    stepped(info, SeededSampler(len(info.name)))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@given(data=st.data())
def test_any_operation_in_a_step(data: st.DataObject) -> None:
    d = HypothesisSampler(data)
    stepped(d.one_of(OPERATIONS), d)


# ---------------------------------------------------------------- programs


class State(NamedTuple):
    """The carry of a drawn program, in a container that the program draws."""

    h: Any  # (B, 3)
    m: Any  # (B, 3, 3)
    count: Any  # (B, 1), of integers
    seen: Any  # (B, 3), booleans
    label: str = "a word"
    nothing: None = None


class World:
    """What the instructions of a drawn program compute with: at a step, and outside."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.w, self.b, self.table = (
            tg.tensor(rng.normal(size=s) / 2, requires_grad=True) for s in [(3, 3), (3,), (4, 3)]
        )
        self.frozen, self.array = tg.tensor(rng.normal(size=(3,))), rng.normal(size=(3,))
        self.kept: list[Any] = []
        self.x = self.ids = self.mask = self.time = self.state = cast(Any, None)


def written(v: Any, index: Any, value: Any) -> Any:
    v = v + 0.0
    v[index] = value
    return v


def inner(h: Any, x: Any) -> Any:
    return tg.tanh(h + x * 0.5), h * x


INSTRUCTIONS: list[Callable[[World, Any, Any], Any]] = [
    lambda o, a, b: tg.tanh(a @ o.w + b),
    lambda o, a, b: a * tg.sigmoid(b) + o.b,
    lambda o, a, b: a + o.x @ o.w + o.b * o.frozen,
    lambda o, a, b: a * o.mask + b * o.array,
    lambda o, a, b: tg.where(a > b, a * o.time, b),
    lambda o, a, b: tg.maximum(a, 0.1) - tg.relu(b) / (1 + b * b),
    lambda o, a, b: a + o.table[o.ids],
    lambda o, a, b: a * tg.take(o.table, tg.argmax(b, axis=1), axis=0),
    lambda o, a, b: b + tg.take_along_axis(a, o.ids[:, None] % 3, axis=1),
    lambda o, a, b: tg.take_along_axis(a, tg.argsort(b, axis=1), axis=1),
    lambda o, a, b: a[tg.argmin(b, axis=0)].sum(axis=0, keepdims=True) + a,
    lambda o, a, b: tg.index_add(a, b[:, 0], index=(slice(None), 1)),
    lambda o, a, b: tg.index_update(a, b[:, :1] * o.w[:1], index=o.ids % len(a)),
    lambda o, a, b: written(a, (slice(None), 0), b[:, 1]),
    lambda o, a, b: written(a, (slice(None), slice(1)), 0.5),
    lambda o, a, b: written(a, b > 0, 0.25) * b,
    lambda o, a, b: written(a, o.ids[0] % len(a), b[0]),
    lambda o, a, b: a.detach() * b,
    lambda o, a, b: a + no_gradient(lambda: b * o.x @ o.w),
    lambda o, a, b: tg.softmax(a, axis=-1) * b.sum(axis=-1, keepdims=True),
    lambda o, a, b: tg.concat([a[:, 1:], b[:, :1]], axis=-1),
    lambda o, a, b: tg.stack(tg.unstack(a, axis=1)[::-1], axis=1) - b.mean(),
    lambda o, a, b: tg.cumsum(a, axis=1) * 0.3 + tg.flip(b, axis=1),
    lambda o, a, b: (o.state.m @ a[..., None])[..., 0] + b,
    lambda o, a, b: a * o.state.count.astype("float64") * 0.1 + b,
    lambda o, a, b: tg.where(o.state.seen, a, b * 0.5),
    lambda o, a, b: tg.einsum("bi,ij,bj->b", a, o.w, b)[:, None] * 0.1 + a,
    lambda o, a, b: (a - a.mean(axis=-1, keepdims=True)) / (a.std(axis=-1, keepdims=True) + 1) + b,
    lambda o, a, b: tg.checkpoint(lambda v: tg.sin(v @ o.w) * v, a) + b,
    lambda o, a, b: tg.scan(inner, a, tg.stack([b, o.x]), fused=True)[0],
    lambda o, a, b: tg.scan(inner, a, tg.stack([b, a]), lengths=[1] * len(a))[1].sum(axis=0),
    lambda o, a, b: tg.associative_scan(lambda p, q: p * 0.5 + q, tg.stack([a, b, a]))[1],
    lambda o, a, b: tg.sort(a, axis=1) + tg.topk(b, 3, axis=1)[0],
    lambda o, a, b: tg.clip(a, -0.5, 0.5) + tg.pad(b, ((0, 0), (1, 0)))[:, :3],
    lambda o, a, b: sum(a.unstack(1))[:, None] * 0.2 + b + next(iter(b)),
    lambda o, a, b: o.frozen * a if a.shape == b.shape and len(b) else b,
]

UNREPEATABLE: list[tuple[str, Callable[[World, Any, Any], Any]]] = [
    ("reading a value", lambda o, a, b: a * a.sum().item()),
    ("reading a value", lambda o, a, b: a if b.sum() > 0 else -a),
    ("reading a value", lambda o, a, b: a * float(np.asarray(b.detach()).sum())),
    ("reading a value", lambda o, a, b: o.table[int(o.ids[0])] + a),
    ("reading a value", lambda o, a, b: a * len(f"{b}")),
    ("reading a value", lambda o, a, b: tg.scan(inner, a, b[None], lengths=o.ids * 0)[0]),
    ("'nonzero'", lambda o, a, b: a * len(tg.nonzero(b > 0)[0])),
    ("by a mask", lambda o, a, b: a + b[b > 0].sum()),
    ("bounds of a slice", lambda o, a, b: a + a[:, : o.ids[0]].sum()),
    ("random numbers|made inside", lambda o, a, b: a * tg.rand(3, dtype="float64")),
    ("random numbers", lambda o, a, b: a * (1 if tg.Generator(0).random() < 2 else 0)),
    ("made inside the step", lambda o, a, b: a + tg.zeros((3,), dtype="float64")),
    ("made inside the step", lambda o, a, b: a + copy.deepcopy(b.detach())),
    ("kept from an earlier step|made inside", lambda o, a, b: a + swapped(o.kept, b)),
    ("something new to 'multiply'", lambda o, a, b: a * counted(o.kept)),
    ("tg.hvp", lambda o, a, b: a + tg.hvp(lambda v: (v**3).sum(), b, b)),
    ("tg.vjp", lambda o, a, b: a + tg.vjp(tg.sin, b)[1](b)[0]),
    ("a hook", lambda o, a, b: hooked(a * b + o.w[0])),
    ("a write", lambda o, a, b: outer_write(o.frozen, a)),
]


def no_gradient(function: Callable[[], Any]) -> Any:
    with tg.no_grad():
        return function()


def swapped(kept: list[Any], value: Any) -> Any:
    """The value of the step before; its own at the first."""
    before = kept[0] if kept and isinstance(kept[0], tg.Tensor) else value
    kept[:] = [value]
    return before


def counted(kept: list[Any]) -> int:
    kept.append(1)
    return len(kept)


def hooked(value: Any) -> Any:
    if value.requires_grad:
        value.register_hook(lambda g: g)
    return value


def outer_write(frozen: Any, a: Any) -> Any:
    frozen[0] = 0.5
    return a * frozen


CONTAINERS: list[tuple[Callable[[State], Any], Callable[[Any], State]]] = [
    (lambda s: s, lambda c: c),
    (tuple, lambda c: State(*c)),
    (list, lambda c: State(*c)),
    (lambda s: s._asdict(), lambda c: State(**c)),
    (lambda s: OrderedDict(reversed(s._asdict().items())), lambda c: State(**c)),
    (lambda s: (s[:2], {"rest": [*s[2:]]}), lambda c: State(*c[0], *c[1]["rest"])),
]


def program(d: Any) -> None:
    """Several instructions on values of the carry, of sequences and from outside."""
    steps, batch = d.integer(2, 5), d.integer(1, 3)
    rng = np.random.default_rng(d.integer(0, 2**32 - 1))
    last = d.integer(0, len(UNREPEATABLE) - 1) if d.integer(0, 3) == 0 else None
    chosen = [d.one_of(INSTRUCTIONS) for _ in range(d.integer(1, 6))]
    if last is not None:
        chosen.append(UNREPEATABLE[last][1])
    operands = [(d.integer(0, 9), d.integer(0, 9)) for _ in chosen]
    rows = (steps, batch)
    into, out_of = d.one_of(CONTAINERS)
    swap, also = d.one_of([False, True]), d.one_of(["count", "seen", "m"])
    options = {
        "reverse": d.one_of([False, True]),
        "lengths": d.one_of([None, rng.integers(0, steps + 1, batch)]),
        "reset": d.one_of([None, rng.random(rows) < 0.3, rng.integers(0, 3, rows)]),
    }  # fmt: skip
    every = d.one_of([None, 1, 2])
    h, m = (tg.tensor(rng.normal(size=s), requires_grad=True) for s in [(batch, 3), (batch, 3, 3)])
    x = tg.tensor(rng.normal(size=(steps, batch, 3)), requires_grad=d.one_of([False, True]))
    xs = {
        "x": x,
        "rest": [tg.tensor(rng.integers(0, 2, (steps, batch, 3)) * 2.0), None],
        "ids": (rng.integers(0, 4, (steps, batch)), tg.arange(steps, dtype="float64")),
    }
    count, seen = tg.zeros((batch, 1), dtype="int64"), tg.zeros((batch, 3), dtype="bool")
    o = World(rng)

    def step(carry: Any, x: Any) -> Any:
        o.state, o.x, (o.mask, _), (o.ids, o.time) = out_of(carry), x["x"], x["rest"], x["ids"]
        pool = [o.state.h, o.x]
        for instruction, (i, j) in zip(chosen, operands, strict=True):
            pool.append(instruction(o, pool[-1 - i % len(pool)], pool[j % len(pool)]))
        h = tg.tanh(pool[-1])
        new = o.state._replace(
            h=h,
            m=o.state.m.mT if swap else o.state.m * 0.5 + h[:, None] * h[..., None],
            count=o.state.count + (h > 0).sum(axis=1, keepdims=True),
            seen=o.state.seen | (h > 0.5),
        )
        return into(new), [pool[len(pool) // 2], {"h": h * 2, "none": None}, getattr(new, also)]

    def run(fused: bool) -> Any:
        o.kept = []
        more = {"checkpoint_every": every} if fused else {}
        return tg.scan(step, into(State(h, m, count, seen)), xs, fused=fused, **options, **more)

    words = agree(run, [v for v in (h, m, x, o.w, o.b, o.table) if v.requires_grad])
    if last is None:
        assert not words
    else:
        assert re.search(UNREPEATABLE[last][0], words)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@given(data=st.data())
def test_programs(data: st.DataObject) -> None:
    program(HypothesisSampler(data))


# ---------------------------------------------------------------- one step each


def small() -> tg.Tensor:
    return tg.tensor(np.arange(12.0).reshape(6, 2), requires_grad=True)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize(
    "step",
    [
        lambda c, x: (c + x * len(tg.nonzero(x > 3)[0]), c),
        lambda c, x: (c + x * tg.nonzero(x > 3)[0].shape[0], c),
        lambda c, x: (c + x * tg.nonzero(x > 3)[0].size, c),
        lambda c, x: (c + x * (1 + len(tg.nonzero(c > 3)[0])), c),
        lambda c, x: (c + x * len(x[x > 3]), c),
        lambda c, x: (c + x * unique(x > 4).size, c),  # whose result nothing else is done with
        lambda c, x: (c + unique(x // 3).sum(), c),
    ],
)
def test_a_count_of_elements_is_not_repeated(step: Any, grad: bool) -> None:
    xs = small() if grad else small().detach()
    zero = tg.zeros((2,), dtype="float64")
    with pytest.raises(tg.GraphError, match=r"as many elements as the values say|\[1\].*\[2\]"):
        tg.scan(step, zero, xs, fused=True)
    assert tg.scan(step, zero, xs)[0].shape == (2,)


unique = tg.Op("unique", lambda xp, x: xp.unique(x))


def test_a_backward_pass_in_a_step_is_refused() -> None:
    w, xs = tg.ones((2,), dtype="float64", requires_grad=True), small()

    def step(c: Any, x: Any) -> Any:
        c = c * w + x
        (c + x * x).sum().backward(retain_graph=True)
        return c, c

    zero = tg.zeros((2,), dtype="float64")
    with pytest.raises(tg.GraphError, match=r"scan: .*got \.backward\(\)"):
        tg.scan(step, zero, xs, fused=True)
    assert w.grad is None
    tg.scan(step, zero, xs)
    assert w.grad is not None


@pytest.mark.parametrize(
    "derivative",
    [
        lambda x: tg.grad((x * x).sum(), [x], create_graph=True)[0],
        lambda x: tg.vjp(tg.sin, x)[1](x)[0],
        lambda x: tg.jvp(tg.sin, x, x)[1],
        lambda x: tg.value_and_grad(lambda v: (v * v).sum())(x)[1],
        lambda x: tg.hvp(lambda v: (v**3).sum(), x, x),
        lambda x: tg.jacobian(tg.sin, x).sum(axis=1),
        lambda x: tg.hessian(lambda v: (v**3).sum(), x).sum(axis=1),
    ],
)
def test_derivatives_in_a_step_are_refused_by_name(derivative: Any) -> None:
    step = lambda c, x: (c + derivative(x), c)
    zero = tg.zeros((2,), dtype="float64")
    with pytest.raises(tg.GraphError, match=r"got tg\.\w+: differentiate what the loop returns"):
        tg.scan(step, zero, small(), fused=True)
    tg.scan(step, zero, small())


@pytest.mark.parametrize("table", [lambda t, i: t[i], lambda t, i: tg.take(t, i, axis=0)])
@pytest.mark.parametrize("fixed", [False, True])
def test_a_table_in_a_step(table: Any, fixed: bool) -> None:
    """Indices that are inputs of the loop; and tables that are computed, or from outside."""
    ids = np.random.default_rng(1).integers(0, 7, (6, 2))
    t = tg.tensor(np.random.default_rng(0).standard_normal((7, 3)), requires_grad=True)
    zero = tg.zeros((2, 3), dtype="float64")

    def step(c: Any, i: Any) -> Any:
        return tg.tanh(c + table(t if fixed else t * c.sum(), i)), c

    assert agree(lambda fused: tg.scan(step, zero, tg.tensor(ids), fused=fused), [t]) == ""


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("lengths", [(3, 4), (4, 3), (1, 4), (4, 1)])
def test_sequences_of_different_lengths_are_refused(
    lengths: tuple[int, int], fused: bool, reverse: bool
) -> None:
    a, b = (tg.tensor(np.arange(2.0 * n).reshape(n, 2), requires_grad=True) for n in lengths)
    with pytest.raises(tg.ShapeError, match="scan") as refused:
        tg.scan(
            lambda c, x: (c + x[0] + x[1], c), tg.zeros((2,), dtype="float64"), (a, b),
            fused=fused, reverse=reverse,
        )  # fmt: skip
    assert all(str(n) in str(refused.value) for n in lengths)
    assert "Executor object" not in str(refused.value)


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(
    "step",
    [
        lambda c, x: (written(c, (slice(None), 0), x[:, 0]) + x, c),
        lambda c, x: (written(tg.tanh(c + x), (slice(None), 0), x[:, 0] * 2), x),
        lambda c, x: (written(c + x, (slice(None), 0), 0.0), c),
        lambda c, x: (written(c + x, 0, 5.0), c * x),
        lambda c, x: (overwritten(c, x[:, 1]) + x, c + 0.0),  # what it was handed itself
        lambda c, x: (overwritten(x, c[:, 1]) + c, x + 0.0),
    ],
)
def test_writing_to_elements(step: Any, live: bool) -> None:
    xs = tg.tensor(np.random.default_rng(0).standard_normal((5, 2, 3)), requires_grad=True)
    start = tg.zeros((2, 3), dtype="float64", requires_grad=live)
    wanted = [xs, start] if live else [xs]
    assert agree(lambda fused: tg.scan(step, start, xs, fused=fused), wanted) == ""
    assert not start.numpy().any()
    with tg.no_grad():
        assert agree(lambda fused: tg.scan(step, start, xs.detach(), fused=fused), []) == ""


def overwritten(value: Any, column: Any) -> Any:
    value[:, 0] = column
    return value


def test_what_a_step_writes_to_from_outside_stays_as_it_was_if_it_is_refused() -> None:
    buffer, w, array = tg.zeros((2,)), tg.ones((2,), requires_grad=True), np.zeros((2,), "float32")

    def fill(c: Any, x: Any) -> Any:
        buffer[0] = 1.0
        return c + x, c

    def learn(c: Any, x: Any) -> Any:
        with tg.no_grad():
            w[0] = 0.0
        return c + x, c

    def assign(c: Any, x: Any) -> Any:
        w.data = w.data * 2
        return c + x, c

    for step in (fill, learn, assign):
        with pytest.raises(tg.GraphError, match="a write to a tensor from outside the step"):
            tg.scan(step, tg.zeros((2,)), tg.ones((4, 2)), fused=True)
    assert buffer.tolist() == [0, 0]
    assert w.tolist() == [1, 1]

    def count(c: Any, x: Any) -> Any:
        array[0] += 1
        return c + x * array, c

    with pytest.raises(tg.GraphError, match=r"a constant float32\[2\] that it writes to itself"):
        tg.scan(count, tg.zeros((2,)), tg.ones((4, 2)), fused=True)


def test_what_is_returned_is_compared_as_well() -> None:
    count = iter(range(100))
    for step in (
        lambda c, x: (c + x, tg.tensor(float(next(count)))),
        lambda c, x: (tg.full((2,), float(next(count))), x),
    ):
        with pytest.raises(tg.GraphError, match="something new to return at each step"):
            tg.scan(step, tg.zeros((2,)), tg.ones((4, 2)), fused=True)


def test_random_numbers_are_noticed_whatever_is_done_with_them() -> None:
    generator = tg.Generator(0)
    step = lambda c, x: (c + x if generator.random() < 2 else c, c)
    with pytest.raises(tg.GraphError, match="a draw of random numbers: pass them in xs"):
        tg.scan(step, tg.zeros((2,)), tg.ones((4, 2)), fused=True)


def test_an_operation_that_hands_on_its_input_gives_a_value_of_its_own() -> None:
    step = lambda c, x: (c + x.to("cpu").detach() * x, x.detach())
    xs, zero = small(), tg.zeros((2,), dtype="float64")
    assert agree(lambda fused: tg.scan(step, zero, xs, fused=fused), [xs]) == ""


def test_a_list_that_a_step_changes_is_not_the_list_that_it_was() -> None:
    columns = [0]

    def step(c: Any, x: Any) -> Any:
        y = x[:, columns].sum()
        columns[0] = 1 - columns[0]
        return c + y, c

    with pytest.raises(tg.GraphError, match=r"something new to 'getitem'.*\[0\].*then.*\[1\]"):
        tg.scan(step, tg.zeros(()), tg.ones((4, 3, 2)), fused=True)


def test_a_graph_that_begins_under_no_grad_is_refused() -> None:
    w = tg.ones((2,), requires_grad=True)

    def step(c: Any, x: Any) -> Any:
        with tg.enable_grad():
            return c + x * w, c

    with tg.no_grad():
        assert tg.scan(step, tg.zeros((2,)), tg.ones((4, 2)))[0].requires_grad
        with pytest.raises(tg.GraphError, match="enable_grad"):
            tg.scan(step, tg.zeros((2,)), tg.ones((4, 2)), fused=True)


def test_a_value_that_a_step_leaks_cannot_be_differentiated() -> None:
    w, leaked = tg.ones((2,), requires_grad=True), list[Any]()

    def step(c: Any, x: Any) -> Any:
        leaked.append(tg.tanh(c * w + x))
        return leaked[-1], c

    tg.scan(step, tg.zeros((2,)), tg.ones((4, 2)), fused=True)
    for differentiate in (lambda y: y.backward(), lambda y: tg.grad(y, [w])):
        with pytest.raises(tg.GraphError, match="outside of the trace"):
            differentiate(sum(y.sum() for y in leaked))


def test_what_does_not_depend_on_what_requires_grad_does_not_either() -> None:
    w = tg.ones((2,), requires_grad=True)

    def step(c: Any, x: Any) -> Any:
        h, count = c
        return (h * w + x, count + 1.0), (count, tg.sin(x), h.detach())

    def run(fused: bool) -> Any:
        return tg.scan(step, (tg.zeros((2,)), tg.zeros(())), tg.ones((4, 2)), fused=fused)

    for fused in (False, True):
        (h, count), ys = run(fused)
        assert [v.requires_grad for v in (h, count, *ys)] == [True, False, False, False, False]


# ---------------------------------------------------------------- what comes in


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lengths": [-1, 2]}, r"lengths\[0\] = -1 is outside 0\.\.4"),
        ({"lengths": tg.tensor([2, 5])}, r"lengths\[1\] = 5 is outside 0\.\.4"),
        ({"lengths": [1.0, 2.0]}, r"lengths: expected integers, one per row; got float64 \[2\]"),
        ({"lengths": [True, False]}, "lengths: expected integers, one per row; got bool"),
        ({"lengths": [[1, 2]]}, r"lengths: expected integers, one per row; got int64 \[1, 2\]"),
        ({"lengths": [1, 2, 3]}, r"3 rows: expected sequences to have as many.*got \[2, 3\]"),
        ({"reset": np.ones((3, 2))}, r"reset: expected a \(T, B\) mask of 4 steps; got \[3, 2\]"),
        ({"reset": np.ones((4, 3))}, r"3 rows: expected carry to have as many.*got \[2, 3\]"),
        ({"reset": np.ones((4, 1)), "lengths": [1, 2]}, r"reset: expected \[4, 2\].*got \[4, 1\]"),
    ],
)
def test_lengths_and_resets_that_do_not_fit_are_refused(
    options: Any, words: str, fused: bool
) -> None:
    with pytest.raises(tg.ShapeError, match=f"scan: .*{words}"):
        tg.scan(
            lambda c, x: (c + x, c), tg.zeros((2, 3)), tg.ones((4, 2, 3)), fused=fused, **options
        )


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kind", [bool, int, float])
def test_any_truth_resets(kind: Any, fused: bool) -> None:
    xs = tg.tensor([[[1.0], [1.0]], [[4.0], [4.0]], [[7.0], [7.0]]])
    reset = (np.array([[0, 0], [0, 0], [0, 2]]) * (0.5 if kind is float else 1)).astype(kind)
    last, _ = tg.scan(
        lambda c, x: (c + x, None), tg.zeros((2, 1)), xs, reset=reset, lengths=[3, 3], fused=fused
    )
    assert last.tolist() == [[12], [7]]


@pytest.mark.parametrize("fused", [False, True])
def test_what_a_reset_forgets_is_chosen_not_multiplied(fused: bool) -> None:
    xs = tg.tensor([[1.0], [np.inf], [2.0], [3.0]], requires_grad=True)
    carry = tg.zeros((1,)), tg.zeros((1,), dtype="bool")

    def step(c: Any, x: Any) -> Any:
        return (c[0] + x, c[1] | (x > 5)), c[1]

    (total, seen), flags = tg.scan(
        step, carry, xs, reset=[[0], [0], [1], [0]], lengths=[4], fused=fused
    )
    assert total.tolist() == [5]
    assert seen.dtype == flags.dtype == bool
    assert flags.tolist() == [[False], [False], [False], [False]]
    assert tg.grad(total.sum(), [xs])[0].tolist() == [[0], [0], [1], [1]]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    ("step", "carry", "words"),
    [
        (lambda c, x: c + x, tg.zeros((2,)), r"a step that returns \(carry, y\), got Tensor"),
        (lambda c, x: (c, x, 1), tg.zeros((2,)), r"\(carry, y\), got tuple of 3"),
        (lambda c, x: (c, "word"), tg.zeros((2,)), "a step that returns Tensors, got str"),
    ],
)
def test_a_step_returns_a_carry_and_outputs(step: Any, carry: Any, words: str, fused: bool) -> None:
    with pytest.raises(tg.InvalidTypeError, match=words):
        tg.scan(step, carry, tg.ones((4, 2)), fused=fused)


def test_a_carry_may_hold_what_does_not_change() -> None:
    def step(c: Any, x: Any) -> Any:
        return {**c, "h": c["h"] * c["share"] + x}, None

    carry = {"share": 0.5, "h": tg.zeros((2,)), "name": "mean", "none": None}
    for fused in (False, True):
        last, ys = tg.scan(step, carry, tg.ones((3, 2)), fused=fused)
        assert last["h"].tolist() == [1.75, 1.75]
        assert ys is None
        assert {**last, "h": None} == {"share": 0.5, "h": None, "name": "mean", "none": None}

    def counts(c: Any, x: Any) -> Any:
        return (c[0] * c[1] + x, c[1] + 1), c[0]

    (_, count), _ = tg.scan(counts, (tg.zeros((2,)), 0), tg.ones((3, 2)))
    assert count == 3
    with pytest.raises(tg.GraphError, match=r"structure of the carry .*int 0, then int 1"):
        tg.scan(counts, (tg.zeros((2,)), 0), tg.ones((3, 2)), fused=True)
    with pytest.raises(tg.InvalidTypeError, match="reset: expected a carry of Tensors, got a int"):
        tg.scan(counts, (tg.zeros((2,)), 3), tg.ones((3, 2)), reset=np.ones((3, 2)))


def test_xs_are_a_tree_of_sequences() -> None:
    for xs, words in [(None, "at least one sequence"), ((tg.ones((2,)), 3), "got int"),
                      (tg.ones(()), "without axes")]:  # fmt: skip
        with pytest.raises(tg.InvalidTypeError, match=f"scan: xs: .*{words}"):
            tg.scan(lambda c, x: (c, c), tg.ones((1,)), xs)


def test_two_threads_scan_at_once() -> None:
    w = tg.tensor(np.random.default_rng(0).normal(size=(4, 4)), requires_grad=True)
    xs = tg.tensor(np.random.default_rng(1).normal(size=(9, 3, 4)))

    def gradient(share: float) -> Any:
        step = lambda h, x: (tg.tanh(h @ w + x * share) * (1 - share), h)
        y = tg.scan(step, tg.zeros((3, 4), dtype="float64"), xs, fused=True)[1]
        return tg.grad((y * y).sum(), [w])[0].numpy()

    shares = [k / 10 for k in range(6)] * 8
    wanted = [gradient(share) for share in shares[:6]] * 8
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(gradient, shares))
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)
