"""On a GPU: recurrent layers, an update of charlm, an eager chain and generation, beside PyTorch's.

`python -m bench gpu` times by CUDA events, at equal precision: float32 with TF32 off (fp32) and on
(tf32). A layer's figures are microseconds a step; its floor is the time of its products at the peak
of the device's float32 units. PyTorch's layers are cuDNN's. Whatever fails is reported, and does
not stop the rest.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

GRID = [
    (64, 256, 512, 512), (16, 256, 256, 256), (128, 128, 512, 512), (64, 100, 1024, 1024),
    (16, 1024, 768, 768), (1, 512, 512, 512),
]  # fmt: skip
SMALL = [(2, 4, 8, 8)]  # to rehearse without a GPU
CELLS = {"lstm": ("LSTM", 4, {}), "gru": ("GRU", 3, {"reset_after": True}), "rnn": ("RNN", 1, {})}
Figures = dict[str, Any]


class Ours:
    """tinygrad_rnn on a GPU."""

    def __init__(self) -> None:
        import cupy

        import tinygrad_rnn as tg

        self.tg, self.cupy = tg, cupy

    def allow_tf32(self, allowed: bool) -> None:
        self.tg.cuda.allow_tf32(allowed)

    def time(self, f: Callable[[], Any], repeats: int) -> float:
        """The median time of a call, in microseconds, by events on the device."""
        times = []
        for k in range(repeats + 2):  # the first two compile and fill caches
            begin, end = self.cupy.cuda.Event(), self.cupy.cuda.Event()
            begin.record(), f(), end.record(), end.synchronize()
            if k >= 2:
                times.append(1e3 * self.cupy.cuda.get_elapsed_time(begin, end))
        return statistics.median(times)

    def layer(self, cell: str, b: int, t: int, i: int, h: int) -> tuple[Any, Any]:
        """Runs a layer forwards, and with its backward pass."""
        tg, (name, _, options) = self.tg, CELLS[cell]
        with tg.device("cuda"):
            m = getattr(tg.nn, name)(i, h, **options)
            x = tg.tensor(drawn(t, b, i), requires_grad=True)
            g = tg.tensor(drawn(t, b, h))

        def forward() -> None:
            with tg.no_grad():
                m(x)

        return forward, lambda: m(x)[0].backward(g)

    def chain(self, shape: tuple[int, ...]) -> Callable[[], Any]:
        """30 elementwise operations and their backward pass."""
        x = self.tg.tensor(drawn(*shape), device="cuda", requires_grad=True)
        return lambda: thirty(x, self.tg.tanh)

    def update(self, text: str, small: bool) -> Callable[[], Any]:
        """An update of charlm."""
        from tinygrad_rnn.recipes import CharLMConfig, CharLMTraining

        sizes = {"hidden_size": 8, "embedding_dim": 4, "batch_size": 2, "bptt": 4} if small else {}
        config: Any = {**sizes, "cell": "lstm", "steps": 1000}
        self.training = CharLMTraining(text, CharLMConfig(**config), "cuda")
        return lambda: next(self.training)

    def character(self) -> Callable[[], Any]:
        """A character that the model of `update` generates."""
        letters: Iterator[str] = self.training.lm.sample(100_000, generator=self.tg.Generator(0))
        return lambda: next(letters)


class PyTorch:
    """PyTorch on a GPU; on the CPU to rehearse."""

    def __init__(self) -> None:
        import torch

        self.torch, self.nn = torch, torch.nn
        self.device = "cuda" if torch.cuda.is_available() else "cpu"

    def allow_tf32(self, allowed: bool) -> None:
        self.torch.backends.cudnn.allow_tf32 = allowed
        self.torch.backends.cuda.matmul.allow_tf32 = allowed

    def time(self, f: Callable[[], Any], repeats: int) -> float:
        """The median time of a call, in microseconds, by events on the device."""
        times = []
        for k in range(repeats + 2):
            if self.device == "cpu":
                start = time.perf_counter()
                f()
                taken = 1e6 * (time.perf_counter() - start)
            else:
                begin, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
                begin.record(), f(), end.record(), end.synchronize()
                taken = 1e3 * begin.elapsed_time(end)
            if k >= 2:
                times.append(taken)
        return statistics.median(times)

    def tensor(self, a: Any, grad: bool = False) -> Any:
        return self.torch.tensor(a, device=self.device, requires_grad=grad)

    def layer(self, cell: str, b: int, t: int, i: int, h: int) -> tuple[Any, Any]:
        """Runs a layer forwards, and with its backward pass."""
        m = getattr(self.nn, CELLS[cell][0])(i, h).to(self.device)
        x, g = self.tensor(drawn(t, b, i), True), self.tensor(drawn(t, b, h))

        def forward() -> None:
            with self.torch.no_grad():
                m(x)

        return forward, lambda: m(x)[0].backward(g)

    def chain(self, shape: tuple[int, ...]) -> Callable[[], Any]:
        """30 elementwise operations and their backward pass."""
        x = self.tensor(drawn(*shape), True)
        return lambda: thirty(x, self.torch.tanh)

    def update(self, text: str, small: bool) -> Callable[[], Any]:
        """An update of charlm, of the sizes that `CharLMConfig` has."""
        from tinygrad_rnn.recipes import CharLMConfig

        torch, nn, c, v = self.torch, self.nn, CharLMConfig(cell="lstm"), len(set(text))
        e, h, b, t = c.embedding_dim, c.hidden_size, c.batch_size, c.bptt
        if small:
            e, h, b, t = 4, 8, 2, 4
        table, lstm, head = nn.Embedding(v, e), nn.LSTM(e, h), nn.Linear(h, v)
        parts = [m.to(self.device) for m in (table, lstm, head)]
        ps = [p for m in parts for p in m.parameters()]
        adam = torch.optim.Adam(ps, fused=self.device == "cuda")
        ids = torch.randint(v, (t + 1, b), device=self.device)
        self.parts = parts

        def update() -> None:
            adam.zero_grad()
            y, _ = lstm(table(ids[:-1]))
            rows = head(y).reshape(-1, v), ids[1:].reshape(-1)
            loss = nn.functional.cross_entropy(*rows)
            loss.backward()
            nn.utils.clip_grad_norm_(ps, 1.0)
            adam.step()
            loss.item()

        return update

    def character(self) -> Callable[[], Any]:
        """A character that the model of `update` generates."""
        torch, (table, lstm, head) = self.torch, self.parts
        state: list[Any] = [torch.zeros((1, 1), dtype=torch.long, device=self.device), None]

        def draw() -> None:
            with torch.no_grad():
                y, state[1] = lstm(table(state[0]), state[1])
                state[0] = torch.multinomial(head(y[0]).softmax(-1), 1)
            state[0].item()

        return draw


def drawn(*shape: int) -> Any:
    """Numbers that both are given."""
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


def thirty(x: Any, tanh: Callable[[Any], Any]) -> None:
    """A chain of 30 operations, forwards and backwards."""
    y = x
    for _ in range(10):
        y = tanh(y) * 0.5 + x
    y.sum().backward()


def floor(cell: str, b: int, t: int, i: int, h: int, training: bool) -> float | None:
    """Microseconds a step that the products take at the peak of the float32 units."""
    import cupy

    device = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    lanes = 128 * device["multiProcessorCount"]
    hertz = 1e3 * device.get("clockRate", 0)
    flops = 2.0 * b * CELLS[cell][1] * h * (i + h) * (3 if training else 1)
    return 1e6 * flops / (2 * lanes * hertz) if hertz else None


def figures(budget: float, small: bool, say: Callable[[str], None]) -> Figures:
    """Measures all cases within a budget of seconds; the most telling ones first."""
    until = time.perf_counter() + budget
    peers: dict[str, Any] = {"ours": Ours()}
    found: Figures = {"layers": {}, "other": {}}
    try:
        peers["PyTorch"] = PyTorch()
        found["PyTorch on"] = peers["PyTorch"].device
    except ImportError:
        found["PyTorch on"] = "not installed"
    repeats = 1 if small else 5

    def each(call: Callable[[Any], Any]) -> Figures:
        """Runs one case with every library, and keeps its result or its error."""
        line: Figures = {}
        for name, peer in peers.items():
            try:
                line[name] = call(peer)
            except Exception as error:  # whatever it is, the rest is still wanted
                line[name] = f"{type(error).__name__}: {error}"[:300]
        return line

    text = "".join(np.random.default_rng(0).choice(list("abcdefghijklmnopqrstuvwxyz ,.\n"), 20_000))
    other: dict[str, Callable[[Any], Any]] = {
        "update of charlm": lambda p: p.time(p.update(text, small), 4 * repeats),
        "character": lambda p: p.time(p.character(), 4 * repeats),
        "chain of 30": lambda p: p.time(p.chain((4, 4) if small else (64, 512)), 4 * repeats),
    }
    for name, call in other.items():
        if time.perf_counter() < until:
            found["other"][name] = line = each(call)
            say(f"{name}: {shown(line)} us")
    for size in SMALL if small else GRID:
        for cell in CELLS:
            for precision in ("fp32", "tf32"):
                for k, what in enumerate(("forward", "training")):
                    if time.perf_counter() > until:
                        found["stopped before"] = f"{cell} {size}"
                        return found

                    def measured(p: Any, k: int = k, cell: str = cell, size: Any = size) -> float:
                        return float(p.time(p.layer(cell, *size)[k], repeats) / size[1])

                    for peer in peers.values():
                        peer.allow_tf32(precision == "tf32")
                    line = each(measured)
                    least = floor(cell, *size, what == "training")
                    ours = line["ours"]
                    if precision == "fp32" and least and isinstance(ours, float):
                        line["share of the floor"] = least / ours
                    case = f"{cell} {'x'.join(map(str, size))} {precision} {what}"
                    found["layers"][case] = line
                    say(f"{case}: {shown(line)} us a step")
    for peer in peers.values():
        peer.allow_tf32(False)
    ratios = [
        line["PyTorch"] / line["ours"]
        for case, line in found["layers"].items()
        if "training" in case and all(isinstance(line.get(p), float) for p in ("ours", "PyTorch"))
    ]
    if ratios:
        found["times as fast as PyTorch, training"] = statistics.geometric_mean(ratios)
    return found


def shown(line: Figures) -> str:
    """A line of figures as text."""
    parts = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in line.items())
    return ", ".join(parts)


def measure(given: argparse.Namespace) -> None:
    """Runs the suite, and writes JSON where it is asked for."""
    found = figures(600, False, print)
    if given.json:
        Path(given.json).write_text(json.dumps(found, indent=2))
