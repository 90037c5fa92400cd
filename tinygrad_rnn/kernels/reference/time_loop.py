"""Shared by the reference kernels: iterating over time, masking the state, weight gradients.

A kernel's step reads the old state and writes the new one. Around a step the loop applies the same
three options to every cell and to h and c alike:

    reset       before the step: the old state is zero in rows that are reset, even if it was NaN
    zoneout     after it: state = keep * old + (1 - keep) * new
    lengths     after it: a row that has ended, or in reverse has not started, keeps its old state;
                what the step computed there is ignored

Without any option, the states before, the new ones and those after each step are views of one
buffer of T + 1 states, and nothing is copied. With an option, they get buffers of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from ..contract import SequenceOptions
from ..training import add_rows

Array = Any
Arrays = tuple[Array | None, ...]


class TimeLoop:
    """Iterates over the steps in running order, and masks the rows that do not take part."""

    def __init__(self, xp: ModuleType, x: Array, options: SequenceOptions) -> None:
        self.xp, self.dtype = xp, x.dtype.newbyteorder("=")
        self.ids, self.reverse, self.zoneout = options.ids, options.reverse, options.zoneout
        self.steps, self.batch = x.shape[:2] if self.ids is None else self.ids.shape
        self.h_mask, lengths, reset = options.h_mask, options.lengths, options.reset
        if self.h_mask is not None:
            self.dropped = self.h_mask == 0
        self.ended = self.reset = None  # (T, B, 1) masks, or None
        self.zero = xp.zeros((1, 1), self.dtype)
        if lengths is not None:
            self.ended = (xp.arange(self.steps)[:, None] >= lengths[None, :])[:, :, None]
        if reset is not None:
            self.reset = reset[:, :, None].astype(bool)
            if self.ended is not None:
                self.reset = xp.logical_and(self.reset, xp.logical_not(self.ended))
            self.not_reset = xp.logical_not(self.reset)

    def read(self, x: Array) -> Array:
        """Returns the inputs, x or the embeddings x[ids]; zero where a row has ended."""
        return self.running(x if self.ids is None else x[self.ids])

    def masked(self, h: Array, out: Array | None = None) -> Array:
        """Multiplies by h_mask, if there is one; zero where it is, whatever h is."""
        if self.h_mask is None:
            return h
        out = self.xp.multiply(h, self.h_mask, out=out)
        self.xp.copyto(out, self.zero, where=self.dropped)
        return out

    def running(self, a: Array) -> Array:
        """Selects zero where a row has ended, whatever stands there (NaN, too)."""
        return a if self.ended is None else self.xp.where(self.ended, 0, a)

    def along(self, a: Array) -> Array:
        """Reverses the time axis if the loop runs in reverse."""
        return a[::-1] if self.reverse else a

    def each(self, a: Array) -> list[Array]:
        """Splits an array along time, in running order."""
        return list(a[::-1] if self.reverse else a)

    def gates(self, a: Array, width: int) -> list[Array]:
        """Splits (T, B, G * width) into the gates of each step, (G, B, width), in running order."""
        count = a.shape[-1] // width
        return self.each(a.reshape(self.steps, self.batch, count, width).swapaxes(1, 2))

    def factors(self, a: Array) -> list[tuple[Array, Array]]:
        """Returns the factors of each step, in running order, and where they are zero."""
        pair = a, a == 0
        if len(a) == self.steps:
            return list(zip(*map(self.each, pair), strict=True))
        return [(pair[0][0], pair[1][0])] * self.steps

    def scaled(self, factor: tuple[Array, Array], a: Array, out: Array) -> None:
        """Multiplies by a factor of a step; zero where it is, whatever a is."""
        self.xp.multiply(factor[0], a, out=out)
        self.xp.copyto(out, self.zero, where=factor[1])

    def empty(self, width: int) -> Array:
        """Allocates an output of each step, (T, B, width)."""
        return self.xp.empty((self.steps, self.batch, width), self.dtype)

    def work(self, width: int) -> Array:
        """Allocates a buffer that all steps share, (B, width)."""
        return self.xp.empty((self.batch, width), self.dtype)

    def forwards(self, *states: Carry) -> Iterator[int]:
        """Yields the steps' numbers; applies resets before each, zoneout and lengths after it."""
        reset = states if self.reset is not None else ()
        masked = [s for s in states if s.zoneout is not None or self.ended is not None]
        for t in range(self.steps):
            for s in reset:
                s.before_step(t)
            yield t
            for s in masked:
                s.after_step(t)

    def backwards(self, *cotangents: Cotangent) -> Iterator[int]:
        """Yields the steps' numbers from the last; applies the options' vjps around each."""
        for t in reversed(range(self.steps)):
            for d in cotangents:
                d.before_step(t)
            yield t
            for d in cotangents:
                d.after_step(t)


class Carry:
    """A leaf of the carry, h or c: step t reads `old[t]` and writes `new[t]`."""

    def __init__(self, loop: TimeLoop, first: Array, k: int = 0) -> None:
        """**Arguments** first: the initial state. k: which leaf it is, 0 for h, 1 for c."""
        self.loop, self.width = loop, first.shape[1]
        self.buffer = loop.xp.empty((loop.steps + 1, loop.batch, self.width), loop.dtype)
        self.states = loop.each(self.buffer)  # the initial one, and the one after each step
        self.states[0][...] = first
        self.old, self.new = self.states[:-1], self.states[1:]
        self.after_reset = self.fresh = (
            None  # buffers of old and new, where they are not those states
        )
        if loop.reset is not None:
            self.after_reset = loop.xp.zeros_like(self.buffer[1:])
            self.old = loop.each(self.after_reset)
        self.zoneout = loop.zoneout[k] if loop.zoneout else None
        if self.zoneout is not None:
            self.zoneout = self.zoneout.astype(loop.dtype, copy=False)
            self.keep = loop.factors(self.zoneout)
            self.update = loop.factors(1 - self.zoneout)
            self.fresh = loop.empty(self.width)
            self.new = loop.each(self.fresh)
            self.work = loop.work(self.width)

    @property
    def after(self) -> Array:
        """The states after each step, in order of time: (T, B, width)."""
        return self.buffer[:-1] if self.loop.reverse else self.buffer[1:]

    @property
    def written(self) -> Array:
        """The states as the steps wrote them, in order of time."""
        return self.after if self.fresh is None else self.fresh

    @property
    def before(self) -> Array:
        """The states that the steps read, in order of time."""
        if self.after_reset is not None:
            return self.after_reset
        return self.buffer[1:] if self.loop.reverse else self.buffer[:-1]

    def before_step(self, t: int) -> None:
        """Resets rows: copies the state only where a row is not reset; the buffer is zero."""
        not_reset = self.loop.along(self.loop.not_reset)[t]
        self.loop.xp.copyto(self.old[t], self.states[t], where=not_reset)

    def after_step(self, t: int) -> None:
        """Applies zoneout, and keeps the old state where a row has ended."""
        xp, after = self.loop.xp, self.states[t + 1]
        if self.zoneout is not None:
            self.loop.scaled(self.keep[t], self.old[t], out=self.work)
            self.loop.scaled(self.update[t], self.new[t], out=after)
            after += self.work
        if self.loop.ended is not None:
            xp.copyto(after, self.old[t], where=self.loop.along(self.loop.ended)[t])

    def output(self) -> Array:
        """Returns the states after each step, zero where a row has ended."""
        return self.loop.running(self.after)

    def last(self) -> Array:
        """Returns the final state: a copy, which does not keep the buffer alive."""
        return self.states[-1].copy()


class Cotangent:
    """The cotangent of a leaf of the carry, `d`: a step replaces that of new by that of old."""

    def __init__(self, state: Carry, last: Array | None, each: Array | None) -> None:
        """**Arguments** last, each: cotangents of the final state and of the output, or None."""
        self.loop = loop = state.loop
        xp = loop.xp
        if last is None:
            self.d = xp.zeros((loop.batch, state.width), loop.dtype)
        else:
            self.d = xp.array(last, dtype=loop.dtype, order="C")
        self.each = None if each is None else loop.each(loop.running(each))
        self.zoned = state.zoneout is not None
        if self.zoned:
            self.keep, self.update = state.keep, state.update
        if self.zoned or loop.ended is not None:
            self.bypass = xp.empty_like(self.d)

    def before_step(self, t: int) -> None:
        """Adds the output's cotangent; sets aside the part that bypasses the step."""
        loop, copy = self.loop, self.loop.xp.copyto
        if self.each is not None:
            self.d += self.each[t]
        ended = None if loop.ended is None else loop.along(loop.ended)[t]
        if self.zoned:
            loop.scaled(self.keep[t], self.d, out=self.bypass)
        if ended is not None:
            copy(self.bypass, self.d, where=ended)
            copy(self.d, loop.zero, where=ended)
        if self.zoned:
            loop.scaled(self.update[t], self.d, out=self.d)

    def after_step(self, t: int) -> None:
        """Adds the part that bypassed the step; zero where a row was reset."""
        loop, copy = self.loop, self.loop.xp.copyto
        if self.zoned:
            self.d += self.bypass
        if loop.ended is not None:
            copy(self.d, self.bypass, where=loop.along(loop.ended)[t])
        if loop.reset is not None:
            copy(self.d, loop.zero, where=loop.along(loop.reset)[t])


# ---------------------------------------------------------------- gates and products


def project(xp: ModuleType, x: Array, w: Array, b: Array | None) -> Array:
    """Computes x @ w.T + b of all steps at once: (T, B, G)."""
    z = xp.matmul(x.reshape(-1, x.shape[-1]), w.T)
    if b is not None:
        z += b
    return z.reshape(*x.shape[:-1], w.shape[0])


def transposed(xp: ModuleType, w: Array, steps: int) -> Array:
    """Transposes w; copies it into C order if there are enough steps for faster products to pay."""
    return xp.ascontiguousarray(w.T) if steps > 8 else w.T


def add_biases(b_ih: Array | None, b_hh: Array | None) -> Array | None:
    """Adds two biases, either of which may be None."""
    return b_ih if b_hh is None else b_hh if b_ih is None else b_ih + b_hh


def affine_tanh_(xp: ModuleType, a: Array, scale: Array = 0.5, shift: Array = 0.5) -> None:
    """Computes scale * tanh(scale * a) + shift in place; with halves this is the sigmoid."""
    a *= scale
    xp.tanh(a, out=a)
    a *= scale
    a += shift


def split(a: Array, width: int) -> list[Array]:
    """Splits the last axis into views of a width."""
    return [a[..., k : k + width] for k in range(0, a.shape[-1], width)]


def product_over_time(a: Array, b: Array) -> Array:
    """Sums outer products over steps and rows: (T, B, M), (T, B, N) to (M, N)."""
    return a.reshape(-1, a.shape[-1]).T @ b.reshape(-1, b.shape[-1])


def weight_gradients(
    loop: TimeLoop,
    needs: Sequence[bool],
    x: Array,
    w_ih: Array,
    d_in: Array,
    d_rec: Array,
    h_in: Array,
) -> tuple[Array | None, ...]:
    """Computes the cotangents of x, w_ih, w_hh, b_ih and b_hh from those of the pre-activations.

    **Arguments** d_in, d_rec: of the input's products and of the recurrent ones. h_in: the
    recurrent products' inputs.
    """
    need_x, need_w_ih, need_w_hh, need_b_ih, need_b_hh = needs
    same = d_rec is d_in
    d_in = loop.running(d_in)
    d_rec = d_in if same else loop.running(d_rec)
    dx = None
    if need_x:
        dx = (d_in.reshape(-1, d_in.shape[-1]) @ w_ih).reshape(*d_in.shape[:-1], x.shape[-1])
        dx = loop.running(dx)  # 0 times a weight that is not finite is NaN
        if loop.ids is not None:
            dx = add_rows(loop.xp, loop.xp.zeros_like(x), loop.ids, dx)
    db_ih = d_in.sum(axis=(0, 1)) if need_b_ih else None
    if not need_b_hh:
        db_hh = None
    elif same and db_ih is not None:
        db_hh = db_ih.copy()
    else:
        db_hh = d_rec.sum(axis=(0, 1))
    return (
        dx,
        product_over_time(d_in, loop.read(x)) if need_w_ih else None,
        product_over_time(d_rec, loop.running(h_in)) if need_w_hh else None,
        db_ih,
        db_hh,
    )
