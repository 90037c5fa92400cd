"""Recurrent layers as operators: RNN, GRU and LSTM where they have the options, else Scan."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import InvalidValueError, ShapeError
from ...nn import GRU, LSTM, RNN, Conv1d, Conv2d
from ...nn.options import option
from ...nn.recurrent.layer import RecurrentLayer
from ...nn.recurrent.layers import BuiltInLayer
from ...tensor import tree
from ...tensor.conversion import DType
from ...tensor.tensor import Tensor
from ..conventions import ONNX, OURS, gates, stacked
from ..steps import step_of
from ..tracing import Event, values
from .exporter import Exporter
from .graph import Graph
from .scans import Values, filled, scanned, times

ACTIVATIONS = {"tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu"}
NONE = ""


class Run:
    """One call of a layer: its values in the graph."""

    def __init__(self, exporter: Exporter, first: Event, second: Event) -> None:
        self.exporter, self.graph = exporter, exporter.graph
        layer = first.what
        self.module: Any = layer.module
        self.name = type(self.module).__name__
        method = getattr(type(self.module), layer.method)
        bound = [inspect.signature(method).bind(None, *e.args, **e.params) for e in (first, second)]
        for b in bound:
            b.apply_defaults()
        self.given, self.second = (b.arguments for b in bound)
        if self.given.get("mask") is not None:
            raise InvalidValueError(
                f"export_onnx: {self.name}: mask=: there is no operator: leave it out of the "
                "exported call (lengths= is exported)"
            )
        self.leaves: list[Any] = []  # of a row's state
        self.every = bool(self.given.get("return_states"))
        self.stepwise = layer.method == "step"
        self.batch_first = getattr(self.module, "batch_first", False) and not self.stepwise
        self.x_arrays = self._arrays("x")
        table = self.given.get("ids") is not None
        if self.x_arrays[0].ndim == 2 and not (self.stepwise or table):
            axes = "(B, T, features)" if self.batch_first else "(T, B, features)"
            raise ShapeError(
                f"export_onnx: example: {self.name} reads one sequence "
                f"{list(self.x_arrays[0].shape)}; expected {axes}, so that the graph has a batch"
            )
        self.x = self._input()
        varied = self.given.get("lengths") is not None
        self.lengths = self.value("lengths", np.int32) if varied else None
        self.resets = self._resets()

    def _arrays(self, name: str) -> list[Any]:
        """An argument's array in both traces."""
        pairs = zip(self.exporter.recorders, (self.given, self.second), strict=True)
        return [recorder.array(given[name]) for recorder, given in pairs]

    def value(self, name: str, dtype: DType = None) -> str:
        """An argument's value."""
        return self.exporter.value(
            self.given[name], self.second[name], f"{self.name}: {name}", dtype
        )

    def _input(self) -> str:
        """x with time first; what `ids` read of a table."""
        g, table = self.graph, self.given.get("ids") is not None
        x = self.value("ids", np.int64) if table else self.value("x")
        arrays = self._arrays("ids") if table else self.x_arrays
        self.batches = [a.shape[0 if self.batch_first or self.stepwise else 1] for a in arrays]
        if self.stepwise:
            return g.axes_on(x, 0)
        if self.batch_first:
            x = g.add("Transpose", x, perm=[1, 0, *range(2, arrays[0].ndim)])
        return g.add("Gather", self.value("x"), x, axis=0) if table else x

    def _resets(self) -> tuple[str | None, str | None]:
        """The reset masks, (T, B): true at the first step of an episode; backwards, the last."""
        if self.given.get("reset") is None:
            return None, None
        g, reset = self.graph, self.value("reset", bool)
        if self.batch_first:
            reset = g.add("Transpose", reset, perm=[1, 0])
        running = reset
        if self.lengths is not None:
            within = g.add("Less", g.axes_on(times(g, self.x), 1), g.axes_on(self.lengths, 0))
            running = g.add("And", reset, within)
        none = g.add("Expand", g.constant(False), g.shape([1, self.batch]))
        later = g.sliced(running, 1, 2**31, 0)
        return reset, g.add("Concat", later, none, axis=0)

    @property
    def batch(self) -> Any:
        """The number of rows, which may be a size."""
        return self.graph.solve(self.batches[0], self.batches[1], self.name)

    def states(self) -> list[str] | None:
        """The parts of the initial state that was passed."""
        if self.given.get("state") is None:
            return None
        parts = [values(e["state"]) for e in (self.given, self.second)]
        return [
            self.exporter.value(a, b, f"{self.name}: state") for a, b in zip(*parts, strict=True)
        ]


def emit_layer(exporter: Exporter, first: Event, second: Event) -> list[str]:
    """Adds the operators of a layer's call. **Returns** the names of its results' leaves."""
    if isinstance(first.what.module, Conv1d | Conv2d):
        return [_convolution(exporter, first, second)]
    run = Run(exporter, first, second)
    if isinstance(run.module, RecurrentLayer):
        return _stack(run)
    g, module = run.graph, run.module  # of the parallel layers, which have one state (B, H)
    zero, size = g.constant(0, module.weight_ih.dtype), g.shape([run.batch, module.hidden_size])
    begin = run.states() or [g.add("Expand", zero, size)]
    y, last, _ = _looped(run, module.step, run.x, begin, module.reverse, module.initial)
    return [g.add("Transpose", y, perm=[1, 0, 2]) if run.batch_first else y, *last]


def _convolution(exporter: Exporter, first: Event, second: Event) -> str:
    """A convolution as the operator Conv."""
    g, module, name = exporter.graph, first.what.module, type(first.what.module).__name__
    ((a,), (b,)) = ([*event.args, *event.params.values()] for event in (first, second))
    x, alone = exporter.value(a, b, name), first.arrays[0].ndim == module.axes + 1
    found = {p: exporter.weight(n) for n, p in exporter.parameters.items()}
    weights = [found[p] for p in (module.weight, module.bias) if p is not None]
    pads = module.padding
    if pads == "same":
        totals = [d * (k - 1) for k, d in zip(module.kernel_size, module.dilation, strict=True)]
        pads = [t // 2 for t in totals], [t - t // 2 for t in totals]
    else:
        pads = [([0] * module.axes if pads == "valid" else pads)] * 2
    y = g.add(
        "Conv", g.axes_on(x, 0) if alone else x, *weights, strides=module.stride,
        dilations=module.dilation, group=module.groups, pads=[*pads[0], *pads[1]],
    )  # fmt: skip
    return g.axes_off(y, 0) if alone else y


def _stack(run: Run) -> list[str]:
    """Layers upon layers."""
    g, module = run.graph, run.module
    x, given, ends, every = run.x, run.states(), [], []
    directions = module.directions
    outputs: list[str] = []
    for layer in range(module.num_layers):
        rows = [layer * directions + d for d in range(directions)]
        below = x
        if is_native(module) and run.resets[0] is None and not run.every:
            outputs, last = _native(run, x, rows, given)
        else:
            outputs, lasts = [], []
            for direction, row in enumerate(rows):
                y, end, states = _by_scan(run, x, row, module.reverse or direction == 1, given)
                outputs.append(y)
                lasts.append(end)
                every.append([g.axes_on(part, 0) for part in states])
            last = [
                _joined(g, [g.axes_on(end[k], 0) for end in lasts]) for k in range(len(lasts[0]))
            ]
        ends.append(last)
        if module.merge is None and layer == module.num_layers - 1:
            break
        x = _merged(g, outputs, module.merge)
        if module.residual and layer:
            x = g.add("Add", x, below)
        outputs = [x]
    finals = [_joined(g, [end[k] for end in ends]) for k in range(len(ends[0]))]
    if run.stepwise:
        outputs = [g.axes_off(y, 0) for y in outputs]
    elif run.batch_first:
        outputs = [g.add("Transpose", y, perm=[1, 0, 2]) for y in outputs]
    if run.every:
        states = [_joined(g, list(parts)) for parts in zip(*every, strict=True)]
        if run.batch_first:
            perms = [[0, 2, 1, *range(3, 2 + leaf.ndim)] for leaf in run.leaves]
            states = [g.add("Transpose", s, perm=p) for s, p in zip(states, perms, strict=True)]
        finals += states
    return [*outputs, *finals]


def _joined(g: Graph, parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else g.add("Concat", *parts, axis=0)


def _merged(g: Graph, ys: list[str], merge: str | None) -> str:
    if len(ys) == 1:
        return ys[0]
    if merge in ("concat", None):
        return g.add("Concat", *ys, axis=-1)
    if merge == "mul":
        return g.add("Mul", *ys)
    return g.add("Mean" if merge == "mean" else "Sum", *ys)


# ---------------------------------------------------------------- the operators


def is_native(module: BuiltInLayer) -> bool:
    """Tells whether the operators RNN, GRU and LSTM have all of a layer's options."""
    if type(module) not in (RNN, GRU, LSTM):
        return False
    names = ["nonlinearity"] if type(module) is RNN else ["activation", "recurrent_activation"]
    known = all(option(module, name) in ACTIVATIONS for name in names)
    more = option(module, "layer_norm") or np.any(np.atleast_1d(module.zoneout) != 0)
    if type(module) is LSTM:
        more = more or module.proj_size or option(module, "cell_clip") is not None
    return known and not more


def _native(
    run: Run, x: str, rows: Sequence[int], given: list[str] | None
) -> tuple[list[str], list[str]]:
    """One layer, in all its directions, as one operator."""
    g, module = run.graph, run.module
    kind, size = type(module).__name__, module.hidden_size
    w, r, b, p = (
        np.stack(part) for part in zip(*(_weights(module, row) for row in rows), strict=True)
    )
    hint = f"{_prefix(run)}layer{rows[0] // module.directions}"
    values = [
        g.constant(part, name=g.name(f"{hint}_{n}")) for n, part in (("w", w), ("r", r), ("b", b))
    ]
    begin = _begin(run, rows, given)
    inputs = [x, *values, run.lengths or NONE, *(begin or [])]
    attributes: dict[str, Any] = {"hidden_size": size}
    if kind == "RNN":
        activations = [ACTIVATIONS[module.nonlinearity]]
    else:
        gate, main = (
            ACTIVATIONS[option(module, n)] for n in ("recurrent_activation", "activation")
        )
        activations = [gate, main] if kind == "GRU" else [gate, main, main]
    if kind == "GRU":
        attributes["linear_before_reset"] = int(module.reset_after)
    if kind == "LSTM":
        attributes["input_forget"] = int(option(module, "coupled_gates"))
        if p.size:
            inputs += [NONE] * (7 - len(inputs)) + [g.constant(p, name=g.name(f"{hint}_p"))]
    while inputs[-1] == NONE:
        inputs.pop()
    attributes["direction"] = (
        "bidirectional" if len(rows) == 2 else "reverse" if module.reverse else "forward"
    )
    attributes["activations"] = activations * len(rows)
    y, *last = g.several(kind, inputs, 3 if kind == "LSTM" else 2, **attributes)
    if run.lengths is not None and begin is not None:  # an empty row keeps its state
        empty = g.axes_on(g.add("Equal", run.lengths, g.constant(0, np.int32)), 0, 2)
        last = [g.add("Where", empty, a, b) for a, b in zip(begin, last, strict=True)]
    if len(rows) == 1:
        return [g.axes_off(y, 1)], last
    parts = g.several("Split", [y], 2, axis=1, num_outputs=2)
    return [g.axes_off(part, 1) for part in parts], last


def _prefix(run: Run) -> str:
    names = [n for n, p in run.exporter.parameters.items() if p is run.module.weight_ih_l0]
    return names[0].removesuffix("weight_ih_l0").replace(".", "_") if names else ""


def _weights(module: BuiltInLayer, row: int) -> tuple[Any, Any, Any, Any]:
    """W, R, B and P of a row, in the operators' order of gates."""
    cell, kind = module.cells[row], type(module).__name__
    coupled = kind == "LSTM" and bool(option(module, "coupled_gates"))
    absent = "f" if coupled else ""  # the gate whose weights the operator does not read

    def part(name: str, ours: str, theirs: str) -> Any:
        held = getattr(cell, name, None)
        if held is None:
            return np.zeros(len(theirs) * module.hidden_size, cell.weight_ih.dtype)
        parts = gates(held.numpy(), ours.replace(absent, ""))
        parts |= {letter: np.zeros_like(parts["i"]) for letter in absent}
        return stacked(parts, theirs)

    orders = OURS.gates[kind], ONNX.gates[kind]
    w, r, *biases = (
        part(name, *orders) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    seen = kind == "LSTM" and option(module, "peephole")
    p = part("weight_ch", "ifo", "iof") if seen else np.zeros(0, w.dtype)
    return w, r, np.concatenate(biases), p


def _begin(run: Run, rows: Sequence[int], given: list[str] | None) -> list[str] | None:
    """The initial state of rows, (rows, B, H) each part; None for zeros."""
    g, module = run.graph, run.module
    if given is not None:
        if len(rows) == module.num_layers * module.directions:
            return given
        return [g.sliced(part, rows[0], rows[-1] + 1, 0) for part in given]
    if not getattr(module, "learn_initial", False):
        return None
    parts = []
    for part in ("h0", "c0")[: 2 if isinstance(module, LSTM) else 1]:
        learned = np.stack([getattr(module.cells[row], part).numpy() for row in rows])
        wide = g.constant(learned[:, None], name=g.name(f"{part}_learned"))
        parts.append(g.add("Expand", wide, g.shape([len(rows), run.batch, learned.shape[-1]])))
    return parts


# ---------------------------------------------------------------- Scan


def _by_scan(
    run: Run, x: str, row: int, reverse: bool, given: list[str] | None
) -> tuple[str, list[str], list[str]]:
    """A row as a Scan of its step."""
    g, module = run.graph, run.module
    step, initial = step_of(module, row)
    parts = [
        None if begin is None else [g.axes_off(part, 0) for part in begin]
        for begin in (_begin(run, [row], given), _begin(run, [row], None))
    ]
    return _looped(run, step, x, parts[0], reverse, initial, row, parts[1])


def _looped(
    run: Run,
    step: Callable[..., Any],
    x: str,
    begin: list[str] | None,
    reverse: bool,
    initial: Callable[..., Any],
    row: int = 0,
    restart: list[str] | None = None,
) -> tuple[str, list[str], list[str]]:
    """A step over time. **Returns** the outputs, (T, B, ...), the last state, and all states."""
    rng = np.random.default_rng(0)
    features, dtype = _features(run, row)
    xs = [Tensor(rng.normal(size=(n, *features)).astype(dtype), device="cpu") for n in run.batches]
    firsts = [initial(one) for one in xs]
    reset = run.resets[reverse]
    if begin is None or (reset is not None and restart is None):
        parts = zip(*map(tree.leaves, firsts), strict=True)
        what = f"{run.name}: the initial state"  # which depends on the number of rows only
        fresh = [run.exporter.constant(a.numpy(), b.numpy(), what) for a, b in parts]
        begin, restart = begin or fresh, restart or fresh
    states = [tree.mapped(lambda part: filled(part.numpy(), rng), first) for first in firsts]
    leaves = [tree.leaves(state) for state in states]
    run.leaves = leaves[0]
    loop = Values(run.name, [x], begin, run.lengths, reset, restart, reverse, run.every)
    ys, last, every = scanned(
        run.exporter, loop, lambda k: step(xs[k], states[k]), ([xs[0]], [xs[1]]), leaves
    )
    return ys[0], last, every


def _features(run: Run, row: int) -> tuple[tuple[int, ...], Any]:
    """The features of a row's input, and their dtype."""
    module = run.module
    layer = row // getattr(module, "directions", 1)
    if not layer:
        x = run.x_arrays[0]
        ids = run.given.get("ids") is not None
        return tuple(x.shape[1:] if ids or run.stepwise else x.shape[2:]), x.dtype
    if type(module) in (RNN, GRU, LSTM):
        w = module.cells[row].weight_ih
        return (w.shape[1],), w.dtype
    x = run.x_arrays[0]
    return (module.cells[row].input_size,), x.dtype
