"""What the cells' kernels share: the steps in running order, what of a state survives each of them,
and products over time.

A step is handed the old state and writes the new one. Three things may happen around it, the same
for every cell and each part of its state:

    reset       the old state is zero in the rows that begin anew, whatever it was
    zoneout     of the old state a share survives: after = share * old + (1 - share) * new
    lengths     all of it survives in the rows that are over, or have not begun, and nothing that
                was computed there counts

Where nothing of the kind is asked for, the states before, the new ones and those after a step are
views of one buffer of T + 1 states, and nothing is copied. What differs gets a buffer of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..training import add_rows

Array = Any
Arrays = tuple[Array | None, ...]


class Course:
    """The steps in running order, counted from 0, and which rows take part in each."""

    def __init__(
        self,
        xp: Any,
        x: Array,
        ids: Array | None,
        lengths: Array | None,
        reset: Array | None,
        reverse: bool,
    ) -> None:
        self.xp, self.dtype, self.reverse = xp, x.dtype.newbyteorder("="), reverse
        self.steps, self.batch = x.shape[:2] if ids is None else ids.shape
        self.over = self.begins = None  # (T, B, 1), if anything is
        self.zero = xp.zeros((1, 1), self.dtype)
        if lengths is not None:
            self.over = (xp.arange(self.steps)[:, None] >= lengths[None, :])[:, :, None]
        if reset is not None:
            self.begins = reset[:, :, None].astype(bool)
            if self.over is not None:
                self.begins = xp.logical_and(self.begins, xp.logical_not(self.over))
            self.goes_on = xp.logical_not(self.begins)

    def read(self, x: Array, ids: Array | None) -> Array:
        """The inputs: x, or the rows of it that ids name; zeros where a row is over."""
        return self.running(x if ids is None else x[ids])

    def running(self, a: Array) -> Array:
        """What belongs to the steps, zero where a row is over, whatever was there."""
        return a if self.over is None else self.xp.where(self.over, 0, a)

    def along(self, a: Array) -> Array:
        """An array over time, turned into running order; an array in running order, back."""
        return a[::-1] if self.reverse else a

    def each(self, a: Array) -> list[Array]:
        """What belongs to each step, in running order."""
        return list(a[::-1] if self.reverse else a)

    def gates(self, a: Array, width: int) -> list[Array]:
        """Of each step the gates that lie side by side, (G, B, width): to be unpacked."""
        count = a.shape[-1] // width
        return self.each(a.reshape(self.steps, self.batch, count, width).swapaxes(1, 2))

    def shares(self, zone: Array) -> tuple[list[Array], list[Array]]:
        """Of each step the share of the old state that survives, and that of the new."""
        pair = zone, 1 - zone
        if len(zone) == self.steps:
            return self.each(pair[0]), self.each(pair[1])
        return [pair[0][0]] * self.steps, [pair[1][0]] * self.steps

    def empty(self, width: int) -> Array:
        """A buffer for what each step makes, (T, B, width)."""
        return self.xp.empty((self.steps, self.batch, width), self.dtype)

    def work(self, width: int) -> Array:
        """A buffer for one step to work in, (B, width)."""
        return self.xp.empty((self.batch, width), self.dtype)

    def forwards(self, *states: State) -> Iterator[int]:
        """Counts the steps; around each it does to the states what is to be done."""
        reset = states if self.begins is not None else ()
        mixed = [s for s in states if s.zone is not None or self.over is not None]
        for t in range(self.steps):
            for s in reset:
                s.begin(t)
            yield t
            for s in mixed:
                s.settle(t)

    def backwards(self, *cotangents: Cotangent) -> Iterator[int]:
        """Counts the steps from the last; around each the same, for cotangents."""
        for t in reversed(range(self.steps)):
            for d in cotangents:
                d.receive(t)
            yield t
            for d in cotangents:
                d.release(t)


class State:
    """One part of the state, h or c: step t starts from `old[t]` and writes `new[t]`."""

    def __init__(self, course: Course, first: Array, zone: Array | None) -> None:
        self.course, self.width = course, first.shape[1]
        self.buffer = course.xp.empty((course.steps + 1, course.batch, self.width), course.dtype)
        self.states = course.each(self.buffer)  # the first, and the one after each step
        self.states[0][...] = first
        self.old, self.new = self.states[:-1], self.states[1:]
        self.begun = self.fresh = None  # buffers of old and new, where they are not those states
        if course.begins is not None:
            self.begun = course.xp.zeros_like(self.buffer[1:])
            self.old = course.each(self.begun)
        self.zone = zone
        if zone is not None:
            self.zone = zone.astype(course.dtype, copy=False)
            self.shares, self.rests = course.shares(self.zone)
            self.fresh = course.empty(self.width)
            self.new = course.each(self.fresh)
            self.work = course.work(self.width)

    @property
    def after(self) -> Array:
        """The states after each step, in the order of time: (T, B, width)."""
        return self.buffer[:-1] if self.course.reverse else self.buffer[1:]

    @property
    def made(self) -> Array:
        """What each step wrote, in the order of time."""
        return self.after if self.fresh is None else self.fresh

    @property
    def before(self) -> Array:
        """What each step started from, in the order of time."""
        if self.begun is not None:
            return self.begun
        return self.buffer[1:] if self.course.reverse else self.buffer[:-1]

    def begin(self, t: int) -> None:
        """Zero, as the buffer is, where a row begins anew."""
        goes_on = self.course.along(self.course.goes_on)[t]
        self.course.xp.copyto(self.old[t], self.states[t], where=goes_on)

    def settle(self, t: int) -> None:
        """What survives of the old state."""
        xp, after = self.course.xp, self.states[t + 1]
        if self.zone is not None:
            xp.multiply(self.shares[t], self.old[t], out=self.work)
            xp.multiply(self.rests[t], self.new[t], out=after)
            after += self.work
        if self.course.over is not None:
            xp.copyto(after, self.old[t], where=self.course.along(self.course.over)[t])

    def output(self) -> Array:
        """The states after each step, zero where a row is over."""
        return self.course.running(self.after)

    def last(self) -> Array:
        """The final state: a copy, so that keeping it does not keep the buffer."""
        return self.states[-1].copy()


class Cotangent:
    """The cotangent of a part of the state, in `d`: a step turns that of new into that of old."""

    def __init__(self, state: State, last: Array | None, each: Array | None) -> None:
        """From the cotangents of the final state and of the output."""
        self.course = course = state.course
        xp = course.xp
        if last is None:
            self.d = xp.zeros((course.batch, state.width), course.dtype)
        else:
            self.d = xp.array(last, dtype=course.dtype, order="C")
        self.each = None if each is None else course.each(course.running(each))
        self.zoned = state.zone is not None
        if self.zoned:
            self.shares, self.rests = state.shares, state.rests
        if self.zoned or course.over is not None:
            self.held = xp.empty_like(self.d)

    def receive(self, t: int) -> None:
        """Adds the output's cotangent, and sets aside what passes by the step."""
        course, copy = self.course, self.course.xp.copyto
        if self.each is not None:
            self.d += self.each[t]
        over = None if course.over is None else course.along(course.over)[t]
        if self.zoned:
            course.xp.multiply(self.d, self.shares[t], out=self.held)
        if over is not None:
            copy(self.held, self.d, where=over)
            copy(self.d, course.zero, where=over)
        if self.zoned:
            self.d *= self.rests[t]

    def release(self, t: int) -> None:
        """Joins what passed by; nothing goes back beyond where a row began anew."""
        course, copy = self.course, self.course.xp.copyto
        if self.zoned:
            self.d += self.held
        if course.over is not None:
            copy(self.d, self.held, where=course.along(course.over)[t])
        if course.begins is not None:
            copy(self.d, course.zero, where=course.along(course.begins)[t])


# ---------------------------------------------------------------- gates and products


def project(xp: Any, x: Array, w: Array, b: Array | None) -> Array:
    """x @ w.T + b for every step at once: (T, B, G)."""
    z = xp.matmul(x.reshape(-1, x.shape[-1]), w.T)
    if b is not None:
        z += b
    return z.reshape(*x.shape[:-1], w.shape[0])


def turned(xp: Any, w: Array, steps: int) -> Array:
    """w', copied into rows if there are steps enough to pay for it: products run faster then."""
    return xp.ascontiguousarray(w.T) if steps > 8 else w.T


def both(b_ih: Array | None, b_hh: Array | None) -> Array | None:
    """The sum of two biases, each of which may be missing."""
    return b_ih if b_hh is None else b_hh if b_ih is None else b_ih + b_hh


def squash(xp: Any, a: Array, scale: Any = 0.5, shift: Any = 0.5) -> None:
    """scale * tanh(scale * a) + shift in place: with halves the logistic function."""
    a *= scale
    xp.tanh(a, out=a)
    a *= scale
    a += shift


def parts(a: Array, width: int) -> list[Array]:
    """Views of what lies side by side on the last axis, each so wide."""
    return [a[..., k : k + width] for k in range(0, a.shape[-1], width)]


def product_over_time(a: Array, b: Array) -> Array:
    """The sum over steps and rows of outer products: (T, B, M), (T, B, N) to (M, N)."""
    return a.reshape(-1, a.shape[-1]).T @ b.reshape(-1, b.shape[-1])


def in_weights(
    course: Course,
    needs: Sequence[bool],
    x: Array,
    ids: Array | None,
    w_ih: Array,
    d_in: Array,
    d_rec: Array,
    h_in: Array,
) -> tuple[Array | None, ...]:
    """The cotangents of x, w_ih, w_hh, b_ih and b_hh from those of the pre-activations.

    d_in is on the side of the input, d_rec on the recurrent one, into whose products h_in went.
    """
    need_x, need_w_ih, need_w_hh, need_b_ih, need_b_hh = needs
    same = d_rec is d_in
    d_in = course.running(d_in)
    d_rec = d_in if same else course.running(d_rec)
    dx = None
    if need_x:
        dx = (d_in.reshape(-1, d_in.shape[-1]) @ w_ih).reshape(*d_in.shape[:-1], x.shape[-1])
        dx = course.running(dx)  # 0 times a weight that is not finite is NaN
        if ids is not None:
            dx = add_rows(course.xp, course.xp.zeros_like(x), ids, dx)
    return (
        dx,
        product_over_time(d_in, course.read(x, ids)) if need_w_ih else None,
        product_over_time(d_rec, course.running(h_in)) if need_w_hh else None,
        d_in.sum(axis=(0, 1)) if need_b_ih else None,
        d_rec.sum(axis=(0, 1)) if need_b_hh else None,
    )
