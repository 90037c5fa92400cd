"""Int8 quantization of recurrent weights for inference."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

from ...errors import InvalidValueError, public
from ..module import Module
from ..recurrent.layers import BuiltInLayer

Model = TypeVar("Model", bound=Module)


@public
def quantized(model: Model) -> Model:
    """Returns a frozen copy of a model with int8-quantized RNN, GRU and LSTM matrices.

    Quantization is symmetric, with a scale per matrix row: integers from -127 to 127. The error of
    a weight is at most the largest magnitude of its row over 254. A single step (`layer.step`) of a
    float32 layer without options reads a quarter of the bytes and is faster by about as much, and
    so is a sequence under `no_grad` if the layer is large. Other calls take as long as before, with
    the same quantized weights, and the copy also keeps the weights in float.

    **Arguments** model: a recurrent layer, or a module with some. **Returns** the copy, in
    evaluation mode and without gradients; the arrays of quantized weights are read-only. Assigning
    other weights (`load_state_dict`, `.data`) makes it an ordinary model. **Raises** ValueError if
    the model has no such layer.

    >>> import tinygrad_rnn as tg
    >>> lstm, x = tg.nn.LSTM(3, 4, generator=tg.Generator(0)), tg.ones((2, 3))
    >>> y, (h, c) = lstm.step(x)
    >>> y_, (h_, c_) = tg.nn.utils.quantized(lstm).step(x)
    >>> bool((y - y_).abs().max() < 0.01)
    True
    """
    copy = deepcopy(model).eval().requires_grad_(False)
    layers = [m for _, m in copy.named_modules() if isinstance(m, BuiltInLayer)]
    if not layers:
        raise InvalidValueError(
            f"quantized: {type(model).__name__} has no RNN, GRU or LSTM to quantize"
        )
    for layer in layers:
        layer.quantize_()
    return copy
