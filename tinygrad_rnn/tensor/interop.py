"""NumPy functions of a Tensor: operators run our operations, others are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import InvalidTypeError
from . import ops
from .ops import linalg

# NumPy calls these for `array + tensor`, and cannot tell it from `numpy.add(array, tensor)`.
OPERATORS = frozenset(
    {
        *("add", "subtract", "multiply", "divide", "floor_divide", "remainder", "power", "matmul"),
        *("less", "less_equal", "greater", "greater_equal", "equal", "not_equal"),
        *("bitwise_and", "bitwise_or", "bitwise_xor"),
    }
)

# NumPy names that differ from those of the array API, which ours follow.
RENAMED = {
    "absolute": "abs",
    "amax": "max",
    "amin": "min",
    "arctan2": "atan2",
    "bitwise_and": "logical_and",
    "bitwise_or": "logical_or",
    "bitwise_xor": "logical_xor",
    "concatenate": "concat",
    "power": "pow",
    "transpose": "permute_dims",
    **{f"arc{name}": f"a{name}" for name in ("cos", "cosh", "sin", "sinh", "tan", "tanh")},
}


def ours(name: str) -> str | None:
    """The name of the operation for a NumPy function; None if there is none."""
    name = RENAMED.get(name, name)
    known = {*ops.__all__, *(f"linalg.{n}" for n in linalg.__all__)}
    return name if name in known else None


def operator(name: str) -> Callable[..., Any] | None:
    """The operation for the NumPy function of a binary operator."""
    found = ours(name) if name in OPERATORS else None
    return getattr(ops, found) if found else None


def refusal(name: str) -> TypeError:
    """The error for a call of a NumPy function, such as `tanh` or `linalg.norm`."""
    found = ours(name)
    if found:
        remedy = f"tg.{found} is the equivalent"
    elif name in ("ndim", "shape", "size"):
        remedy = f"read x.{name}"
    else:
        remedy = f"there is no tg.{name}; call it on x.detach().numpy()"
    return InvalidTypeError(
        f"numpy.{name}: expected arrays, got a Tensor, whose graph it drops: {remedy}"
    )
