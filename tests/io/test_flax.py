"""Cells go to Flax's trees of arrays and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.io import from_flax, to_flax

CELLS = [nn.RNNCell(3, 4), nn.GRUCell(3, 4, reset_after=True), nn.LSTMCell(3, 4)]


def same(tree: Any, other: Any) -> None:
    assert tree.keys() == other.keys()
    for name, part in tree.items():
        for key, array in part.items():
            np.testing.assert_array_equal(other[name][key], array, strict=True)


@pytest.mark.parametrize("style", ["linen", "nnx", "nnx-optimized"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_tree_comes_back_bit_for_bit(cell: Any, style: str) -> None:
    if style != "linen" and isinstance(cell, nn.GRUCell):
        cell = nn.GRUCell(3, 4, reset_after=True)
        cell.bias_hh.data[8:] = 0
    tree = to_flax(cell, style)
    back = from_flax(tree)
    same(to_flax(back, style), tree)
    x = tg.tensor(np.random.default_rng(0).normal(size=(2, 3)).astype("float32"))
    for ours, theirs in zip(tg.stack(list(cell(x))), tg.stack(list(back(x))), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-6)


def test_linen_names_a_kernel_for_each_gate() -> None:
    tree = to_flax(nn.LSTM(3, 4))
    assert sorted(tree) == ["hf", "hg", "hi", "ho", "if", "ig", "ii", "io"]
    assert tree["if"]["kernel"].shape == (3, 4)
    assert "bias" not in tree["if"]
    assert "if_" in to_flax(nn.LSTM(3, 4), "nnx")


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"w": {"kernel": np.ones((2, 2))}}, "expected the parameters of SimpleCell"),
        ({"i": np.ones((2, 2))}, "'i': expected a kernel and a bias, got ndarray"),
        ({"params": to_flax(CELLS[2])}, "'params': .* pass the parameters of one cell"),
        ({"i": {"kernel": np.ones(2)}, "h": {"kernel": np.ones((2, 2))}}, "matrix of reals"),
        (
            {"dense_i": {"kernel": np.ones((2, 4))}, "dense_h": {"kernel": np.ones((2, 4))}},
            "2 gates",
        ),
        ({"i": {"kernel": np.ones((2, 4))}, "h": {"kernel": np.ones((3, 3))}}, "shape"),
        ([], "expected a dict of parameters"),
    ],
)
def test_other_trees_are_refused(tree: Any, words: str) -> None:
    with pytest.raises(tg.TinygradRnnError, match=f"from_flax: tree: .*{words}"):
        from_flax(tree)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (nn.GRU(2, 3), "reset_after=False"),
        (nn.LSTM(2, 3, 2, peephole=True), "weight_ch.*weight_hh_l1"),
        (nn.LSTM(2, 3, cell_clip=1.0), "cell_clip=1.0"),
        (nn.MGUCell(2, 3), "expected RNN, GRU, LSTM"),
    ],
)
def test_what_flax_lacks_is_named(cell: Any, words: str) -> None:
    with pytest.raises(tg.TinygradRnnError, match=f"to_flax: .*{words}"):
        to_flax(cell)
    with pytest.raises(tg.InvalidValueError, match="style: expected one of"):
        to_flax(nn.LSTM(2, 3), "haiku")


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(100))
def test_outputs_and_gradients_are_those_of_flax(seed: int) -> None:
    jax: Any = pytest.importorskip("jax")
    linen: Any = pytest.importorskip("flax.linen")
    rng = np.random.default_rng(seed)
    kind = ["SimpleCell", "GRUCell", "LSTMCell", "OptimizedLSTMCell"][seed % 4]
    batch, features, size = (int(rng.integers(1, 5)) for _ in range(3))
    theirs = getattr(linen, kind)(size)
    x = rng.normal(size=(batch, features)).astype("float32")
    h, c = rng.normal(size=(2, batch, size)).astype("float32")
    carry = (c, h) if "LSTM" in kind else h
    params = theirs.init(jax.random.PRNGKey(seed), carry, x)["params"]
    params = jax.tree_util.tree_map(lambda a: rng.normal(size=a.shape).astype("float32"), params)

    def loss(params: Any, x: Any) -> Any:
        new, y = theirs.apply({"params": params}, carry, x)
        return (y * y).sum() + sum((part**3).sum() for part in jax.tree_util.tree_leaves(new))

    cell = from_flax(params)
    given = tg.tensor(x, requires_grad=True)
    state = cell(given, (tg.tensor(h), tg.tensor(c)) if "LSTM" in kind else tg.tensor(h))
    parts = state if isinstance(state, tuple) else (state,)
    total = (parts[0] * parts[0]).sum()
    for part in parts:
        total = total + (part**3).sum()
    total.backward()
    value, (d_params, d_x) = jax.value_and_grad(loss, (0, 1))(params, x)
    np.testing.assert_allclose(total.item(), value, rtol=1e-4)
    np.testing.assert_allclose(given.grad.numpy(), d_x, rtol=1e-3, atol=1e-4)
    for p in cell.parameters():
        p.data = p.grad.numpy()
    expected = jax.tree_util.tree_map(np.asarray, d_params)
    for name, part in to_flax(cell).items():
        np.testing.assert_allclose(
            part["kernel"], expected[name]["kernel"], rtol=1e-3, atol=1e-4, err_msg=name
        )


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(100))
def test_cells_run_in_nnx(seed: int) -> None:
    """Cells of ours, handed to nnx, have our outputs and gradients there; and come back."""
    jax: Any = pytest.importorskip("jax")
    nnx: Any = pytest.importorskip("flax.nnx")
    rng = np.random.default_rng(seed)
    kind = ["SimpleCell", "GRUCell", "LSTMCell", "OptimizedLSTMCell"][seed % 4]
    batch, features, size = (int(rng.integers(1, 5)) for _ in range(3))
    theirs = getattr(nnx, kind)(features, size, rngs=nnx.Rngs(seed))
    weights = nnx.state(theirs, nnx.Param)
    drawn = jax.tree_util.tree_map(
        lambda a: rng.normal(size=a.shape).astype("float32"), nnx.to_pure_dict(weights)
    )
    cell = from_flax(drawn)
    tree = to_flax(cell, "nnx-optimized" if kind.startswith("Optimized") else "nnx")
    nnx.replace_by_pure_dict(weights, tree)
    nnx.update(theirs, weights)
    x = rng.normal(size=(batch, features)).astype("float32")
    h, c = rng.normal(size=(2, batch, size)).astype("float32")

    def loss(theirs: Any, x: Any) -> Any:
        new, y = theirs((c, h) if "LSTM" in kind else h, x)
        return (y * y).sum() + sum((part**3).sum() for part in jax.tree_util.tree_leaves(new))

    given = tg.tensor(x, requires_grad=True)
    state = cell(given, (tg.tensor(h), tg.tensor(c)) if "LSTM" in kind else tg.tensor(h))
    parts = state if isinstance(state, tuple) else (state,)
    total = (parts[0] * parts[0]).sum()
    for part in parts:
        total = total + (part**3).sum()
    total.backward()
    value, (d_weights, d_x) = nnx.value_and_grad(loss, argnums=(0, 1))(theirs, x)
    np.testing.assert_allclose(total.item(), value, rtol=1e-4)
    np.testing.assert_allclose(given.grad.numpy(), d_x, rtol=1e-3, atol=1e-4)
    back = from_flax(jax.tree_util.tree_map(np.asarray, nnx.to_pure_dict(d_weights)))
    for p, q in zip(cell.parameters(), back.parameters(), strict=True):
        absent = q.numpy() == 0 if q.ndim == 1 else False  # of two biases of ours, Flax has one
        ours = np.where(absent, 0, p.grad.numpy())
        np.testing.assert_allclose(ours, q.numpy(), rtol=1e-3, atol=1e-4)
        assert np.any(q.numpy()) or p.ndim == 1
