"""Models for inference whose recurrent layers read a quarter of the bytes."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

from ...errors import InvalidValueError, public
from ..module import Module
from ..recurrent.fused import FusedLayer

Model = TypeVar("Model", bound=Module)


@public
def quantized(model: Model) -> Model:
    """A frozen copy of a model, the matrices of its RNN, GRU and LSTM layers rounded to 8 bits.

    A row of weights becomes whole numbers from -127 to 127 times a scale: no weight moves by more
    than its row's largest, in magnitude, over 254. A single step (`layer.step`) of a float32 layer
    without options reads a quarter of the bytes and takes as much less time, and so does a sequence
    under `no_grad` where there are many weights; whatever else the copy does costs what it did, and
    the copy is not smaller. All of it computes with the same weights.

    **Arguments** model: what holds recurrent layers, or is one. **Returns** the copy, in evaluation
    mode; it requires no gradients, and writing into the rounded weights' arrays raises ValueError.
    Assigning others (`load_state_dict`, `.data`) makes it a model like any other. **Raises**
    ValueError if there is no such layer.

    >>> import tinygrad_rnn as tg
    >>> lstm, x = tg.nn.LSTM(3, 4, generator=tg.Generator(0)), tg.ones((2, 3))
    >>> y, (h, c) = lstm.step(x)
    >>> y_, (h_, c_) = tg.nn.utils.quantized(lstm).step(x)
    >>> bool((y - y_).abs().max() < 0.01)
    True
    """
    copy = deepcopy(model).eval().requires_grad_(False)
    layers = [m for _, m in copy.named_modules() if isinstance(m, FusedLayer)]
    if not layers:
        raise InvalidValueError(
            f"quantized: {type(model).__name__} holds no RNN, GRU or LSTM to round"
        )
    for layer in layers:
        layer.round_()
    return copy
