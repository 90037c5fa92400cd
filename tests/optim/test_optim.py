"""Optimizers against their formulas by plain loops; clipping; schedules; going on where one was."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

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
def test_a_state_dict_goes_on_bit_for_bit(build: Any) -> None:
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
    """A turned gradient is what `x @ w.mT` gives."""
    found = []
    for turned in (False, True):
        w = tg.ones(shape, requires_grad=True)
        optimizer = build([w])
        for _ in range(2):
            g = np.arange(w.size, dtype="float32").reshape(shape) + 1
            w.grad = tg.as_tensor(np.asfortranarray(g) if turned and shape else g)
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


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: tg.optim.SGD([], 0.1), ValueError, "no parameters"),
        (lambda: tg.optim.SGD([np.ones(1)], 0.1), TypeError, "leaf tensors"),
        (lambda: tg.optim.SGD([w := tg.zeros((1,)), w], 0.1), ValueError, "given twice"),
        (lambda: tg.optim.Adam([tg.zeros((1,))], lr=-1), ValueError, "lr: expected 0 or more"),
        (lambda: tg.optim.Adam([tg.zeros((1,))], betas=(1.0, 0.9)), ValueError, "beta1"),
        (lambda: tg.optim.SGD([tg.zeros((1,))], nesterov=True), ValueError, "momentum"),
    ],
)
def test_wrong_settings_are_named(build: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        build()


def test_a_state_dict_of_other_parameters_is_refused() -> None:
    a = tg.tensor([1.0], requires_grad=True)
    optimizer = tg.optim.Adam([a])
    a.sum().backward()
    optimizer.step()
    with pytest.raises(ValueError, match=r"groups of \[2\]"):
        tg.optim.Adam([tg.zeros((1,)), tg.zeros((1,))]).load_state_dict(optimizer.state_dict())
    with pytest.raises(ValueError, match=r"exp_avg of parameter 0: expected \[2\], got \[1\]"):
        tg.optim.Adam([tg.zeros((2,))]).load_state_dict(optimizer.state_dict())


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

    def test_thresholds_are_above_zero(self) -> None:
        for clip in (tg.optim.clip_grad_norm_, tg.optim.clip_grad_value_):
            with pytest.raises(ValueError, match="more than 0"):
                clip([], 0.0)


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

    def test_wrong_settings(self) -> None:
        for build in (
            lambda: tg.optim.StepLR(self.optimizer(), 0),
            lambda: tg.optim.CosineLR(self.optimizer(), 5, warmup_steps=5),
            lambda: tg.optim.ReduceLROnPlateau(self.optimizer(), 1.5),
        ):
            with pytest.raises(ValueError, match="expected"):
                build()
