"""The eager engine beside PyTorch's and HIPS autograd's: many small operations, and odd graphs.

A case is a method that runs it once and returns a number by which the libraries' results are
compared before any is timed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

CASES = {
    "chain": "10 x tanh(y*b+a), 32x32, forward+backward",
    "second": "the chain's second derivative",
    "mlp": "a step of 64x256-256-10",
    "unrolled": "an LSTM cell by hand, 50 steps",
    "unrolled_memory": "its peak in 1,000 steps",
    "wide": "2,000 leaves summed",
    "deep": "a graph 200,000 deep",
}


def drawn(*shape: int, seed: int = 0) -> Any:
    """Numbers that every library is given."""
    return 0.3 * np.random.default_rng((seed, *shape)).normal(size=shape).astype(np.float32)


class Common:
    """The cases, as each library's own face allows them to be written."""

    def leaf(self, array: Any) -> Any:
        """A value to differentiate in."""
        raise NotImplementedError

    def __init__(self) -> None:
        self.y, self.a, self.b = (self.leaf(drawn(32, 32, seed=i)) for i in range(3))
        self.x = self.constant(drawn(64, 256))
        self.w1, self.b1 = self.leaf(drawn(256, 256) / 5), self.leaf(drawn(256))
        self.w2, self.b2 = self.leaf(drawn(256, 10)), self.leaf(drawn(10))
        self.xs = [self.constant(drawn(16, 32, seed=t)) for t in range(50)]
        self.u, self.w = self.leaf(drawn(32, 256)), self.leaf(drawn(64, 256))
        self.bias, self.h0 = self.leaf(drawn(256)), self.constant(drawn(16, 64))
        self.leaves = [self.leaf(drawn(8, seed=i)) for i in range(2000)]

    def constant(self, array: Any) -> Any:
        """A value that is not differentiated in."""
        return array

    def chain_of(self, y: Any, a: Any, b: Any) -> Any:
        for _ in range(10):
            y = self.tanh(y * b + a)
        return y.sum()

    def mlp_of(self, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
        hidden = self.tanh(self.x @ w1 + b1)
        out = hidden @ w2 + b2
        return (out * out).mean()

    def unrolled_of(self, u: Any, w: Any, bias: Any, repeat: int = 1) -> Any:
        h = c = self.h0
        for x in self.xs * repeat:
            z = x @ u + h @ w + bias
            i, f = self.sigmoid(z[:, :64]), self.sigmoid(z[:, 64:128])
            g, o = self.tanh(z[:, 128:192]), self.sigmoid(z[:, 192:])
            c = f * c + i * g
            h = o * self.tanh(c)
        return h.sum()

    def wide_of(self, *leaves: Any) -> Any:
        total = leaves[0]
        for x in leaves[1:]:
            total = total + x
        return total.sum()

    def deep_of(self, y: Any) -> Any:
        for _ in range(200_000):
            y = y + 1e-6
        return y.sum()

    # what a library differentiates, and the sum of the first gradient

    def gradient(self, fn: Any, *leaves: Any) -> float:
        raise NotImplementedError

    def tanh(self, x: Any) -> Any:
        raise NotImplementedError

    def sigmoid(self, x: Any) -> Any:
        raise NotImplementedError

    def chain(self) -> float:
        return self.gradient(self.chain_of, self.y, self.a, self.b)

    def mlp(self) -> float:
        return self.gradient(self.mlp_of, self.w1, self.b1, self.w2, self.b2)

    def unrolled(self) -> float:
        return self.gradient(self.unrolled_of, self.u, self.w, self.bias)

    def unrolled_memory(self) -> float:
        return self.gradient(lambda *p: self.unrolled_of(*p, 20), self.u, self.w, self.bias)

    def wide(self) -> float:
        return self.gradient(self.wide_of, *self.leaves)

    def deep(self) -> float:
        return self.gradient(self.deep_of, self.bias)


class Ours(Common):
    """tinygrad_rnn."""

    def __init__(self) -> None:
        import tinygrad_rnn as tg

        self.tg, self.tanh, self.sigmoid = tg, tg.tanh, tg.sigmoid  # type: ignore[method-assign]
        super().__init__()

    def leaf(self, array: Any) -> Any:
        return self.tg.tensor(array, requires_grad=True)

    def constant(self, array: Any) -> Any:
        return self.tg.tensor(array)

    def gradient(self, fn: Any, *leaves: Any) -> float:
        fn(*leaves).backward()
        total = float(leaves[0].grad.data.sum())
        for leaf in leaves:
            leaf.grad = None
        return total

    def second(self) -> float:
        y = self.chain_of(self.y, self.a, self.b)
        (g,) = self.tg.grad(y, [self.y], create_graph=True)
        (gg,) = self.tg.grad(g.sum(), [self.y])
        return float(gg.data.sum())


class PyTorch(Common):
    """PyTorch, eager."""

    def __init__(self) -> None:
        import torch

        torch.set_num_threads(int(__import__("os").environ["OMP_NUM_THREADS"]))
        self.torch, self.tanh, self.sigmoid = torch, torch.tanh, torch.sigmoid  # type: ignore
        super().__init__()

    def leaf(self, array: Any) -> Any:
        return self.torch.tensor(array, requires_grad=True)

    def constant(self, array: Any) -> Any:
        return self.torch.tensor(array)

    def gradient(self, fn: Any, *leaves: Any) -> float:
        fn(*leaves).backward()
        total = float(leaves[0].grad.sum())
        for leaf in leaves:
            leaf.grad = None
        return total

    def second(self) -> float:
        y = self.chain_of(self.y, self.a, self.b)
        (g,) = self.torch.autograd.grad(y, [self.y], create_graph=True)
        (gg,) = self.torch.autograd.grad(g.sum(), [self.y])
        return float(gg.sum())


class Hips(Common):
    """HIPS autograd. Its own recursion limits how deep a graph may be: it has no such case."""

    def __init__(self) -> None:
        import autograd
        import autograd.numpy as anp

        self.autograd, self.tanh = autograd, anp.tanh  # type: ignore[method-assign]
        super().__init__()

    def sigmoid(self, x: Any) -> Any:
        return 0.5 * (self.tanh(0.5 * x) + 1)

    def leaf(self, array: Any) -> Any:
        return array

    def gradient(self, fn: Any, *leaves: Any) -> float:
        gradients = self.autograd.grad(fn, argnum=tuple(range(len(leaves))))(*leaves)
        return float(gradients[0].sum())

    def second(self) -> float:
        def slope(y: Any) -> Any:
            return self.autograd.grad(self.chain_of)(y, self.a, self.b).sum()

        return float(self.autograd.grad(slope)(self.y).sum())


PEERS = {"tinygrad_rnn": Ours, "PyTorch": PyTorch, "HIPS autograd": Hips}
