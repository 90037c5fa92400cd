"""Makes a call and judges its outcome."""

from __future__ import annotations

import re
import traceback
import warnings
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.errors import functions

from .calls import Call


class Outcome(NamedTuple):
    """The values or the error of a call; it can be pickled."""

    kind: str  # "value", "error": one of the package's; "memory"; "foreign": any other
    arrays: list[Any]  # the values and the gradients
    text: str  # of an error; with its place in the code, if it is a foreign one
    fault: str = ""  # what is wrong already, whatever other runs of the call end in
    largest: float = 0.0  # the largest finite magnitude among the arguments


def made(call: Call) -> Outcome:
    """Makes a call, and differentiates what it gave."""
    before = [a.copy() for a in _arrays(list(call.arguments.values()))]
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            value = call.run(call.arguments)
            arrays = [np.array(a) for a in _arrays(value)] + _gradients(call, value)
    except tg.TinygradRnnError as error:
        if "failed to map segment" in str(error):  # no memory left to load a library, PyTorch
            return Outcome("memory", [], str(error))
        return Outcome("error", [], str(error), _unnamed(call, error))
    except MemoryError as error:
        return Outcome("memory", [], str(error))
    except Exception as error:
        place = "".join(traceback.format_exception(error)[-3:])
        return Outcome("foreign", [], place, f"foreign {type(error).__name__}: {error}")
    after = _arrays(list(call.arguments.values()))
    kept = call.in_place or all(
        np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
        for a, b in zip(before, after, strict=True)
    )
    reals = [a[np.isfinite(a)] for a in before if a.dtype.kind == "f"]
    largest = max((float(np.abs(a).max()) for a in reals if a.size), default=0.0)
    return Outcome("value", arrays, "", "" if kept else "an argument was changed", largest)


def _gradients(call: Call, value: Any) -> list[Any]:
    """The gradients of what came out in the leaves that went in."""
    ys = [y for y in _tensors(value) if y.requires_grad and y.size]
    xs = [x for x in _tensors(list(call.arguments.values())) if x.requires_grad]
    if not ys or not xs or call.in_place:
        return []
    return [g.numpy() for g in tg.grad(ys, xs, [tg.ones_like(y.detach()) for y in ys])]


# What a method does, and what functions that are passed to it do, which errors name.
OPERATIONS = (
    "add subtract multiply divide pow floor_divide remainder equal less greater logical_and"
)
ALSO = {
    "Tensor.operators": [*OPERATIONS.split(), "NumPy's functions"],
    "Tensor.__isub__": ["subtract", "x -= y"],
    "Tensor.__setitem__": ["x[...] ="],
    "Tensor.__setitem__ of a leaf": ["x[...] ="],
    "Tensor.__format__": ["format"],
    "Tensor.to": ["astype"],
    "Parameter": ["tensor", "requires_grad"],
    "Cell": ["OwnCell"],
    "Op": ["cube"],
    "value_and_grad": ["int"],
    "beam_search": ["getitem", "as_tensor", "log_softmax"],
    "greedy": ["getitem", "as_tensor", "log_softmax"],
    "sample": ["getitem", "as_tensor", "log_softmax"],
    "load": ["w.safetensors"],
    "DataLoader": ["samples"],  # of the dataset, that cannot be a batch
}


def _unnamed(call: Call, error: Exception) -> str:
    """The fault of an error's message, or an empty string."""
    if not call.replaced:
        return f"a valid call was refused: {error}"
    text = str(error)
    if "\n" in text:
        return f"the error has several lines: {text}"
    parts = [call.name, *re.split(r"[ .]", call.name), *call.replaced, *ALSO.get(call.name, [])]
    if call.name.startswith("optim."):
        parts.append("assigning to .grad")  # as the call does before the optimizer's step
    twice = re.match(r"[\w.]+: (\w+): ", text)
    if twice and twice[1] in functions - set(call.arguments):
        return f"the error names a function that was not called: {text}"
    if any(re.search(rf"(?<!\w){re.escape(part)}", text) for part in parts if part):
        return ""
    return f"the error names neither {call.replaced} nor {call.name}: {text}"


def _tensors(value: Any) -> list[Any]:
    if isinstance(value, tg.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in _tensors(v)] if isinstance(value, (tuple, list)) else []


def _arrays(value: Any) -> list[Any]:
    """The arrays and numbers in a value."""
    if isinstance(value, tg.Tensor):
        return [value.detach().numpy()]
    if isinstance(value, np.ndarray):
        return [value] if value.dtype.kind in "fiub" else []
    if isinstance(value, (bool, int, float, np.generic)):
        try:
            a = np.asarray(value)
        except OverflowError:
            return []
        return [a] if a.dtype.kind in "fiub" else []
    if isinstance(value, dict):
        value = list(value.values())
    return [a for v in value for a in _arrays(v)] if isinstance(value, (tuple, list)) else []


TOLERANCE = {"float16": 2e-2, "float32": 2e-3, "float64": 1e-6}


def difference(one: Outcome, other: Outcome) -> str:
    """The difference of two outcomes, or an empty string.

    Sums of large numbers cancel: values are compared relative to the largest among the arguments,
    too. Memory may end in one process and suffice in the other.
    """
    if "memory" in (one.kind, other.kind):
        return ""
    if one.kind != other.kind:
        return (
            f"{one.kind} {one.text} {one.arrays} against {other.kind} {other.text} {other.arrays}"
        )
    if len(one.arrays) != len(other.arrays):
        return f"{len(one.arrays)} values against {len(other.arrays)}"
    for a, b in zip(one.arrays, other.arrays, strict=True):
        if a.shape != b.shape or a.dtype.newbyteorder("=") != b.dtype.newbyteorder("="):
            return f"{a.dtype}{list(a.shape)} against {b.dtype}{list(b.shape)}"
        if a.dtype.kind != "f":
            if not np.array_equal(a, b, equal_nan=a.dtype.kind == "c"):
                return f"{a.tolist()} against {b.tolist()}"
            continue
        rate = TOLERANCE[a.dtype.newbyteorder("=").name]
        a, b = a.astype("float64"), b.astype("float64")
        scale = max([1.0, one.largest, *np.abs(a[np.isfinite(a)]).tolist()])
        if not np.allclose(a, b, rate, rate * scale, equal_nan=True):
            return f"{a.tolist()} against {b.tolist()}"
    return ""
