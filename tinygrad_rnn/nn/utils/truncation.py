"""Truncated backpropagation through time, for long sequences and streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from ...errors import InvalidValueError, public
from ...tensor import ops, tree
from ...tensor.tensor import Tensor
from ..module import Module
from ..recurrent.layer import RecurrentLayer
from ..recurrent.parallel import MinGRU, MinLSTM
from ..recurrent.states import State


@public
def detach(state: State) -> State:
    """Detaches a state from the graph; None stays None.

    >>> import tinygrad_rnn as tg
    >>> y, state = tg.nn.LSTM(3, 4)(tg.zeros((7, 2, 3)))
    >>> [part.requires_grad for part in tg.nn.utils.detach(state)]
    [False, False]
    """
    return tree.mapped(lambda leaf: leaf.detach(), state)


def truncated(
    run: Callable[[Any, State], tuple[Tensor, State]],
    x: Any,
    k1: int,
    k2: int | None = None,
    state: State = None,
    *,
    axis: int = 0,
) -> Iterator[tuple[slice, Tensor, State]]:
    """Truncated backpropagation through time, BPTT(k2; k1) (Williams and Peng 1990).

    Yields the outputs of k1 new steps, with a graph that reaches k2 steps back. If k2 > k1, the
    steps in between are run again from their saved state, which costs k2 / k1 times the work.

    **Arguments** run: a layer or a model, `(x, state) -> (y, state)`. x: (T, ...), a Tensor or an
    array. k1: the number of new steps in a window. k2: how many steps back its gradient reaches, at
    least k1; k1, if None. state: the initial state. axis: the time axis of x and y; 1 for a layer
    with batch_first.

    **Returns** an iterator over windows: the slice of new steps, their outputs, and the detached
    state after them. **Raises** ValueError for k1 and k2 that are not integers with 1 <= k1 <= k2,
    for an axis that is not the time axis, and for a module with a reversed or bidirectional layer,
    whose backward direction needs the end of the sequence.

    >>> import tinygrad_rnn as tg
    >>> rnn, x, target = tg.nn.RNN(3, 4), tg.ones((100, 2, 3)), tg.zeros((100, 2, 4))
    >>> optimizer = tg.optim.SGD(rnn.parameters(), lr=0.1)
    >>> for new, y, state in tg.nn.utils.truncated(rnn, x, k1=20, k2=60):
    ...     optimizer.zero_grad()
    ...     tg.nn.mse_loss(y, target[new]).backward()
    ...     optimizer.step()
    >>> new, state.shape
    (slice(80, 100, None), (1, 2, 4))
    """
    k2 = k1 if k2 is None else k2
    if not (type(k1) is int and type(k2) is int and 1 <= k1 <= k2):
        raise InvalidValueError(
            f"truncated: expected integers, 1 <= k1 <= k2 (every k1 steps back through k2); "
            f"got k1={k1!r}, k2={k2!r}"
        )
    axes = len(getattr(x, "shape", ()))
    if not (type(axis) is int and -axes <= axis < axes):
        raise InvalidValueError(
            f"truncated: axis: expected one of x, which is a Tensor or an array; got {axis!r} and "
            + (f"{axes} axes" if axes else f"{type(x).__name__} without axes")
        )
    axis %= axes
    _check_module(getattr(run, "__self__", run), axis)
    return _windows(run, x, k1, k2, state, axis)


def _check_module(run: object, axis: int) -> None:
    """Refuses a layer or a model that cannot run in windows along an axis."""
    kind = type(run).__name__
    if isinstance(run, (RecurrentLayer, MinGRU, MinLSTM)) and axis != run.batch_first:
        raise InvalidValueError(
            f"truncated: axis: expected {int(run.batch_first)}, the time axis of {kind} with "
            f"batch_first={run.batch_first}; got {axis}"
        )
    for name, layer in run.named_modules() if isinstance(run, Module) else ():
        if getattr(layer, "bidirectional", False) or getattr(layer, "reverse", False):
            which = f"{type(layer).__name__} {name!r}" if name else kind
            raise InvalidValueError(
                f"truncated: run: expected unidirectional layers; {which} also runs backwards, "
                "and needs the end of the sequence (if it runs over another axis, pass a function "
                "that calls the model)"
            )


def _windows(
    run: Callable[[Any, State], tuple[Tensor, State]],
    x: Any,
    k1: int,
    k2: int,
    state: State,
    axis: int,
) -> Iterator[tuple[slice, Tensor, State]]:
    steps, before = x.shape[axis], (slice(None),) * axis
    start, old = 0, 0  # first step of the window, whose state is `state`; first new step
    while old < steps:
        end = min(old + k1, steps)
        following = max(0, min(end + k1, steps) - k2)  # where the next window starts, end at most
        ys, now, later = [], state, state
        for a, b in pairwise(sorted({start, old, following, end})):
            y, now = run(x[(*before, slice(a, b))], now)
            if a >= old:
                ys.append(y)
            if b == following:
                later = detach(now)
        yield (slice(old, end), ys[0] if len(ys) == 1 else ops.concat(ys, axis=axis), detach(now))
        start, old, state = following, end, later
