"""Loads a state dict into tensors by name: all of them, or none if one does not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..errors import InvalidTypeError, TinygradRnnError
from ..tensor import creation
from ..tensor.conversion import check_cast
from ..tensor.tensor import Tensor
from .checks import flag


class StateDictError(TinygradRnnError, ValueError):
    """A state dict that does not fit its module."""


class IncompatibleKeys(NamedTuple):
    """Keys that `load_state_dict(strict=False)` left out, of the module and the state dict."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load(
    own: Mapping[str, Tensor],
    state: Mapping[str, Any],
    strict: bool,
    what: str,
    remedy: Callable[[str], str],
) -> IncompatibleKeys:
    """Copies a state dict into tensors.

    **Arguments** own: the tensors by name, a tied one under each of its names. remedy: explains an
    unexpected key. **Raises** StateDictError naming every fault; the tensors are unchanged then.
    """
    if not isinstance(state, Mapping):
        raise InvalidTypeError(
            f"{what}: expected arrays by name, got {type(state).__name__}: pass "
            "model.state_dict(), or tg.load(path)"
        )
    flag(what, strict=strict)
    values, faults = dict[int, tuple[str, Any]](), list[str]()
    report = IncompatibleKeys([], [])
    given = {id(p) for name, p in own.items() if name in state}
    for name, p in own.items():
        if id(p) not in given:
            given.add(id(p))
            report.missing_keys.append(name)
            if strict:
                others = [other for other, q in own.items() if q is p and other != name]
                names = " or ".join(map(repr, others))
                tied = f" (or {names}, which is the same)" if others else ""
                faults.append(f"missing {name!r} {list(p.shape)}{tied}")
    for name, value in state.items():
        if name not in own:
            report.unexpected_keys.append(name)
            if strict:
                faults.append(f"unexpected {name!r}{remedy(str(name))}")
            continue
        try:
            array = _fitting(own[name], value)
        except (TypeError, ValueError, RuntimeError) as error:
            faults.append(f"{name!r}: {error}")
            continue
        first, before = values.setdefault(id(own[name]), (name, array))
        if before is not array and before.tobytes() != array.tobytes():
            faults.append(f"{first!r} and {name!r} are one parameter here, but their values differ")
    if faults:
        raise StateDictError(f"{what}: {'; '.join(faults)}")
    for p in {id(p): p for p in own.values()}.values():
        if id(p) in values:
            p.data = values[id(p)][1]
    return report


def _fitting(p: Tensor, value: object) -> Any:
    """An array of a tensor's shape, dtype and device; refuses what is not real numbers."""
    if isinstance(value, (Mapping, str, bytes)) or value is None or hasattr(value, "forward"):
        raise InvalidTypeError(f"expected an array or a Tensor, got {type(value).__name__}")
    found = creation.as_tensor(value)
    if found.dtype.kind not in ("fiu" if p.dtype.kind == "f" else "fiub"):
        raise InvalidTypeError(f"expected real numbers, got {found.dtype}")
    if found.shape != p.shape:
        raise InvalidTypeError(f"expected shape {list(p.shape)}, got {list(found.shape)}")
    check_cast(found.dtype, p.dtype, "the value")
    if not isinstance(value, Tensor):
        found = Tensor(value, p.dtype, p.device)  # Python's reals at the parameter's precision
    return found.to(p.device).data.astype(p.dtype, order="C", copy=False)
