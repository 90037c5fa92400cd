"""Diagnostics of recurrent layers: vanishing gradients and saturated gates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any, cast

from ...errors import InvalidTypeError, InvalidValueError, public
from ...loops.scan import Lengths
from ...tensor import creation, ops, tree
from ...tensor.autodiff import grad, no_grad
from ...tensor.tensor import Tensor, TensorLike
from ..module import Module, inference
from ..recurrent.layer import RecurrentLayer
from ..recurrent.layers import BuiltInLayer
from ..recurrent.states import Activation, Capture, State


@contextmanager
def _capture(model: Module) -> Iterator[dict[str, list[Capture]]]:
    """Captures the inputs and states of the recurrent layers of a model, by name."""
    layers = {n: m for n, m in model.named_modules() if isinstance(m, RecurrentLayer)}
    if not layers:
        raise InvalidValueError(f"{type(model).__name__} has no recurrent layer to capture")
    captured: dict[str, list[Capture]] = {name: [] for name in layers}
    for name, layer in layers.items():
        layer.captured = captured[name]
    try:
        yield captured
    finally:
        for layer in layers.values():
            layer.captured = None


@public
def gradient_flow(model: Module, loss: Callable[[], Tensor]) -> dict[str, State]:
    """Gradient norms of a loss at every state, which show vanishing and exploding gradients.

    |dL/dh_t| for every step t, layer and direction, of the total gradient: through the output of
    that step and through all later states. (If the output of a cell is not its state, through the
    states only.) The layers run step by step; the gradients of parameters do not change.

    **Arguments** model: a recurrent layer, or a module with some. loss: runs the model and returns
    the loss. **Returns** a dict of states by the names of the recurrent layers, each part of a
    state with norms over batch and features, (num_layers * directions, T). **Raises** ValueError if
    the model has no recurrent layer, or the loss runs none.

    >>> import tinygrad_rnn as tg
    >>> lstm, x = tg.nn.LSTM(3, 4), tg.ones((20, 2, 3))
    >>> h, c = tg.nn.utils.gradient_flow(lstm, lambda: lstm(x)[0][-1].sum())[""]
    >>> h.shape, bool(h[0, 0] < h[0, -1])
    ((1, 20), True)
    """
    with _capture(model) as captured:
        value = loss()
    flow: dict[str, State] = {}
    for name, runs in captured.items():
        if not runs:
            continue
        perturbations = [
            p for run in runs for p in cast("tuple[Tensor | None, ...]", run.options.perturbations)
        ]
        wanted = [p for p in perturbations if p is not None]
        gradients = iter(grad(value, wanted, retain_graph=True))
        zeros = creation.zeros((len(runs[0].x),), device=runs[0].x.device)  # for bools and integers
        gs = [zeros if p is None else next(gradients) for p in perturbations]
        orders = [run.order for run in runs for _ in tree.leaves(run.first)]
        gs = [
            g if order is None or g is zeros else order.undo(g)
            for g, order in zip(gs, orders, strict=True)
        ]
        norms = [ops.sqrt(ops.sum(g * g, axis=tuple(range(1, g.ndim)))) for g in gs]
        count = len(tree.leaves(runs[0].first))
        columns = [ops.stack(norms[k::count]) for k in range(count)]
        flow[name] = tree.filled(runs[0].first, columns)
    if not flow:
        raise InvalidValueError("gradient_flow: the loss ran no recurrent layer of the model")
    return flow


@public
def activations(model: Module, run: Callable[[], Any]) -> dict[str, list[dict[str, Tensor]]]:
    """Gates and states of recurrent layers at every step, in evaluation mode and without a graph.

    **Arguments** model: a recurrent layer, or a module with some. run: runs the model. **Returns**
    a dict by the names of the layers that ran. It has, for each layer and direction, a dict by the
    letters of the equations: the gates and the candidate of an RNN, GRU or LSTM, and the state of
    any cell after each step, (T, B, features), zero past a row's length. Steps of several calls
    follow each other. **Raises** ValueError if the model has no recurrent layer, or ran none.

    >>> import tinygrad_rnn as tg
    >>> gru, x = tg.nn.GRU(3, 4), tg.ones((5, 2, 3))
    >>> [layer] = tg.nn.utils.activations(gru, lambda: gru(x))[""]
    >>> {letter: values.shape for letter, values in layer.items()}
    {'r': (5, 2, 4), 'z': (5, 2, 4), 'n': (5, 2, 4), 'h': (5, 2, 4)}
    """
    with inference(model), _capture(model) as captured:
        run()
    layers = {n: m for n, m in model.named_modules() if isinstance(m, RecurrentLayer)}
    found: dict[str, list[dict[str, Tensor]]] = {}
    for name, runs in captured.items():
        layer, rows = layers[name], len(layers[name].cells)
        for row in range(rows if runs else 0):
            calls = [_parts(layer, row, one) for one in runs[row::rows]]
            joined = {k: ops.concat([c[k] for c in calls]) for k in calls[0]}
            found.setdefault(name, []).append(joined if len(calls) > 1 else calls[0])
    if not found:
        raise InvalidValueError("activations: run() ran no recurrent layer of the model")
    return found


def _parts(layer: RecurrentLayer, row: int, captured: Capture) -> dict[str, Tensor]:
    """The gates, if the layer is a built-in one, and the parts of the state, zero past lengths."""
    states = tree.leaves(captured.ran[2])
    names = "hc" if len(states) <= 2 else [f"s{i}" for i in range(len(states))]
    parts = dict(zip(names, states, strict=False))
    if isinstance(layer, BuiltInLayer):
        gates = {gate: values for gate, (values, _) in _activations(layer, row, captured).items()}
        parts = gates | parts
    valid = _valid(captured)
    return {
        name: ops.where(valid.reshape((*valid.shape, *(1,) * (values.ndim - 2))), values, 0.0)
        for name, values in parts.items()
    }


def _valid(captured: Capture) -> Tensor:
    """Whether each row has a step, (T, B)."""
    times, lengths = _times_and_lengths(captured)
    return ops.broadcast_to(times < lengths, shape=captured.x.shape[:2])


def _times_and_lengths(captured: Capture) -> tuple[Tensor, Any]:
    """The number of each step, (T, 1), and the steps of each row."""
    steps, lengths = len(captured.x), captured.options.lengths
    times = creation.arange(steps, device=captured.x.device).expand_dims(axis=1)
    return times, steps if lengths is None else lengths


@public
def gate_saturation(
    layer: BuiltInLayer,
    x: Tensor,
    state: State = None,
    *,
    lengths: Lengths = None,
    mask: TensorLike | None = None,
    reset: TensorLike | None = None,
    margin: float = 0.1,
) -> dict[str, list[tuple[float, float]]]:
    """Fractions of saturated gate activations (Karpathy et al. 2015), in evaluation mode.

    **Arguments** layer: an RNN, GRU or LSTM. x, state, lengths, mask, reset: the arguments of the
    layer. margin: the distance to a bound below which an activation is saturated; the bounds are 0
    and 1 for gates, -1 and 1 for candidates. **Returns** a dict by the letter of the gate in the
    equations: for each layer and direction, the fractions at the lower and at the upper bound.

    >>> import tinygrad_rnn as tg
    >>> lstm = tg.nn.LSTM(3, 4, forget_bias=9.0)
    >>> tg.nn.utils.gate_saturation(lstm, tg.zeros((5, 2, 3)))["f"]
    [(0.0, 1.0)]
    """
    if not isinstance(layer, BuiltInLayer):
        raise InvalidTypeError(
            f"gate_saturation: layer: expected an RNN, GRU or LSTM, got {type(layer).__name__}"
        )
    with inference(layer), _capture(layer) as captured:
        layer(x, state, lengths=lengths, mask=mask, reset=reset)
    fractions: dict[str, list[tuple[float, float]]] = {}
    for row, here in enumerate(captured[""]):
        valid = _valid(here)
        for gate, (every, lower) in _activations(layer, row, here).items():
            values = every[valid]
            low = ops.mean((values < lower + margin).astype("float64")).item()
            high = ops.mean((values > 1 - margin).astype("float64")).item()
            fractions.setdefault(gate, []).append((low, high))
    return fractions


def _activations(
    layer: BuiltInLayer, row: int, captured: Capture
) -> dict[str, tuple[Tensor, float]]:
    """The activations of each gate, (T, B, features), and the lower bound of the gate."""
    found: dict[str, tuple[Tensor, float]] = {}

    def recorded(activation: Activation, letters: list[str], lower: float) -> Activation:
        function = activation if callable(activation) else getattr(ops, activation)

        def record(z: Tensor) -> Tensor:
            y: Tensor = function(z)
            if letters:
                found[letters.pop(0)] = (y, lower)
            return y

        return record

    cell = copy(layer.cells[row])
    for name, (letters, lower) in cell.gate_names.items():
        setattr(cell, name, recorded(getattr(cell, name), list(letters), lower))
    steps, batch = captured.x.shape[:2]
    times, lengths = _times_and_lengths(captured)
    with no_grad():
        x, *before = (
            part.reshape((steps * batch, -1))
            for part in (captured.x, *_states_before(layer, row, captured, times + 1 == lengths))
        )
        cell.step(x, tree.filled(captured.first, before))
    return {
        gate: (values.reshape((steps, batch, -1)), lower) for gate, (values, lower) in found.items()
    }


def _states_before(
    layer: BuiltInLayer, row: int, captured: Capture, final: Tensor
) -> Iterator[Tensor]:
    """Each part of the state before each step, (T, B, features)."""
    options, begin = captured.options, layer.begin(row, captured.x, captured.x.shape[1])
    states_of = (tree.leaves(s) for s in (captured.first, captured.ran[2], begin))
    for first, states, begin in zip(*states_of, strict=True):
        edge = first.expand_dims(axis=0)
        if options.reverse:
            before = ops.concat([states[1:], edge])
            before = ops.where(final.expand_dims(axis=-1), edge, before)
        else:
            before = ops.concat([edge, states[:-1]])
        if options.reset is not None:
            before = ops.where(options.reset.expand_dims(axis=-1), begin, before)
        yield before
