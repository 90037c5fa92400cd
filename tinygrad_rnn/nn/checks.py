"""Checks of arguments and shapes, whose errors say what to type instead."""

from __future__ import annotations

from inspect import signature
from math import inf, isfinite
from numbers import Real
from typing import Any

from ..errors import InvalidTypeError, InvalidValueError, ShapeError
from ..tensor import creation
from ..tensor.operation import Op
from ..tensor.ops import elementwise
from ..tensor.ops.indexing import in_table
from ..tensor.random import Generator
from ..tensor.tensor import Tensor


def positive(layer: str, most: float = inf, **sizes: int) -> None:
    """Refuses sizes below 1, or above `most`."""
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= most:
            bound = "up" if most == inf else f"to {most}"
            raise InvalidValueError(
                f"{layer}: {name}: expected an integer from 1 {bound}, got {size!r}"
            )


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)


def real(layer: str, name: str, value: float, least: float = -inf) -> None:
    """Refuses a value that is not a finite number, or is below a minimum."""
    if not _is_real(value) or value < least:
        bound = "" if least == -inf else f" from {least} up"
        raise InvalidValueError(f"{layer}: {name}: expected a finite number{bound}, got {value!r}")


def whole(layer: str, name: str, value: Any) -> int:
    """Returns an option that is an integer of Python's, as files hold it; refuses others."""
    if type(value) is not int:
        raise InvalidTypeError(f"{layer}: {name}: expected an integer, got {value!r}")
    return value


def probability(layer: str, p: float) -> None:
    """Refuses a value that is not a probability below 1."""
    if not (_is_real(p) and 0 <= p < 1):
        raise InvalidValueError(f"{layer}: expected a probability from 0 to below 1, got {p!r}")


def one_of(layer: str, name: str, value: Any, options: Any) -> None:
    """Refuses a value that is not one of the options."""
    if not (value is None or isinstance(value, str)) or value not in options:
        *others, last = map(str, options)
        names = f"{', '.join(others)} or {last}"
        raise InvalidValueError(f"{layer}: {name}: expected {names}, got {value!r}")


def instance(layer: str, name: str, value: Any, kind: type) -> None:
    """Refuses a value that is not an instance of a class."""
    if not isinstance(value, kind):
        got = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise InvalidTypeError(f"{layer}: {name}: expected a {kind.__name__}, got {got}")


def placement(
    layer: str,
    device: str | None = None,
    dtype: Any = "float32",
    generator: Generator | None = None,
) -> None:
    """Refuses an invalid device, dtype or generator of parameters."""
    if not (device is None or (isinstance(device, str) and device)):
        raise InvalidTypeError(
            f"{layer}: device: expected the name of one, as 'cpu' or 'cuda', got {device!r}"
        )
    try:
        is_real = creation.zeros((), dtype=dtype, device=device).dtype.kind == "f"
    except (TypeError, ValueError):
        is_real = False
    if not is_real:
        raise InvalidTypeError(
            f"{layer}: dtype: expected one of reals, as 'float32' or 'float64', got {dtype!r}"
        )
    if not (generator is None or isinstance(generator, Generator)):
        raise InvalidTypeError(
            f"{layer}: generator: expected a tg.Generator, such as tg.Generator(0), or None; got "
            f"{generator!r}"
        )


def flag(layer: str, **flags: bool) -> None:
    """Refuses values that are not booleans."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise InvalidTypeError(f"{layer}: {name}: expected True or False, got {value!r}")


def activation(layer: str, name: str, value: Any) -> None:
    """Refuses a value that is not a differentiable elementwise function of one argument."""
    known = isinstance(value, str) and value in elementwise.__all__
    fits = _takes_one(getattr(elementwise, value) if known else value)
    if not fits:
        raise InvalidValueError(
            f"{layer}: {name}: expected the name of a differentiable elementwise operation of one "
            f"argument, such as 'tanh', or a function of one Tensor; got {value!r}"
        )


def _takes_one(function: Any) -> bool:
    """Whether a function can be called with one Tensor."""
    if isinstance(function, Op):
        return len(function.inputs) == 1 and function.differentiable
    if isinstance(function, type) or not callable(function):
        return False
    try:
        signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:  # it has no signature
        pass
    return True


def is_tensor(layer: str, name: str, x: Any) -> None:
    """Refuses a value that is not a Tensor."""
    if not isinstance(x, Tensor):
        raise InvalidTypeError(
            f"{layer}: {name}: expected a Tensor, got {type(x).__name__}: tg.tensor({name})"
        )


def input_of(layer: str, name: str, x: Any, like: Tensor | None = None) -> Tensor:
    """Returns an input as a Tensor; arrays and numbers take the dtype and device of a parameter.

    **Raises** TypeError for a Tensor of other reals: all that follows would be computed in float64,
    without a word.
    """
    if isinstance(x, Tensor):
        if like is not None and x.dtype is not like.dtype:
            not_complex(layer, name, x)
            if x.dtype.kind == "f":
                dtype_as(layer, name, x, like.dtype)
        return x
    if isinstance(x, tuple) and any(isinstance(part, Tensor) for part in x):
        raise InvalidTypeError(
            f"{layer}: {name}: expected a Tensor, got a tuple of {len(x)}: a recurrent layer gives "
            "(y, state), of which y, state = layer(x) takes y"
        )
    if not (hasattr(x, "__array__") or isinstance(x, (list, tuple, int, float))):
        is_tensor(layer, name, x)  # which it is not
    found = creation.as_tensor(x, device=None if like is None else like.device)
    if like is None or found.dtype == like.dtype:
        return found
    not_complex(layer, name, found)
    return found.astype(like.dtype)


def not_complex(layer: str, name: str, x: Tensor) -> None:
    """Refuses complex numbers, which have no gradients."""
    if x.dtype.kind == "c":
        raise InvalidTypeError(
            f"{layer}: {name}: expected real numbers, got {x.dtype}: give it the real and the "
            "imaginary part as features"
        )


def reals_of(layer: str, name: str, x: Any, like: Tensor) -> Tensor:
    """Returns an input as a Tensor; an array of reals takes the dtype and device of a parameter."""
    if isinstance(x, Tensor):
        return x
    found = input_of(layer, name, x)
    return found.to(like.device).astype(like.dtype) if found.dtype.kind == "f" else found


def features_last(layer: str, x: Any, features: int, name: str = "x") -> None:
    """Refuses an input whose last axis does not have the expected number of features."""
    is_tensor(layer, name, x)
    not_complex(layer, name, x)
    if x.ndim == 0 or x.shape[-1] != features:
        raise ShapeError(
            f"{layer}: {name}: expected {features} features on the last axis; got {list(x.shape)}"
        )


def ids_of(layer: str, name: str, ids: Any, rows: int, device: str) -> Tensor:
    """Checks ids, integers in 0..rows-1, and returns them on a device.

    Ids on a GPU are not checked, since that would synchronize with the device.
    """
    ids = creation.as_tensor(ids, device=device)
    if ids.dtype.kind not in "iu":
        raise InvalidTypeError(
            f"{layer}: {name}: expected integers, got {ids.dtype}: {name}.astype(int)"
        )
    found: Tensor = in_table(f"{layer}: {name}")(ids, rows=rows)
    return found


def dtype_as(
    layer: str, name: str, x: Tensor, dtype: Any, others: str = "the parameters are"
) -> None:
    """Refuses an input whose dtype differs from that of the parameters, or of another input."""
    if x.dtype != dtype:
        raise InvalidTypeError(
            f"{layer}: {name}: expected {dtype} as {others}, got {x.dtype}: "
            f"{name}.astype({str(dtype)!r})"
        )


def beside(layer: str, name: str, value: Any, reals: Tensor, others: str) -> Tensor:
    """Returns an input as a Tensor on the device and in the dtype of another input, of reals.

    Numbers, arrays, integers and narrower reals are converted. **Raises** TypeError for a Tensor of
    wider reals, whose dtype the result would have without a word.
    """
    found = creation.as_tensor(value, device=reals.device)
    not_complex(layer, name, found)
    if reals.dtype.kind != "f" or found.dtype is reals.dtype:
        return found
    wider = found.dtype.kind == "f" and found.dtype.itemsize > reals.dtype.itemsize
    if isinstance(value, Tensor) and wider:
        dtype_as(layer, name, found, reals.dtype, others)
    return found.astype(reals.dtype)


def state_like(layer: str, state: Any, initial: Any) -> Any:
    """Checks a state against the initial one: a Tensor, or a tuple of Tensors."""
    if state is None or not (isinstance(initial, Tensor) or type(initial) is tuple):
        return initial if state is None else state
    got_parts = list(state) if isinstance(state, (tuple, list)) else [state]
    expected_parts = list(initial) if isinstance(initial, tuple) else [initial]
    shapes = [getattr(part, "shape", type(part).__name__) for part in got_parts]
    if shapes != [part.shape for part in expected_parts]:
        expected = " and ".join(str(list(part.shape)) for part in expected_parts)
        got = " and ".join(s if isinstance(s, str) else str(list(s)) for s in shapes)
        raise ShapeError(f"{layer}: state: expected {expected}; got {got or 'nothing'}")
    pairs = zip(got_parts, expected_parts, strict=True)
    parts = [real_part(layer, part, like.dtype) for part, like in pairs]
    return tuple(parts) if isinstance(initial, tuple) else parts[0]


def real_part(layer: str, part: Any, dtype: Any) -> Tensor:
    """Converts a part of a state to a dtype; refuses values that are not real."""
    found = creation.as_tensor(part)
    if found.dtype.kind != "f":
        raise InvalidTypeError(
            f"{layer}: state: expected {dtype}, got {found.dtype}: .astype({str(dtype)!r})"
        )
    return found if found.dtype == dtype else found.astype(dtype)
