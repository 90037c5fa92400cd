"""Plain layers are PyTorch's, forwards and backwards, where PyTorch is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

from .layers import Array, flat

torch: Any = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

LAYERS = [
    ("RNN", {}),
    ("RNN", {"nonlinearity": "relu"}),
    ("GRU", {}),
    ("LSTM", {}),
    ("LSTM", {"proj_size": 3}),
]
rng = np.random.default_rng(0)


@pytest.mark.parametrize("lengths", [None, [6, 2, 4]])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("kind", "options"), LAYERS)
def test_outputs_states_and_gradients_are_pytorchs(
    kind: str, options: Any, bidirectional: bool, batch_first: bool, lengths: Any
) -> None:
    options = {**options, "batch_first": batch_first, "bidirectional": bidirectional}
    theirs = getattr(torch.nn, kind)(4, 5, 2, dtype=torch.float64, **options)
    ours = getattr(tg.nn, kind)(
        4, 5, 2, dtype="float64", **options, **({"reset_after": True} if kind == "GRU" else {})
    )
    ours.load_state_dict({n: p.detach().numpy() for n, p in theirs.state_dict().items()})
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    rows = 2 * (2 if bidirectional else 1)
    x = rng.normal(size=(3, 6, 4) if batch_first else (6, 3, 4))
    sizes = [options.get("proj_size", 5), 5] if kind == "LSTM" else [5]
    first = [rng.normal(size=(rows, 3, n)) for n in sizes]

    def packed(x: Any) -> Any:
        pack = torch.nn.utils.rnn.pack_padded_sequence
        return pack(x, lengths, batch_first=batch_first, enforce_sorted=False)

    def run_theirs() -> tuple[list[Array], list[Array]]:
        leaf = torch.tensor(x, requires_grad=True)
        state = [torch.tensor(s, requires_grad=True) for s in first]
        y, last = theirs(
            leaf if lengths is None else packed(leaf), tuple(state) if kind == "LSTM" else state[0]
        )
        if lengths is not None:
            y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=batch_first)
        ys = [y, *(last if kind == "LSTM" else [last])]
        sum((y * torch.tensor(weight(y.shape))).sum() for y in ys).backward()
        leaves = [leaf, *state, *theirs.parameters()]
        return [y.detach().numpy() for y in ys], [v.grad.numpy() for v in leaves]

    def run_ours() -> tuple[list[Array], list[Array]]:
        leaf = tg.tensor(x, requires_grad=True)
        state = [tg.tensor(s, requires_grad=True) for s in first]
        ys = flat(ours(leaf, tuple(state) if kind == "LSTM" else state[0], lengths=lengths))
        leaves = [leaf, *state, *ours.parameters()]
        found = tg.grad(ys, leaves, [tg.tensor(weight(y.shape)) for y in ys])
        return [y.numpy() for y in ys], [g.numpy() for g in found]

    for a, b in zip(run_ours(), run_theirs(), strict=True):
        for mine, true in zip(a, b, strict=True):
            np.testing.assert_allclose(mine, true, rtol=1e-9, atol=1e-11)


def weight(shape: tuple[int, ...]) -> Array:
    return np.cos(np.arange(np.prod(shape))).reshape(shape)


@pytest.mark.parametrize(("kind", "options"), LAYERS[:4])
def test_cells_are_pytorchs(kind: str, options: Any) -> None:
    theirs = getattr(torch.nn, f"{kind}Cell")(4, 5, dtype=torch.float64, **options)
    extra = {"reset_after": True} if kind == "GRU" else {}
    ours = getattr(tg.nn, f"{kind}Cell")(4, 5, dtype="float64", **options, **extra)
    ours.load_state_dict({n: p.detach().numpy() for n, p in theirs.state_dict().items()})
    x, h, c = (rng.normal(size=(2, n)) for n in (4, 5, 5))
    state = (h, c) if kind == "LSTM" else h
    true = theirs(torch.tensor(x), as_theirs(state))
    found = flat(ours(tg.tensor(x), as_ours(state)))
    for a, b in zip(found, true if kind == "LSTM" else [true], strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-12)


def as_theirs(state: Any) -> Any:
    return tuple(map(torch.tensor, state)) if isinstance(state, tuple) else torch.tensor(state)


def as_ours(state: Any) -> Any:
    return tuple(map(tg.tensor, state)) if isinstance(state, tuple) else tg.tensor(state)
