"""Recurrent layers over whole sequences: ours, PyTorch's, JAX's, onnxruntime's, plain NumPy.

A case is a cell, the sizes B x T x I x H, and what is run: `forward` (nobody differentiates), or
`training`: forward, and the gradients of the input and of all weights; `memory` is what that needs
at its peak. The GRU is PyTorch's form, which all of them have. `ragged` is two layers in both
directions on rows of different lengths.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

SIZES = [
    (1, 64, 32, 32),
    (1, 64, 256, 256),
    (8, 64, 64, 64),
    (32, 64, 128, 128),
    (64, 64, 256, 256),
    (64, 64, 512, 512),
    (32, 35, 1024, 1024),
    (128, 50, 512, 512),
]
RAGGED = (32, 64, 128, 128)
GATES = {"lstm": 4, "gru": 3, "rnn": 1, "ragged": 4}
THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))

CASES = {
    f"{cell} {'x'.join(map(str, size))} {what}": ""
    for what in ("forward", "training", "memory")
    for cell in ("lstm", "gru", "rnn", "ragged")
    for size in (SIZES if cell != "ragged" else [RAGGED])
}


def parsed(case: str) -> tuple[str, tuple[int, ...], bool]:
    """A case's cell, its sizes B, T, I, H, and whether gradients are taken."""
    cell, size, what = case.split()
    return cell, tuple(map(int, size.split("x"))), what in ("training", "memory")


def flops(case: str) -> float:
    """Floating point operations of the products: what cannot be saved."""
    cell, (b, t, i, h), training = parsed(case)
    forward = 2.0 * b * t * GATES[cell] * h * (i + h)
    if cell == "ragged":
        forward = sum(lengths()) / b / t * 2 * (forward + 2.0 * b * t * 4 * h * (2 * h + h))
    return forward * (3 if training else 1)


def lengths() -> list[int]:
    """The rows' lengths of the ragged case."""
    b, t, *_ = RAGGED
    return [int(n) for n in np.random.default_rng(0).integers(1, t + 1, b)]


def drawn(*shape: int, scale: float = 1.0) -> Any:
    """Numbers that every library is given."""
    return (scale * np.random.default_rng(shape).normal(size=shape)).astype(np.float32)


def weights(cell: str, i: int, h: int) -> list[Any]:
    """w_ih, w_hh, b_ih, b_hh of a layer."""
    g, s = GATES[cell], h**-0.5
    return [drawn(g * h, i, scale=s), drawn(g * h, h, scale=s), drawn(g * h, scale=s),
            drawn(g * h, scale=s)]  # fmt: skip


class Result:
    """An array, and as a number, by which results are compared, the log of its mean magnitude."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __float__(self) -> float:
        return float(np.log(np.abs(np.asarray(self.array)).mean()))


class Library:
    """Finds a case by its name; None where the library has no such case."""

    def __getattr__(self, case: str) -> Any:
        if " " not in case:
            raise AttributeError(case)
        cell, size, training = parsed(case)
        run = self.ragged(training) if cell == "ragged" else self.layer(cell, *size, training)
        return None if run is None else lambda: Result(run())

    def layer(
        self, cell: str, b: int, t: int, i: int, h: int, training: bool
    ) -> Callable[[], Any] | None:
        """What runs a case and gives y, or the gradient of w_hh."""
        raise NotImplementedError

    def ragged(self, training: bool) -> Callable[[], Any] | None:
        """Two LSTM layers in both directions."""
        return None


class Ours(Library):
    """tinygrad_rnn."""

    def __init__(self) -> None:
        import tinygrad_rnn as tg

        self.tg = tg
        tg.set_num_threads(THREADS)

    def layer(
        self, cell: str, b: int, t: int, i: int, h: int, training: bool
    ) -> Callable[[], Any] | None:
        nn = self.tg.nn
        m = {"lstm": nn.LSTM, "rnn": nn.RNN}.get(cell, lambda i, h: nn.GRU(i, h, reset_after=True))(
            i, h
        )
        for p, w in zip(m.parameters(), weights(cell, i, h), strict=True):
            p.data = w
        x = self.tg.tensor(drawn(t, b, i), requires_grad=training)
        return self.runs(m, lambda: m(x)[0], x, self.tg.tensor(drawn(t, b, h)), training)

    def ragged(self, training: bool) -> Callable[[], Any] | None:
        b, t, i, h = RAGGED
        m = self.tg.nn.LSTM(i, h, num_layers=2, bidirectional=True)
        for p in m.parameters():
            p.data = drawn(*p.shape, scale=h**-0.5)
        x = self.tg.tensor(drawn(t, b, i), requires_grad=training)
        run = lambda: m(x, lengths=lengths())[0]
        return self.runs(m, run, x, self.tg.tensor(drawn(t, b, 2 * h)), training)

    def runs(self, m: Any, run: Any, x: Any, gy: Any, training: bool) -> Callable[[], Any]:
        """A call of the layer, with its backward pass in training."""

        def forward() -> Any:
            with self.tg.no_grad():
                return run().data

        def train() -> Any:
            m.zero_grad()
            x.grad = None
            run().backward(gy)
            return m.weight_hh_l0.grad.data

        return train if training else forward


class Reference(Ours):
    """tinygrad_rnn in NumPy alone."""

    def __init__(self) -> None:
        os.environ["TINYGRAD_RNN_KERNELS"] = "reference"
        super().__init__()


class PyTorch(Library):
    """PyTorch (oneDNN)."""

    def __init__(self) -> None:
        import torch

        torch.set_num_threads(THREADS)
        self.torch = torch

    def layer(
        self, cell: str, b: int, t: int, i: int, h: int, training: bool
    ) -> Callable[[], Any] | None:
        nn = self.torch.nn
        m = {"lstm": nn.LSTM, "rnn": nn.RNN, "gru": nn.GRU}[cell](i, h)
        for p, w in zip(m.parameters(), weights(cell, i, h), strict=True):
            p.data.copy_(self.torch.tensor(w))
        x = self.torch.tensor(drawn(t, b, i), requires_grad=training)
        return self.runs(m, lambda: m(x)[0], x, self.torch.tensor(drawn(t, b, h)), training)

    def ragged(self, training: bool) -> Callable[[], Any] | None:
        b, t, i, h = RAGGED
        m = self.torch.nn.LSTM(i, h, num_layers=2, bidirectional=True)
        for p in m.parameters():
            p.data.copy_(self.torch.tensor(drawn(*p.shape, scale=h**-0.5)))
        x = self.torch.tensor(drawn(t, b, i), requires_grad=training)
        rnn = self.torch.nn.utils.rnn

        def run() -> Any:
            packed = rnn.pack_padded_sequence(x, lengths(), enforce_sorted=False)
            return rnn.pad_packed_sequence(m(packed)[0], total_length=t)[0]

        return self.runs(m, run, x, self.torch.tensor(drawn(t, b, 2 * h)), training)

    def runs(self, m: Any, run: Any, x: Any, gy: Any, training: bool) -> Callable[[], Any]:
        """A call of the layer, with its backward pass in training."""

        def forward() -> Any:
            with self.torch.inference_mode():
                return run().numpy()

        def train() -> Any:
            m.zero_grad()
            x.grad = None
            run().backward(gy)
            return m.weight_hh_l0.grad.numpy()

        return train if training else forward


class Jax(Library):
    """JAX: a scan, compiled by XLA."""

    def __init__(self) -> None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
        os.environ["JAX_PLATFORMS"] = "cpu"
        import jax

        self.jax = jax

    def step(self, cell: str) -> Callable[..., Any]:
        """A step: (w_hh, b_hh, (h, c), the input's part) to (h, c) and h."""
        jax, jnp = self.jax, self.jax.numpy
        sigmoid, tanh = jax.nn.sigmoid, jnp.tanh

        def step(w: Any, b_hh: Any, state: Any, z: Any) -> Any:
            h, c = state
            if cell == "rnn":
                h = tanh(z + h @ w.T + b_hh)
            elif cell == "gru":
                (z_r, z_z, z_n), (w_r, w_z, w_n) = (
                    jnp.split(a, 3, axis=1) for a in (z, h @ w.T + b_hh)
                )
                n = tanh(z_n + sigmoid(z_r + w_r) * w_n)
                h = n + sigmoid(z_z + w_z) * (h - n)
            else:
                i, f, g, o = jnp.split(z + h @ w.T + b_hh, 4, axis=1)
                c = sigmoid(f) * c + sigmoid(i) * tanh(g)
                h = sigmoid(o) * tanh(c)
            return (h, c), h

        return step

    def layer(
        self, cell: str, b: int, t: int, i: int, h: int, training: bool
    ) -> Callable[[], Any] | None:
        jax, jnp = self.jax, self.jax.numpy
        step = self.step(cell)

        def run(x: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
            zero = jnp.zeros((b, h), jnp.float32)
            z = x @ w_ih.T + b_ih
            return jax.lax.scan(lambda s, z: step(w_hh, b_hh, s, z), (zero, zero), z)[1]

        args = [jax.device_put(a) for a in (drawn(t, b, i), *weights(cell, i, h))]
        if not training:
            forward = jax.jit(run)
            return lambda: forward(*args).block_until_ready()
        gy = jax.device_put(drawn(t, b, h))
        gradients = jax.jit(jax.grad(lambda *a: (run(*a) * gy).sum(), argnums=(0, 1, 2, 3, 4)))
        return lambda: jax.block_until_ready(gradients(*args))[2]


class Onnxruntime(Library):
    """onnxruntime, forwards only."""

    def __init__(self) -> None:
        import onnx
        import onnxruntime

        self.onnx, self.onnxruntime = onnx, onnxruntime

    def layer(
        self, cell: str, b: int, t: int, i: int, h: int, training: bool
    ) -> Callable[[], Any] | None:
        if training:
            return None
        helper, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        order = {"lstm": [0, 3, 1, 2], "gru": [1, 0, 2], "rnn": [0]}[cell]  # i o f c; z r h

        def gates(w: Any) -> Any:
            return w.reshape(len(order), h, -1)[order].reshape(w.shape)

        w_ih, w_hh, b_ih, b_hh = (gates(w) for w in weights(cell, i, h))
        values = {"w": w_ih[None], "r": w_hh[None], "b": np.concatenate([b_ih, b_hh])[None]}
        options = {"linear_before_reset": 1} if cell == "gru" else {}
        node = helper.make_node(cell.upper(), ["x", *values], ["y"], hidden_size=h, **options)
        graph = helper.make_graph(
            [node], cell,
            [helper.make_tensor_value_info("x", kind, [t, b, i])],
            [helper.make_tensor_value_info("y", kind, [t, 1, b, h])],
            [self.onnx.numpy_helper.from_array(v, k) for k, v in values.items()],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
        given = self.onnxruntime.SessionOptions()
        given.intra_op_num_threads = THREADS
        session = self.onnxruntime.InferenceSession(
            model.SerializeToString(), given, providers=["CPUExecutionProvider"]
        )
        x = drawn(t, b, i)
        return lambda: session.run(None, {"x": x})[0]


PEERS = {
    "tinygrad_rnn": Ours,
    "PyTorch": PyTorch,
    "JAX": Jax,
    "onnxruntime": Onnxruntime,
    "reference": Reference,
}
