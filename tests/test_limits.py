"""Long sequences, large vocabularies, empty batches, and arrays of more than 2^31 elements.

The profile `deep` runs those that need minutes, or 9 GB, most of which is never touched.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.kernels import training

T, V = 100_000, 2_000_000
N = 2**31 + 7  # elements

deep = pytest.mark.skipif(
    os.environ.get("HYPOTHESIS_PROFILE") != "deep", reason="minutes, or gigabytes"
)


def drawn(*shape: int) -> tg.Tensor:
    return tg.randn(*shape, generator=tg.Generator(0), requires_grad=True)


def check_gradient(loss: tg.Tensor, x: tg.Tensor) -> None:
    loss.sum().backward()
    assert x.grad is not None
    gradient = x.grad.numpy()
    assert np.isfinite(gradient).all()
    assert gradient.any()


# ---------------------------------------------------------------- long sequences


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_long_sequences(name: str) -> None:
    x = drawn(T, 1, 2)
    layer = getattr(nn, name)(2, 2, generator=tg.Generator(0))
    y, _ = layer(x, lengths=[T - 1])
    check_gradient(y, x)
    assert not x.grad.numpy()[-1].any()  # type: ignore[union-attr]


def ctc(x: tg.Tensor) -> tg.Tensor:
    return nn.ctc_loss(tg.log_softmax(x, axis=-1), tg.tensor([[1, 2, 1]]), [len(x)], [3])


def crf(x: tg.Tensor) -> tg.Tensor:
    layer = nn.CRF(3, generator=tg.Generator(0))
    [path], _ = layer.decode(x)
    assert len(path) == len(x)
    return layer(x, tg.zeros((len(x), 1), dtype="int64"))


def scanned(x: tg.Tensor) -> tg.Tensor:
    return nn.Recurrent(nn.GRUCell(3, 2, generator=tg.Generator(0)))(x)[0]


@pytest.mark.parametrize("loss", [ctc, *(pytest.param(one, marks=deep) for one in (crf, scanned))])
def test_long_losses(loss: Any) -> None:
    x = drawn(T, 1, 3)
    check_gradient(loss(x), x)


# ---------------------------------------------------------------- large vocabularies


def test_large_vocabularies() -> None:
    """The last of two million symbols is embedded, predicted and learnt."""
    table = nn.Embedding(V, 2, generator=tg.Generator(0))
    optimizer = tg.optim.Adam(table.parameters(), lr=0.1)
    before = table.weight.numpy()[[0, -1]].copy()
    hidden = table(tg.tensor([[V - 1], [3]]))
    nn.GRU(2, 2, generator=tg.Generator(0))(hidden)[0].sum().backward()
    assert table.weight.grad.numpy()[-1].any()  # type: ignore[union-attr]
    optimizer.step()
    after = table.weight.numpy()[[0, -1]]
    assert (before[0] == after[0]).all()
    assert (before[1] != after[1]).all()


@pytest.mark.parametrize("name", ["cross_entropy", "linear_cross_entropy", "ctc_loss"])
def test_losses_of_large_vocabularies(name: str) -> None:
    if name == "cross_entropy":
        x = tg.zeros((2, V), requires_grad=True)
        loss = nn.cross_entropy(x, tg.tensor([V - 1, 0]))
    elif name == "linear_cross_entropy":
        x = tg.ones((2, 2), requires_grad=True)
        loss = nn.linear_cross_entropy(x, tg.zeros((V, 2)), tg.tensor([V - 1, 0]))
    else:
        x = tg.zeros((1, 2, V), requires_grad=True)
        loss = nn.ctc_loss(tg.log_softmax(x, axis=-1), tg.tensor([[V - 1], [1]]), [1, 1], [1, 1])
    np.testing.assert_allclose(loss.item(), np.log(V), rtol=1e-5)
    loss.backward()
    assert x.grad is not None
    if name == "cross_entropy":
        assert x.grad.numpy()[0, -1] == pytest.approx(-0.5, rel=1e-5)


# ---------------------------------------------------------------- batches of 0


EMPTY: dict[str, Any] = {
    "cross_entropy": lambda x, ids: nn.cross_entropy(x, ids),
    "linear_cross_entropy": lambda x, ids: nn.linear_cross_entropy(x, tg.ones((7, 5)), ids),
    "nll_loss": lambda x, ids: nn.nll_loss(x, ids),
    "mse_loss": lambda x, ids: nn.mse_loss(x, x),
    "ctc_loss": lambda x, ids: nn.ctc_loss(
        tg.expand_dims(x, 0), np.zeros((0, 1), int), ids.numpy(), ids.numpy()
    ),
    "Linear": lambda x, ids: nn.Linear(5, 2)(x),
    "LayerNorm": lambda x, ids: nn.LayerNorm(5)(x),
    "Embedding": lambda x, ids: nn.Embedding(4, 5)(ids) + x,
    "softmax": lambda x, ids: tg.softmax(x, axis=-1),
}


@pytest.mark.parametrize("name", EMPTY)
def test_batches_of_none(name: str) -> None:
    """Losses are 0, and so are the gradients of weights."""
    x = tg.zeros((0, 5), requires_grad=True)
    out = EMPTY[name](x, tg.zeros((0,), dtype="int64"))
    assert out.sum().item() == 0
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == (0, 5)


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (nn.LSTM(5, 2), r"LSTM: x: expected \(T, B, ...\), none empty; got \[3, 0, 5\]"),
        (nn.CRF(5).decode, r"CRF: emissions: expected \(T, B, 5\), none empty; got \[3, 0, 5\]"),
        (nn.Recurrent(nn.JANETCell(5, 2)), r"Recurrent: x: expected \(T, B, ...\), none empty"),
    ],
)
def test_layers_refuse_batches_of_none(layer: Any, said: str) -> None:
    with pytest.raises(tg.ShapeError, match=said):
        layer(tg.zeros((3, 0, 5)))


def test_an_optimizer_of_an_empty_parameter() -> None:
    empty, other = nn.Parameter(np.zeros((0, 3))), nn.Parameter(np.zeros(2))
    empty.grad, other.grad = tg.zeros((0, 3), dtype="float64"), tg.ones(2, dtype="float64")
    for kind in (tg.optim.SGD, tg.optim.Adam, tg.optim.RMSprop):
        before = other.numpy().copy()
        kind([empty, other], lr=0.1).step()
        assert (other.numpy() < before).all()
    assert tg.optim.clip_grad_norm_([empty], 1.0) == 0


# ---------------------------------------------------------------- more than 2^31 elements


def last_is(value: float, shape: tuple[int, ...], dtype: str = "float32") -> Any:
    """Zeros, whose memory the system provides as it is written, but for the last element."""
    x = np.zeros(shape, dtype)
    x[(-1,) * len(shape)] = value
    return x


@deep
def test_large_reductions() -> None:
    x = tg.as_tensor(last_is(5, (N,), "int8"))
    assert [tg.sum(x).item(), tg.max(x).item(), tg.argmax(x).item()] == [5, 5, N - 1]
    assert tg.any(x).item()
    assert [x[N - 1].item(), x[-2].item(), tg.take(x, tg.tensor([N - 1])).item()] == [5, 0, 5]
    assert (x + x)[-1].item() == 10


@deep
def test_large_sum_of_squares() -> None:
    assert training.sum_of_squares(last_is(3, (N,))) == 9


@deep
def test_large_tables() -> None:
    table = np.zeros((V, 1100), "float32")
    training.add_rows(np, table, np.array([V - 1, 5, -1]), np.ones((3, 1100), "float32"))
    assert [table[-1, -1], table[5, 0], table[6, 0], table[-2, -1]] == [2, 1, 0, 0]


@deep
def test_large_logits() -> None:
    x = last_is(3, (N // V + 1, V))
    with tg.no_grad():
        loss = nn.cross_entropy(tg.as_tensor(x), np.full(len(x), V - 1), reduction="none")
    np.testing.assert_allclose(loss.numpy()[[0, -1]], np.log(V) - np.array([0, 3]), rtol=1e-4)


@deep
def test_large_checkpoints(tmp_path: Path) -> None:
    tg.io.save_checkpoint(tmp_path, {"model": {"w": last_is(5, (N,), "int8")}}, verify=True)
    w = tg.io.load_checkpoint(tmp_path)["model"]["w"]
    assert [w.shape, w[0], w[-1]] == [(N,), 0, 5]


@deep
def test_large_products() -> None:
    with tg.no_grad():
        y = tg.ones((1, 1100)) @ tg.as_tensor(last_is(1, (V, 1100))).T
    assert [y[0, -1].item(), y[0, 0].item()] == [1, 0]
