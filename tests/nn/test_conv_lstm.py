"""ConvLSTMCell; its step is held against loops over every element in tests/testing."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg


def test_a_kernel_of_one_place_is_an_lstm_at_every_place() -> None:
    conv = tg.nn.ConvLSTMCell(3, 4, (1, 1), dtype="float64")
    lstm = tg.nn.LSTMCell(3, 4, dtype="float64")
    state = {n: p.reshape(p.shape[:2]) for n, p in conv.state_dict().items() if "weight" in n}
    zero = tg.zeros((16,), dtype="float64")
    lstm.load_state_dict({**state, "bias_ih": conv.bias_ih.detach(), "bias_hh": zero})
    x = tg.tensor(np.random.default_rng(0).normal(size=(2, 3, 4, 5)))
    for place in np.ndindex(4, 5):
        for a, b in zip(conv(x), lstm(x[(..., *place)]), strict=True):
            np.testing.assert_allclose(a.numpy()[(..., *place)], b.numpy(), rtol=1e-12)


def test_a_place_is_moved_by_its_neighbours_alone() -> None:
    cell = tg.nn.ConvLSTMCell(1, 2, (3, 5))
    x = tg.zeros((1, 1, 7, 9), requires_grad=True)
    h, _ = cell(x)
    (g,) = tg.grad(h[0, :, 3, 4].sum(), [x])
    seen = np.argwhere(g.numpy()[0, 0])
    assert seen.min(0).tolist() == [2, 2]
    assert seen.max(0).tolist() == [4, 6]


def test_over_a_sequence_of_images_fused_and_not() -> None:
    cell = tg.nn.ConvLSTMCell(2, 3, (3, 3), peephole_size=(4, 5), dtype="float64")
    x = tg.tensor(np.random.default_rng(0).normal(size=(6, 2, 2, 4, 5)), requires_grad=True)

    def step(state: tg.Tensor, x: tg.Tensor) -> tuple[tg.Tensor, tg.Tensor]:
        y, state = cell.step(x, state)
        return state, y

    found = []
    for fused in (False, True):
        (h, c), y = tg.scan(step, cell.initial(x[0]), x, lengths=[6, 2], fused=fused)
        loss = (y * y).sum() + (h * c).sum()
        found.append([y, h, c, *tg.grad(loss, [x, *cell.parameters()])])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-12)


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(ValueError, match=r"kernel_size: expected odd numbers, .* got \(3, 2\)"):
        tg.nn.ConvLSTMCell(1, 1, (3, 2))
    with pytest.raises(ValueError, match=r"peephole_size: expected as many axes"):
        tg.nn.ConvLSTMCell(1, 1, (3, 3), peephole_size=(4,))
    with pytest.raises(tg.ShapeError, match=r"expected \(B, 2, \*space\) with 1 axes"):
        tg.nn.ConvLSTMCell(2, 1, (3,))(tg.zeros((1, 2, 4, 4)))
    zeros = tg.zeros((1, 1, 4))
    with pytest.raises(tg.ShapeError, match=r"convolution: expected x \(B, C, \*space\)"):
        tg.conv_lstm_step(zeros, zeros, zeros, tg.zeros((4, 1, 2)), tg.zeros((4, 1, 3)))
