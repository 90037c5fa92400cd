"""Layers of the built-in recurrences: weights under PyTorch's names, and the masks on them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from operator import itemgetter
from typing import Any

from ...cells import inference
from ...errors import InvalidTypeError, ShapeError
from ...tensor import creation, tree
from ...tensor.random import Generator
from ...tensor.tensor import Tensor
from ..checks import dtype_as, features_last, flag, placement, positive, probability, real_part
from ..dropout import dropout, dropout_mask
from ..module import Parameter
from .recurrence import Recurrence, Weights
from .stack import RecurrentLayer
from .states import Result, SequenceOptions, State, parts


class FusedLayer(RecurrentLayer):
    """Base class of RNN, GRU and LSTM: weights, their masks, learned initial states."""

    input_size: int
    reads_tables = True
    rounded: tuple[Any, ...] | None = None  # what `round_` has made of all rows' matrices

    def __init__(
        self,
        recurrence: Recurrence,
        input_size: int,
        num_layers: int,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        device: str | None,
        dtype: Any,
        generator: Generator | None,
        *,
        recurrent_dropout: float,
        weight_dropout: float,
        learn_initial: bool,
        **stacking: Any,
    ) -> None:
        super().__init__(
            num_layers, batch_first, dropout, bidirectional, generator=generator, **stacking
        )
        positive(self.name, input_size=input_size)
        flag(self.name, learn_initial=learn_initial)
        placement(self.name, device, dtype, generator)
        probability(f"{self.name}: recurrent_dropout", recurrent_dropout)
        probability(f"{self.name}: weight_dropout", weight_dropout)
        self.recurrence = recurrence
        self.input_size, self.hidden_size = input_size, recurrence.hidden_size
        self.output_size = recurrence.sizes[0]
        self.recurrent_dropout, self.weight_dropout = recurrent_dropout, weight_dropout
        self.learn_initial = learn_initial
        for row in range(num_layers * self.directions):
            below = self._merged_size(self.output_size) if row >= self.directions else input_size
            recurrence.declare(self, below, self.suffix(row), device, dtype, generator)
            for part, size in zip("hc", recurrence.sizes if learn_initial else (), strict=False):
                zeros = creation.zeros((size,), dtype=dtype, device=device)
                setattr(self, f"{part}0{self.suffix(row)}", Parameter(zeros))
        begin = self.begin(0, creation.zeros((1, 1, 1)), 1)
        self._zones(begin, 1, training=False)  # refuses wrong ones

    def suffix(self, row: int) -> str:
        """Returns the suffix of a layer and direction's parameter names."""
        layer, reverse = divmod(row, self.directions)
        return f"_l{layer}_reverse" if reverse else f"_l{layer}"

    def begin(self, row: int, x: Tensor, batch: int) -> State:
        """Zeros, or what is learned."""
        begin = [_zeros(batch, size, x.dtype, x.device) for size in self.recurrence.sizes]
        if self.learn_initial:
            names = ("h0", "c0")[: len(begin)]
            learned = [getattr(self, name + self.suffix(row)) for name in names]
            begin = [zeros + part for zeros, part in zip(begin, learned, strict=True)]
        return tuple(begin) if len(begin) > 1 else begin[0]

    def _run(self, row: int, x: Tensor, state: State, options: SequenceOptions) -> Result:
        w, h_mask = self.recurrence.held(self, self.suffix(row)), None
        if options.training and (self.weight_dropout or self.recurrent_dropout):
            w, h_mask = self._masked(w, parts(state)[0].shape[0])
        if self.learn_initial and options.reset is not None:
            options = options._replace(initial=self.begin(row, x, parts(state)[0].shape[0]))
        return self.recurrence.run(x, state, w, options, h_mask)

    def _at_once(self, x: Tensor, state: State, training: bool) -> tuple[Tensor, State] | None:
        cell = self.recurrence.inference_cell
        more = self.bidirectional or self.zoneout != 0 or self.residual or self.captured is not None
        masks = training and (self.dropout or self.recurrent_dropout or self.weight_dropout)
        if cell is None or more or masks or (state is None and self.learn_initial):
            return None
        weights = self._weights(vars(self))
        return inference.infer_stack(cell, self.num_layers, x, state, weights, self.rounded)

    @cached_property
    def _weights(self) -> Callable[[dict[str, Any]], tuple[Tensor, ...]]:
        """Picks the weights of all rows, as they are now, from among the attributes."""
        rows = range(self.num_layers * self.directions)
        names = [name for name, _ in self.recurrence.names]
        return itemgetter(*(name + self.suffix(row) for row in rows for name in names))

    def round_(self) -> None:
        """Rounds the weights of all rows to 8 bits, in place: see `nn.utils.quantized`."""
        self.rounded = tuple(part for w in self._matrices() for part in inference.quantize_int8(w))

    def _matrices(self) -> list[Any]:
        """w_ih and w_hh of all rows, one after another."""
        suffixes = [self.suffix(row) for row in range(self.num_layers * self.directions)]
        return [getattr(self, w + s) for s in suffixes for w in ("weight_ih", "weight_hh")]

    def __getstate__(self) -> dict[str, Any]:
        state = {**vars(self)}
        if self.rounded and not all(map(inference.is_frozen, self.rounded[::3])):
            state["rounded"] = None  # somebody may have written to what they were made from
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self.rounded:  # it goes with these very arrays, as long as nobody can write to them
            matrices = [w.data for w in self._matrices()]
            for w in matrices:
                inference.freeze(w)
            parts = zip(matrices, self.rounded[1::3], self.rounded[2::3], strict=True)
            self.rounded = tuple(part for three in parts for part in three)

    def _masked(self, w: Weights, batch: int) -> tuple[Weights, Tensor | None]:
        """The weights as this call sees them, and the mask of h: one for all steps."""
        if self.weight_dropout:
            w = {**w, "w_hh": dropout(w["w_hh"], self.weight_dropout, self.generator)}
        if not self.recurrent_dropout:
            return w, None
        shape = (batch, self.output_size)
        return w, dropout_mask(shape, self.recurrent_dropout, self.generator, like=w["w_hh"])

    def _check(self, x: Tensor, axes: int = 3) -> None:
        if x.dtype.kind in "iu":
            raise InvalidTypeError(
                f"{self.name}: x: expected vectors, got {x.dtype}: rows of a table are read by "
                "layer(embedding.weight, ids=x)"
            )
        features_last(self.name, x, self.input_size)
        if x.ndim != axes:
            expected = "(B, T, features)" if self.batch_first else "(T, B, features)"
            raise ShapeError(
                f"{self.name}: x: expected {expected}, none empty; got {list(x.shape)}"
            )
        dtype_as(self.name, "x", x, self.weight_ih_l0.dtype)  # type: ignore[attr-defined]

    def _first(self, state: State, x: Tensor, batch: int) -> list[State]:
        first = super()._first(state, x, batch)
        if state is None:
            return first
        return [tree.mapped(lambda part: real_part(self.name, part, x.dtype), s) for s in first]

    def describe(self) -> str:
        """Its sizes, and the options that are not as they are by default."""
        masks = "".join(
            f", {name}={getattr(self, name)!r}"
            for name in ("recurrent_dropout", "weight_dropout", "learn_initial")
            if getattr(self, name)
        )
        sizes = f"{self.input_size}, {self.hidden_size}"
        return f"{sizes}{super().describe()}{self.recurrence.describe()}{masks}"


def _zeros(batch: int, size: int, dtype: Any, device: str) -> Tensor:
    """Zeros (batch, size); small ones are shared, as making them would cost a tenth of a call."""
    make = _shared_zeros if batch * size <= 4096 else _new_zeros
    return make((batch, size), dtype, device)


def _new_zeros(shape: tuple[int, int], dtype: Any, device: str) -> Tensor:
    return creation.zeros(shape, dtype=dtype, device=device)


_shared_zeros = lru_cache(maxsize=32)(_new_zeros)
