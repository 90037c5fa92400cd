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

from ..annotations import described
from ..errors import InvalidTypeError, InvalidValueError
from ..kernels import NO_OPTIONS, SequenceOptions
from ..loops.scan import Lengths, scan
from ..tensor import backend, conversion, tree
from ..tensor.graph import Traced
from ..tensor.inputs import NESTED, SETTLED
from ..tensor.ops import elementwise
from ..tensor.ops.elementwise import clip, equal, multiply, sqrt, where
from ..tensor.ops.indexing import take
from ..tensor.ops.movement import broadcast_to, matrix_transpose, unstack
from ..tensor.ops.products import matmul
from ..tensor.ops.reductions import mean

SETTLED.add(SequenceOptions)
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
    return multiply(mask, where(equal(mask, 0), 0, a))


def gates(z: Any, count: int) -> Any:
    """The parts of (..., count * H) that belong to each gate."""
    return unstack(z.reshape((*z.shape[:-1], count, z.shape[-1] // count)), axis=-2)


def sequence_options(
    name: str,
    x: Any,
    *,
    lengths: Lengths = None,
    reset: Any = None,
    h_mask: Any = None,
    zoneout: Sequence[Any] = (),
    ids: Any = None,
    reverse: bool = False,
    every: bool = False,
) -> SequenceOptions:
    """Packs the constants of a call into one value; converts nested lists to arrays.

    **Arguments** name: what errors call the function. x: its input, whose dtype and device lists
    take. **Raises** TypeError for what is no array.
    """
    like = x.array if isinstance(x, Traced) else x

    def array(argument: str, value: Any) -> Any:
        what = f"{name}: {argument}"
        if value is None or isinstance(value, Traced):
            return value
        if backend.is_array(value):
            return conversion.normalized(value, what)
        if isinstance(value, NESTED) and backend.is_array(like):
            found = conversion.promoted(value, like.dtype, False, what)
            return backend.module_of(like).asarray(found)
        raise InvalidTypeError(f"{what}: expected a Tensor or an array, got {described(value)}")

    return SequenceOptions(
        lengths=array("lengths", lengths), reset=array("reset", reset),
        h_mask=array("h_mask", h_mask),
        zoneout=tuple(map(array, ("h_zone", "c_zone"), zoneout)),
        ids=array("ids", ids), reverse=bool(reverse), every=bool(every),
    )  # fmt: skip


def decomposition(step: Callable[..., Any], leaves: int = 1) -> Callable[..., tuple[Any, ...]]:
    """The decomposition of a fused operation: a scan of the cell's step.

    **Arguments** leaves: of the state: h, or h and c.
    """

    def run(x: Any, *given: Any, options: SequenceOptions, **settings: Any) -> tuple[Any, ...]:
        def one(x: Any, state: Any) -> tuple[Any, Any]:
            found = step(x, *state, *given[leaves:], options.h_mask, **settings)
            state = found if leaves > 1 else (found,)
            return state[0], state

        every = options.every and leaves > 1
        y, last, states = by_steps(one, x, given[:leaves], options._replace(every=every))
        return (y, *last, *(states[1:] if every else ()))

    return run


def by_steps(
    step: Callable[[Any, Any], tuple[Any, Any]],
    x: Any,
    state: Any,
    options: SequenceOptions = NO_OPTIONS,
    *,
    fused: bool = False,
    check: Callable[[Any, Any], tuple[Any, Any]] | None = None,
) -> tuple[Any, Any, Any]:
    """Runs a cell's step over a sequence.

    **Arguments** step: `(x_t, state) -> (y_t, state)`; a state is a Tensor, (B, ...), or a tree of
    them, as in `scan`. x: (T, B, I), or a table (V, I) under ids. options: all but h_mask, which is
    the step's; each of zoneout is (T, B, ...) or (1, 1, 1), a mask of zeros and ones or the mean of
    one, of the old leaf that is kept (Krueger et al. 2016); perturbations are (T, B, ...): zeros
    have the states' gradients. fused: as `scan` takes it. check: is called with what the step
    returned and the state before it; returns the output and the state. An output that is a leaf of
    the state itself is that leaf after all this. **Returns** the outputs, (T, B, ...), zero past a
    row's length; the last state; and the states after every step, as the outputs, or None unless
    they are wanted.

    >>> import tinygrad_rnn as tg
    >>> def step(x, h):
    ...     return x + h, x + h
    >>> y, last, _ = by_steps(step, tg.ones((3, 1, 1)), tg.zeros((1, 1)))
    >>> y.squeeze().tolist(), last.item()
    ([1.0, 2.0, 3.0], 3.0)
    """
    if options.ids is not None:
        x = take(x, options.ids, axis=0)
    zoneout = [(k, z) for k, z in enumerate(options.zoneout) if z is not None]
    perturbations, reset, every = options.perturbations, options.reset, options.every
    given = [x, *(broadcast_to(z, shape=(x.shape[0], *z.shape[1:])) for _, z in zoneout)]
    given += perturbations or ()
    first, begin = tree.leaves(state), tree.leaves(options.initial, state)
    resets_to_initial = reset is not None and options.initial is not None
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
        before = tree.filled(state, old)
        found = step(x, before)
        y, new = found if check is None else check(found, before)
        leaves = tree.leaves(new, state)
        changed = list(leaves)
        for (k, _), keep in zip(zoneout, more, strict=False):
            changed[k] = selected(keep, old[k]) + selected(1 - keep, leaves[k])
        if perturbations is not None:
            pairs = zip(changed, more[len(zoneout) :], strict=True)
            changed = [leaf if p is None else leaf + p for leaf, p in pairs]
        y = next((a for a, b in zip(changed, leaves, strict=True) if b is y), y)
        return tuple(changed), (y, *changed) if every else (y,)

    last, (y, *states) = scan(
        run, tuple(first), tuple(given), reverse=options.reverse, lengths=options.lengths,
        reset=reset, fused=fused,
    )  # fmt: skip
    return y, tree.filled(state, last), tree.filled(state, states) if every else None
