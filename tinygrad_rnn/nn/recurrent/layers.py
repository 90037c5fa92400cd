"""RNN, GRU and LSTM: stacks of built-in cells, each a fused operation over the sequence.

Arguments, parameters, their names and shapes are PyTorch's, so that its state dicts load as they
are. Options that PyTorch lacks are keywords; all of them can be combined.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from ...cells import inference
from ...errors import TinygradRnnError
from ...tensor import creation
from ...tensor.conversion import DType
from ...tensor.random import Generator
from ...tensor.tensor import Tensor
from ..checks import positive
from ..module import Parameter
from ..options import parameters
from .cells import BuiltInCell, GRUCell, LSTMCell, RNNCell
from .layer import RecurrentLayer
from .states import Activation, LayerCall, State

NAME = re.compile(r"(.+)_l(\d+)(_reverse)?")  # a parameter, as PyTorch calls it


class BuiltInLayer(RecurrentLayer):
    """Base class of RNN, GRU and LSTM: built-in cells, whose weights have PyTorch's names here."""

    input_size: int
    reads_tables = True
    quantized: tuple[Any, ...] | None = None  # of all matrices: see `inference.infer_stack`

    def __init__(self, cell: type[BuiltInCell], passed: dict[str, Any]) -> None:
        """**Arguments** passed: to the layer, by name: for `RecurrentLayer` and for the cells."""
        kinds: tuple[Any, ...] = RecurrentLayer, cell
        own, of_cells = (
            {name: passed[name] for name in parameters(kind) if name in passed and name != "self"}
            for kind in kinds
        )
        super().__init__(**own)
        input_size = of_cells.pop("input_size")
        positive(self.name, input_size=input_size)
        try:
            self.cells = self.stack(partial(cell, **of_cells), input_size)
        except TinygradRnnError as error:  # in the name of the layer, which the caller knows
            error.args = (str(error).replace(f"{self.name}Cell:", f"{self.name}:"),)
            raise
        first: BuiltInCell = self.cells[0]
        self.input_size, self.hidden_size = input_size, first.hidden_size
        self.output_size = first.output_size
        for index, cell in enumerate(self.cells):
            suffix = self.suffix(index)
            weights = {n: w for n, w in vars(cell).items() if isinstance(w, Parameter)}
            like, sizes = cell.weight_ih, first.sizes if self.learn_initial else ()
            for name, size in zip(("h0", "c0"), sizes, strict=False):
                zeros = creation.zeros((size,), dtype=like.dtype, device=like.device)
                weights[name] = Parameter(zeros)
            for name, weight in weights.items():
                setattr(self, name + suffix, weight)
        begin = self.begin(0, creation.zeros((1, 1, 1)), 1)
        self._zoneout(begin, 1, training=False)  # refuses wrong ones

    # ------------------------------------------------------------ the names of parameters

    def suffix(self, index: int) -> str:
        """The end of the names of a cell's parameters."""
        layer, reverse = divmod(index, self.directions)
        return f"_l{layer}_reverse" if reverse else f"_l{layer}"

    def attributes(self) -> Iterable[tuple[str, Any]]:
        """The attributes by name; of the cells only their weights, under PyTorch's names."""
        held = {**vars(self)}
        held.pop("cells", None)
        return held.items()

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Parameter:
            """A weight."""

    def __setattr__(self, name: str, value: object) -> None:
        """Sets an attribute; a weight is the cell's, too."""
        super().__setattr__(name, value)
        cell = self._cell_of(name)
        if cell is not None:
            setattr(*cell, value)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        cell = self._cell_of(name)
        if cell is not None:
            delattr(*cell)

    def _cell_of(self, name: str) -> tuple[BuiltInCell, str] | None:
        """The cell of a weight of PyTorch's name, and the weight's name there."""
        cells, found = vars(self).get("cells"), NAME.fullmatch(name)
        if not (cells and found):
            return None
        index = int(found[2]) * self.directions + bool(found[3])
        exists = index < len(cells) and self.suffix(index) == name[len(found[1]) :]
        return (cells[index], found[1]) if exists else None

    def why_unexpected(self, key: str) -> str:
        """Explains an unexpected key of a state dict, as the cell does."""
        cell: BuiltInCell = self.cells[0]
        return cell.why_unexpected(key)

    # ------------------------------------------------------------ inference

    def _at_once(self, x: Tensor, state: State, training: bool) -> tuple[Tensor, State] | None:
        cell = self.cells[0].inference_cell
        more = self.bidirectional or self.reverse or self.zoneout != 0 or self.residual
        more = more or self.captured is not None
        masks = training and (self.dropout or self.recurrent_dropout or self.weight_dropout)
        if cell is None or more or masks or (state is None and self.learn_initial):
            return None
        weights = self._pick_weights(vars(self))
        return inference.infer_stack(cell, self.num_layers, x, state, weights, self.quantized)

    @cached_property
    def _pick_weights(self) -> Callable[[dict[str, Any]], tuple[Tensor, ...]]:
        """Picks the weights of all cells, as they are now, from among the attributes."""
        suffixes = map(self.suffix, range(len(self.cells)))
        pairs = zip(self.cells, suffixes, strict=True)
        return itemgetter(*(n + suffix for cell, suffix in pairs for n in cell.weight_names))

    def quantize_(self) -> None:
        """Quantizes the matrices of all cells to 8 bits, in place: see `nn.utils.quantized`."""
        matrices = self._matrices()
        self.quantized = tuple(part for w in matrices for part in inference.quantize_int8(w))

    def _matrices(self) -> list[Parameter]:
        """w_ih and w_hh of all cells, one after another."""
        return [w for cell in self.cells for w in (cell.weight_ih, cell.weight_hh)]

    def __getstate__(self) -> dict[str, Any]:
        state = {**vars(self)}
        if self.quantized and not all(map(inference.is_frozen, self.quantized[::3])):
            state["quantized"] = None  # their sources may have been written to
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self.quantized:  # valid for these arrays as long as they are read-only
            matrices = [inference.frozen(w.data) for w in self._matrices()]
            integers = map(inference.at_cache_line, self.quantized[1::3])
            parts = zip(matrices, integers, self.quantized[2::3], strict=True)
            self.quantized = tuple(part for three in parts for part in three)

    def held_options(self) -> dict[str, Any]:
        """The attributes of the layer and of its cells."""
        return {**vars(self.cells[0]), **vars(self)}


class RNN(BuiltInLayer):
    """The vanilla recurrent network: h_t = tanh(U x_t + W h_{t-1} + b) in every layer.

    **Arguments** input_size, hidden_size: features of x_t and h_t. num_layers: layers in the
    stack. nonlinearity: `tanh` or `relu`; or the name of another elementwise operation, or a
    function of a Tensor, with which the layer runs step by step. bias: whether to add b_ih and
    b_hh. batch_first: x is (B, T, I). dropout: probability between layers. bidirectional: a second
    set of cells reads the sequence from its end.

    - recurrent_dropout: probability for h in the recurrent product, one mask per sequence (Gal and
      Ghahramani 2016). weight_dropout: probability for weight_hh, one mask per call (Merity et al.
      2017). dropout_same_mask: `dropout` also uses one mask per sequence.
    - zoneout: the probability that an element of the state keeps its value (Krueger et al. 2016).
    - layer_norm: normalizes U x and W h, with learned gains (Ba et al. 2016); the layer then runs
      step by step.
    - residual: from the second layer on, adds the layer's input to its output.
    - merge: how the two directions' outputs become one: `concat`, `sum`, `mean`, `mul`; None for a
      tuple of both (the next layer reads them concatenated).
    - learn_initial: makes the initial state a parameter: h0_l0 and so on.
    - reverse: runs from each row's last step to its first; outputs stay in order of time, and the
      last state is that after the first step.
    - generator: draws the initial weights and the masks.

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
        dtype: DType = "float32",
        *,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        dropout_same_mask: bool = False,
        zoneout: float = 0.0,
        layer_norm: bool = False,
        residual: bool = False,
        merge: str | None = "concat",
        learn_initial: bool = False,
        reverse: bool = False,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(RNNCell, locals())
        self.nonlinearity = nonlinearity


class GRU(BuiltInLayer):
    """The gated recurrent unit, with the reset before or after the product: see `tg.gru_step`.

    **Arguments** as `RNN`. reset_after: PyTorch's form, with two biases for each gate; without it,
    `load_state_dict` refuses `bias_hh`. activation, recurrent_activation: of n, and of r and z; the
    name of an elementwise operation, or a function. With other than the defaults the layer runs
    step by step.
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
        dtype: DType = "float32",
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
        reverse: bool = False,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(GRUCell, locals())
        self.reset_after = reset_after


class LSTM(BuiltInLayer):
    """The long short-term memory: see `tg.lstm_step`. Its state is (h, c).

    **Arguments** as `RNN` and `GRU`. proj_size: features of h after a projection, 0 for none.
    zoneout: one probability, or a pair of them for h and c. layer_norm: also normalizes c, before
    the output's tanh.

    - peephole: i and f read the previous c, o reads the new one (Gers and Schmidhuber 2000).
    - coupled_gates: f = 1 - i, so the gates are i, g, o (Greff et al. 2017).
    - cell_clip: a bound on |c|. forget_bias: a number that is added to the initial bias of the
      forget gate; for dependencies of many lengths see `init.chrono_`.

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
        dtype: DType = "float32",
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
        reverse: bool = False,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(LSTMCell, locals())
        self.proj_size = proj_size
