"""Optimizers against loops over their formulas; clipping; schedules; restored state."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg

START = np.array([1.0, -2.0, 3.0])


def slope(w: Any) -> Any:
    return 2 * w * np.array([1.0, 0.5, 2.0])


def train(build: Callable[[Any], tg.optim.Optimizer], steps: int = 7) -> Any:
    w = tg.tensor(START, requires_grad=True)
    optimizer = build([w])
    for _ in range(steps):
        optimizer.zero_grad()
        (w * w * tg.tensor([1.0, 0.5, 2.0], "float64")).sum().backward()
        optimizer.step()
    return w.numpy()


def sgd(lr: float, momentum: float = 0.0, decay: float = 0.0, nesterov: bool = False) -> Any:
    w, v = START.copy(), None
    for _ in range(7):
        g = slope(w) + decay * w
        v = g if v is None else momentum * v + g
        w = w - lr * (g + momentum * v if nesterov else v)
    return w


def rmsprop(lr: float, alpha: float, momentum: float, decay: float) -> Any:
    w, s, v = START.copy(), 0.0, 0.0
    for _ in range(7):
        g = slope(w) + decay * w
        s = alpha * s + (1 - alpha) * g * g
        v = momentum * v + g / (np.sqrt(s) + 1e-8)
        w = w - lr * v
    return w


def adam(lr: float, decay: float = 0.0, decoupled: bool = False) -> Any:
    w, m, v = START.copy(), 0.0, 0.0
    for t in range(1, 8):
        g = slope(w) + (0 if decoupled else decay * w)
        w = w * (1 - lr * decay) if decoupled else w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w = w - lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return w


CASES = [
    (lambda p: tg.optim.SGD(p, 0.1), sgd(0.1)),
    (lambda p: tg.optim.SGD(p, 0.1, 0.9, weight_decay=0.1), sgd(0.1, 0.9, 0.1)),
    (lambda p: tg.optim.SGD(p, 0.1, 0.9, nesterov=True), sgd(0.1, 0.9, nesterov=True)),
    (lambda p: tg.optim.RMSprop(p, 0.1), rmsprop(0.1, 0.99, 0, 0)),
    (lambda p: tg.optim.RMSprop(p, 0.1, 0.9, momentum=0.5, weight_decay=0.1),
     rmsprop(0.1, 0.9, 0.5, 0.1)),
    (lambda p: tg.optim.Adam(p, 0.1), adam(0.1)),
    (lambda p: tg.optim.Adam(p, 0.1, weight_decay=0.1), adam(0.1, 0.1)),
    (lambda p: tg.optim.AdamW(p, 0.1, weight_decay=0.1), adam(0.1, 0.1, decoupled=True)),
]  # fmt: skip


@pytest.mark.parametrize(("build", "want"), CASES)
def test_the_formula(build: Any, want: Any) -> None:
    np.testing.assert_allclose(train(build), want, rtol=1e-9)


@pytest.mark.parametrize("build", [build for build, _ in CASES])
def test_a_restored_optimizer_continues_bit_for_bit(build: Any) -> None:
    def step(w: tg.Tensor, optimizer: tg.optim.Optimizer) -> None:
        optimizer.zero_grad()
        (w * w * w).sum().backward()
        optimizer.step()

    w = tg.tensor(START, requires_grad=True)
    first = build([w])
    step(w, first)
    step(w, first)
    state = first.state_dict()
    json.dumps(state["param_groups"])  # readable settings
    w2 = tg.tensor(w.numpy().copy(), requires_grad=True)
    second = build([w2])
    second.load_state_dict(state)
    for _ in range(3):
        step(w, first)
        step(w2, second)
    assert w.tolist() == w2.tolist()


@pytest.mark.parametrize("build", [build for build, _ in CASES])
@pytest.mark.parametrize("shape", [(), (2, 3), (0, 3)])
def test_any_shape_and_any_order_of_a_gradient(build: Any, shape: tuple[int, ...]) -> None:
    """The gradient of `x @ w.mT` has transposed strides."""
    found = []
    for transposed in (False, True):
        w = tg.ones(shape, requires_grad=True)
        optimizer = build([w])
        for _ in range(2):
            g = np.arange(w.size, dtype="float32").reshape(shape) + 1
            w.grad = tg.as_tensor(np.asfortranarray(g) if transposed and shape else g)
            before = w.grad.numpy().copy()
            optimizer.step()
            np.testing.assert_array_equal(w.grad.numpy(), before)
        assert w.shape == shape
        assert w.size == 0 or (w.numpy() != 1).all()
        found.append(w.tolist())
    assert found[0] == found[1]


def test_parameters_without_a_gradient_stay() -> None:
    a, b = (tg.tensor([1.0], requires_grad=True) for _ in range(2))
    optimizer = tg.optim.Adam([a, b], lr=0.1)
    a.sum().backward()
    optimizer.step()
    assert b.tolist() == [1.0]
    assert a.tolist() != [1.0]
    assert a.grad is not None
    assert a.grad.tolist() == [1.0]


def test_groups_have_settings_of_their_own() -> None:
    a, b = (tg.tensor([1.0], requires_grad=True) for _ in range(2))
    optimizer = tg.optim.SGD([{"params": [a], "lr": 0.5}, {"params": [b]}], lr=0.25)
    (a + b).sum().backward()
    optimizer.step()
    assert (a.tolist(), b.tolist()) == ([0.5], [0.75])


def weight(*shape: int) -> tg.Tensor:
    return tg.zeros(shape, requires_grad=True)


def used_up() -> Any:
    parameters = tg.nn.Linear(2, 1).parameters()
    list(parameters)
    return parameters


@pytest.mark.parametrize(
    ("parameters", "error", "words"),
    [
        (list, ValueError, "no parameters"),
        (used_up, ValueError, "read only once"),
        (lambda: weight(2), TypeError, r"got one: put it into a list, \[w\]"),
        (lambda: tg.nn.Linear(2, 1), TypeError, r"got a Linear: pass its \.parameters\(\)"),
        (lambda: {"params": [weight(1)]}, TypeError, "expected a list of tensors, got dict"),
        (lambda: 3, TypeError, "expected a list of tensors, got int"),
        (lambda: [np.ones(1)], TypeError, "leaf tensors"),
        (lambda: [weight(1) * 2], TypeError, "leaf tensors"),
        (lambda: [("weight", weight(1))], TypeError, "leaf tensors"),
        (lambda: [w := weight(1), w], ValueError, "occurs twice"),
        (lambda: [tg.zeros((1,))], ValueError, "none of the 1 parameters requires grad"),
        (lambda: [{"params": []}], ValueError, "group 0: params: there are no parameters"),
        (lambda: [{"params": weight(2)}], TypeError, r"group 0: params: .*got one"),
        (lambda: [{"lr": 1.0}], ValueError, r"group 0: missing \['params'\]"),
        (lambda: [{"params": [weight(1)], "rate": 1}], ValueError, r"unexpected \['rate'\]"),
        (lambda: [{"params": [weight(1)]}, weight(1)], TypeError, "got both"),
        (lambda: [{"params": [weight(1)], "lr": -1}], ValueError, "group 0: lr: expected"),
        (
            lambda: [{"params": [w := weight(1)]}, {"params": [w]}],
            ValueError,
            "occurs twice",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [tg.optim.SGD, tg.optim.Adam, tg.optim.AdamW, tg.optim.RMSprop])
def test_parameters_that_cannot_be_learned_are_refused(
    kind: Any, parameters: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=rf"{kind.__name__}: .*{words}"):
        kind(parameters())


def test_a_frozen_parameter_may_stand_among_others() -> None:
    a, b = weight(1), tg.zeros((1,))
    optimizer = tg.optim.SGD([a, b], lr=0.5)
    (a + b).sum().backward()
    optimizer.step()
    assert (a.tolist(), b.tolist()) == ([-0.5], [0.0])


OUT_OF_RANGE: dict[str, list[Any]] = {
    "lr": [-1, -1e-9, float("nan"), float("inf"), "0.1", None, [0.1], True],
    "weight_decay": [-0.1, float("nan"), float("inf"), "no", None],
    "eps": [-1, float("nan"), float("inf"), None],
    "momentum": [-0.1, 1, 1.5, float("nan"), None],
    "alpha": [-0.1, 1, float("nan"), None],
    "betas": [(1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (0.9,), 0.9, None, "ab", (0.9, None)],
    "nesterov": ["yes", 2, None],
}
SETTINGS = [
    (tg.optim.SGD, ["lr", "momentum", "weight_decay", "nesterov"]),
    (tg.optim.Adam, ["lr", "betas", "eps", "weight_decay"]),
    (tg.optim.AdamW, ["lr", "betas", "eps", "weight_decay"]),
    (tg.optim.RMSprop, ["lr", "alpha", "eps", "weight_decay", "momentum"]),
]


@pytest.mark.parametrize(("kind", "names"), SETTINGS)
@given(data=st.data())
def test_settings_out_of_range_are_refused_by_name(
    kind: Any, names: list[str], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(names))
    value = data.draw(st.sampled_from(OUT_OF_RANGE[name]))
    words = rf"{kind.__name__}.*: {'beta' if name == 'betas' else name}.*: expected"
    fine = kind([weight(1)])
    state = fine.state_dict()
    state["param_groups"][0][name] = value
    for build in (
        lambda: kind([weight(1)], **{name: value}),
        lambda: kind([{"params": [weight(1)], name: value}]),
        lambda: fine.load_state_dict(state),
    ):
        with pytest.raises(tg.TinygradRnnError, match=words):
            build()


def test_nesterov_needs_a_momentum() -> None:
    for build in (
        lambda: tg.optim.SGD([weight(1)], nesterov=True),
        lambda: tg.optim.SGD([{"params": [weight(1)], "nesterov": True}]),
    ):
        with pytest.raises(ValueError, match="nesterov needs a momentum"):
            build()


def test_numbers_of_numpy_are_settings_as_pythons_are() -> None:
    optimizer = tg.optim.Adam([weight(1)], lr=np.float64(0.1), betas=(np.float32(0.5), 0.75))
    group = optimizer.param_groups[0]
    assert [type(v) for v in (group["lr"], *group["betas"])] == [float, float, float]


def test_a_state_dict_of_other_parameters_is_refused() -> None:
    a = tg.tensor([1.0], requires_grad=True)
    optimizer = tg.optim.Adam([a])
    a.sum().backward()
    optimizer.step()
    with pytest.raises(ValueError, match=r"groups of \[2\]"):
        tg.optim.Adam([weight(1), weight(1)]).load_state_dict(optimizer.state_dict())
    with pytest.raises(ValueError, match=r"exp_avg of parameter 0: expected \[2\], got \[1\]"):
        tg.optim.Adam([weight(2)]).load_state_dict(optimizer.state_dict())


def with_moments(kind: Any) -> tg.optim.Optimizer:
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    settings: dict[str, Any] = {"momentum": 0.9} if kind in (tg.optim.SGD, tg.optim.RMSprop) else {}
    optimizer: tg.optim.Optimizer = kind([w], **settings)
    (w * w).sum().backward()
    optimizer.step()
    return optimizer


def _other_key(state: Any) -> None:
    state["state"]["7"] = state["state"].pop("0")


def _key_twice(state: Any) -> None:
    state["state"][0] = state["state"]["0"]


def _one_more_entry(state: Any) -> None:
    state["state"]["0"]["velocity"] = np.zeros(2)


def _entry_of_other_shape(state: Any) -> None:
    name = next(k for k, v in state["state"]["0"].items() if np.ndim(v))
    state["state"]["0"][name] = np.zeros((2, 1))


def _entry_of_no_numbers(state: Any) -> None:
    name = next(k for k, v in state["state"]["0"].items() if np.ndim(v))
    state["state"]["0"][name] = ["a", "b"]


def _no_groups(state: Any) -> None:
    del state["param_groups"]


def _setting_missing(state: Any) -> None:
    del state["param_groups"][0]["lr"]


def _setting_unknown(state: Any) -> None:
    state["param_groups"][0]["rate"] = 1.0


def _option_of_pytorch(state: Any) -> None:
    state["param_groups"][0]["maximize"] = True


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_other_key, r"expected states of parameters \['0'\]"),
        (_key_twice, "each once"),
        (_one_more_entry, r"parameter 0: unexpected \['velocity'\]"),
        (_entry_of_other_shape, r"of parameter 0: expected \[2\], got \[2, 1\]"),
        (_entry_of_no_numbers, "holds numbers"),
        (_no_groups, r"missing \['param_groups'\]"),
        (_setting_missing, r"missing \['lr'\]"),
        (_setting_unknown, r"unexpected \['rate'\]"),
        (_option_of_pytorch, "maximize=True: there is no such option"),
    ],
)
@pytest.mark.parametrize("kind", [tg.optim.SGD, tg.optim.Adam, tg.optim.AdamW, tg.optim.RMSprop])
def test_a_state_that_cannot_be_used_is_refused_and_changes_nothing(
    kind: Any, spoil: Any, words: str
) -> None:
    state = with_moments(kind).state_dict()
    spoil(state)
    optimizer = with_moments(kind)
    before = repr(optimizer.state_dict())
    with pytest.raises(tg.TinygradRnnError, match=rf"{kind.__name__}\.load_state_dict.*{words}"):
        optimizer.load_state_dict(state)
    assert repr(optimizer.state_dict()) == before


def test_a_state_of_another_optimizer_is_refused() -> None:
    kinds = [tg.optim.SGD, tg.optim.Adam, tg.optim.RMSprop]
    for one in kinds:
        for other in kinds:
            if one is not other:
                with pytest.raises(ValueError, match=r"missing|unexpected"):
                    with_moments(one).load_state_dict(with_moments(other).state_dict())
    with pytest.raises(ValueError, match=r"missing.*param_groups"):
        with_moments(tg.optim.SGD).load_state_dict(tg.nn.Linear(1, 2).state_dict())


def test_a_part_of_the_moments_is_refused() -> None:
    state = with_moments(tg.optim.Adam).state_dict()
    del state["state"]["0"]["exp_avg_sq"]
    with pytest.raises(ValueError, match=r"parameter 0: missing \['exp_avg_sq'\]"):
        with_moments(tg.optim.Adam).load_state_dict(state)


def test_what_was_loaded_is_a_copy() -> None:
    for shape in [(), (2,)]:
        w = weight(*shape)
        first, second = tg.optim.Adam([w]), tg.optim.Adam([w])
        w.sum().backward()
        first.step()
        state = first.state_dict()
        second.load_state_dict(state)
        second.step()
        assert repr(state) == repr(first.state_dict())


BUILDS = st.sampled_from(
    [
        ("SGD", {"lr": 0.1}),
        ("SGD", {"lr": 0.1, "momentum": 0.9}),
        ("SGD", {"lr": 0.1, "momentum": 0.5, "nesterov": True, "weight_decay": 0.1}),
        ("Adam", {"lr": 0.1}),
        ("Adam", {"lr": 0.1, "betas": (0.5, 0.75), "eps": 1e-3, "weight_decay": 0.1}),
        ("AdamW", {"lr": 0.1, "weight_decay": 0.1}),
        ("RMSprop", {"lr": 0.1}),
        ("RMSprop", {"lr": 0.1, "alpha": 0.5, "momentum": 0.5, "weight_decay": 0.1}),
    ]
)


@given(
    build=BUILDS,
    shapes=st.lists(st.sampled_from([(), (2,), (2, 3)]), min_size=1, max_size=3),
    steps=st.integers(0, 3),
    split=st.booleans(),
    unused=st.booleans(),
    keys=st.sampled_from([int, str]),
    arrays=st.booleans(),
)
def test_a_training_of_pytorch_continues(
    build: Any,
    shapes: list[tuple[int, ...]],
    steps: int,
    split: bool,
    unused: bool,
    keys: type,
    arrays: bool,
) -> None:
    """After loading PyTorch's state dict the next steps equal PyTorch's."""
    torch = pytest.importorskip("torch")
    (name, settings), rng = build, np.random.default_rng(len(shapes))
    starts = [rng.normal(size=s) for s in shapes]
    theirs = [torch.tensor(s, requires_grad=True) for s in starts]

    def groups(ps: list[Any]) -> Any:
        return [{"params": ps[:1], "lr": 0.05}, {"params": ps[1:]}] if split and ps[1:] else ps

    optimizer = getattr(torch.optim, name)(groups(theirs), **settings)

    def step(mine: list[tg.Tensor] | None = None) -> None:
        for i, p in enumerate(theirs):
            p.grad = None if unused and i == 0 else torch.tensor(rng.normal(size=shapes[i]))
            if mine is not None:
                mine[i].grad = None if p.grad is None else tg.tensor(p.grad.numpy())
        optimizer.step()

    for _ in range(steps):
        step()
    ours = [tg.tensor(p.detach().numpy(), requires_grad=True) for p in theirs]
    state = optimizer.state_dict()
    held = {
        keys(i): {k: v.numpy() if arrays and v is not None else v for k, v in entry.items()}
        for i, entry in state["state"].items()
    }
    again = getattr(tg.optim, name)(groups(ours), lr=0.7)
    again.load_state_dict({**state, "state": held})
    for _ in range(3):
        step(ours)
        again.step()
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("written", ["Adam", "AdamW"])
def test_adam_and_adamw_refuse_the_weight_decay_of_the_other(written: str) -> None:
    torch = pytest.importorskip("torch")
    optimizer = getattr(torch.optim, written)([torch.ones(1)], weight_decay=0.1)
    for kind in (tg.optim.Adam, tg.optim.AdamW):
        if kind.__name__ == written:
            kind([weight(1)]).load_state_dict(optimizer.state_dict())
        else:
            with pytest.raises(ValueError, match=f"decoupled_weight_decay=.*: {written}"):
                kind([weight(1)]).load_state_dict(optimizer.state_dict())


class TestClipping:
    def parameters(self, *gradients: list[float]) -> list[tg.Tensor]:
        ps = [tg.zeros((len(g),), requires_grad=True) for g in gradients]
        for p, g in zip(ps, gradients, strict=True):
            p.grad = tg.tensor(g)
        return ps

    def gradients(self, ps: list[tg.Tensor]) -> list[Any]:
        return [p.grad.tolist() for p in ps if p.grad is not None]

    def test_the_lectures_rule(self) -> None:
        ps = self.parameters([3.0, 0.0], [0.0, 4.0])
        assert tg.optim.clip_grad_norm_(ps, 1.0) == 5.0
        np.testing.assert_allclose(self.gradients(ps), [[0.6, 0.0], [0.0, 0.8]], rtol=1e-6)

    @pytest.mark.parametrize("threshold", [5.0, 6.0])
    def test_up_to_the_threshold_nothing_changes(self, threshold: float) -> None:
        ps = self.parameters([3.0], [4.0])
        assert tg.optim.clip_grad_norm_(iter(ps), threshold) == 5.0
        assert self.gradients(ps) == [[3.0], [4.0]]

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_a_norm_that_is_no_number_is_returned_and_nothing_changes(self, bad: float) -> None:
        ps = self.parameters([bad, 1.0])
        assert not np.isfinite(tg.optim.clip_grad_norm_(ps, 1.0))
        assert self.gradients(ps)[0][1] == 1.0
        with pytest.raises(FloatingPointError, match="norm is"):
            tg.optim.clip_grad_norm_(ps, 1.0, error_if_nonfinite=True)

    def test_squares_do_not_overflow(self) -> None:
        assert tg.optim.clip_grad_norm_(self.parameters([1e30]), 1e31) == pytest.approx(1e30)

    def test_by_value(self) -> None:
        ps = self.parameters([3.0, -0.5])
        tg.optim.clip_grad_value_(ps, 1.0)
        assert self.gradients(ps) == [[1.0, -0.5]]

    @pytest.mark.parametrize("clip", [tg.optim.clip_grad_norm_, tg.optim.clip_grad_value_])
    def test_what_clips_nothing_is_refused(self, clip: Any) -> None:
        w = tg.tensor([3.0, 4.0], requires_grad=True)
        (w * w).sum().backward()
        for parameters, error, words in [
            (w, TypeError, r"got one: put it into a list, \[w\]"),
            ([w * 1], TypeError, "leaf tensors"),
            ([w.grad, np.ones(2)], TypeError, "leaf tensors"),
            (tg.nn.Linear(2, 1), TypeError, r"pass its \.parameters\(\)"),
            (None, TypeError, "got NoneType"),
            ([], ValueError, "no parameters"),
            (used_up(), ValueError, "no parameters"),
        ]:
            with pytest.raises(error, match=rf"{clip.__name__}: .*{words}"):
                clip(parameters, 1.0)
        for threshold in (0.0, -1.0, float("nan")):
            with pytest.raises(ValueError, match="more than 0"):
                clip([w], threshold)
        for threshold in ("1", None, [1.0]):
            with pytest.raises(TypeError, match="expected a number"):
                clip([w], threshold)
        assert w.grad is not None
        assert w.grad.tolist() == [6.0, 8.0]

    def test_parameters_without_a_gradient_have_norm_zero(self) -> None:
        assert tg.optim.clip_grad_norm_([weight(2)], 1.0) == 0.0
        tg.optim.clip_grad_value_([weight(2)], 1.0)

    def test_a_parameter_that_is_given_twice_counts_once(self) -> None:
        (p,) = self.parameters([3.0, 4.0])
        assert tg.optim.clip_grad_norm_([p, p], 1.0) == 5.0
        np.testing.assert_allclose(self.gradients([p]), [[0.6, 0.8]], rtol=1e-6)


class TestSchedules:
    def optimizer(self) -> tg.optim.Optimizer:
        return tg.optim.SGD([tg.zeros((1,), requires_grad=True)], lr=2.0)

    def test_cosine_falls_to_its_minimum_and_stays(self) -> None:
        optimizer = self.optimizer()
        schedule = tg.optim.CosineLR(optimizer, 10, warmup_steps=4, minimum=0.1)
        rates = []
        for _ in range(13):
            rates.append(optimizer.param_groups[0]["lr"])
            schedule.step()
        assert rates[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
        assert rates[7] == pytest.approx(2 * (0.1 + 0.9 * 0.5))
        assert rates[10:] == pytest.approx([0.2] * 3)

    def test_plateau_waits_then_reduces_down_to_its_minimum(self) -> None:
        optimizer = self.optimizer()
        schedule = tg.optim.ReduceLROnPlateau(optimizer, 0.5, patience=1, minimum=0.3)
        rates = []
        for loss in [5.0, 4.0, 4.0, 4.0, 3.0, 3.0, 3.0, 3.0, 3.0]:
            schedule.observe(loss)
            rates.append(optimizer.param_groups[0]["lr"])
        assert rates == [2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 0.6, 0.6, 0.6]

    @pytest.mark.parametrize(
        "build",
        [
            lambda o: tg.optim.StepLR(o, 2, 0.5),
            lambda o: tg.optim.CosineLR(o, 10, 2),
            lambda o: tg.optim.ReduceLROnPlateau(o, 0.5, 1),
        ],
    )
    def test_a_schedule_goes_on_where_it_was(self, build: Any) -> None:
        def on(schedule: Any) -> None:
            schedule.observe(1.0) if hasattr(schedule, "observe") else schedule.step()

        a, b = self.optimizer(), self.optimizer()
        first, second = build(a), build(b)
        for _ in range(5):
            on(first)
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        for _ in range(3):
            assert a.param_groups[0]["lr"] == b.param_groups[0]["lr"]
            on(first)
            on(second)

    @given(
        losses=st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20),
        threshold=st.sampled_from([0.0, 1e-4, 0.1]),
        patience=st.integers(0, 3),
    )
    def test_plateaus_are_seen_on_both_sides_of_zero(
        self, losses: list[float], threshold: float, patience: int
    ) -> None:
        """Progress is a fall by a share of the best one's size, whatever its sign."""
        schedule = tg.optim.ReduceLROnPlateau(self.optimizer(), 0.5, patience, threshold)
        best, waited, reductions = np.inf, 0, 0
        for loss in losses:
            schedule.observe(loss)
            progress = best == np.inf or best - loss > threshold * abs(best)
            best, waited = (loss, 0) if progress else (best, waited + 1)
            if waited > patience:
                reductions, waited = reductions + 1, 0
            assert schedule.best == best
            assert schedule.optimizer.param_groups[0]["lr"] == 2.0 * 0.5**reductions

    def test_a_negative_loss_that_falls_is_progress_and_one_that_rises_is_none(self) -> None:
        for losses, rate in [
            ([-100.0, -99.5, -99.2, -98.9], 1.0),
            ([-1.0, -1.0, -1.0, -1.0], 1.0),
            ([1.0, 0.0, -1.0, -2.0, -4.0, -8.0], 2.0),
        ]:
            optimizer = self.optimizer()
            schedule = tg.optim.ReduceLROnPlateau(optimizer, 0.5, patience=2, threshold=0.01)
            for loss in losses:
                schedule.observe(loss)
            assert optimizer.param_groups[0]["lr"] == rate
            assert schedule.best == min(losses)

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_a_measure_that_is_no_number_is_no_progress(self, bad: float) -> None:
        optimizer = self.optimizer()
        schedule = tg.optim.ReduceLROnPlateau(optimizer, 0.5, patience=1)
        for loss in [bad, 3.0, bad, 2.0, bad, bad]:
            schedule.observe(loss)
        assert schedule.best == 2.0
        assert optimizer.param_groups[0]["lr"] == 1.0
        json.dumps(schedule.state_dict())

    def test_a_plateau_observes_losses_as_they_come(self) -> None:
        schedule = tg.optim.ReduceLROnPlateau(self.optimizer())
        w = weight(1)
        for loss in ((w * 0).sum() + 3, np.float32(2.0), 1):
            schedule.observe(loss)
        assert type(schedule.best) is int
        for wrong in ("1.0", None, tg.zeros((2,))):
            with pytest.raises(TypeError, match=r"ReduceLROnPlateau\.observe: expected a number"):
                schedule.observe(wrong)
        with pytest.raises(TypeError, match=r"call observe\(loss\), in place of step\(\)"):
            schedule.step()

    @pytest.mark.parametrize(
        "build",
        [
            lambda o: tg.optim.StepLR(o, 0),
            lambda o: tg.optim.StepLR(o, 1.5),
            lambda o: tg.optim.StepLR(o, "2"),
            lambda o: tg.optim.StepLR(o, 2, -0.1),
            lambda o: tg.optim.StepLR(o, 2, float("nan")),
            lambda o: tg.optim.CosineLR(o, 5, warmup_steps=5),
            lambda o: tg.optim.CosineLR(o, 5, warmup_steps=-1),
            lambda o: tg.optim.CosineLR(o, 0),
            lambda o: tg.optim.CosineLR(o, 5.5),
            lambda o: tg.optim.CosineLR(o, 5, minimum=-0.1),
            lambda o: tg.optim.CosineLR(o, 5, minimum=1.1),
            lambda o: tg.optim.CosineLR(o, 5, minimum=float("nan")),
            lambda o: tg.optim.ReduceLROnPlateau(o, 1.5),
            lambda o: tg.optim.ReduceLROnPlateau(o, 0),
            lambda o: tg.optim.ReduceLROnPlateau(o, float("nan")),
            lambda o: tg.optim.ReduceLROnPlateau(o, patience=-1),
            lambda o: tg.optim.ReduceLROnPlateau(o, patience=1.5),
            lambda o: tg.optim.ReduceLROnPlateau(o, threshold=-0.1),
            lambda o: tg.optim.ReduceLROnPlateau(o, threshold=1),
            lambda o: tg.optim.ReduceLROnPlateau(o, minimum=2),
            lambda o: tg.optim.StepLR(o.param_groups, 2),
        ],
    )
    def test_wrong_settings_are_named(self, build: Any) -> None:
        optimizer = self.optimizer()
        with pytest.raises(tg.TinygradRnnError, match=r"^(StepLR|CosineLR|Reduce.*): .*expected"):
            build(optimizer)
        assert optimizer.param_groups[0]["lr"] == 2.0

    @pytest.mark.parametrize(
        "build",
        [
            lambda o: tg.optim.StepLR(o, 2, 0.5),
            lambda o: tg.optim.CosineLR(o, 10, 2),
            lambda o: tg.optim.ReduceLROnPlateau(o, 0.5, 1),
        ],
    )
    def test_states_that_do_not_fit_are_refused(self, build: Any) -> None:
        schedule = build(self.optimizer())
        state = schedule.state_dict()
        for wrong in (
            {},
            {k: v for k, v in state.items() if k != "steps"},
            {**state, "epochs": 3},
            {**state, "base_lrs": [0.1, 0.2]},
            {**state, "base_lrs": 0.1},
            {**state, "base_lrs": [-1.0]},
            {**state, "steps": -1},
            {**state, "steps": "3"},
            [state],
        ):
            with pytest.raises(tg.TinygradRnnError, match=r"\.load_state_dict: "):
                schedule.load_state_dict(wrong)
            assert schedule.state_dict() == state
