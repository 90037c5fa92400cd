"""One step at a time, as generation runs a layer: B rows, I = H features, the state carried on.

In cases of int8 our layer, and PyTorch's where it has that, has its weights rounded to 8 bits; the
others are as they are.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from . import rnn

CASES = {
    f"{cell} {b}x1x{h}x{h} {what}": ""
    for cell in ("lstm", "gru", "rnn")
    for b in (1, 16)
    for h in (64, 256, 512)
    for what in ("step", "int8")
}
flops = rnn.flops


class Ours(rnn.Ours):
    """tinygrad_rnn: `layer.step`."""

    rounded = False

    def __getattr__(self, case: str) -> Any:
        self.rounded = case.endswith("int8")
        return super().__getattr__(case)

    def runs(self, m: Any, run: Any, x: Any, gy: Any, training: bool) -> Callable[[], Any]:
        x, m = x[0], self.tg.nn.utils.quantized(m) if self.rounded else m
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


class RoundedPyTorch(PyTorch):
    """PyTorch's dynamic quantization, which rounds weights to 8 bits, too."""

    def __getattr__(self, case: str) -> Any:
        found = super().__getattr__(case)
        return found if case.endswith("int8") and not case.startswith("rnn") else None

    def runs(self, m: Any, run: Any, x: Any, gy: Any, training: bool) -> Callable[[], Any]:
        warnings.simplefilter("ignore")  # it is to move to a package of its own
        quantize = self.torch.ao.quantization.quantize_dynamic
        return super().runs(
            quantize(self.torch.nn.Sequential(m), {type(m)})[0], run, x, gy, training
        )


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


PEERS = {
    "tinygrad_rnn": Ours, "PyTorch": PyTorch, "PyTorch int8": RoundedPyTorch, "JAX": Jax,
}  # fmt: skip
