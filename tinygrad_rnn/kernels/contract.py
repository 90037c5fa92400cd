"""Checks the shapes and options of the kernels' operations, so that kernels may rely on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

GATES = {"rnn": 1, "gru": 3, "lstm": 4}

Shape = tuple[int, ...]


def checker(operation: str, inputs: Sequence[str], needed: int) -> Callable[..., bool]:
    """Creates the check of an operation whose arrays come in this order, required ones first.

    **Returns** a function of the arrays' shapes, None for those that are not there, and of the
    options. It says whether no array is empty, and **raises** ValueError, or TypeError for one that
    is missing, naming the array or option that is not as the contract has it. What was right is
    known again.
    """

    @lru_cache(1024, typed=True)  # 1 is no True
    def check(shapes: Sequence[Shape | None], **options: Any) -> bool:
        arrays = {n: shape for n, shape in zip(inputs, shapes, strict=True) if shape is not None}
        for name in inputs[:needed]:
            if name not in arrays:
                raise TypeError(f"{name}: expected an array, got None")
        _check_shapes(operation, arrays, bool(options.get("coupled_gates")))
        _check_options(options)
        if operation == "gru" and "b_hh" in arrays and not options.get("reset_after"):
            raise ValueError("b_hh: expected None without reset_after: one bias a gate")
        return all(0 not in shape for shape in arrays.values())

    return check


def check_whole(
    name: str, numbers: Any, low: int, high: int, error: type[Exception] = ValueError
) -> None:
    """Refuses anything but whole numbers from low to high, as native code does.

    Of an array on a device only the dtype is looked at: its numbers would have to be waited for.
    """
    if numbers.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected whole numbers, got {numbers.dtype}")
    if isinstance(numbers, np.ndarray) and numbers.size:
        least, most = int(numbers.min()), int(numbers.max())
        if least < low or most > high:
            wrong = least if least < low else most
            raise error(f"{name}: expected {low} to {high}, got {wrong}")


def _check_shapes(operation: str, arrays: dict[str, Shape], coupled: bool) -> None:
    x, h0, w_hr, ids = arrays["x"], arrays["h0"], arrays.get("w_hr"), arrays.get("ids")
    if len(x) != (3 if ids is None else 2) or len(h0) != 2 or (w_hr is not None and len(w_hr) != 2):
        raise ValueError("expected 3 axes of x, or 2 with ids; 2 of h0 and w_hr")
    if ids is not None and len(ids) != 2:
        raise ValueError(f"ids: expected whole numbers (T, B), got {ids}")
    steps, batch = x[:2] if ids is None else ids
    out = h0[1]
    hidden = out if w_hr is None else w_hr[1]
    for name, size in (("x", x[-1]), ("h0", out), ("w_hr", hidden)):
        if not size:
            raise ValueError(f"{name}: expected at least one feature, got {arrays[name]}")
    expected = _shapes(steps, batch, x[-1], out, hidden, 3 if coupled else GATES[operation])
    for name, shape in arrays.items():
        if shape != expected[name]:
            everywhere = name in ("h_zone", "c_zone") and shape == (1, 1, 1)
            table = name == "x" and ids is not None
            if not (everywhere or table):
                raise ValueError(f"{name}: expected {expected[name]}, got {shape}")


def _shapes(
    steps: int, batch: int, features: int, out: int, hidden: int, gates: int
) -> dict[str, tuple[int, ...]]:
    """The shape of each array; with peepholes, only gate g has none."""
    return {
        "x": (steps, batch, features),
        "h0": (batch, out),
        "c0": (batch, hidden),
        "w_ih": (gates * hidden, features),
        "w_hh": (gates * hidden, out),
        "b_ih": (gates * hidden,),
        "b_hh": (gates * hidden,),
        "w_hr": (out, hidden),
        "w_ch": ((gates - 1) * hidden,),
        "lengths": (batch,),
        "reset": (steps, batch),
        "h_mask": (batch, out),
        "h_zone": (steps, batch, out),
        "c_zone": (steps, batch, hidden),
        "ids": (steps, batch),
    }


def _check_options(options: dict[str, Any]) -> None:
    activation, clip = options.get("activation", "tanh"), options.get("cell_clip")
    if activation not in ("tanh", "relu"):
        raise ValueError(f"activation: expected tanh or relu, got {activation!r}")
    if clip is not None and not clip > 0:
        raise ValueError(f"cell_clip: expected more than 0, got {clip!r}")
