"""A user's own cell over a sequence, forward and backward: what changing the cell costs.

Two cells that no library has fused: the minimal gated unit, and an LSTM with coupled gates whose
output is softsign of its cell. Each library runs them as its users would: `nn.Recurrent` with and
without `fused=True`, a loop in PyTorch, `jit` of `lax.scan` in JAX.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

SIZES = {"64": (50, 32, 64), "128": (50, 32, 128), "256": (100, 32, 256)}
CELLS = {"minimal": "minimal gated unit", "twisted": "coupled LSTM with softsign"}
CASES = {
    f"{cell}_{name}": f"{what}, T={t} B={b} H={h}"
    for name, (t, b, h) in SIZES.items()
    for cell, what in CELLS.items()
}
GATES = {"minimal": 2, "twisted": 3}


def drawn(*shape: int) -> Any:
    """Numbers that every library is given."""
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


class Common:
    """The cases; a library says how it runs a step over x, and differentiates the sum of y."""

    def __init__(self) -> None:
        for case in CASES:
            setattr(self, case, self._case(*case.split("_")))

    def _case(self, cell: str, size: str) -> Any:
        steps, batch, width = SIZES[size]
        rows = GATES[cell] * width
        weights = [drawn(width, rows) / width**0.5, drawn(width, rows) / width**0.5, drawn(rows)]
        x = drawn(steps, batch, width)
        return self.prepared(getattr(self, cell), width, x, weights)

    def prepared(self, step: Any, width: int, x: Any, weights: list[Any]) -> Any:
        """A function that runs it all once, and returns the sum of the first weight's gradient."""
        raise NotImplementedError

    # the cells: the state and x go in, with the weights and the library's own functions

    def minimal(self, f: Any, state: Any, x: Any, u: Any, w: Any, b: Any) -> Any:
        (h,), n = state, w.shape[0]
        z = x @ u + b
        gate = f.sigmoid(z[:, :n] + h @ w[:, :n])
        h = (1 - gate) * h + gate * f.tanh(z[:, n:] + (gate * h) @ w[:, n:])
        return (h,)

    def twisted(self, f: Any, state: Any, x: Any, u: Any, w: Any, b: Any) -> Any:
        (h, c), n = state, w.shape[0]
        z = x @ u + h @ w + b
        i, o = f.sigmoid(z[:, :n]), f.sigmoid(z[:, n : 2 * n])
        c = (1 - i) * c + i * f.tanh(z[:, 2 * n :])
        return o * (c / (1 + abs(c))), c

    def parts(self, step: Any) -> int:
        """Of how many parts a cell's state is."""
        return 1 if step == self.minimal else 2


class Fused(Common):
    """tinygrad_rnn, the step recorded and repeated as one node."""

    fused = True

    def prepared(self, step: Any, width: int, x: Any, weights: list[Any]) -> Any:
        import tinygrad_rnn as tg

        xs, parameters = tg.tensor(x), [tg.tensor(w, requires_grad=True) for w in weights]
        parts = self.parts(step)

        class Cell:
            def initial(self, x: Any) -> Any:
                return (tg.zeros((len(x), width)),) * parts

            def step(self, x: Any, state: Any) -> Any:
                state = step(tg, state, x, *parameters)
                return state[0], state

        layer = tg.nn.Recurrent(Cell(), fused=self.fused)

        def run() -> float:
            layer(xs)[0].sum().backward()
            total = float(parameters[0].grad.data.sum())
            for p in parameters:
                p.grad = None
            return total

        return run


class ByStep(Fused):
    """tinygrad_rnn, each operation of each step a node."""

    fused = False


class PyTorch(Common):
    """PyTorch, a loop."""

    def prepared(self, step: Any, width: int, x: Any, weights: list[Any]) -> Any:
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        xs, parameters = torch.tensor(x), [torch.tensor(w, requires_grad=True) for w in weights]
        zeros = (torch.zeros(x.shape[1], width),) * self.parts(step)

        def run() -> float:
            state, ys = zeros, []
            for x in xs:
                state = step(torch, state, x, *parameters)
                ys.append(state[0])
            torch.stack(ys).sum().backward()
            total = float(parameters[0].grad.sum())
            for p in parameters:
                p.grad = None
            return total

        return run


class Jax(Common):
    """JAX, jit of the gradient of lax.scan; compiled before it is timed."""

    def prepared(self, step: Any, width: int, x: Any, weights: list[Any]) -> Any:
        if os.environ["OMP_NUM_THREADS"] == "1":
            os.environ["XLA_FLAGS"] = (
                "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
            )
        import jax
        import jax.numpy as jnp

        class Functions:
            sigmoid, tanh = jax.nn.sigmoid, jnp.tanh

        zeros = (jnp.zeros((x.shape[1], width)),) * self.parts(step)

        def loss(*parameters: Any) -> Any:
            def one(state: Any, x: Any) -> Any:
                state = step(Functions, state, x, *parameters)
                return state, state[0]

            return jax.lax.scan(one, zeros, x)[1].sum()

        gradient, weights = jax.jit(jax.grad(loss, (0, 1, 2))), [jnp.asarray(w) for w in weights]

        def run() -> float:
            return float(jax.block_until_ready(gradient(*weights))[0].sum())

        return run


PEERS = {"tinygrad_rnn": Fused, "step by step": ByStep, "PyTorch": PyTorch, "JAX jit": Jax}
