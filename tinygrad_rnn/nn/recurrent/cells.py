"""Cells: the weights of a recurrence, its step, and for the built-in ones its fused operation.

A cell has `step(x, state) -> (y, state)` and `initial(x)`, and names its parameters as PyTorch's
cells do. `nn.Recurrent` runs any cell over a sequence; RNN, GRU and LSTM run the built-in ones.
Masks that all steps share, and zoneout, are the layers'.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from math import sqrt
from typing import Any, ClassVar

from ... import cells
from ...cells.common import by_steps
from ...cells.gru import fused_gru
from ...cells.lstm import fused_lstm
from ...cells.rnn import fused_rnn
from ...errors import InvalidTypeError, InvalidValueError, ShapeError
from ...kernels import SequenceOptions
from ...tensor import creation
from ...tensor.random import Generator
from ...tensor.tensor import Tensor
from .. import init
from ..checks import activation as check_activation
from ..checks import dtype_as, features_last, flag, placement, positive, real, state_like
from ..module import Module, Parameter
from .states import Activation, CellCall, Result, State, Weights

ARGUMENTS = {
    "weight_ih": "w_ih", "weight_hh": "w_hh", "bias_ih": "b_ih", "bias_hh": "b_hh",
    "weight_hr": "w_hr", "weight_ch": "w_ch",
}  # fmt: skip
ONE_BIAS = (
    "this GRU resets before the product and has one bias a gate; PyTorch's is GRU(reset_after=True)"
)


class Cell(Module):
    """The base of cells: weights of `gates` stacked gates, and a state that is one Tensor (B, H).

    A cell of your own defines `step`, and `gates`, the number of its gates; one with other weights
    also defines their `shapes`.

    >>> import tinygrad_rnn as tg
    >>> class MinimalGatedCell(tg.nn.Cell):
    ...     gates = 2
    ...     def step(self, x, h):
    ...         f, n = (x @ self.weight_ih.mT + self.bias_ih).reshape(len(x), 2, -1).unstack(1)
    ...         u_f, u_n = self.weight_hh.reshape(2, self.hidden_size, -1)
    ...         f = tg.sigmoid(f + h @ u_f.mT)
    ...         h = (1 - f) * h + f * tg.tanh(n + (f * h) @ u_n.mT)
    ...         return h, h
    >>> MinimalGatedCell(3, 4)(tg.zeros((2, 3))).shape
    (2, 4)
    """

    gates: ClassVar[int] = 1
    absent: ClassVar[tuple[str, ...]] = ()  # weights that a subclass does not have

    weight_ih: Parameter
    weight_hh: Parameter
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = "float32",
        *,
        generator: Generator | None = None,
    ) -> None:
        name = type(self).__name__
        positive(name, input_size=input_size, hidden_size=hidden_size)
        flag(name, bias=bias)
        placement(name, device, dtype, generator)
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        bound = 1 / sqrt(hidden_size)
        for name, shape in self.shapes().items():
            p = None
            if bias or name not in ("bias_ih", "bias_hh"):
                p = Parameter(creation.zeros(shape, dtype=dtype, device=device))
                self.draw(name, p, bound, generator)
            setattr(self, name, p)

    def draw(self, name: str, p: Parameter, bound: float, generator: Generator | None) -> None:
        """Draws the initial values of a weight, from [-bound, bound)."""
        init.uniform_(p, -bound, bound, generator=generator)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The weights' names and shapes, in the order in which they are drawn."""
        rows = self.gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, self.input_size),
            "weight_hh": (rows, self.hidden_size),
            "bias_ih": (rows,),
            "bias_hh": (rows,),
        }
        return {name: shape for name, shape in shapes.items() if name not in self.absent}

    def initial(self, x: Tensor) -> Any:
        """The state before the first step: zeros."""
        return creation.zeros((x.shape[0], self.hidden_size), dtype=x.dtype, device=x.device)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step. **Arguments** x: (B, input_size). **Returns** the output and the new state."""
        raise InvalidTypeError(f"{type(self).__name__} defines no step(x, state)")

    def forward(self, x: Tensor, state: Any = None) -> Any:
        """**Returns** the new state, from zeros if none is given."""
        name = type(self).__name__
        features_last(name, x, self.input_size)
        if x.ndim != 2:
            raise ShapeError(
                f"{name}: x: expected (B, {self.input_size}), a step of a batch; got "
                f"{list(x.shape)}"
            )
        if x.dtype.kind != "f":
            raise InvalidTypeError(f"{name}: x: expected reals, got {x.dtype}: x.astype('float32')")
        if "weight_ih" in vars(self):
            dtype_as(name, "x", x, self.weight_ih.dtype)
        return self.step(x, state_like(name, state, self.initial(x)))[1]


class BuiltInCell(Cell):
    """Base of RNNCell, GRUCell and LSTMCell.

    A sequence is one fused operation. What that does not support (layer normalisation, other
    activations, resets to a learned state) runs as a scan of the step, compiled unless an
    activation is a user's function.
    """

    kernel_activations: ClassVar[dict[str, tuple[str, ...]]] = {}  # by the argument's name
    retain_gates: ClassVar[
        dict[int, int]
    ] = {}  # gates that keep the state, 1, or let new input in, -1
    h0: Parameter | None = None  # the initial state, where a layer learns it
    c0: Parameter | None = None
    output_size: int

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        device: str | None,
        dtype: Any,
        *,
        layer_norm: bool,
        generator: Generator | None,
    ) -> None:
        name = type(self).__name__
        flag(name, layer_norm=layer_norm)
        for argument in self.kernel_activations:
            check_activation(name, argument, getattr(self, argument))
        self.layer_norm = layer_norm
        super().__init__(input_size, hidden_size, bias, device, dtype, generator=generator)
        self.output_size = self.sizes[0]

    @property
    @abstractmethod
    def gate_names(self) -> dict[str, tuple[str, float]]:
        """The gates that each activation gives, in the step's order, and its lower bound."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """The features of each leaf of the state; the first is the output."""
        return (self.hidden_size,)

    @cached_property
    def fused(self) -> bool:
        """Whether the fused operation has all these options."""
        known = self.kernel_activations.items()
        return not self.layer_norm and all(getattr(self, n) in names for n, names in known)

    @property
    def inference_cell(self) -> str | None:
        """The cell's name in `kernels.infer_stack`; None if it has options."""
        return None

    def shapes(self) -> dict[str, tuple[int, ...]]:
        rows = self.gates * self.hidden_size
        shapes = super().shapes()
        shapes["weight_hh"] = (rows, self.sizes[0])
        if self.layer_norm:
            shapes |= {"gain_ih": (rows,), "gain_hh": (rows,)}
        return shapes

    def draw(self, name: str, p: Parameter, bound: float, generator: Generator | None) -> None:
        """Draws the initial values of a weight; gains are 1, and a normalisation's bias 0."""
        if name.startswith("gain"):
            init.constant_(p, 1.0)
        elif name != "bias_c":
            super().draw(name, p, bound, generator)

    @cached_property
    def weight_names(self) -> list[str]:
        """The names of the weights that the operation takes."""
        return [n for n in self.shapes() if n in ARGUMENTS and getattr(self, n) is not None]

    def weights(self) -> Weights:
        """The weights, as they are now, by the operations' names."""
        w = {ARGUMENTS[name]: getattr(self, name) for name in self.weight_names}
        if self.layer_norm:
            w["norms"] = tuple(getattr(self, n) for n in self.shapes() if n not in ARGUMENTS)
        return w

    def initial(self, x: Tensor) -> Any:
        """The state before the first step: zeros, or what a layer learns."""
        return self.begin(x.shape[0], x)

    def begin(self, batch: int, like: Tensor) -> Any:
        """The initial state of so many rows. **Arguments** like: has their dtype and device."""
        sizes = self.sizes
        zeros = creation.zeros((batch, sizes[0]), dtype=like.dtype, device=like.device)
        h = zeros if self.h0 is None else zeros + self.h0
        if len(sizes) == 1:
            return h
        if sizes[1] != sizes[0]:
            zeros = creation.zeros((batch, sizes[1]), dtype=like.dtype, device=like.device)
        return h, zeros if self.c0 is None else zeros + self.c0

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step. **Returns** h', and the state: h', or (h', c')."""
        return self.compute(x, state, self.weights())

    @abstractmethod
    def compute(
        self, x: Tensor, state: Any, w: Weights, h_mask: Any = None
    ) -> tuple[Tensor, State]:
        """One step with these weights; h_mask multiplies h in the recurrent products."""

    @abstractmethod
    def operation(self, x: Tensor, state: Any, w: Weights, options: SequenceOptions) -> Result:
        """The fused operation over a sequence."""

    def run(self, x: Tensor, state: Any, w: Weights, options: SequenceOptions) -> Result:
        """Runs over a sequence with these weights, as one operation where that has the options.

        **Arguments** x: (T, B, features), or a table, if the options have ids. **Returns** the
        output, the last state, and the state after every step (None unless `every` asks for it).
        """
        if self.fused and options.initial is None and options.perturbations is None:
            return self.operation(x, state, w, options)
        known = all(isinstance(getattr(self, name), str) for name in self.kernel_activations)

        def step(x: Tensor, state: State) -> tuple[Tensor, State]:
            return self.compute(x, state, w, options.h_mask)

        return by_steps(step, x, state, options, fused=known)


def core(w: Weights) -> tuple[Any, ...]:
    """The weights that all have, and the biases or None, in the operations' order."""
    return w["w_ih"], w["w_hh"], w.get("b_ih"), w.get("b_hh")


class RNNCell(BuiltInCell):
    """h' = tanh(U x + W h + b), or another nonlinearity: see `tg.rnn_step`.

    **Arguments** input_size, hidden_size: features of x and h. nonlinearity: `tanh`, `relu`,
    another elementwise operation's name, or a function. layer_norm: as `RNN` has it.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.RNNCell(3, 4)(tg.zeros((2, 3))).shape
    (2, 4)
    """

    __call__: CellCall[Tensor]

    gates = 1
    kernel_activations: ClassVar = {"nonlinearity": ("tanh", "relu")}
    gate_names: ClassVar = {"nonlinearity": ("h", -1)}

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: Activation = "tanh",
        device: str | None = None,
        dtype: Any = "float32",
        *,
        layer_norm: bool = False,
        generator: Generator | None = None,
    ) -> None:
        self.nonlinearity = nonlinearity
        super().__init__(
            input_size, hidden_size, bias, device, dtype, layer_norm=layer_norm, generator=generator
        )

    @cached_property
    def inference_cell(self) -> str | None:
        """Of tanh or relu."""
        return f"rnn_{self.nonlinearity}" if self.fused else None

    def compute(
        self, x: Tensor, h: Tensor, w: Weights, h_mask: Any = None
    ) -> tuple[Tensor, Tensor]:
        h = cells.rnn_step(x, h, **w, h_mask=h_mask, activation=self.nonlinearity)
        return h, h

    def operation(self, x: Tensor, h: Tensor, w: Weights, options: SequenceOptions) -> Result:
        y, last = fused_rnn(x, h, *core(w), activation=self.nonlinearity, options=options)
        return y, last, y


class GRUCell(BuiltInCell):
    """The gated recurrent unit, with the reset before or after the product: see `tg.gru_step`.

    **Arguments** input_size, hidden_size: features of x and h. reset_after: PyTorch's form, with
    two biases a gate. layer_norm, activation, recurrent_activation: as `GRU` has them.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.GRUCell(3, 4)(tg.zeros((2, 3))).shape
    (2, 4)
    """

    __call__: CellCall[Tensor]

    gates = 3
    kernel_activations: ClassVar = {"activation": ("tanh",), "recurrent_activation": ("sigmoid",)}
    gate_names: ClassVar = {"recurrent_activation": ("rz", 0), "activation": ("n", -1)}
    retain_gates: ClassVar = {1: 1}
    bias_hh = None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = "float32",
        *,
        reset_after: bool = False,
        layer_norm: bool = False,
        activation: Activation = "tanh",
        recurrent_activation: Activation = "sigmoid",
        generator: Generator | None = None,
    ) -> None:
        flag(type(self).__name__, reset_after=reset_after)
        self.reset_after = reset_after
        self.activation, self.recurrent_activation = activation, recurrent_activation
        super().__init__(
            input_size, hidden_size, bias, device, dtype, layer_norm=layer_norm, generator=generator
        )

    @cached_property
    def inference_cell(self) -> str | None:
        """Either form, of tanh and sigmoid."""
        return None if not self.fused else "gru_reset_after" if self.reset_after else "gru"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The weights' names and shapes; there is one bias a gate without reset_after."""
        shapes = super().shapes()
        if not self.reset_after:
            del shapes["bias_hh"]
        return shapes

    def why_unexpected(self, key: str) -> str:
        """Without reset_after there is one bias a gate."""
        return ONE_BIAS if key.startswith("bias_hh") and not self.reset_after else ""

    def compute(
        self, x: Tensor, h: Tensor, w: Weights, h_mask: Any = None
    ) -> tuple[Tensor, Tensor]:
        h = cells.gru_step(
            x, h, **w, h_mask=h_mask, reset_after=self.reset_after, activation=self.activation,
            recurrent_activation=self.recurrent_activation,
        )  # fmt: skip
        return h, h

    def operation(self, x: Tensor, h: Tensor, w: Weights, options: SequenceOptions) -> Result:
        y, last = fused_gru(x, h, *core(w), reset_after=self.reset_after, options=options)
        return y, last, y


class LSTMCell(BuiltInCell):
    """The long short-term memory; its state is (h, c): see `tg.lstm_step`.

    **Arguments** input_size, hidden_size: features of x, and of h and c. The others as `LSTM` has
    them.

    >>> import tinygrad_rnn as tg
    >>> h, c = tg.nn.LSTMCell(3, 4, peephole=True)(tg.zeros((2, 3)))
    >>> h.shape, c.shape
    ((2, 4), (2, 4))
    """

    __call__: CellCall[tuple[Tensor, Tensor]]

    kernel_activations: ClassVar = {"activation": ("tanh",), "recurrent_activation": ("sigmoid",)}

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = "float32",
        *,
        proj_size: int = 0,
        layer_norm: bool = False,
        peephole: bool = False,
        coupled_gates: bool = False,
        cell_clip: float | None = None,
        forget_bias: float = 0.0,
        activation: Activation = "tanh",
        recurrent_activation: Activation = "sigmoid",
        generator: Generator | None = None,
    ) -> None:
        name = type(self).__name__
        positive(name, hidden_size=hidden_size)
        flag(name, bias=bias, peephole=peephole, coupled_gates=coupled_gates)
        if type(proj_size) is not int or not 0 <= proj_size < hidden_size:
            raise InvalidValueError(
                f"{name}: proj_size: expected 0 (none) or less than hidden_size {hidden_size}, got "
                f"{proj_size!r}"
            )
        real(name, "forget_bias", forget_bias)
        if cell_clip is not None:
            real(name, "cell_clip", cell_clip, least=0)
        if cell_clip == 0:
            raise InvalidValueError(
                f"{name}: cell_clip: expected a bound above 0 on |c|, or None for no bound; got "
                f"{cell_clip!r}"
            )
        if forget_bias and not bias:
            raise InvalidValueError(
                f"{name}: forget_bias={forget_bias} excludes bias=False: it is where the forget "
                "gate's bias starts; leave bias=True, or forget_bias at 0"
            )
        self.hidden_size, self.proj_size, self.peephole = hidden_size, proj_size, peephole
        self.coupled_gates, self.cell_clip, self.forget_bias = coupled_gates, cell_clip, forget_bias
        self.activation, self.recurrent_activation = activation, recurrent_activation
        super().__init__(
            input_size, hidden_size, bias, device, dtype, layer_norm=layer_norm, generator=generator
        )
        if forget_bias:  # opens the forget gate (Gers et al. 2000); coupled, closes the input gate
            first, sign = (0, -1) if coupled_gates else (hidden_size, 1)
            bias_ih: Any = self.bias_ih
            bias_ih.data[first : first + hidden_size] += sign * forget_bias

    @property
    def gates(self) -> int:  # type: ignore[override]
        """Gates i, f, g, o, or coupled i, g, o."""
        return 3 if self.coupled_gates else 4

    @property
    def gate_names(self) -> dict[str, tuple[str, float]]:
        gates = "io" if self.coupled_gates else "ifo"
        return {"recurrent_activation": (gates, 0), "activation": ("g", -1)}

    @property
    def retain_gates(self) -> dict[int, int]:  # type: ignore[override]
        """The forget gate keeps the state; the input gate lets new input in."""
        return {0: -1} if self.coupled_gates else {0: -1, 1: 1}

    @property
    def sizes(self) -> tuple[int, ...]:
        """The features of h and c."""
        return (self.proj_size or self.hidden_size, self.hidden_size)

    @cached_property
    def inference_cell(self) -> str | None:
        """Without any option."""
        more = self.proj_size or self.peephole or self.coupled_gates or self.cell_clip is not None
        return "lstm" if self.fused and not more else None

    def shapes(self) -> dict[str, tuple[int, ...]]:
        shapes = super().shapes()
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        if self.peephole:
            shapes["weight_ch"] = ((self.gates - 1) * self.hidden_size,)
        if self.layer_norm:
            shapes |= {"gain_c": (self.hidden_size,), "bias_c": (self.hidden_size,)}
        return shapes

    def compute(
        self, x: Tensor, state: tuple[Tensor, Tensor], w: Weights, h_mask: Any = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        h, c = cells.lstm_step(
            x, *state, **w, h_mask=h_mask, coupled_gates=self.coupled_gates,
            cell_clip=self.cell_clip, activation=self.activation,
            recurrent_activation=self.recurrent_activation,
        )  # fmt: skip
        return h, (h, c)

    def operation(
        self, x: Tensor, state: tuple[Tensor, Tensor], w: Weights, options: SequenceOptions
    ) -> Result:
        y, h, c, *cs = fused_lstm(
            x, *state, *core(w), w.get("w_hr"), w.get("w_ch"),
            coupled_gates=self.coupled_gates, cell_clip=self.cell_clip, options=options,
        )  # fmt: skip
        return y, (h, c), (y, *cs)
