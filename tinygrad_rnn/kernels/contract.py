"""The options of a sequence, and the checks of shapes that kernels may rely on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..annotations import described

GATES = {"rnn": 1, "gru": 3, "lstm": 4}

Shape = tuple[int, ...]


class SequenceOptions(NamedTuple):
    """Options of a layer over a sequence in one direction: one value from the layer to the kernels.

    All of them are constants: no gradient passes through them. `kernels` says what each does.
    """

    lengths: Any = None  # (B,)
    reset: Any = None  # (T, B)
    h_mask: Any = None  # (B, P)
    zoneout: tuple[Any, ...] = ()  # for each leaf of the state (T, B, ...), (1, 1, 1) or None
    ids: Any = None  # (T, B)
    reverse: bool = False
    every: bool = False  # whether the state after every step is wanted
    # For loops over a step only; no kernel has these two.
    initial: Any = None  # the state that a reset sets a row to; zeros, if None
    perturbations: tuple[Any, ...] | None = None  # added to each leaf after each step: zeros

    def __repr__(self) -> str:
        pairs = zip(self._fields, self, strict=True)
        there = (f"{n} {described(v)}" for n, v in pairs if repr(v) not in ("None", "False", "()"))
        return f"({', '.join(there)})"


NO_OPTIONS = SequenceOptions()


def checker(operation: str, inputs: Sequence[str], needed: int) -> Callable[..., bool]:
    """Creates the check of an operation whose arrays come in this order, required ones first.

    **Returns** a function of the inputs' shapes, None for those that are not there, of the names
    and shapes of the options' arrays, and of the settings. It says whether no array is empty, and
    **raises** ValueError, or TypeError for one that is missing, naming the array or setting that is
    not as the contract has it. What was right is known again.
    """

    @lru_cache(1024, typed=True)  # 1 is no True
    def check(
        shapes: Sequence[Shape | None], options: Sequence[tuple[str, Shape]], **settings: Any
    ) -> bool:
        arrays = {n: shape for n, shape in zip(inputs, shapes, strict=True) if shape is not None}
        for name in inputs[:needed]:
            if name not in arrays:
                raise TypeError(f"{name}: expected an array, got None")
        arrays |= options
        if operation != "lstm" and "c_zone" in arrays:
            raise ValueError("c_zone: expected None: only an LSTM has a c")
        _check_shapes(operation, arrays, bool(settings.get("coupled_gates")))
        _check_settings(settings)
        if operation == "gru" and "b_hh" in arrays and not settings.get("reset_after"):
            raise ValueError("b_hh: expected None without reset_after: one bias a gate")
        return all(0 not in shape for shape in arrays.values())

    return check


def check_whole(
    name: str, numbers: Any, low: int, high: int, error: type[Exception] = ValueError
) -> None:
    """Refuses anything but integers from low to high, as native code does.

    Of an array on a device only the dtype is looked at: its numbers would have to be waited for.
    """
    if numbers.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected integers, got {numbers.dtype}")
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
        raise ValueError(f"ids: expected integers (T, B), got {ids}")
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


def _check_settings(settings: dict[str, Any]) -> None:
    activation, clip = settings.get("activation", "tanh"), settings.get("cell_clip")
    if activation not in ("tanh", "relu"):
        raise ValueError(f"activation: expected tanh or relu, got {activation!r}")
    if clip is not None and not clip > 0:
        raise ValueError(f"cell_clip: expected more than 0, got {clip!r}")
