"""One step at a time, as generation runs a layer: B rows, I = H features, the state carried on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import rnn

CASES = {
    f"{cell} {b}x1x{h}x{h} step": ""
    for cell in ("lstm", "gru", "rnn")
    for b in (1, 16)
    for h in (64, 256, 512)
}
flops = rnn.flops


class Ours(rnn.Ours):
    """tinygrad_rnn: `layer.step`."""

    def runs(self, m: Any, run: Any, x: Any, gy: Any, training: bool) -> Callable[[], Any]:
        x = x[0]
        _, state = m.step(x)

        def step() -> Any:
            return m.step(x, state)[0].data

        return step


class PyTorch(rnn.PyTorch):
    """PyTorch: the layer over one step."""

    def runs(self, m: Any, run: Any, x: Any, gy: Any, training: bool) -> Callable[[], Any]:
        with self.torch.inference_mode():
            state = m(x)[1]

        def step() -> Any:
            with self.torch.inference_mode():
                return m(x, state)[0].numpy()

        return step


class Jax(rnn.Jax):
    """JAX: the step, compiled by XLA."""

    def layer(
        self, cell: str, b: int, t: int, i: int, h: int, training: bool
    ) -> Callable[[], Any] | None:
        jax, jnp = self.jax, self.jax.numpy
        x, (w_ih, w_hh, b_ih, b_hh) = drawn_step(cell, b, i, h)
        step = jax.jit(lambda state, *a: self.step(cell)(a[2], a[4], state, a[0] @ a[1].T + a[3]))
        args = [jax.device_put(a) for a in (x, w_ih, w_hh, b_ih, b_hh)]
        zero = jnp.zeros((b, h), jnp.float32)
        state, _ = step((zero, zero), *args)
        return lambda: np.asarray(step(state, *args)[1])


def drawn_step(cell: str, b: int, i: int, h: int) -> tuple[Any, list[Any]]:
    """An input of one step, and the weights."""
    return rnn.drawn(1, b, i)[0], rnn.weights(cell, i, h)


PEERS = {"tinygrad_rnn": Ours, "PyTorch": PyTorch, "JAX": Jax}
