"""What the cells' kernels share: the order of steps, states in one buffer, products over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Array = Any
Arrays = tuple[Array | None, ...]


def project(xp: Any, x: Array, w: Array, b: Array | None) -> Array:
    """x @ w.T + b for every step at once: (T, B, G)."""
    z = xp.matmul(x.reshape(-1, x.shape[-1]), w.T)
    if b is not None:
        z += b
    return z.reshape(*x.shape[:-1], -1)


def turned(xp: Any, w: Array, steps: int) -> Array:
    """w', copied into rows if there are steps enough to pay for it: products run faster then."""
    return xp.ascontiguousarray(w.T) if steps > 8 else w.T


def both(b_ih: Array | None, b_hh: Array | None) -> Array | None:
    """The sum of two biases, each of which may be missing."""
    return b_ih if b_hh is None else b_hh if b_ih is None else b_ih + b_hh


def product_over_time(a: Array, b: Array) -> Array:
    """The sum over steps and rows of outer products: (T, B, M), (T, B, N) to (M, N)."""
    return a.reshape(-1, a.shape[-1]).T @ b.reshape(-1, b.shape[-1])


class Course:
    """The order of the steps, and the states before and after each, in one buffer of T + 1.

    After step t forwards lies before step t + 1, so nothing is copied; running in reverse, the
    buffer is filled from its end.
    """

    def __init__(self, xp: Any, x: Array, lengths: Array | None, reverse: bool) -> None:
        self.xp, self.steps, self.batch, self.dtype = xp, x.shape[0], x.shape[1], x.dtype
        self.reverse = reverse
        self.order = range(self.steps)[:: -1 if reverse else 1]
        self.valid = self.over = None
        if lengths is not None:  # which rows are still running, (T, B, 1), as bool and as number
            valid = (xp.arange(self.steps)[:, None] < lengths[None, :])[:, :, None]
            self.over, self.valid = xp.logical_not(valid), valid.astype(x.dtype)

    def states(self, first: Array, width: int) -> Array:
        """A buffer (T + 1, B, width) in which the first state is in place."""
        if first.shape != (self.batch, width):
            raise ValueError(f"initial state: expected {(self.batch, width)}, got {first.shape}")
        buffer = self.xp.empty((self.steps + 1, self.batch, width), self.dtype)
        buffer[-1 if self.reverse else 0] = first
        return buffer

    def around(self, t: int) -> tuple[int, int]:
        """Where the states before and after step t lie in a buffer."""
        return (t + 1, t) if self.reverse else (t, t + 1)

    def before(self, buffer: Array) -> Array:
        """The states before each step."""
        return buffer[1:] if self.reverse else buffer[:-1]

    def after(self, buffer: Array) -> Array:
        """The states after each step."""
        return buffer[:-1] if self.reverse else buffer[1:]

    def hold(self, t: int, buffer: Array) -> None:
        """Keeps the state of the rows that are over, or have not begun."""
        if self.over is not None:
            before, after = self.around(t)
            self.xp.copyto(buffer[after], buffer[before], where=self.over[t])

    def output(self, buffer: Array) -> Array:
        """The states after each step, zero where a row is over."""
        y = self.after(buffer)
        return y if self.valid is None else y * self.valid

    def last(self, buffer: Array) -> Array:
        """The final state: a copy, so that keeping it does not keep the buffer."""
        return buffer[0 if self.reverse else -1].copy()

    def cotangent(self, g: Array | None, width: int) -> Array:
        """The cotangent of a final state, in a buffer of our own."""
        if g is None:
            return self.xp.zeros((self.batch, width), self.dtype)
        return self.xp.array(g, dtype=self.dtype)

    def receive(self, t: int, d: Array, gy: Array | None = None) -> Array | None:
        """Adds the output's cotangent to d, and splits off what only passes through step t."""
        held = None
        if self.over is not None and self.valid is not None:
            held = d * self.over[t]
            d *= self.valid[t]
            if gy is not None:
                d += gy[t] * self.valid[t]
        elif gy is not None:
            d += gy[t]
        return held


def in_weights(
    needs: Sequence[bool],
    x: Array,
    w_ih: Array,
    d_in: Array,
    d_rec: Array,
    h_before: Array,
) -> tuple[Array | None, ...]:
    """The cotangents of x, w_ih, w_hh, b_ih and b_hh from those of the pre-activations."""
    need_x, need_w_ih, need_w_hh, need_b_ih, need_b_hh = needs
    return (
        (d_in.reshape(-1, d_in.shape[-1]) @ w_ih).reshape(x.shape) if need_x else None,
        product_over_time(d_in, x) if need_w_ih else None,
        product_over_time(d_rec, h_before) if need_w_hh else None,
        d_in.sum(axis=(0, 1)) if need_b_ih else None,
        d_rec.sum(axis=(0, 1)) if need_b_hh else None,
    )
