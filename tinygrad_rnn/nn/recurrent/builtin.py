"""The built-in recurrences: vanilla, gated recurrent unit, long short-term memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from ... import cells
from ...errors import InvalidValueError
from ...tensor.tensor import Tensor
from ..checks import real
from ..module import Module
from .recurrence import Activation, Recurrence, Weights, core
from .states import Result, SequenceOptions, State

ONE_BIAS = (
    "this GRU resets before the product and has one bias a gate; PyTorch's is GRU(reset_after=True)"
)


@dataclass(frozen=True, kw_only=True)
class Elman(Recurrence):
    """h' = tanh(U x + W h + b), or another nonlinearity: `tg.rnn_step`."""

    nonlinearity: Activation = "tanh"

    gates = 1
    plain: ClassVar = {"nonlinearity": ("tanh", "relu")}
    gate_names: ClassVar = {"nonlinearity": ("h", -1)}

    @cached_property
    def inference_cell(self) -> str | None:
        """Of tanh or relu."""
        return f"rnn_{self.nonlinearity}" if self.fused else None

    def step(self, x: Tensor, h: State, w: Weights, h_mask: Any = None) -> tuple[Tensor, State]:
        h = cells.rnn_step(x, h, **w, h_mask=h_mask, activation=self.nonlinearity)
        return h, h

    def operation(
        self, x: Tensor, h: State, w: Weights, h_mask: Any, options: SequenceOptions
    ) -> Result:
        y, last = cells.rnn(
            x, h, *core(w), *options.constants(h_mask),
            activation=self.nonlinearity, reverse=options.reverse,
        )  # fmt: skip
        return y, last, y


@dataclass(frozen=True, kw_only=True)
class GatedRecurrentUnit(Recurrence):
    """Gates r, z, n: `tg.gru_step`."""

    reset_after: bool = False
    activation: Activation = "tanh"
    recurrent_activation: Activation = "sigmoid"

    gates = 3
    plain: ClassVar = {"activation": ("tanh",), "recurrent_activation": ("sigmoid",)}
    gate_names: ClassVar = {"recurrent_activation": ("rz", 0), "activation": ("n", -1)}
    retain_gates: ClassVar = {1: 1}

    @cached_property
    def inference_cell(self) -> str | None:
        """Either form, of tanh and sigmoid."""
        return None if not self.fused else "gru_reset_after" if self.reset_after else "gru"

    @property
    def biases(self) -> tuple[str, ...]:
        return super().biases if self.reset_after else super().biases[:1]

    def step(self, x: Tensor, h: State, w: Weights, h_mask: Any = None) -> tuple[Tensor, State]:
        h = cells.gru_step(
            x, h, **w, h_mask=h_mask, reset_after=self.reset_after, activation=self.activation,
            recurrent_activation=self.recurrent_activation,
        )  # fmt: skip
        return h, h

    def operation(
        self, x: Tensor, h: State, w: Weights, h_mask: Any, options: SequenceOptions
    ) -> Result:
        y, last = cells.gru(
            x, h, *core(w), *options.constants(h_mask),
            reset_after=self.reset_after, reverse=options.reverse,
        )  # fmt: skip
        return y, last, y


@dataclass(frozen=True, kw_only=True)
class LongShortTermMemory(Recurrence):
    """Gates i, f, g, o, or coupled i, g, o; the state is (h, c): `tg.lstm_step`."""

    proj_size: int = 0
    peephole: bool = False
    coupled_gates: bool = False
    cell_clip: float | None = None
    forget_bias: float = 0.0
    activation: Activation = "tanh"
    recurrent_activation: Activation = "sigmoid"

    parts = 2
    plain: ClassVar = {"activation": ("tanh",), "recurrent_activation": ("sigmoid",)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.proj_size) is not int or not 0 <= self.proj_size < self.hidden_size:
            raise InvalidValueError(
                f"{self.owner}: proj_size: expected 0 (none) or less than hidden_size "
                f"{self.hidden_size}, got {self.proj_size!r}"
            )
        real(self.owner, "forget_bias", self.forget_bias)
        if self.cell_clip is not None:
            real(self.owner, "cell_clip", self.cell_clip, least=0)
        if self.cell_clip == 0:
            raise InvalidValueError(
                f"{self.owner}: cell_clip: expected a bound above 0 on |c|, or None for no bound; "
                f"got {self.cell_clip!r}"
            )
        if self.forget_bias and not self.bias:
            raise InvalidValueError(
                f"{self.owner}: forget_bias={self.forget_bias} excludes bias=False: it is where "
                "the forget gate's bias starts; leave bias=True, or forget_bias at 0"
            )

    @cached_property
    def inference_cell(self) -> str | None:
        """Without any option."""
        more = self.proj_size or self.peephole or self.coupled_gates or self.cell_clip is not None
        return "lstm" if self.fused and not more else None

    @property
    def gates(self) -> int:
        return 3 if self.coupled_gates else 4

    @property
    def gate_names(self) -> dict[str, tuple[str, float]]:
        return {
            "recurrent_activation": ("io" if self.coupled_gates else "ifo", 0),
            "activation": ("g", -1),
        }

    @property
    def retain_gates(self) -> dict[int, int]:  # type: ignore[override]
        return {0: -1} if self.coupled_gates else {0: -1, 1: 1}

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.proj_size or self.hidden_size, self.hidden_size)

    def shapes(self, features: int) -> dict[str, tuple[int, ...]]:
        shapes = super().shapes(features)
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        if self.peephole:
            shapes["weight_ch"] = ((self.gates - 1) * self.hidden_size,)
        if self.layer_norm:
            shapes.update(gain_c=(self.hidden_size,), bias_c=(self.hidden_size,))
        return shapes

    def adjust(self, holder: Module, suffix: str) -> None:
        """Opens the forget gate by its bias (Gers et al. 2000); coupled, closes the input gate."""
        if self.forget_bias:
            n, bias = self.hidden_size, getattr(holder, f"bias_ih{suffix}")
            if self.coupled_gates:
                bias.data[:n] -= self.forget_bias
            else:
                bias.data[n : 2 * n] += self.forget_bias

    def step(self, x: Tensor, state: State, w: Weights, h_mask: Any = None) -> tuple[Tensor, State]:
        h, c = state
        h, c = cells.lstm_step(
            x, h, c, **w, h_mask=h_mask, coupled_gates=self.coupled_gates, cell_clip=self.cell_clip,
            activation=self.activation, recurrent_activation=self.recurrent_activation,
        )  # fmt: skip
        return h, (h, c)

    def operation(
        self, x: Tensor, state: State, w: Weights, h_mask: Any, options: SequenceOptions
    ) -> Result:
        y, h, c, *every = cells.lstm(
            x, *state, *core(w), w.get("w_hr"), w.get("w_ch"), *options.constants(h_mask),
            coupled_gates=self.coupled_gates, cell_clip=self.cell_clip, every_cell=options.every,
            reverse=options.reverse,
        )  # fmt: skip
        return y, (h, c), (y, *every)
