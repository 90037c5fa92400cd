"""A recurrent layer: a stack of cells, and the loop over time. The base class of all layers.

A cell runs one layer in one direction; cells are counted as PyTorch counts weights: layer *
directions + direction. Batch rows of different lengths need neither sorting nor packing: pass
`lengths`.

Masks are drawn in training mode, on the host, and in this order: for each layer from the second on
the dropout before it; in each layer, for each direction, zoneout of each leaf of the state, then
weight dropout, then recurrent dropout. A probability of 0 draws no numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ...errors import InvalidTypeError, InvalidValueError, ShapeError
from ...kernels import NO_OPTIONS, SequenceOptions
from ...tensor import creation, ops, tree
from ...tensor.autodiff import no_grad
from ...tensor.graph import grad_mode
from ...tensor.random import Generator
from ...tensor.tensor import Tensor
from ..checks import (
    dtype_as,
    features_last,
    flag,
    ids_of,
    input_of,
    is_tensor,
    one_of,
    placement,
    positive,
    probability,
    real_part,
    reals_of,
)
from ..dropout import bernoulli, dropout_mask
from ..dropout import dropout as drop
from ..lengths import Order, lengths_and_order, within_rows
from ..module import Module
from .states import Capture, Result, State

MERGES = ("concat", "sum", "mean", "mul", None)
MAX_LAYERS = 1000  # more is a mistake, which would take minutes and gigabytes to end in an error


class RecurrentLayer(Module):
    """Base class of RNN, GRU, LSTM and Recurrent: layers, directions, lengths, resets, states."""

    input_size: Any  # features of x; None, if a custom cell does not say
    hidden_size: int
    output_size: int
    cells: list[Any]  # of each layer and direction
    reads_tables = False  # whether cells take a table as their input, with ids in the options

    def __init__(
        self,
        num_layers: int,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        *,
        dropout_same_mask: bool,
        zoneout: float | Sequence[float],
        residual: bool,
        merge: str | None,
        generator: Generator | None,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        learn_initial: bool = False,
        reverse: bool = False,
    ) -> None:
        name = self.name = type(self).__name__
        positive(name, most=MAX_LAYERS, num_layers=num_layers)
        flag(
            name, batch_first=batch_first, bidirectional=bidirectional, residual=residual,
            dropout_same_mask=dropout_same_mask, learn_initial=learn_initial, reverse=reverse,
        )  # fmt: skip
        probability(f"{name}: dropout", dropout)
        probability(f"{name}: recurrent_dropout", recurrent_dropout)
        probability(f"{name}: weight_dropout", weight_dropout)
        for p in zoneout if isinstance(zoneout, (tuple, list)) and zoneout else (zoneout,):
            probability(f"{name}: zoneout", p)
        one_of(name, "merge", merge, MERGES)
        placement(name, generator=generator)
        if residual and merge is None:
            raise InvalidValueError(
                f"{name}: residual=True excludes merge=None: there is no one output to add a "
                'layer\'s input to; merge="concat" keeps both directions side by side'
            )
        if reverse and bidirectional:
            raise InvalidValueError(
                f"{name}: reverse=True excludes bidirectional=True, which runs both ways"
            )
        self.num_layers, self.batch_first = num_layers, batch_first
        self.dropout, self.dropout_same_mask = dropout, dropout_same_mask
        self.bidirectional, self.directions = bidirectional, 2 if bidirectional else 1
        self.reverse = reverse
        self.zoneout, self.residual, self.merge = zoneout, residual, merge
        self.recurrent_dropout, self.weight_dropout = recurrent_dropout, weight_dropout
        self.learn_initial = learn_initial
        self.generator = generator
        self.captured: list[Capture] | None = None  # of each layer and direction

    def stack(self, make: Callable[[int], Any], input_size: int) -> list[Any]:
        """Creates the cells of all layers and directions; `make(features)` creates one."""
        cells: list[Any] = []
        for layer in range(self.num_layers):
            features = self._merged_size(output_size_of(cells[-1])) if layer else input_size
            cells += [make(features) for _ in range(self.directions)]
        return cells

    # ------------------------------------------------------------ one cell

    def begin(self, index: int, x: Tensor, batch: int) -> State:
        """Returns the initial state of a cell for an input x of that batch size."""
        state: State = self.cells[index].begin(batch, x)
        return state

    def _run(
        self, index: int, x: Tensor, state: State, options: SequenceOptions, training: bool
    ) -> Result:
        """Runs a cell over a sequence, with dropout of its weights and of h."""
        cell = self.cells[index]
        w = cell.weights()
        if training and self.weight_dropout:
            w["w_hh"] = drop(w["w_hh"], self.weight_dropout, self.generator)
        if training and self.recurrent_dropout:  # one mask for all steps
            shape = tree.leaves(state)[0].shape
            mask = dropout_mask(shape, self.recurrent_dropout, self.generator, like=w["w_hh"])
            options = options._replace(h_mask=mask)
        if self.learn_initial and options.reset is not None:
            batch = tree.leaves(state)[0].shape[0]
            options = options._replace(initial=cell.begin(batch, x))
        result: Result = cell.run(x, state, w, options)
        return result

    def _check(self, x: Tensor, axes: int = 3) -> None:
        """Refuses an input of the wrong dtype or shape, or without that number of axes."""
        shape, dtype, own = x.shape, x.dtype, self.cells[0].weight_ih.dtype
        if dtype.kind in "iu":
            raise InvalidTypeError(
                f"{self.name}: x: expected vectors, got {dtype}: rows of a table are read by "
                "layer(embedding.weight, ids=x)"
            )
        if shape[-1] != self.input_size:
            features_last(self.name, x, self.input_size)
        if len(shape) != axes:
            expected = "(B, T, features)" if self.batch_first else "(T, B, features)"
            raise ShapeError(f"{self.name}: x: expected {expected}, none empty; got {list(shape)}")
        if dtype != own:
            dtype_as(self.name, "x", x, own)

    def _at_once(self, x: Tensor, state: State, training: bool) -> tuple[Tensor, State] | None:
        """Runs all layers over a sequence, or a step, in one native call without a graph.

        **Returns** None if that is not possible. It raises no errors: the general path does.
        """
        return None

    # ------------------------------------------------------------ all of them

    def forward(
        self,
        x: Any,
        state: State = None,
        *,
        ids: Any = None,
        lengths: Any = None,
        mask: Any = None,
        reset: Any = None,
        return_states: bool = False,
    ) -> tuple[Any, ...]:
        """Runs all layers over a sequence.

        **Arguments** x: (T, B, input_size), or (B, T, input_size) if batch_first, a Tensor or an
        array. RNN, GRU and LSTM also take one sequence, (T, input_size); their results then have no
        batch axis. state: as the last call returned it, (num_layers * directions, B, H) in each
        part; the initial state, if None. ids: integers, (T, B), or (B, T) if batch_first; x is then
        a table, (V, input_size), such as the weight of an embedding, and the layer reads x[ids].
        RNN, GRU and LSTM multiply each row that occurs by the input weights once. lengths: (B,)
        integers from 0 to T, in any order; T, if None. Steps past a length are not read. mask:
        booleans, (T, B), or (B, T) if batch_first, instead of lengths. A step where it is False is
        skipped: the state does not change, and the output is zero. reset: booleans, (T, B), or
        (B, T) if batch_first. Where it is True an episode begins: that step starts from the initial
        state, in both directions. return_states: also return the states of all steps.

        **Returns** the outputs, (T, B, H * directions), zero past a length; the state after the
        last step of each batch row; with return_states the states after every step, in each part
        (num_layers * directions, T, B, H), or (..., B, T, H) if batch_first, zero past a length.
        **Raises** ShapeError, TypeError naming the argument, and what was expected.
        """
        if not isinstance(x, Tensor):
            like = self.cells[0].weight_ih if self.reads_tables else None
            x = input_of(self.name, "x", x) if like is None else reals_of(self.name, "x", x, like)
        shape = x.shape
        if ids is None and len(shape) == 2 and self.reads_tables:
            return self._one_sequence(x, state, lengths, mask, reset, return_states)
        if ids is None and (len(shape) < 2 or 0 in shape):
            axes = "(B, T" if self.batch_first else "(T, B"
            raise ShapeError(
                f"{self.name}: x: expected {axes}, ...), none empty; got {list(shape)}"
            )
        x, ids, lengths, order = self._time_first(x, ids, lengths, mask)
        plain = ids is None and lengths is None and reset is None and not return_states
        if plain and not grad_mode.on and (found := self._at_once(x, state, self.training)):
            return (found[0].swapaxes(0, 1), found[1]) if self.batch_first else found
        steps, batch = x.shape[:2] if ids is None else ids.shape
        resets = self._resets(reset, lengths, order, steps, batch, x)
        first = self._first(state, x, batch)
        y, last, states = self._through(
            x, ids, first, lengths, resets, self.training, return_states, order
        )
        if order is not None:
            y, states = tree.mapped(order.undo, y), tree.mapped(order.undo, states)
        if self.batch_first:
            y = y.swapaxes(0, 1) if isinstance(y, Tensor) else tuple(v.swapaxes(0, 1) for v in y)
        if not return_states:
            return y, stacked(last, self.name)
        every = stacked(states, self.name)
        if self.batch_first:
            every = tree.mapped(lambda leaf: leaf.swapaxes(1, 2), every)
        return y, stacked(last, self.name), every

    def step(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Runs one step without a graph, in evaluation mode whatever the layer's mode is.

        It serves generation: there is no dropout, and zoneout mixes by its probability.

        **Arguments** x: (B, features); state: of the step before. **Returns** the output, (B, H),
        and the state. **Raises** ValueError if the layer runs in both directions.
        """
        if self.bidirectional or self.reverse:
            kind = "bidirectional" if self.bidirectional else "reversed"
            raise InvalidValueError(
                f"{self.name}.step: a {kind} layer cannot run one step at a time: the backward "
                "direction needs the whole sequence"
            )
        plain = isinstance(x, Tensor) and x.ndim == 2
        if plain and (found := self._at_once(x, state, training=False)):
            return found
        is_tensor(self.name, "x", x)
        with no_grad():
            x = x.expand_dims(axis=0)
            self._check(x)
            first = self._first(state, x, x.shape[1])
            y, last, _ = self._through(x, None, first, None, (None, None), False, False)
            return y[0], stacked(last, self.name)

    def _through(
        self,
        x: Any,
        ids: Tensor | None,
        first: list[State],
        lengths: Tensor | None,
        resets: tuple[Tensor | None, Tensor | None],
        training: bool,
        every: bool,
        order: Order | None = None,
    ) -> tuple[Any, list[State], list[State]]:
        """Runs all cells. **Returns** the output, the last states and all states of cells."""
        last: list[State] = []
        states: list[State] = []
        timed = x if ids is None else ids
        capture = self.captured is not None
        masked = not (ids is lengths is resets[0] is None)
        optional = masked or self.zoneout or every or capture
        for layer in range(self.num_layers):
            below = x
            if layer and training:
                shared = 0 if self.dropout_same_mask else None
                x = drop(x, self.dropout, self.generator, shared_axis=shared)
            ys = []
            for direction in range(self.directions):
                begin, options = first[len(last)], NO_OPTIONS
                reverse = self.reverse or direction == 1
                if reverse or optional:
                    options = SequenceOptions(
                        ids=None if layer else ids, lengths=lengths, reset=resets[reverse],
                        reverse=reverse, every=every or capture,
                        zoneout=self._zoneout(begin, len(timed), training) if self.zoneout else (),
                        perturbations=self._perturbations(begin, len(timed)) if capture else None,
                    )  # fmt: skip
                y, end, all_ends = ran = self._run(len(last), x, begin, options, training)
                if self.captured is not None:
                    self.captured.append(Capture(x, begin, options, ran, order))
                ys.append(y)
                last.append(end)
                states.append(all_ends)
            x = self._merged(ys, layer)
            if self.residual and layer:
                if x.shape != below.shape:
                    raise ShapeError(
                        f"{self.name}: residual=True expects layers of one size; layer {layer} "
                        f"maps {list(below.shape)} to {list(x.shape)}: give all cells the same "
                        "output size, or leave residual off"
                    )
                x = x + below
        return x, last, states

    def _merged(self, ys: list[Tensor], layer: int) -> Any:
        """Merges the outputs of both directions; the last layer's are a tuple if merge is None."""
        if self.merge is None and layer == self.num_layers - 1:
            return tuple(ys)
        return merged(ys, self.merge)

    def _merged_size(self, size: int) -> int:
        """Returns the number of features of a layer whose cells output `size` features."""
        return size * self.directions if self.merge in ("concat", None) else size

    def _zoneout(self, state: State, steps: int, training: bool) -> tuple[Any, ...]:
        """Returns zoneout's masks for each leaf of the state in training, else their means."""
        leaves: list[Tensor] = tree.leaves(state)
        rates: Any = self.zoneout
        if not isinstance(rates, (tuple, list)):  # booleans and integers have no mean
            rates = [rates if leaf.dtype.kind == "f" else 0.0 for leaf in leaves]
        if len(rates) != len(leaves):
            raise InvalidValueError(
                f"{self.name}: zoneout: expected one probability, or one for each of the "
                f"{len(leaves)} parts of the state; got {len(rates)}"
            )
        for k, (p, leaf) in enumerate(zip(rates, leaves, strict=True)):
            if p and leaf.dtype.kind != "f":
                raise InvalidValueError(
                    f"{self.name}: zoneout: expected 0 for part {k} of the state, which is of "
                    f"{leaf.dtype}: only reals have a mean; got {p}"
                )
        return tuple(
            None
            if p == 0
            else bernoulli((steps, *leaf.shape), p, self.generator, like=leaf)
            if training
            else creation.full((1,) * (leaf.ndim + 1), p, dtype=leaf.dtype, device=leaf.device)
            for p, leaf in zip(rates, leaves, strict=True)
        )

    def _perturbations(self, state: State, steps: int) -> tuple[Tensor | None, ...]:
        return tuple(
            creation.zeros(
                (steps, *leaf.shape), dtype=leaf.dtype, device=leaf.device, requires_grad=True
            )
            if leaf.dtype.kind == "f"
            else None
            for leaf in tree.leaves(state)
        )

    # ------------------------------------------------------------ what comes in

    def _time_first(
        self, x: Any, ids: Any, lengths: Any, mask: Any
    ) -> tuple[Tensor, Tensor | None, Tensor | None, Order | None]:
        """Returns x, or a table and ids, with time as the first axis; lengths; the order."""
        read = x
        if ids is None:
            self._check(x)
        else:
            ids = read = creation.as_tensor(ids, device=x.device)
            if ids.ndim != 2 or ids.size == 0 or x.ndim != 2:
                axes = "(B, T)" if self.batch_first else "(T, B)"
                raise ShapeError(
                    f"{self.name}: ids: expected {axes}, none empty, and x a table (V, features); "
                    f"got {list(ids.shape)} and {list(x.shape)}"
                )
        if self.batch_first:
            read = read.swapaxes(0, 1)
        lengths, order = lengths_and_order(
            self.name, lengths, mask, read.shape[:2], self.batch_first, x.device
        )
        read = read if order is None else order.apply(read)
        if ids is None:
            return read, None, lengths, order
        if lengths is not None:
            read = ops.where(within_rows(read, lengths), read, 0)
        ids = ids_of(self.name, "ids", read, len(x), x.device)
        if self.reads_tables and self.captured is None:
            self._check(x, axes=2)
            return x, ids, lengths, order
        x = ops.take(x, ids, axis=0)
        self._check(x)
        return x, None, lengths, order

    def _one_sequence(
        self, x: Tensor, state: State, lengths: Any, mask: Any, reset: Any, return_states: bool
    ) -> tuple[Any, ...]:
        """Runs over one sequence, (T, features), as a batch of one."""
        batch, count = 0 if self.batch_first else 1, self.num_layers * self.directions
        first = tree.mapped(lambda leaf: creation.as_tensor(leaf).expand_dims(axis=1), state)
        for leaf in tree.leaves(first):
            if leaf.ndim != 3 or leaf.shape[0] != count:
                raise ShapeError(
                    f"{self.name}: state: expected {[count, self.hidden_size]} (num_layers * "
                    f"directions, features), as x is one sequence {list(x.shape)}; got "
                    f"{[n for k, n in enumerate(leaf.shape) if k != 1]}"
                )
        if lengths is not None:
            lengths = creation.as_tensor(lengths).reshape(-1)
        if mask is not None and (got := creation.as_tensor(mask).shape) != x.shape[:1]:
            raise ShapeError(
                f"{self.name}: mask: expected [{len(x)}], a boolean for each step of x "
                f"{list(x.shape)}; got {list(got)}"
            )
        mask, reset = (
            None if a is None else creation.as_tensor(a).expand_dims(axis=batch)
            for a in (mask, reset)
        )
        y, *states = self.forward(
            x.expand_dims(axis=batch), first, lengths=lengths, mask=mask, reset=reset,
            return_states=return_states,
        )  # fmt: skip
        y = tree.mapped(lambda leaf: leaf.squeeze(axis=batch), y)
        last, *every = states
        axis = batch + 1
        return (
            y,
            tree.mapped(lambda leaf: leaf.squeeze(axis=1), last),
            *(tree.mapped(lambda leaf: leaf.squeeze(axis=axis), s) for s in every),
        )

    def _first(self, state: State, x: Tensor, batch: int) -> list[State]:
        """Returns the initial state of every cell. **Arguments** state: what the user passed."""
        count = self.num_layers * self.directions
        if state is None:
            return [self.begin(index, x, batch) for index in range(count)]
        begin = self.begin(0, x, batch)
        differs = tree.difference(begin, state)
        leaves_alone = isinstance(state, (tuple, list)) and not isinstance(begin, dict)
        if differs and leaves_alone:  # the one leaf in a tuple, or a list for a tuple
            given, differs = list(state), ""
        else:
            given = [] if differs else tree.leaves(state, begin)
        given = [creation.as_tensor(v, device=x.device) if tree.is_leaf(v) else v for v in given]
        expected = [[count, *leaf.shape] for leaf in tree.leaves(begin)]
        got = [list(getattr(leaf, "shape", ())) for leaf in given]
        if got != expected:
            raise ShapeError(
                f"{self.name}: state: expected {' and '.join(map(str, expected))} "
                f"(num_layers * directions, batch, features); got "
                f"{differs or ' and '.join(map(str, got))}"
            )
        first = [tree.filled(begin, [leaf[index] for leaf in given]) for index in range(count)]
        return [self._converted(state, x.dtype) for state in first]

    def _converted(self, state: State, dtype: Any) -> State:
        """Converts a state to the dtype of the weights; refuses values that are not real."""
        return tree.mapped(lambda leaf: real_part(self.name, leaf, dtype), state)

    def _resets(
        self,
        reset: Any,
        lengths: Tensor | None,
        order: Order | None,
        steps: int,
        batch: int,
        x: Tensor,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Computes each direction's reset mask; in reverse the last step of an episode is reset."""
        if reset is None:
            return None, None
        reset = creation.as_tensor(reset, device=x.device)
        shape = [batch, steps] if self.batch_first else [steps, batch]
        if list(reset.shape) != shape or reset.dtype.kind != "b":
            raise ShapeError(
                f"{self.name}: reset: expected booleans of shape {shape}, one a step and row; got "
                f"{reset.dtype} {list(reset.shape)}"
                + ("" if reset.dtype.kind == "b" else ": reset.astype(bool)")
            )
        if self.batch_first:
            reset = reset.swapaxes(0, 1)
        if order is not None:
            reset = order.resets(reset)
        if not (self.bidirectional or self.reverse):
            return reset, None
        running = reset
        if lengths is not None:  # a row that runs backwards has nothing to forget before its end
            running = ops.logical_and(reset, within_rows(reset, lengths))
        return reset, ops.concat([running[1:], ops.zeros_like(running[:1])])


def merged(ys: Sequence[Tensor], merge: str | None) -> Tensor:
    """Merges the outputs of one or both directions."""
    if len(ys) == 1:
        return ys[0]
    if merge in ("concat", None):
        return ops.concat(ys, axis=-1)
    a, b = ys
    return a * b if merge == "mul" else (a + b) / 2 if merge == "mean" else a + b


def output_size_of(cell: Any) -> int:
    """The number of features that a cell outputs."""
    size = getattr(cell, "output_size", None) or getattr(cell, "hidden_size", None)
    if not isinstance(size, int):
        raise InvalidTypeError(
            f"Recurrent: {type(cell).__name__} does not say how many features it outputs "
            "to the layer above: set self.output_size in its __init__"
        )
    return size


def stacked(states: Sequence[State], name: str) -> State:
    """Stacks the states of all layers and directions along a new first axis of each leaf.

    **Arguments** name: what errors call the layer.
    """
    first, *others = states
    if not others:
        return tree.mapped(partial(ops.expand_dims, axis=0), first)
    for other in others:
        differs = tree.difference(first, other)
        shapes = [[list(leaf.shape) for leaf in tree.leaves(state)] for state in (first, other)]
        if differs or shapes[0] != shapes[1]:
            raise ShapeError(
                f"{name}: state: expected states of one size and structure in all layers, to be "
                f"stacked; got {differs or f'{shapes[0]} and {shapes[1]}'}: run a layer each"
            )
    leaves = [tree.leaves(state, first) for state in states]
    return tree.filled(first, map(ops.stack, zip(*leaves, strict=True)))
