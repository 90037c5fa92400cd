"""Recurrent layers: a fused operation for each layer and direction, stacked.

Arguments, parameters, their names and shapes are PyTorch's, so that its state dicts load as they
are. Rows of different lengths need neither sorting nor packing: hand over `lengths`.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, ClassVar

from ..tensor import creation, ops
from ..tensor.autodiff import no_grad
from ..tensor.errors import ShapeError
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from . import init
from .cells import ONE_BIAS
from .checks import features_last, positive, probability
from .dropout import dropout as drop
from .module import Module, Parameter


class RecurrentLayer(Module):
    """What RNN, GRU and LSTM share: layers, directions, lengths, states."""

    gates: ClassVar[int] = 1
    biases: tuple[str, ...] = ("bias_ih", "bias_hh")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int,
        device: str | None,
        dtype: Any,
        generator: Generator | None,
    ) -> None:
        name = type(self).__name__
        positive(name, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        probability(f"{name}: dropout", dropout)
        if not 0 <= proj_size < hidden_size:
            raise ValueError(
                f"{name}: proj_size: expected 0 (none) or less than hidden_size {hidden_size}, got "
                f"{proj_size}"
            )
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.batch_first, self.dropout, self.proj_size = batch_first, dropout, proj_size
        self.bidirectional, self.directions = bidirectional, 2 if bidirectional else 1
        self.output_size = proj_size or hidden_size
        self.generator = generator

        def drawn(name: str, *shape: int) -> None:
            bound = 1 / sqrt(hidden_size)
            p = Parameter(creation.zeros(shape, dtype=dtype, device=device))
            setattr(self, name, init.uniform_(p, -bound, bound, generator=generator))

        rows = self.gates * hidden_size
        for layer in range(num_layers):
            features = input_size if layer == 0 else self.output_size * self.directions
            for suffix in self._suffixes(layer):
                drawn(f"weight_ih{suffix}", rows, features)
                drawn(f"weight_hh{suffix}", rows, self.output_size)
                for name in self.biases if bias else ():
                    drawn(f"{name}{suffix}", rows)
                if proj_size:
                    drawn(f"weight_hr{suffix}", proj_size, hidden_size)

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][: self.directions]

    # ------------------------------------------------------------ one layer in one direction

    def _run(
        self, x: Tensor, states: list[Tensor], suffix: str, lengths: Tensor | None, reverse: bool
    ) -> tuple[Tensor, ...]:
        """The fused operation. **Returns** the output and the final states."""
        raise TypeError(f"{type(self).__name__} defines no operation")

    def _weights(self, suffix: str) -> tuple[Any, ...]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return tuple(getattr(self, name + suffix, None) for name in names)

    def _state_sizes(self) -> tuple[int, ...]:
        """The features of each part of the state."""
        return (self.output_size,)

    # ------------------------------------------------------------ all of them

    def forward(self, x: Tensor, state: Any = None, *, lengths: Any = None) -> tuple[Tensor, Any]:
        """Runs over a sequence.

        **Arguments** x: (T, B, input_size), or (B, T, input_size) if batch_first. state: what the
        last call returned, (num_layers * directions, B, H), for an LSTM a pair of them; zeros, if
        None. lengths: (B,) whole numbers from 0 to T, in any order; T throughout, if None.
        **Returns** the outputs, (T, B, H * directions), zero past a row's length, and the state
        after each row's last step. **Raises** ShapeError, TypeError saying what was expected.
        """
        name = type(self).__name__
        features_last(name, x, self.input_size)
        if x.ndim != 3 or 0 in x.shape:
            axes = "(B, T, features)" if self.batch_first else "(T, B, features)"
            raise ShapeError(f"{name}: x: expected {axes}, none empty; got {list(x.shape)}")
        weight = self._weights("_l0")[0]
        if x.dtype != weight.dtype:
            raise TypeError(
                f"{name}: x: expected {weight.dtype} as the parameters are, got {x.dtype}: "
                f"x.astype({str(weight.dtype)!r})"
            )
        if self.batch_first:
            x = x.swapaxes(0, 1)
        steps, batch = x.shape[:2]
        parts = self._initial(state, batch, x)
        lengths = self._lengths(lengths, steps, batch, x.device)
        finals: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            if layer and self.training:
                x = drop(x, self.dropout, self.generator)
            ys = []
            for reverse, suffix in enumerate(self._suffixes(layer)):
                first = [part[len(finals)] for part in parts]
                y, *last = self._run(x, first, suffix, lengths, bool(reverse))
                ys.append(y)
                finals.append(tuple(last))
            x = ys[0] if len(ys) == 1 else ops.concat(ys, axis=-1)
        if self.batch_first:
            x = x.swapaxes(0, 1)
        stacked = tuple(ops.stack(part) for part in zip(*finals, strict=True))
        return x, stacked if len(stacked) > 1 else stacked[0]

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """One step without a graph, for generation.

        **Arguments** x: (B, input_size); state: of the step before. **Returns** the output,
        (B, H), and the state. **Raises** ValueError if the layer runs in both directions.
        """
        if self.bidirectional:
            raise ValueError(f"{type(self).__name__}: step: in both directions there is no next")
        with no_grad():
            axis = 1 if self.batch_first else 0
            y, state = self.forward(x.expand_dims(axis=axis), state)
            return y.squeeze(axis=axis), state

    # ------------------------------------------------------------ what comes in

    def _initial(self, state: Any, batch: int, x: Tensor) -> list[Any]:
        """The parts of the state, each indexed by layer and direction."""
        name, rows = type(self).__name__, self.num_layers * self.directions
        if state is None:
            return [
                [creation.zeros((batch, size), dtype=x.dtype, device=x.device)] * rows
                for size in self._state_sizes()
            ]
        parts = list(state) if isinstance(state, (tuple, list)) else [state]
        shapes = [(rows, batch, size) for size in self._state_sizes()]
        got = [list(getattr(part, "shape", ())) for part in parts]
        if got != [list(shape) for shape in shapes]:
            raise ShapeError(
                f"{name}: state: expected {' and '.join(str(list(s)) for s in shapes)} "
                f"(num_layers * directions, batch, features); got {' and '.join(map(str, got))}"
            )
        return parts

    def _lengths(self, lengths: Any, steps: int, batch: int, device: str) -> Tensor | None:
        if lengths is None:
            return None
        name = type(self).__name__
        on_host = creation.as_tensor(lengths, device="cpu")
        if on_host.shape != (batch,) or on_host.dtype.kind not in "iu":
            raise ShapeError(
                f"{name}: lengths: expected {batch} whole numbers, one a row; got "
                f"{on_host.dtype} {list(on_host.shape)}"
            )
        for row, length in enumerate(on_host.tolist()):
            if not 0 <= length <= steps:
                raise ShapeError(f"{name}: lengths: row {row} has {length} of {steps} steps")
        return on_host.to(device)

    def describe(self) -> str:
        """Its sizes."""
        options = [f"{self.input_size}, {self.hidden_size}"]
        if self.num_layers > 1:
            options.append(f"num_layers={self.num_layers}")
        if self.bidirectional:
            options.append("bidirectional=True")
        if self.proj_size:
            options.append(f"proj_size={self.proj_size}")
        return ", ".join(options)


class RNN(RecurrentLayer):
    """The vanilla recurrent network: h_t = tanh(U x_t + W h_{t-1} + b) in every layer.

    **Arguments** input_size, hidden_size: features of x_t and h_t. num_layers: how deep.
    nonlinearity: `tanh` or `relu`. bias: whether to add b_ih and b_hh. batch_first: x is
    (B, T, I). dropout: probability between layers. bidirectional: runs both ways, outputs side by
    side. **Raises** ValueError naming the argument.

    >>> import tinygrad_rnn as tg
    >>> y, h = tg.nn.RNN(3, 4)(tg.zeros((7, 2, 3)))
    >>> y.shape, h.shape
    ((7, 2, 4), (1, 2, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: str | None = None,
        dtype: Any = "float32",
        *,
        generator: Generator | None = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: nonlinearity: expected tanh or relu, got {nonlinearity!r}")
        self.nonlinearity = nonlinearity
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0,
            device, dtype, generator,
        )  # fmt: skip

    def _run(
        self, x: Tensor, states: list[Tensor], suffix: str, lengths: Tensor | None, reverse: bool
    ) -> tuple[Tensor, ...]:
        weights, activation = self._weights(suffix), self.nonlinearity
        y: tuple[Tensor, ...] = ops.rnn(
            x, *states, *weights, lengths, activation=activation, reverse=reverse
        )
        return y


class GRU(RecurrentLayer):
    """The gated recurrent unit, in the lecture's form or in PyTorch's: see `tg.gru_step`.

    **Arguments** as `RNN`. reset_after: PyTorch's form, with two biases a gate; without it a state
    dict that has `bias_hh` is refused. **Raises** ValueError naming the argument.

    >>> import tinygrad_rnn as tg
    >>> y, h = tg.nn.GRU(3, 4, bidirectional=True)(tg.zeros((7, 2, 3)), lengths=[7, 0])
    >>> y.shape, h.shape
    ((7, 2, 8), (2, 2, 4))
    """

    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: str | None = None,
        dtype: Any = "float32",
        *,
        reset_after: bool = False,
        generator: Generator | None = None,
    ) -> None:
        self.reset_after = reset_after
        self.biases = ("bias_ih", "bias_hh") if reset_after else ("bias_ih",)
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0,
            device, dtype, generator,
        )  # fmt: skip

    def _run(
        self, x: Tensor, states: list[Tensor], suffix: str, lengths: Tensor | None, reverse: bool
    ) -> tuple[Tensor, ...]:
        weights = self._weights(suffix)
        y: tuple[Tensor, ...] = ops.gru(
            x, *states, *weights, lengths, reset_after=self.reset_after, reverse=reverse
        )
        return y

    def why_unexpected(self, key: str) -> str:
        """The lecture's form has one bias a gate."""
        return ONE_BIAS if key.startswith("bias_hh") and not self.reset_after else ""


class LSTM(RecurrentLayer):
    """The long short-term memory: see `tg.lstm_step`. Its state is (h, c).

    **Arguments** as `RNN`. proj_size: features of h after a projection, 0 for none.
    **Raises** ValueError naming the argument.

    >>> import tinygrad_rnn as tg
    >>> y, (h, c) = tg.nn.LSTM(3, 4, num_layers=2)(tg.zeros((7, 2, 3)))
    >>> y.shape, h.shape, c.shape
    ((7, 2, 4), (2, 2, 4), (2, 2, 4))
    """

    gates = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: str | None = None,
        dtype: Any = "float32",
        *,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            proj_size, device, dtype, generator,
        )  # fmt: skip

    def _state_sizes(self) -> tuple[int, ...]:
        return (self.output_size, self.hidden_size)

    def _run(
        self, x: Tensor, states: list[Tensor], suffix: str, lengths: Tensor | None, reverse: bool
    ) -> tuple[Tensor, ...]:
        weights, projection = self._weights(suffix), getattr(self, f"weight_hr{suffix}", None)
        y: tuple[Tensor, ...] = ops.lstm(
            x, *states, *weights, projection, lengths=lengths, reverse=reverse
        )
        return y
