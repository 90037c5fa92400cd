"""Conventions of libraries for the weights of a recurrence: the order of gates, and transposes.

| | RNN | GRU | LSTM | a matrix |
| --- | --- | --- | --- | --- |
| here, PyTorch | h | r z n | i f g o | (gates * H, I) |
| Keras | h | z r n | i f g o | (I, gates * H) |
| Flax | h | r z n | i f g o | (I, gates * H) |
| ONNX | h | z r n | i o f g | (gates * H, I) |

Letters are those of our equations; an LSTM with coupled gates has no f. Biases are vectors: they
have the order alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..tensor import ops

Array = np.ndarray[Any, Any]


class Convention(NamedTuple):
    """The gates of each kind of layer, in the order in which they are stacked; see above."""

    gates: Mapping[str, str]
    transposed: bool


OURS = Convention({"RNN": "h", "GRU": "rzn", "LSTM": "ifgo"}, False)
KERAS = Convention({"RNN": "h", "GRU": "zrn", "LSTM": "ifgo"}, True)
FLAX = Convention({"RNN": "h", "GRU": "rzn", "LSTM": "ifgo"}, True)
ONNX = Convention({"RNN": "h", "GRU": "zrn", "LSTM": "iofg"}, False)


def converted(kind: str, w: Any, source: Convention, target: Convention) -> Any:
    """A matrix or a bias, an array or a Tensor, of one convention in another."""
    w = w.T if source.transposed else w
    w = stacked(gates(w, source.gates[kind]), target.gates[kind])
    return w.T if target.transposed else w


def gates(w: Any, order: str) -> dict[str, Any]:
    """The parts of a stack of gates by their letters."""
    split = np.split if isinstance(w, np.ndarray) else ops.split
    return dict(zip(order, split(w, len(order), axis=0), strict=True))


def stacked(parts: Mapping[str, Any], order: Iterable[str]) -> Any:
    """A stack of gates in another order."""
    found = [parts[letter] for letter in order]
    if len(found) == 1:
        return found[0]
    return (np.concatenate if isinstance(found[0], np.ndarray) else ops.concat)(found, axis=0)
