"""Linear, Embedding, Dropout, LayerNorm, losses and initial values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.kernels import training


def test_linear() -> None:
    layer = tg.nn.Linear(3, 2)
    x = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    want = x @ layer.weight.numpy().T + layer.bias.numpy()
    np.testing.assert_allclose(layer(tg.tensor(x)).numpy(), want, atol=1e-6)
    assert tg.nn.Linear(3, 2, bias=False).bias is None
    with pytest.raises(tg.ShapeError, match=r"Linear: x: expected 3 features .* got \[4, 2\]"):
        layer(tg.zeros((4, 2)))


def test_embedding() -> None:
    table = tg.nn.Embedding(5, 2, padding_idx=-1)
    assert table.padding_idx == 4
    y = table([[4, 1], [1, 0]])
    assert y.shape == (2, 2, 2)
    assert y[0, 0].tolist() == [0.0, 0.0]
    y.sum().backward()
    assert table.weight.grad is not None
    assert table.weight.grad.tolist() == [[1, 1], [2, 2], [0, 0], [0, 0], [0, 0]]
    with pytest.raises(TypeError, match=r"expected integers, got float32"):
        table(tg.zeros((2,)))
    for outside in (9, -1, -5, -100):
        with pytest.raises(IndexError, match=f"Embedding: ids: .*{outside} is outside 0 to 4"):
            table([0, outside])
    with pytest.raises(ValueError, match="padding_idx 5"):
        tg.nn.Embedding(5, 2, padding_idx=5)


@pytest.mark.parametrize(
    ("options", "p", "training", "table"),
    [
        ({}, 0.0, True, True),
        ({}, 0.5, False, True),
        ({"dropout": 0.5}, 0.5, False, True),
        ({}, 0.5, True, False),
        ({"dropout": 0.5}, 0.0, True, False),
        ({"padding_idx": 0}, 0.0, False, False),
    ],
)
def test_a_table_is_handed_over_where_no_vector_changes(
    options: Any, p: float, training: bool, table: bool
) -> None:
    embedding, dropout = tg.nn.Embedding(5, 2, **options), tg.nn.Dropout(p)
    embedding.train(training)
    dropout.train(training)
    x, ids = embedding.inputs([[4, 0], [1, 2]], dropout)
    assert (x is embedding.weight) == table
    assert (ids is not None) == table
    assert x.shape == ((5, 2) if table else (2, 2, 2))


def test_dropout_zeroes_with_probability_p_and_keeps_the_mean() -> None:
    y = tg.nn.Dropout(0.25, generator=tg.Generator(0))(tg.ones((100_000,))).numpy()
    assert np.unique(y).tolist() == pytest.approx([0.0, 4 / 3])
    assert abs((y == 0).mean() - 0.25) < 0.01
    with pytest.raises(ValueError, match="probability"):
        tg.nn.Dropout(1.0)


def test_layer_norm() -> None:
    x = np.random.default_rng(0).normal(size=(4, 6))
    layer = tg.nn.LayerNorm(6, dtype="float64")
    want = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(layer(tg.tensor(x)).numpy(), want)


def linear(x: tg.Tensor, targets: Any, **options: Any) -> tg.Tensor:
    """The loss of a linear map of 4 features to 3 classes."""
    return tg.nn.linear_cross_entropy(x, tg.ones((3, 4), dtype=x.dtype), targets, **options)


class TestLosses:
    logits = np.random.default_rng(0).normal(size=(2, 3, 4))
    targets = np.array([[0, 3, -1], [2, -1, 1]])
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    def losses(self) -> Any:
        picked = np.take_along_axis(self.log_p, np.maximum(self.targets, 0)[..., None], -1)[..., 0]
        return np.where(self.targets == -1, 0, -picked)

    def test_cross_entropy_and_nll(self) -> None:
        x, log_p = tg.tensor(self.logits), tg.tensor(self.log_p)
        for loss in (
            lambda **k: tg.nn.cross_entropy(x, self.targets, ignore_index=-1, **k),
            lambda **k: tg.nn.nll_loss(log_p, self.targets, ignore_index=-1, **k),
        ):
            np.testing.assert_allclose(loss(reduction="none").numpy(), self.losses(), atol=1e-12)
            assert loss(reduction="sum").item() == pytest.approx(self.losses().sum())
            assert loss().item() == pytest.approx(self.losses().sum() / 4)

    @pytest.mark.parametrize("rows", [1, 2, 100])
    @pytest.mark.parametrize("reduction", ["mean", "sum"])
    def test_of_a_linear_map_some_rows_at_a_time(
        self, rows: int, reduction: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Values and gradients are those of all logits, however many rows are held at once."""
        monkeypatch.setattr(training, "CHUNK", 1)
        monkeypatch.setattr(training, "MIN_ROWS", rows)
        rng = np.random.default_rng(0)
        given = [tg.tensor(rng.normal(size=s), requires_grad=True) for s in ((2, 3, 5), (4, 5), 4)]
        x, w, b = given
        options: dict[str, Any] = {
            "ignore_index": -1, "label_smoothing": 0.2, "reduction": reduction,
        }  # fmt: skip
        for bias in (b, None):
            wanted = given if bias is not None else given[:2]
            loss = tg.nn.linear_cross_entropy(x, w, self.targets, linear_bias=bias, **options)
            whole = tg.nn.cross_entropy(tg.linear(x, w, bias), self.targets, **options)
            assert loss.item() == pytest.approx(whole.item())
            found = [tg.grad(f, wanted, retain_graph=True) for f in (3 * loss, 3 * whole)]
            for a, e in zip(*found, strict=True):
                np.testing.assert_allclose(a.numpy(), e.numpy(), atol=1e-12)
            twice = tg.grad(loss, wanted)  # nothing that was handed out is part of another's
            for a, e in zip(twice, found[0], strict=True):
                np.testing.assert_allclose(3 * a.numpy(), e.numpy(), atol=1e-12)

    def test_label_smoothing_spreads_the_target(self) -> None:
        targets = np.array([1, 2])
        x, log_p = tg.tensor(self.logits[0, :2]), self.log_p[0, :2]
        q = 0.9 * np.eye(4)[targets] + 0.1 / 4
        found = tg.nn.cross_entropy(x, targets, label_smoothing=0.1)
        assert found.item() == pytest.approx(-(q * log_p).sum(-1).mean())

    def test_nothing_but_padding_costs_nothing(self) -> None:
        x = tg.tensor(self.logits[0], requires_grad=True)
        loss = tg.nn.cross_entropy(x, [-100] * 3)
        loss.backward()
        assert loss.item() == 0.0
        assert x.grad is not None
        assert not x.grad.numpy().any()

    def test_large_logits_stay_exact(self) -> None:
        x = tg.tensor([[1e4, 0.0], [-1e4, 0.0]])
        assert tg.nn.cross_entropy(x, [1, 0], reduction="none").tolist() == [1e4, 1e4]

    def test_mse_and_binary(self) -> None:
        x, t = self.logits[0], np.abs(self.logits[1]) % 1
        assert tg.nn.mse_loss(tg.tensor(x), t).item() == pytest.approx(((x - t) ** 2).mean())
        p = 1 / (1 + np.exp(-x))
        want = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
        found = tg.nn.binary_cross_entropy_with_logits(tg.tensor(x), t)
        assert found.item() == pytest.approx(want)

    @pytest.mark.parametrize(
        ("call", "error", "words"),
        [
            (lambda x: tg.nn.cross_entropy(x, [0, 4]), IndexError, "target 4 is outside the 4"),
            (lambda x: tg.nn.cross_entropy(x, [0, -1]), IndexError, "target -1 is outside"),
            (lambda x: tg.nn.cross_entropy(x, [0]), tg.ShapeError, r"shape \[2\].*\[1\]"),
            (lambda x: tg.nn.cross_entropy(x, [0.0, 1.0]), tg.ShapeError, "integer targets"),
            (lambda x: tg.nn.cross_entropy(x, [0, 1], reduction="x"), ValueError, "mean, sum or"),
            (lambda x: linear(x, [0, 3]), IndexError, "target 3 is outside the 3 classes"),
            (lambda x: linear(x, [0]), tg.ShapeError, r"shape \[2\] for \[2, 4\], features last"),
            (lambda x: linear(x, [0, 1], reduction="none"), ValueError, "single losses take cross"),
            (lambda x: linear(x[:, :3], [0, 1]), tg.ShapeError, "expected 4 features"),
            (lambda x: linear(x, [0, 1], label_smoothing=2.0), ValueError, "label_smoothing 2.0"),
            (lambda x: tg.nn.mse_loss(x, [1.0]), tg.ShapeError, "of one shape"),
        ],
    )
    def test_wrong_targets(self, call: Any, error: type[Exception], words: str) -> None:
        with pytest.raises(error, match=words):
            call(tg.tensor(self.logits[0, :2]))


class TestInitialValues:
    def filled(self, name: str, shape: tuple[int, int] = (300, 200), **options: Any) -> Any:
        fill = getattr(tg.nn.init, name)
        return fill(tg.zeros(shape), generator=tg.Generator(0), **options).numpy()

    @pytest.mark.parametrize(
        ("name", "options", "std"),
        [
            ("normal_", {"std": 0.3}, 0.3),
            ("uniform_", {"low": -0.3, "high": 0.3}, 0.6 / 12**0.5),
            ("xavier_uniform_", {}, (2 / 500) ** 0.5),
            ("xavier_normal_", {}, (2 / 500) ** 0.5),
            ("kaiming_uniform_", {}, (2 / 200) ** 0.5),
            ("kaiming_normal_", {}, (2 / 200) ** 0.5),
        ],
    )
    def test_variance(self, name: str, options: Any, std: float) -> None:
        x = self.filled(name, **options)
        assert x.std() == pytest.approx(std, rel=0.02)
        assert abs(x.mean()) < 0.02 * std * 5

    @pytest.mark.parametrize("shape", [(5, 5), (7, 4), (4, 7)])
    def test_orthogonal(self, shape: tuple[int, int]) -> None:
        q = self.filled("orthogonal_", shape, gain=2.0) / 2
        q = q if shape[0] <= shape[1] else q.T
        np.testing.assert_allclose(q @ q.T, np.eye(min(shape)), atol=1e-6)

    def test_constant_and_errors(self) -> None:
        assert tg.nn.init.constant_(tg.zeros((2,)), 3.0).tolist() == [3.0, 3.0]
        with pytest.raises(tg.ShapeError, match="orthogonal_: expected a matrix"):
            tg.nn.init.orthogonal_(tg.zeros((3,)))

    @pytest.mark.parametrize(
        ("layer", "keeping"),
        [
            (lambda: tg.nn.LSTM(3, 50, 2, bidirectional=True), {1: 1, 0: -1}),
            (lambda: tg.nn.LSTM(3, 50, coupled_gates=True), {0: -1}),
            (lambda: tg.nn.LSTMCell(3, 50), {1: 1, 0: -1}),
            (lambda: tg.nn.GRU(3, 50, dtype="float64"), {1: 1}),
            (lambda: tg.nn.GRU(3, 50, reset_after=True), {1: 1}),
        ],
    )
    def test_chrono(self, layer: Any, keeping: dict[int, int]) -> None:
        """Units remember for 2 to 100 steps, evenly; the gates that say nothing of it stay."""
        made = layer()
        before = {name: p.numpy().copy() for name, p in made.named_parameters()}
        assert tg.nn.init.chrono_(made, 100) is made
        for name, p in made.named_parameters():
            now = p.numpy().reshape(-1, 50) if name.startswith("bias") else p.numpy()[None]
            was = before[name].reshape(now.shape)
            for gate in range(len(now)):
                if not name.startswith("bias") or gate not in keeping:
                    np.testing.assert_array_equal(now[gate], was[gate])
                elif name.startswith("bias_hh"):
                    assert not now[gate].any()
                else:
                    steps = 1 + np.exp(keeping[gate] * now[gate].astype(float))
                    assert steps.min() >= 1.99
                    assert steps.max() <= 100.01
                    assert 35 < steps.mean() < 67
                    open_ = min(keeping, key=lambda gate: -keeping[gate])
                    sign = keeping[gate] * keeping[open_]
                    np.testing.assert_array_equal(now[gate], sign * now[open_])

    def test_chrono_errors(self) -> None:
        for layer in (tg.nn.RNN(3, 4), tg.nn.LSTM(3, 4, bias=False), tg.nn.Linear(3, 4)):
            with pytest.raises(TypeError, match=f"an LSTM or a GRU.*got {type(layer).__name__}"):
                tg.nn.init.chrono_(layer, 9)
        with pytest.raises(ValueError, match="longest: expected at least 2 steps, got 1"):
            tg.nn.init.chrono_(tg.nn.GRU(3, 4), 1)
