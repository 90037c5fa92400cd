"""Shared by the cells: products, gates and normalisation, and the loop that runs a step.

U and W of the equations are `w_ih` and `w_hh`. An activation is the name of an elementwise
operation, or a function. `h_mask` (B, P) multiplies h where it enters the products with W, and
there only: the recurrent dropout of Gal and Ghahramani (2016).

`norms` normalise a step's layers (Ba, Kiros and Hinton 2016): U x and W h become
n_ih * LN(U x) and n_hh * LN(W h), each over all gates at once, before the biases are added.
`gate_clip` holds what goes into the gates' activations within [-gate_clip, gate_clip].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import InvalidValueError
from ..loops.scan import scan
from ..tensor import tree
from ..tensor.ops import elementwise
from ..tensor.ops.elementwise import clip, sqrt, where
from ..tensor.ops.indexing import take
from ..tensor.ops.movement import broadcast_to, matrix_transpose, unstack
from ..tensor.ops.products import matmul
from ..tensor.ops.reductions import mean

EPSILON = 1e-5  # keeps a normalisation's division finite
SHAPES = (
    "x (T, B, I), or (V, I) with ids (T, B), h0 (B, H), w_ih ({0}H, I), w_hh ({0}H, H) and biases "
    "({0}H,)"
)


def function(activation: Any, gate_clip: float | None = None) -> Any:
    """The operation of a name, or the function itself; of its input clipped, if that is asked."""
    if not callable(activation):
        if activation not in elementwise.__all__:
            raise InvalidValueError(
                "activation: expected a function or an elementwise operation's name, got "
                f"{activation!r}"
            )
        activation = getattr(elementwise, activation)
    if gate_clip is None:
        return activation
    return lambda z: activation(clip(z, -gate_clip, gate_clip))


def normalised(z: Any, gain: Any) -> Any:
    """z with mean 0 and variance 1 over its features, times a gain."""
    centred = z - mean(z, axis=-1, keepdims=True)
    return centred / sqrt(mean(centred * centred, axis=-1, keepdims=True) + EPSILON) * gain


def affine(x: Any, w: Any, b: Any = None, gain: Any = None) -> Any:
    """x w' + b, the product normalised if there is a gain; b may be None."""
    z = matmul(x, matrix_transpose(w))
    if gain is not None:
        z = normalised(z, gain)
    return z if b is None else z + b


def selected(mask: Any, a: Any) -> Any:
    """mask * a, and 0 where the mask is 0, whatever a holds there."""
    return mask * where(mask == 0, 0, a)


def gates(z: Any, count: int) -> Any:
    """The parts of (..., count * H) that belong to each gate."""
    return unstack(z.reshape((*z.shape[:-1], count, z.shape[-1] // count)), axis=-2)


def by_steps(
    step: Callable[[Any, Any], tuple[Any, Any]],
    x: Any,
    state: Any,
    *,
    lengths: Any = None,
    reset: Any = None,
    initial: Any = None,
    zones: Sequence[Any] | None = None,
    perturbations: Sequence[Any] | None = None,
    reverse: bool = False,
    fused: bool = False,
    every: bool = True,
) -> tuple[Any, Any, Any]:
    """Runs a cell's step over a sequence.

    **Arguments** step: `(x_t, state) -> (y_t, state)`; a state is a Tensor, (B, ...), or a tree of
    them, as in `scan`, whose leaves are its parts. x: (T, B, I). lengths, reset, reverse, fused: as
    `scan` takes them. initial: the state that a reset sets a row to; zeros, if None. zones: for
    each part of the state the share of the old one that survives each step, (T, B, ...) or
    (1, 1, 1), or None (zoneout, Krueger et al. 2016: a mask of zeros and ones, or the mean of one).
    perturbations: for each part of the state what is added to it after each step, (T, B, ...), or
    None: zeros have the states' gradients. An output that is a part of the state itself is that
    part after all this. every: whether the states are wanted. **Returns** the outputs,
    (T, B, ...), zero past a row's length; the last state; and the states after every step, as the
    outputs, or None.

    >>> import tinygrad_rnn as tg
    >>> def step(x, h):
    ...     return x + h, x + h
    >>> y, last, states = by_steps(step, tg.ones((3, 1, 1)), tg.zeros((1, 1)))
    >>> y.squeeze().tolist(), last.item()
    ([1.0, 2.0, 3.0], 3.0)
    """
    shares = [] if zones is None else [(k, z) for k, z in enumerate(zones) if z is not None]
    given = [x, *(broadcast_to(z, shape=(x.shape[0], *z.shape[1:])) for _, z in shares)]
    given += perturbations or ()
    first, begin = tree.leaves(state), tree.leaves(initial, state)
    resets_to_initial = reset is not None and initial is not None
    if resets_to_initial:  # scan resets to zeros only
        given, reset = [*given, reset], None

    def run(old: Any, given: Any) -> tuple[Any, Any]:
        if resets_to_initial:
            *given, rows = given
            old = [
                where(rows.reshape((-1,) + (1,) * (b.ndim - 1)), a, b)
                for a, b in zip(begin, old, strict=True)
            ]
        x, *more = given
        y, new = step(x, tree.filled(state, old))
        parts = tree.leaves(new, state)
        changed = list(parts)
        for (k, _), zone in zip(shares, more, strict=False):
            changed[k] = selected(zone, old[k]) + selected(1 - zone, parts[k])
        if perturbations is not None:
            pairs = zip(changed, more[len(shares) :], strict=True)
            changed = [p if tap is None else p + tap for p, tap in pairs]
        y = next((p for p, before in zip(changed, parts, strict=True) if before is y), y)
        return tuple(changed), (y, *changed) if every else (y,)

    last, (y, *states) = scan(
        run, tuple(first), tuple(given), reverse=reverse, lengths=lengths, reset=reset, fused=fused
    )
    return y, tree.filled(state, last), tree.filled(state, states) if every else None


def read(x: Any, ids: Any) -> Any:
    """The inputs: x, or the rows of it that ids name."""
    return x if ids is None else take(x, ids, axis=0)
