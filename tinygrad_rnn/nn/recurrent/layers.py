"""RNN, GRU and LSTM: a fused operation for each layer and direction, stacked.

Arguments, parameters, their names and shapes are PyTorch's, so that its state dicts load as they
are. What PyTorch does not have are keywords; they compose, with each other and with all the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...tensor.random import Generator
from ...tensor.tensor import Tensor
from .builtin import ONE_BIAS, Elman, GatedRecurrentUnit, LongShortTermMemory
from .fused import FusedLayer
from .recurrence import Activation
from .states import LayerCall


class RNN(FusedLayer):
    """The vanilla recurrent network: h_t = tanh(U x_t + W h_{t-1} + b) in every layer.

    **Arguments** input_size, hidden_size: features of x_t and h_t. num_layers: how deep.
    nonlinearity: `tanh` or `relu`; any other elementwise operation's name or a function of a
    Tensor, step by step. bias: whether to add b_ih and b_hh. batch_first: x is (B, T, I). dropout:
    probability between layers. bidirectional: runs both ways.

    - recurrent_dropout: on h where it enters the recurrent product, one mask a sequence (Gal and
      Ghahramani 2016). weight_dropout: on weight_hh, once a call (Merity et al. 2017).
      dropout_same_mask: one mask a sequence between layers, too.
    - zoneout: the probability that an element of the state keeps its value (Krueger et al. 2016).
    - layer_norm: of U x and W h, with learned gains (Ba et al. 2016); runs step by step.
    - residual: adds to the output of each layer from the second on its input.
    - merge: how the two directions' outputs become one: `concat`, `sum`, `mean`, `mul`; None for a
      tuple of both (side by side between layers).
    - learn_initial: the state before the first step is a parameter: h0_l0 and so on.
    - generator: where initial weights and masks come from.

    **Raises** ValueError naming the argument.

    >>> import tinygrad_rnn as tg
    >>> y, h = tg.nn.RNN(3, 4, recurrent_dropout=0.2, layer_norm=True)(tg.zeros((7, 2, 3)))
    >>> y.shape, h.shape
    ((7, 2, 4), (1, 2, 4))
    """

    __call__: LayerCall[Tensor]  # type: ignore[assignment]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: Activation = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: str | None = None,
        dtype: Any = "float32",
        *,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        dropout_same_mask: bool = False,
        zoneout: float = 0.0,
        layer_norm: bool = False,
        residual: bool = False,
        merge: str | None = "concat",
        learn_initial: bool = False,
        generator: Generator | None = None,
    ) -> None:
        recurrence = Elman(
            owner="RNN", hidden_size=hidden_size, bias=bias, layer_norm=layer_norm,
            nonlinearity=nonlinearity,
        )  # fmt: skip
        super().__init__(
            recurrence, input_size, num_layers, batch_first, dropout, bidirectional, device, dtype,
            generator, recurrent_dropout=recurrent_dropout, weight_dropout=weight_dropout,
            dropout_same_mask=dropout_same_mask, zoneout=zoneout, residual=residual, merge=merge,
            learn_initial=learn_initial,
        )  # fmt: skip
        self.nonlinearity = nonlinearity


class GRU(FusedLayer):
    """The gated recurrent unit, in the lecture's form or in PyTorch's: see `tg.gru_step`.

    **Arguments** as `RNN`. reset_after: PyTorch's form, with two biases a gate; without it a state
    dict that has `bias_hh` is refused. activation, recurrent_activation: of n, and of r and z; an
    elementwise operation's name or a function, other than these step by step.
    **Raises** ValueError naming the argument.

    >>> import tinygrad_rnn as tg
    >>> gru = tg.nn.GRU(3, 4, bidirectional=True, merge="sum", zoneout=0.1)
    >>> y, h = gru(tg.zeros((7, 2, 3)), lengths=[7, 0])
    >>> y.shape, h.shape
    ((7, 2, 4), (2, 2, 4))
    """

    __call__: LayerCall[Tensor]  # type: ignore[assignment]

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
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        dropout_same_mask: bool = False,
        zoneout: float = 0.0,
        layer_norm: bool = False,
        activation: Activation = "tanh",
        recurrent_activation: Activation = "sigmoid",
        residual: bool = False,
        merge: str | None = "concat",
        learn_initial: bool = False,
        generator: Generator | None = None,
    ) -> None:
        recurrence = GatedRecurrentUnit(
            owner="GRU", hidden_size=hidden_size, bias=bias, layer_norm=layer_norm,
            reset_after=reset_after, activation=activation,
            recurrent_activation=recurrent_activation,
        )  # fmt: skip
        super().__init__(
            recurrence, input_size, num_layers, batch_first, dropout, bidirectional, device, dtype,
            generator, recurrent_dropout=recurrent_dropout, weight_dropout=weight_dropout,
            dropout_same_mask=dropout_same_mask, zoneout=zoneout, residual=residual, merge=merge,
            learn_initial=learn_initial,
        )  # fmt: skip
        self.reset_after = reset_after

    def why_unexpected(self, key: str) -> str:
        """The lecture's form has one bias a gate."""
        return ONE_BIAS if key.startswith("bias_hh") and not self.reset_after else ""


class LSTM(FusedLayer):
    """The long short-term memory: see `tg.lstm_step`. Its state is (h, c).

    **Arguments** as `RNN` and `GRU`. proj_size: features of h after a projection, 0 for none.
    zoneout: one probability, or a pair of them for h and c. layer_norm: of c, too, before the
    output's tanh.

    - peephole: gates see c, i and f the old one and o the new one (Gers and Schmidhuber 2000).
    - coupled_gates: f = 1 - i, three gates i, g, o (Greff et al. 2017).
    - cell_clip: a bound on |c|. forget_bias: is added to where the forget gate's bias starts; for
      memories of many lengths see `init.chrono_`.

    **Raises** ValueError naming the argument.

    >>> import tinygrad_rnn as tg
    >>> lstm = tg.nn.LSTM(3, 4, num_layers=2, peephole=True, zoneout=(0.05, 0.5))
    >>> y, (h, c), (hs, cs) = lstm(tg.zeros((7, 2, 3)), return_states=True)
    >>> y.shape, h.shape, cs.shape
    ((7, 2, 4), (2, 2, 4), (2, 7, 2, 4))
    """

    __call__: LayerCall[tuple[Tensor, Tensor]]  # type: ignore[assignment]

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
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        dropout_same_mask: bool = False,
        zoneout: float | Sequence[float] = 0.0,
        layer_norm: bool = False,
        peephole: bool = False,
        coupled_gates: bool = False,
        cell_clip: float | None = None,
        forget_bias: float = 0.0,
        activation: Activation = "tanh",
        recurrent_activation: Activation = "sigmoid",
        residual: bool = False,
        merge: str | None = "concat",
        learn_initial: bool = False,
        generator: Generator | None = None,
    ) -> None:
        recurrence = LongShortTermMemory(
            owner="LSTM", hidden_size=hidden_size, bias=bias, layer_norm=layer_norm,
            proj_size=proj_size, peephole=peephole, coupled_gates=coupled_gates,
            cell_clip=cell_clip, forget_bias=forget_bias, activation=activation,
            recurrent_activation=recurrent_activation,
        )  # fmt: skip
        super().__init__(
            recurrence, input_size, num_layers, batch_first, dropout, bidirectional, device, dtype,
            generator, recurrent_dropout=recurrent_dropout, weight_dropout=weight_dropout,
            dropout_same_mask=dropout_same_mask, zoneout=zoneout, residual=residual, merge=merge,
            learn_initial=learn_initial,
        )  # fmt: skip
        self.proj_size = proj_size
