"""What a kernel may take for granted: the shapes and the options of its operation, checked here."""

from __future__ import annotations

from typing import Any

GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def check(operation: str, arrays: dict[str, Any], options: dict[str, Any]) -> None:
    """**Raises** ValueError naming the array or option that is not as the contract has it."""
    x, h0, w_hr = arrays["x"], arrays["h0"], arrays.get("w_hr")
    if x.ndim != 3 or h0.ndim != 2 or (w_hr is not None and w_hr.ndim != 2):
        raise ValueError("x: expected 3 axes, h0 and w_hr 2")
    (steps, batch, features), out = x.shape, h0.shape[1]
    hidden = out if w_hr is None else w_hr.shape[1]
    coupled = options.get("coupled_gates", False)
    rows = (3 if coupled else GATES[operation]) * hidden
    expected = {
        "x": x.shape,
        "h0": (batch, out),
        "c0": (batch, hidden),
        "w_ih": (rows, features),
        "w_hh": (rows, out),
        "b_ih": (rows,),
        "b_hh": (rows,),
        "w_hr": (out, hidden),
        "w_ch": ((2 if coupled else 3) * hidden,),
        "lengths": (batch,),
        "reset": (steps, batch),
        "h_mask": (batch, out),
        "h_zone": (steps, batch, out),
        "c_zone": (steps, batch, hidden),
    }
    for name, array in arrays.items():
        if array is not None and array.shape != expected[name]:
            everywhere = name in ("h_zone", "c_zone") and array.shape == (1, 1, 1)
            if not everywhere:
                raise ValueError(f"{name}: expected {expected[name]}, got {array.shape}")
    if options.get("activation", "tanh") not in ("tanh", "relu"):
        raise ValueError(f"activation: expected tanh or relu, got {options['activation']!r}")
    clip = options.get("cell_clip")
    if clip is not None and not clip > 0:
        raise ValueError(f"cell_clip: expected more than 0, got {clip!r}")
    if operation == "gru" and arrays.get("b_hh") is not None and not options.get("reset_after"):
        raise ValueError("b_hh: expected None without reset_after: one bias a gate")
