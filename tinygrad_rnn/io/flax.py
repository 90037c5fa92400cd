"""Cells from Flax's trees of arrays, and to them: `flax.linen` and `flax.nnx`.

Linen has a kernel for each gate; of nnx GRUCell, OptimizedLSTMCell and SimpleCell stack the gates.
A GRU resets after the product. A carry of an LSTM is (c, h), where ours is (h, c).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import nn
from ..errors import InvalidTypeError, InvalidValueError, public
from ..nn import Module
from ..nn.options import plain_options
from .conventions import FLAX, OURS, converted

Array = np.ndarray[Any, Any]
GATES = {f"{kind}Cell": FLAX.gates[kind] for kind in ("GRU", "LSTM")}
STYLES = ("linen", "nnx", "nnx-optimized")


@public
def from_flax(tree: Mapping[str, Any]) -> Any:
    """Builds a cell from the parameters of Flax's SimpleCell, GRUCell, LSTMCell, OptimizedLSTMCell.

    **Arguments** tree: names to arrays, or to trees of them: `variables["params"]` of a linen cell,
    `nnx.to_pure_dict(nnx.state(cell, nnx.Param))`, as NumPy arrays or what NumPy converts.
    **Returns** RNNCell, GRUCell(reset_after=True) or LSTMCell. **Raises** InvalidValueError for a
    tree of another module.

    >>> import numpy as np
    >>> kernels = {"i": {"kernel": np.ones((3, 4)), "bias": np.zeros(4)}}
    >>> from_flax({**kernels, "h": {"kernel": np.ones((4, 4))}})
    RNNCell(3, 4)
    """
    if not isinstance(tree, Mapping):
        raise InvalidTypeError(f"from_flax: tree: expected a dict of parameters, got {tree!r}")
    flat = {name.rstrip("_"): _leaf(name, part) for name, part in tree.items()}
    kind = _kind(set(flat))
    count = 1
    if kind == "RNNCell":
        x, h = flat["i"], flat["h"]
    elif kind == "stacked":
        x, h = flat["dense_i"], flat["dense_h"]
        count = x["kernel"].shape[1] // max(1, h["kernel"].shape[0])
        kind = {1: "RNNCell", 3: "GRUCell", 4: "LSTMCell"}.get(count, "")
    else:
        gates = GATES[kind]
        x, h = (_joined([flat[side + gate] for gate in gates]) for side in "ih")
    if not kind:
        raise InvalidValueError(f"from_flax: tree: kernels of {count} gates are of no known cell")
    try:
        features, size = x["kernel"].shape[0], h["kernel"].shape[0]
        bias = "bias" in x or "bias" in h
        options: dict[str, Any] = {"reset_after": True} if kind == "GRUCell" else {}
        dtype = str(x["kernel"].dtype)
        cell = getattr(nn, kind)(features, size, bias, dtype=dtype, **options)
        named = {"weight_ih": x["kernel"], "weight_hh": h["kernel"]}
        if bias:
            zeros = np.zeros(x["kernel"].shape[1], x["kernel"].dtype)
            named |= {"bias_ih": x.get("bias", zeros), "bias_hh": h.get("bias", zeros)}
        layer = kind.removesuffix("Cell")
        cell.load_state_dict({n: converted(layer, w, FLAX, OURS) for n, w in named.items()})
    except (KeyError, ValueError, IndexError) as error:
        raise InvalidValueError(f"from_flax: tree: of a {kind}, but {error}") from error
    return cell


@public
def to_flax(cell: Module, style: str = "linen") -> dict[str, Any]:
    """Returns a cell's parameters as Flax's tree of NumPy arrays.

    Flax has one bias where ours have two: their sum; a GRU keeps the recurrent bias of n.

    **Arguments** cell: RNNCell, GRUCell(reset_after=True) or LSTMCell, or a layer of RNN, GRU or
    LSTM with one layer and direction. style: `linen`, for all cells of linen; `nnx` for those of
    nnx, and `nnx-optimized` for its OptimizedLSTMCell. **Raises** InvalidValueError naming what
    Flax does not have.

    >>> import tinygrad_rnn as tg
    >>> sorted(tg.io.to_flax(tg.nn.RNNCell(2, 3)))
    ['h', 'i']
    """
    kind = type(cell).__name__.removesuffix("Cell") + "Cell"
    if not isinstance(cell, (nn.RNN, nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell, nn.LSTMCell)):
        raise InvalidTypeError(
            f"to_flax: cell: expected RNN, GRU, LSTM or a cell of these, got {cell!r}"
        )
    if style not in STYLES:
        raise InvalidValueError(
            f"to_flax: style: expected one of {', '.join(STYLES)}; got {style!r}"
        )
    state = {n.removesuffix("_l0"): p.numpy() for n, p in cell.state_dict().items()}
    known = {"weight_ih", "weight_hh", "bias_ih", "bias_hh"}
    wrong, changed = sorted(state.keys() - known), plain_options(cell, changed=True)
    wrong += ["reset_after=False"] if kind == "GRUCell" and not cell.reset_after else []  # type: ignore[union-attr]
    refused = ("layer_norm", "coupled_gates", "cell_clip")
    wrong += [f"{name}={changed[name]!r}" for name in refused if name in changed]
    if wrong:
        raise InvalidValueError(f"to_flax: {type(cell).__name__}: Flax has no {', '.join(wrong)}")
    layer = kind.removesuffix("Cell")
    state = {n: converted(layer, w, OURS, FLAX) for n, w in state.items()}
    x, h = state["weight_ih"], state["weight_hh"]
    b_x, b_h = (state.get(n, np.zeros(x.shape[1], x.dtype)) for n in ("bias_ih", "bias_hh"))
    names = [("i", "h")] if kind == "RNNCell" else [(f"i{g}", f"h{g}") for g in GATES[kind]]
    if style == "nnx-optimized" or (style == "nnx" and kind != "LSTMCell"):
        names = [("dense_i", "dense_h")]
        if kind == "GRUCell" and np.any(np.split(b_h, 3)[2]):
            raise InvalidValueError(
                "to_flax: GRUCell: nnx has no recurrent bias of n: style='linen' has it"
            )
    tree: dict[str, Any] = {}
    parts = zip(names, *(np.split(v, len(names), axis=-1) for v in (x, h, b_x, b_h)), strict=True)
    for (inner, outer), w, u, a, b in parts:
        biases = {"i": a, "h": b} if inner == "in" else {"h" if kind == "LSTMCell" else "i": a + b}
        for side, name, kernel in (("i", inner, w), ("h", outer, u)):
            bias = {"bias": biases[side]} if side in biases else {}
            tree["if_" if name == "if" and style == "nnx" else name] = {"kernel": kernel, **bias}
    return tree


def _leaf(name: object, part: object) -> dict[str, Array]:
    """The kernel and the bias of a linear map."""
    if not isinstance(part, Mapping) or "kernel" not in part or part.keys() - {"kernel", "bias"}:
        raise InvalidValueError(
            f"from_flax: tree: {name!r}: expected a kernel and a bias, got "
            f"{list(part) if isinstance(part, Mapping) else type(part).__name__}: pass the "
            "parameters of one cell"
        )
    arrays = {n: np.asarray(v) for n, v in part.items() if v is not None}
    if arrays["kernel"].ndim != 2 or any(a.dtype.kind != "f" for a in arrays.values()):
        raise InvalidValueError(f"from_flax: tree: {name!r}: expected a matrix of reals")
    return arrays


def _kind(names: set[str]) -> str:
    for kind, gates in GATES.items():
        if names == {side + gate for side in "ih" for gate in gates}:
            return kind
    if names == {"i", "h"}:
        return "RNNCell"
    if names == {"dense_i", "dense_h"}:
        return "stacked"
    raise InvalidValueError(
        f"from_flax: tree: expected the parameters of SimpleCell, GRUCell, LSTMCell or "
        f"OptimizedLSTMCell; got {', '.join(sorted(names))}"
    )


def _joined(parts: list[dict[str, Array]]) -> dict[str, Array]:
    """Gates side by side; a bias that some have is zero for the others."""
    found = {"kernel": np.concatenate([p["kernel"] for p in parts], axis=1)}
    if any("bias" in p for p in parts):
        zero = [np.zeros(p["kernel"].shape[1], p["kernel"].dtype) for p in parts]
        biases = [p.get("bias", z) for p, z in zip(parts, zero, strict=True)]
        found["bias"] = np.concatenate(biases)
    return found
