"""Losses and plain layers agree with PyTorch's in value, first and second derivative."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn

from ..drawing import HypothesisSampler

torch: Any = pytest.importorskip("torch")
functional = torch.nn.functional
pytestmark = pytest.mark.oracle

Array = np.ndarray[Any, Any]
REDUCTIONS = ["mean", "sum", "none"]


def agree(
    ours: Callable[..., Any], theirs: Callable[..., Any], arrays: Sequence[Array], **tolerance: Any
) -> None:
    """Compares values, gradients, and gradients of a function of the gradients."""
    mine = _orders(ours, [tg.tensor(a, requires_grad=True) for a in arrays], _ours)
    true = _orders(theirs, [torch.tensor(a, requires_grad=True) for a in arrays], _theirs)
    for order, (a, b) in enumerate(zip(mine, true, strict=True)):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(
                x, y, err_msg=f"order {order}", **{"rtol": 1e-8, "atol": 1e-10, **tolerance}
            )


def _ours(ys: Any, xs: Any) -> Any:
    return tg.grad(ys, xs, create_graph=True)


def _theirs(y: Any, xs: Any) -> Any:
    found = torch.autograd.grad(y, xs, create_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, xs, strict=True)]


def _orders(function: Any, xs: list[Any], grad: Any) -> list[list[Array]]:
    y = function(*xs)
    found = [[y.detach().numpy()]]
    total = (y * y).sum()
    for _ in range(2):
        gs = grad(total, xs) if total.requires_grad else [0 * x for x in xs]
        found.append([g.detach().numpy() for g in gs])
        total = sum((g * g * (i + 1)).sum() for i, g in enumerate(gs))
    return found


class Draw(HypothesisSampler):
    def ids(self, below: int, *shape: int) -> Array:
        seed = self.integer(0, 2**32 - 1)
        return np.random.default_rng(seed).integers(0, below, shape)

    def positive(self, *shape: int) -> Array:
        return np.abs(self.reals(shape)) + 0.2


@pytest.mark.quick
@given(data=st.data())
def test_cross_entropy(data: st.DataObject) -> None:
    d = Draw(data)
    rows, classes = d.integer(1, 4), d.integer(1, 4)
    weight = d.one_of([None, d.positive(classes)])
    reduction = d.one_of(REDUCTIONS)
    smoothing = d.one_of([0.0, 0.2])
    targets = d.ids(classes, rows)
    targets[0] = 0  # one at least counts: PyTorch's mean over nothing is NaN
    ignore = d.one_of([-100, 1])
    their_weight = None if weight is None else torch.tensor(weight)

    def ours(x: Any) -> Any:
        loss = nn.CrossEntropyLoss(
            weight, ignore_index=ignore, reduction=reduction, label_smoothing=smoothing
        )
        return loss(x, targets)

    def theirs(x: Any) -> Any:
        loss = torch.nn.CrossEntropyLoss(
            their_weight, ignore_index=ignore, reduction=reduction, label_smoothing=smoothing
        )
        return loss(x, torch.tensor(targets))

    agree(ours, theirs, [d.reals((rows, classes))])


@given(data=st.data())
def test_cross_entropy_of_probabilities(data: st.DataObject) -> None:
    d = Draw(data)
    shape = (d.integer(1, 3), d.integer(1, 3), d.integer(1, 4))
    weight = d.one_of([None, d.positive(shape[-1])])
    options: dict[str, Any] = {
        "reduction": d.one_of(REDUCTIONS), "label_smoothing": d.one_of([0.0, 0.2])
    }  # fmt: skip

    def theirs(x: Any, p: Any) -> Any:
        w = None if weight is None else torch.tensor(weight)
        return functional.cross_entropy(x.movedim(-1, 1), p.movedim(-1, 1), w, **options)

    p = d.positive(*shape)
    p[..., 0] = 0
    agree(
        lambda x, p: nn.cross_entropy(x, p, weight=weight, **options), theirs, [d.reals(shape), p]
    )


@given(data=st.data())
def test_nll_loss(data: st.DataObject) -> None:
    d = Draw(data)
    rows, classes = d.integer(1, 4), d.integer(1, 4)
    weight, reduction = d.one_of([None, d.positive(classes)]), d.one_of(REDUCTIONS)
    targets = d.ids(classes, rows)
    targets[0], ignore = 0, d.one_of([-100, 1])
    w = None if weight is None else torch.tensor(weight)
    agree(
        lambda x: nn.NLLLoss(weight, ignore_index=ignore, reduction=reduction)(x, targets),
        lambda x: functional.nll_loss(
            x, torch.tensor(targets), w, ignore_index=ignore, reduction=reduction
        ),
        [d.reals((rows, classes))],
    )


@given(data=st.data())
def test_binary_cross_entropy(data: st.DataObject) -> None:
    d = Draw(data)
    shape, reduction = (d.integer(1, 3), d.integer(1, 3)), d.one_of(REDUCTIONS)
    factor = d.one_of([None, d.positive(shape[-1])])
    t = np.clip(d.reals(shape), 0, 1)
    agree(
        lambda x: nn.BCEWithLogitsLoss(pos_weight=factor, reduction=reduction)(x, t),
        lambda x: functional.binary_cross_entropy_with_logits(
            x,
            torch.tensor(t),
            pos_weight=None if factor is None else torch.tensor(factor),
            reduction=reduction,
        ),
        [40 * d.reals(shape)],
    )


@given(data=st.data())
def test_distances(data: st.DataObject) -> None:
    d = Draw(data)
    shape, reduction = (d.integer(1, 3), d.integer(1, 3)), d.one_of(REDUCTIONS)
    x, t = d.reals(shape), d.reals(shape)
    if d.one_of([True, False]):
        x[0] = t[0]  # where the absolute value has its kink
    agree(
        lambda x, t: nn.MSELoss(reduction)(x, t),
        lambda x, t: functional.mse_loss(x, t, reduction=reduction),
        [x, t],
    )
    agree(
        lambda x, t: nn.L1Loss(reduction)(x, t),
        lambda x, t: functional.l1_loss(x, t, reduction=reduction),
        [x, t],
    )
    delta = d.one_of([0.5, 1.0, 2.0])
    agree(
        lambda x, t: nn.HuberLoss(delta=delta, reduction=reduction)(x, t),
        lambda x, t: functional.huber_loss(x, t, delta=delta, reduction=reduction),
        [x, t],
    )


@given(data=st.data())
def test_negative_log_likelihoods(data: st.DataObject) -> None:
    d = Draw(data)
    shape, reduction = (d.integer(1, 3), d.integer(1, 3)), d.one_of(REDUCTIONS)
    full, eps = d.one_of([False, True]), d.one_of([1e-6, 0.5])
    var = d.positive(*d.one_of([shape, shape[:-1], (shape[0], 1)]))
    agree(
        lambda x, t, v: nn.GaussianNLLLoss(full=full, eps=eps, reduction=reduction)(x, t, v),
        lambda x, t, v: functional.gaussian_nll_loss(
            x, t, v, full=full, eps=eps, reduction=reduction
        ),
        [d.reals(shape), d.reals(shape), var],
    )

    def t_loss(x: Any, t: Any, scale: Any, df: Any) -> Any:
        losses = -torch.distributions.StudentT(df, x, scale).log_prob(t)
        return losses if reduction == "none" else getattr(losses, reduction)()

    df = d.one_of([1.0, 3.0, 50.0]) * d.positive(*d.one_of([shape, (1,)]))
    agree(
        lambda x, t, s, n: nn.StudentTNLLLoss(reduction)(x, t, s, n),
        t_loss,
        [d.reals(shape), d.reals(shape), d.positive(*shape), df],
        rtol=1e-6,  # differences of nearly equal logarithms of Gamma
    )


@given(data=st.data())
def test_activations(data: st.DataObject) -> None:
    d = Draw(data)
    x = d.reals((d.integer(1, 3), d.integer(1, 3)))
    for name in ("ReLU", "Tanh", "Sigmoid", "SiLU", "GELU", "Identity"):
        agree(getattr(nn, name)(), getattr(torch.nn, name)(), [x])
    agree(nn.GELU("tanh"), torch.nn.GELU("tanh"), [x])


@given(data=st.data())
def test_flatten(data: st.DataObject) -> None:
    d = Draw(data)
    shape = (2, 3, 1, 2)[: d.integer(1, 4)]
    start = d.integer(0, len(shape) - 1)
    end = d.integer(start, len(shape) - 1) - d.one_of([0, len(shape)])
    agree(nn.Flatten(start, end), torch.nn.Flatten(start, end), [d.reals(shape)])


def test_ctc_loss_as_a_module() -> None:
    d = np.random.default_rng(0)
    x = d.normal(size=(5, 2, 4))
    targets = np.array([[1, 2], [3, 3]])
    for options in ({}, {"reduction": "sum"}, {"blank": 1, "zero_infinity": True}):
        labels = targets if not options.get("blank") else np.array([[0, 2], [3, 3]])
        mine = nn.CTCLoss(**options)(tg.log_softmax(tg.tensor(x)), labels, [5, 4], [2, 2])
        true = torch.nn.CTCLoss(**options)(
            torch.log_softmax(torch.tensor(x), -1), torch.tensor(labels), (5, 4), (2, 2)
        )
        assert mine.item() == pytest.approx(true.item(), rel=1e-6)


def test_class_weights_are_buffers_as_pytorchs() -> None:
    ours = nn.CrossEntropyLoss(np.array([1.0, 2.0, 3.0]))
    theirs = torch.nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 3.0]))
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["weight"]
    assert not list(ours.parameters())
    assert repr(ours) == "CrossEntropyLoss()"
    assert repr(nn.CrossEntropyLoss(reduction="sum")) == "CrossEntropyLoss(reduction='sum')"


# ---------------------------------------------------------------- convolutions, batch norm


def with_weights_of(ours: Any, theirs: Any) -> tuple[Any, Any]:
    """Both modules in float64 with the weights of PyTorch's."""
    theirs = theirs.double()
    ours.to("float64").load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    return ours, theirs


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@given(data=st.data())
def test_convolutions(data: st.DataObject) -> None:
    d = Draw(data)
    axes, groups = d.integer(1, 2), d.integer(1, 2)
    each = [[d.integer(1, 2) for _ in range(axes)] for _ in range(3)]
    kernel, stride, dilation = (tuple(v) for v in each)
    padding: Any = d.one_of([0, 1, (2,) * axes, "valid"])
    if stride == (1,) * axes and d.one_of([True, False]):
        padding = "same"
    given: dict[str, Any] = {
        "stride": stride, "padding": padding, "dilation": dilation, "groups": groups,
        "bias": d.one_of([True, False]),
    }  # fmt: skip
    name = f"Conv{axes}d"
    mine, true = with_weights_of(
        getattr(nn, name)(2 * groups, groups, kernel, **given),
        getattr(torch.nn, name)(2 * groups, groups, kernel, **given),
    )
    batch = [d.integer(1, 3)] if d.one_of([True, False]) else []
    x = d.reals((*batch, 2 * groups, *(d.integer(3, 5) for _ in range(axes))))
    weights = [p.detach().numpy() for p in true.parameters()]

    def theirs(x: Any, *ws: Any) -> Any:
        return torch.func.functional_call(
            true, dict(zip([n for n, _ in true.named_parameters()], ws, strict=True)), (x,)
        )

    def ours(x: Any, *ws: Any) -> Any:
        for (n, _), w in zip(list(mine.named_parameters()), ws, strict=True):
            vars(mine)[n] = w
        return mine(x)

    agree(ours, theirs, [x, *weights])


@given(data=st.data())
def test_batch_norm(data: st.DataObject) -> None:
    d = Draw(data)
    channels = d.integer(1, 3)
    given: dict[str, Any] = {
        "eps": d.one_of([1e-5, 0.1]), "momentum": d.one_of([0.1, 0.7, None]),
        "affine": d.one_of([True, False]), "track_running_stats": d.one_of([True, False]),
    }  # fmt: skip
    mine, true = with_weights_of(
        nn.BatchNorm1d(channels, **given), torch.nn.BatchNorm1d(channels, **given)
    )
    time = [d.integer(1, 3)] if d.one_of([True, False]) else []
    for mode in (True, True, False):
        mine.train(mode)
        true.train(mode)
        agree(mine, true, [d.reals((d.integer(2, 4), channels, *time))], rtol=1e-6, atol=1e-8)
        for (n, a), b in zip(mine.state_dict().items(), true.state_dict().values(), strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-12, err_msg=n)


def test_initial_weights_have_pytorchs_bounds() -> None:
    for mine, true in [
        (nn.Conv1d(4, 64, 3, groups=2), torch.nn.Conv1d(4, 64, 3, groups=2)),
        (nn.Conv2d(4, 64, (3, 2)), torch.nn.Conv2d(4, 64, (3, 2))),
    ]:
        for p, q in zip(mine.parameters(), true.parameters(), strict=True):
            assert p.shape == tuple(q.shape)
            assert abs(p.detach().numpy()).max() == pytest.approx(
                abs(q.detach().numpy()).max(), rel=0.15
            )
