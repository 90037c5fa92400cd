"""Recurrent layers as operators: RNN, GRU and LSTM where they have the options, else Scan."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import cells
from ...errors import InvalidValueError, ShapeError
from ...nn import GRU, LSTM, RNN, Conv1d, Conv2d
from ...nn.recurrent.layer import RecurrentLayer
from ...tensor import tree
from ...tensor.tensor import Tensor
from ..configuration import option
from .exporter import Exporter
from .graph import Graph
from .tracing import Event

ACTIVATIONS = {"tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu"}
ORDER = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 3, 1, 2]}  # of our gates, in the operators
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
        wrong = [f"{n}=" for n in ("mask", "reset") if self.given.get(n) is not None]
        wrong += ["return_states=True"] if self.given.get("return_states") else []
        if wrong:
            raise InvalidValueError(
                f"export_onnx: {self.name}: {' and '.join(wrong)}: there is no operator: leave it "
                "out of the exported call"
                + (" (lengths= is exported)" if wrong[0] == "mask=" else "")
            )
        self.stepwise = layer.method == "step"
        first_first = getattr(self.module, "batch_first", False) and not self.stepwise
        self.batch_first = first_first
        self.x_arrays = [self._arrays(e, "x", k) for k, e in enumerate((self.given, self.second))]
        table = self.given.get("ids") is not None
        if self.x_arrays[0].ndim == 2 and not (self.stepwise or table):
            axes = "(B, T, features)" if self.batch_first else "(T, B, features)"
            raise ShapeError(
                f"export_onnx: example: {self.name} reads one sequence "
                f"{list(self.x_arrays[0].shape)}; expected {axes}, so that the graph has a batch"
            )
        self.x = self._input()
        self.lengths = self._lengths()

    def _arrays(self, given: Any, name: str, trace: int) -> Any:
        value = given[name]
        return (
            self.exporter.recorders[trace].alive[value.number]
            if hasattr(value, "number")
            else value
        )

    def value(self, name: str, dtype: Any = None) -> str:
        """An argument's value."""
        return self.exporter.value(
            self.given[name], self.second[name], f"{self.name}: {name}", dtype
        )

    def _input(self) -> str:
        """x with time first; what `ids` read of a table."""
        g, x = self.graph, self.value("x")
        if self.stepwise:
            self.batches = [a.shape[0] for a in self.x_arrays]
            return g.axes_on(x, 0)
        if self.given.get("ids") is not None:
            arrays = [self._arrays(e, "ids", k) for k, e in enumerate((self.given, self.second))]
            ids = self.value("ids", np.int64)
            if self.batch_first:
                ids = g.add("Transpose", ids, perm=[1, 0])
            self.batches = [a.shape[0 if self.batch_first else 1] for a in arrays]
            return g.add("Gather", x, ids, axis=0)
        self.batches = [a.shape[0 if self.batch_first else 1] for a in self.x_arrays]
        if self.batch_first:
            rest = range(2, self.x_arrays[0].ndim)
            return g.add("Transpose", x, perm=[1, 0, *rest])
        return x

    def _lengths(self) -> str | None:
        if self.given.get("lengths") is None:
            return None
        return self.value("lengths", np.int32)

    @property
    def batch(self) -> Any:
        """The number of rows, which may be a size."""
        return self.graph.solve(self.batches[0], self.batches[1], self.name)

    def states(self) -> list[str] | None:
        """The parts of the initial state that was passed."""
        if self.given.get("state") is None:
            return None
        parts = [_flat(e["state"]) for e in (self.given, self.second)]
        return [
            self.exporter.value(a, b, f"{self.name}: state") for a, b in zip(*parts, strict=True)
        ]


def _flat(state: Any) -> list[Any]:
    if isinstance(state, dict):
        return [part for value in state.values() for part in _flat(value)]
    if isinstance(state, tuple | list) and not hasattr(state, "number"):
        return [part for value in state for part in _flat(value)]
    return [state] if hasattr(state, "number") or hasattr(state, "shape") else []


def emit_layer(exporter: Exporter, first: Event, second: Event) -> list[str]:
    """Adds the operators of a layer's call. **Returns** the names of its results' leaves."""
    if isinstance(first.what.module, Conv1d | Conv2d):
        return [_convolution(exporter, first, second)]
    run = Run(exporter, first, second)
    if isinstance(run.module, RecurrentLayer):
        return _stack(run)
    g, module = run.graph, run.module  # of the parallel layers, which have one state (B, H)
    begin = run.states() or [_zeros(run, (module.hidden_size,), module.weight_ih.dtype)]
    y, last = scanned(run, module.step, run.x, begin, module.reverse, module.initial)
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
    x, given, ends = run.x, run.states(), []
    directions = module.directions
    outputs: list[str] = []
    for layer in range(module.num_layers):
        rows = [layer * directions + d for d in range(directions)]
        below = x
        if is_native(module):
            outputs, last = _native(run, x, rows, given)
        else:
            outputs, lasts = [], []
            for direction, row in enumerate(rows):
                y, end = _by_scan(run, x, row, module.reverse or direction == 1, given)
                outputs.append(y)
                lasts.append(end)
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


def _zeros(run: Run, features: Sequence[int], dtype: Any, rows: tuple[int, ...] = ()) -> str:
    g = run.graph
    return g.add("Expand", g.constant(0, dtype), g.shape([*rows, run.batch, *features]))


# ---------------------------------------------------------------- the operators


def is_native(module: Any) -> bool:
    """Whether the operators RNN, GRU and LSTM have all of a layer's options."""
    if type(module) not in (RNN, GRU, LSTM):
        return False
    names = ["nonlinearity"] if type(module) is RNN else ["activation", "recurrent_activation"]
    known = all(option(module, name) in ACTIVATIONS for name in names)
    more = option(module, "layer_norm") or np.any(np.atleast_1d(module.zoneout) != 0)
    if type(module) is LSTM:
        more = more or module.proj_size or option(module, "cell_clip") is not None
    return known and not more


def suffix(module: Any, row: int) -> str:
    """The suffix of a row's parameter names."""
    layer, reverse = divmod(row, module.directions)
    return f"_l{layer}{'_reverse' if reverse else ''}"


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


def _weights(module: Any, row: int) -> tuple[Any, Any, Any, Any]:
    """W, R, B and P of a row, in the operators' order of gates."""
    at, kind = suffix(module, row), type(module).__name__
    size = module.hidden_size

    def gates(name: str, *features: int) -> list[Any]:
        held = getattr(module, name + at, None)
        count = len(ORDER[kind]) - coupled
        if held is None:
            return [np.zeros((size, *features), dtype)] * len(ORDER[kind])
        parts = list(np.split(held.numpy(), count))
        if coupled:  # gates i, g, o: the operator does not read f's weights
            parts.insert(1, np.zeros_like(parts[0]))
        return parts

    coupled = kind == "LSTM" and bool(option(module, "coupled_gates"))
    dtype = module.weight_ih_l0.dtype
    order = ORDER[kind]
    w, r = (np.concatenate([gates(n)[k] for k in order]) for n in ("weight_ih", "weight_hh"))
    b = np.concatenate([gates(n)[k] for n in ("bias_ih", "bias_hh") for k in order])
    p = np.zeros(0, dtype)
    if kind == "LSTM" and option(module, "peephole"):
        i, *f, o = np.split(getattr(module, f"weight_ch{at}").numpy(), 2 if coupled else 3)
        p = np.concatenate([i, o, *(f or [np.zeros_like(i)])])
    return w, r, b, p


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
        learned = np.stack([getattr(module, part + suffix(module, row)).numpy() for row in rows])
        wide = g.constant(learned[:, None], name=g.name(f"{part}_learned"))
        parts.append(g.add("Expand", wide, g.shape([len(rows), run.batch, learned.shape[-1]])))
    return parts


# ---------------------------------------------------------------- Scan


def step_of(module: Any, row: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The step of a row, and its initial state for an input."""
    if type(module) not in (RNN, GRU, LSTM):
        cell = module.cells[row]
        step, initial = cell.step, cell.initial
    else:
        step, initial = _built_in(module, row)
    zones = module.zoneout
    if not np.any(np.atleast_1d(zones) != 0):
        return step, initial

    def zoned(x: Any, state: Any) -> Any:
        y, new = step(x, state)
        old, parts = tree.leaves(state), tree.leaves(new, state)
        rates = zones if isinstance(zones, tuple | list) else [
            zones if part.dtype.kind == "f" else 0.0 for part in parts
        ]  # fmt: skip
        mixed = [
            part if not p else p * before + (1 - p) * part
            for p, before, part in zip(rates, old, parts, strict=True)
        ]
        y = next((m for m, part in zip(mixed, parts, strict=True) if part is y), y)
        return y, tree.filled(state, mixed)

    return zoned, initial


def _built_in(module: Any, row: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The public step function of a built-in layer, with a row's weights."""
    at, kind = suffix(module, row), type(module).__name__
    held: dict[str, Any] = {
        argument: getattr(module, name + at, None)
        for name, argument in (
            ("weight_ih", "w_ih"), ("weight_hh", "w_hh"), ("bias_ih", "b_ih"), ("bias_hh", "b_hh"),
        )
    }  # fmt: skip
    if option(module, "layer_norm"):
        names = ("gain_ih", "gain_hh", *(("gain_c", "bias_c") if kind == "LSTM" else ()))
        held["norms"] = tuple(getattr(module, name + at) for name in names)
    if kind == "RNN":
        activation = module.nonlinearity

        def rnn(x: Any, h: Any) -> Any:
            h = cells.rnn_step(x, h, **held, activation=activation)
            return h, h

        sizes = [module.hidden_size]
        return rnn, _zeros_of(sizes)
    options: dict[str, Any] = {n: option(module, n) for n in ("activation", "recurrent_activation")}
    if kind == "GRU":
        options["reset_after"] = module.reset_after

        def gru(x: Any, h: Any) -> Any:
            h = cells.gru_step(x, h, **held, **options)
            return h, h

        return gru, _zeros_of([module.hidden_size])
    options |= {n: option(module, n) for n in ("coupled_gates", "cell_clip")}
    held["w_hr"], held["w_ch"] = (getattr(module, n + at, None) for n in ("weight_hr", "weight_ch"))

    def lstm(x: Any, state: Any) -> Any:
        h, c = state
        h, c = cells.lstm_step(x, h, c, **held, **options)
        return h, (h, c)

    return lstm, _zeros_of([module.proj_size or module.hidden_size, module.hidden_size])


def _zeros_of(sizes: Sequence[int]) -> Callable[..., Any]:
    def initial(x: Any) -> Any:
        parts = tuple(Tensor(np.zeros((x.shape[0], n), x.dtype), device="cpu") for n in sizes)
        return parts if len(parts) > 1 else parts[0]

    return initial


def _by_scan(
    run: Run, x: str, row: int, reverse: bool, given: list[str] | None
) -> tuple[str, list[str]]:
    """A row as a Scan of its step."""
    g, module = run.graph, run.module
    step, initial = step_of(module, row)
    begin = _begin(run, [row], given)
    parts = None if begin is None else [g.axes_off(part, 0) for part in begin]
    return scanned(run, step, x, parts, reverse, initial, row)


def scanned(
    run: Run,
    step: Callable[..., Any],
    x: str,
    begin: list[str] | None,
    reverse: bool,
    initial: Callable[..., Any],
    row: int = 0,
) -> tuple[str, list[str]]:
    """A loop over time. **Returns** the outputs, (T, B, ...), and the parts of the last state."""
    g, rng = run.graph, np.random.default_rng(0)
    body = Graph(g)
    inner = run.exporter.inside(body)
    features, dtype = _features(run, row)
    xs = [Tensor(rng.normal(size=(n, *features)).astype(dtype), device="cpu") for n in run.batches]
    firsts = [initial(one) for one in xs]
    states = [
        tree.mapped(lambda part: _filled(part, rng), first) for first in firsts
    ]  # values that no two traces share, so that what depends on them is seen
    leaves = [tree.leaves(state) for state in states]
    if begin is None:
        begin = [_constant_state(run, a, b) for a, b in zip(*map(tree.leaves, firsts), strict=True)]
    names = [body.name("state") for _ in leaves[0]]
    x_name = body.name("x")
    inner.inputs([x_name, *names], [(xs[0], xs[1]), *zip(*leaves, strict=True)])
    results = inner.run(lambda k: step(xs[k], states[k]), None)
    outputs = [inner.value(inner.recorders[0].ref(a), inner.recorders[1].ref(b), run.name)
               for a, b in results]  # fmt: skip
    y, new = outputs[0], outputs[1:]
    inputs, scanned_names = [x], [x_name]
    if run.lengths is not None:
        t = body.name("t")
        one = g.constant(1, np.int64)
        steps = g.axes_off(g.add("Shape", x, start=0, end=1), 0)
        inputs.append(g.cast(g.add("Range", g.constant(0, np.int64), steps, one), np.int32))
        scanned_names.append(t)
        valid = body.add("Less", t, run.lengths)
        kept = [(n, old, part) for n, old, part in zip(new, names, leaves[0], strict=True)]
        new = [body.add("Where", _wide(body, valid, part.ndim), n, old) for n, old, part in kept]
        like = results[0][0]
        y = body.add("Where", _wide(body, valid, like.ndim), y, body.constant(0, like.dtype))
    new = [body.add("Identity", n) for n in new]  # a loop's outputs are values of its own
    y = body.add("Identity", y)
    helper = g.root.onnx.helper

    def info(name: str, array: Any) -> Any:
        return helper.make_tensor_value_info(name, g.element(array.dtype), [None] * array.ndim)

    ins = [info(n, part) for n, part in zip(names, leaves[0], strict=True)] + [info(x_name, xs[0])]
    if run.lengths is not None:
        ins.append(helper.make_tensor_value_info(scanned_names[1], g.element(np.int32), []))
    outs = [info(n, part) for n, part in zip(new, leaves[0], strict=True)]
    outs.append(info(y, results[0][0]))
    made = helper.make_graph(body.nodes, "step", ins, outs)
    found = g.several(
        "Scan", [*begin, *inputs], len(outs), body=made, num_scan_inputs=len(inputs),
        scan_input_directions=[int(reverse)] * len(inputs), scan_output_directions=[int(reverse)],
    )  # fmt: skip
    return found[-1], found[:-1]


def _wide(g: Graph, valid: str, ndim: int) -> str:
    return g.axes_on(valid, *range(1, ndim)) if ndim > 1 else valid


def _filled(part: Any, rng: Any) -> Any:
    """A state's part with other values, where those are reals."""
    array = part.numpy()
    if array.dtype.kind == "f":
        array = rng.uniform(0.5, 1.5, array.shape).astype(array.dtype)
    return Tensor(array.copy(), device="cpu")


def _constant_state(run: Run, first: Any, second: Any) -> str:
    """The initial state of a cell, which depends on the number of rows only."""
    return run.exporter.constant(first.numpy(), second.numpy(), f"{run.name}: the initial state")


def _features(run: Run, row: int) -> tuple[tuple[int, ...], Any]:
    """The features of a row's input, and their dtype."""
    module = run.module
    layer = row // getattr(module, "directions", 1)
    if not layer:
        x = run.x_arrays[0]
        ids = run.given.get("ids") is not None
        return tuple(x.shape[1:] if ids or run.stepwise else x.shape[2:]), x.dtype
    if type(module) in (RNN, GRU, LSTM):
        w = getattr(module, f"weight_ih{suffix(module, row)}")
        return (w.shape[1],), w.dtype
    x = run.x_arrays[0]
    return (module.cells[row].input_size,), x.dtype
