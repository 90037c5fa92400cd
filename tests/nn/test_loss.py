"""Losses count what they should, and say which targets are none."""

from __future__ import annotations

import inspect
from math import inf, lgamma, log, nan
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn.regression import _half_step

Array = np.ndarray[Any, Any]

# ---------------------------------------------------------------- ignored targets

TARGETS = np.array([-100, 1])


def logits(bad: float) -> Array:
    return np.array([[bad, 1.0, 2.0], [0.0, 1.0, 2.0]], dtype="float32")


def expected() -> float:
    row = np.array([0.0, 1.0, 2.0])
    return float(np.log(np.exp(row).sum()) - row[1])


@pytest.mark.parametrize("bad", [-inf, nan])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_cross_entropy(bad: float, reduction: str) -> None:
    x = tg.tensor(logits(bad), requires_grad=True)
    loss = tg.nn.cross_entropy(x, TARGETS, reduction=reduction)
    loss.backward()
    assert loss.item() == pytest.approx(expected(), rel=1e-5)
    assert x.grad is not None
    assert np.isfinite(x.grad.numpy()[1]).all()
    assert (x.grad.numpy()[0] == 0).all()


@pytest.mark.parametrize("bad", [-inf, nan])
def test_cross_entropy_each(bad: float) -> None:
    each = tg.nn.cross_entropy(tg.tensor(logits(bad)), TARGETS, reduction="none").numpy()
    assert each[0] == 0
    assert each[1] == pytest.approx(expected(), rel=1e-5)


@pytest.mark.parametrize("bad", [-inf, nan])
def test_nll_loss(bad: float) -> None:
    log_probs = np.array([[bad, -1.0, -2.0], [-3.0, -0.5, -2.0]], dtype="float32")
    x = tg.tensor(log_probs, requires_grad=True)
    loss = tg.nn.nll_loss(x, TARGETS)
    loss.backward()
    assert loss.item() == pytest.approx(0.5)
    assert x.grad is not None
    assert np.allclose(x.grad.numpy(), [[0, 0, 0], [0, -1, 0]])


def test_linear_cross_entropy() -> None:
    x = tg.tensor(np.array([[nan, 1.0], [1.0, 2.0]], dtype="float32"), requires_grad=True)
    weight = tg.tensor(
        np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], "float32"), requires_grad=True
    )
    loss = tg.nn.linear_cross_entropy(x, weight, TARGETS)
    loss.backward()
    row = np.array([1.0, 2.0, 3.0])
    assert loss.item() == pytest.approx(float(np.log(np.exp(row).sum()) - row[1]), rel=1e-5)
    assert weight.grad is not None
    assert np.isfinite(weight.grad.numpy()).all()


def test_an_ignored_target_is_of_no_class_that_a_bias_takes_out() -> None:
    """A bias of -inf takes class 0 out for all rows: an ignored row does not bring it back."""
    x, w = tg.ones((2, 2)), tg.ones((3, 2))
    bias = tg.tensor([-inf, 0.0, 0.0], requires_grad=True)
    loss = tg.nn.linear_cross_entropy(x, w, TARGETS, linear_bias=bias)
    assert loss.item() == pytest.approx(log(2))
    (first,) = tg.grad(loss, [bias], create_graph=True)
    np.testing.assert_allclose(first.numpy(), [0, -0.5, 0.5], atol=1e-7)
    (second,) = tg.grad(first[2], [bias])
    np.testing.assert_allclose(second.numpy(), [0, -0.25, 0.25], atol=1e-7)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("rows", [0, 3])
def test_a_mean_over_nothing_is_zero(rows: int, reduction: str) -> None:
    x, targets = tg.full((rows, 2), nan, requires_grad=True), np.full(rows, -100)
    w = tg.ones((4, 2))
    for loss in (
        tg.nn.cross_entropy(x, targets, reduction=reduction),
        tg.nn.nll_loss(x, targets, reduction=reduction),
        tg.nn.linear_cross_entropy(x, w, targets, reduction=reduction),
    ):
        assert loss.item() == 0
        (g,) = tg.grad(loss, [x])
        assert (g.numpy() == 0).all()
    empty = tg.zeros((0, 2))
    assert tg.nn.mse_loss(empty, empty, reduction=reduction).item() == 0


@pytest.mark.parametrize("target", [-1, -2, 3, 2**40])
def test_targets_outside_the_classes_are_named(target: int) -> None:
    x, targets = tg.zeros((2, 3)), np.array([0, target])
    for loss in (
        lambda: tg.nn.cross_entropy(x, targets),
        lambda: tg.nn.nll_loss(x, targets),
        lambda: tg.nn.linear_cross_entropy(x, tg.ones((3, 3)), targets),
    ):
        with pytest.raises(IndexError, match=f"target {target} is outside the 3 classes"):
            loss()


@pytest.mark.parametrize("kind", ["float32", "bool"])
def test_targets_that_are_no_integers_are_named(kind: str) -> None:
    with pytest.raises(ValueError, match=f"expected integer targets .* got {kind}"):
        tg.nn.cross_entropy(tg.zeros((2, 3)), np.array([0, 1]).astype(kind))


# ---------------------------------------------------------------- infinite logits


def test_binary_cross_entropy_of_certainty() -> None:
    """Right with certainty costs nothing, wrong with certainty everything; the slope is finite."""
    x = tg.tensor([inf, -inf, inf, -inf, inf, 0.5], requires_grad=True)
    target = tg.tensor([1.0, 0.0, 0.0, 1.0, 0.25, 0.25])
    each = tg.nn.binary_cross_entropy_with_logits(x, target, reduction="none")
    soft = log(1 + np.exp(0.5)) - 0.125
    np.testing.assert_allclose(each.numpy(), [0, 0, inf, inf, inf, soft], rtol=1e-6)
    (g,) = tg.grad(each.sum(), [x])
    slope = 1 / (1 + np.exp(-0.5)) - 0.25
    np.testing.assert_allclose(g.numpy(), [0, 0, 1, -1, 0.75, slope], rtol=1e-6)


def test_a_class_that_is_impossible_takes_no_part() -> None:
    x = tg.tensor([[-inf, 1.0, 2.0]], dtype="float64", requires_grad=True)
    y = tg.tensor([[1.0, 2.0]], dtype="float64", requires_grad=True)
    found, true = tg.nn.cross_entropy(x, [1]), tg.nn.cross_entropy(y, [0])
    assert found.item() == pytest.approx(true.item())
    (first,), (expect,) = (tg.grad(a, [b], create_graph=True) for a, b in ((found, x), (true, y)))
    np.testing.assert_allclose(first.numpy(), [[0, *expect.numpy()[0]]], atol=1e-12)
    (second,), (expect,) = tg.grad(first[0, 1], [x]), tg.grad(expect[0, 0], [y])
    np.testing.assert_allclose(second.numpy(), [[0, *expect.numpy()[0]]], atol=1e-12)


@pytest.mark.parametrize("lengths", [[-1, 1], [4, 1], [1.0, 2.0], [1]])
def test_lengths_of_activations_are_checked(lengths: Any) -> None:
    for loss in (tg.nn.activation_regularization, tg.nn.temporal_activation_regularization):
        with pytest.raises(tg.ShapeError, match=f"{loss.__name__}: lengths"):
            loss(tg.ones((3, 2, 1)), lengths=lengths)


def test_the_logarithm_of_gamma_is_exact_to_float64() -> None:
    x = np.concatenate([np.geomspace(1e-3, 30, 200), np.arange(1.0, 40.0)])
    found = _half_step(tg.tensor(x)).numpy()
    np.testing.assert_allclose(found, [lgamma(v + 0.5) - lgamma(v) for v in x], atol=8e-14)


@pytest.mark.parametrize("df", [1e4, 1e6, 1e12, 1e30])
def test_students_t_of_many_degrees_of_freedom_is_a_normal_distribution(df: float) -> None:
    x = tg.tensor([0.0, 3.0], requires_grad=True)
    loss = tg.nn.student_t_nll_loss(x, [1.0, 1.0], 1.0, df)
    (slope,) = tg.grad(loss, [x])
    normal = tg.nn.gaussian_nll_loss(x, [1.0, 1.0], 1.0, full=True)
    np.testing.assert_allclose(loss.item(), normal.item(), rtol=10 / df + 1e-6)
    np.testing.assert_allclose(slope.numpy(), tg.grad(normal, [x])[0].numpy(), rtol=1e-3)


def test_factors_of_integer_logits_stay_reals() -> None:
    """In the dtype of the logits they would be 0."""
    x, ids = tg.tensor([[1, 2], [3, 0]]), [0, 1]
    for loss in (
        lambda x: tg.nn.cross_entropy(x, ids, weight=[0.25, 0.5]),
        lambda x: tg.nn.nll_loss(x, ids, weight=[0.25, 0.5]),
        lambda x: tg.nn.binary_cross_entropy_with_logits(x, [[0, 1], [1, 1]], pos_weight=0.5),
    ):
        np.testing.assert_allclose(loss(x).item(), loss(x.astype("float32")).item(), rtol=1e-6)


def test_infinite_logits_that_are_right_cost_nothing_with_a_pos_weight() -> None:
    x = tg.tensor([inf, -inf], requires_grad=True)
    loss = tg.nn.binary_cross_entropy_with_logits(x, [1.0, 0.0], pos_weight=3.0)
    loss.backward()
    assert loss.item() == 0
    assert x.grad is not None
    assert x.grad.tolist() == [0, 0]


IDS = np.array([0, 2])
LOSSES: dict[str, Any] = {
    "cross_entropy": lambda x, **given: tg.nn.cross_entropy(x, IDS, **given),
    "smoothed": lambda x, **given: tg.nn.cross_entropy(x, IDS, label_smoothing=0.1, **given),
    "weighted": lambda x, **given: tg.nn.cross_entropy(x, IDS, weight=[1.0, 2.0, 3.0], **given),
    "ignored": lambda x, **given: tg.nn.cross_entropy(x, IDS, ignore_index=2, **given),
    "nll": lambda x, **given: tg.nn.nll_loss(tg.log_softmax(x, axis=-1), IDS, **given),
    "linear": lambda x, **given: tg.nn.linear_cross_entropy(x, x.mT @ x, IDS, **given),
    "binary": lambda x, **given: tg.nn.binary_cross_entropy_with_logits(x, x > 0, **given),
    "mse": lambda x, **given: tg.nn.mse_loss(x, tg.zeros_like(x), **given),
    "l1": lambda x, **given: tg.nn.l1_loss(x, tg.zeros_like(x), **given),
    "huber": lambda x, **given: tg.nn.huber_loss(x, tg.zeros_like(x), **given),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loss_has_the_dtype_of_its_predictions(name: str, dtype: str) -> None:
    x = tg.tensor([[0.5, 1.0, 2.0], [-1.0, 1.0, 2.0]], dtype=dtype, requires_grad=True)
    for reduction in ("mean", "sum") if name == "linear" else ("mean", "sum", "none"):
        loss = LOSSES[name](x, reduction=reduction)
        assert loss.dtype == dtype, reduction
        assert tg.grad(loss.sum(), [x])[0].dtype == dtype


TARGETS_OF = [
    [[1, 0, 1], [0, 0, 1]],
    np.array([[1, 0, 1], [0, 0, 1]], dtype="uint8"),
    np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]),
    np.array([[True, False, True], [False, False, True]]),
    tg.tensor([[1, 0, 1], [0, 0, 1]]),
    tg.tensor([[True, False, True], [False, False, True]]),
]


@pytest.mark.parametrize("target", TARGETS_OF)
def test_integers_and_booleans_are_real_targets_in_the_dtype_of_the_prediction(target: Any) -> None:
    x = tg.tensor([[0.5, 1.0, 2.0], [-1.0, 1.0, 2.0]], requires_grad=True)
    reals = tg.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    losses: list[Any] = [
        tg.nn.mse_loss, tg.nn.l1_loss, tg.nn.huber_loss, tg.nn.binary_cross_entropy_with_logits,
        lambda x, t: tg.nn.gaussian_nll_loss(x, t, tg.ones((2, 3))),
        lambda x, t: tg.nn.student_t_nll_loss(x, t, tg.ones((2, 3)), 3.0),
    ]  # fmt: skip
    for loss in losses:
        found, expected = loss(x, target), loss(x, reals)
        assert found.dtype == np.float32
        assert found.item() == expected.item()


FORMS = {
    nn.CrossEntropyLoss: nn.cross_entropy,
    nn.NLLLoss: nn.nll_loss,
    nn.BCEWithLogitsLoss: nn.binary_cross_entropy_with_logits,
    nn.MSELoss: nn.mse_loss,
    nn.L1Loss: nn.l1_loss,
    nn.HuberLoss: nn.huber_loss,
    nn.GaussianNLLLoss: nn.gaussian_nll_loss,
    nn.StudentTNLLLoss: nn.student_t_nll_loss,
    nn.CTCLoss: nn.ctc_loss,
}


WRONG = [None, "x", tg.ones((7,), dtype="int64"), tg.ones((7,), dtype="complex64")]


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("wrong", WRONG, ids=["None", "text", "integers", "complex"])
def test_an_error_names_the_module_or_the_function_that_was_called(kind: Any, wrong: Any) -> None:
    count = len(inspect.signature(kind.forward).parameters) - 1
    others = [tg.ones((4, 2, 5))] * (count - 1)
    with pytest.raises(tg.TinygradRnnError, match=f"^{kind.__name__}: ") as found:
        kind()(wrong, *others)
    assert FORMS[kind].__name__ not in str(found.value)
    with pytest.raises(tg.TinygradRnnError, match=f"^{FORMS[kind].__name__}: "):
        FORMS[kind](wrong, *others)


@pytest.mark.parametrize(
    ("loss", "argument"),
    [
        (tg.nn.mse_loss, "target"),
        (tg.nn.huber_loss, "target"),
        (tg.nn.binary_cross_entropy_with_logits, "target"),
        (tg.nn.cross_entropy, "targets"),
        (lambda y, v: tg.nn.gaussian_nll_loss(y, tg.zeros(y.shape, dtype=y.dtype), v), "var"),
    ],
)
def test_a_loss_keeps_the_dtype_of_the_prediction(loss: Any, argument: str) -> None:
    narrow, wide = (tg.full((2, 3), 0.25, dtype=dtype) for dtype in ("float32", "float64"))
    with pytest.raises(
        TypeError, match=rf"{argument}: expected float32 .*, got float64: {argument}"
    ):
        loss(narrow, wide)
    for prediction in (narrow, wide):
        for target in (narrow, narrow.numpy(), wide.numpy(), [[0.25] * 3] * 2):
            assert loss(prediction, target).dtype == prediction.dtype
