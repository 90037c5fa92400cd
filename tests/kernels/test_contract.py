"""What does not fit is refused before any kernel sees it, by the array's name."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import kernels

T, B, I, H, P = 4, 3, 2, 5, 3
RIGHT: dict[str, tuple[int, ...]] = {
    "x": (T, B, I),
    "h0": (B, P),
    "c0": (B, H),
    "w_ih": (4 * H, I),
    "w_hh": (4 * H, P),
    "b_ih": (4 * H,),
    "b_hh": (4 * H,),
    "w_hr": (P, H),
    "w_ch": (3 * H,),
    "lengths": (B,),
    "reset": (T, B),
    "h_mask": (B, P),
    "h_zone": (T, B, P),
    "c_zone": (1, 1, 1),
}


def arrays(**other: tuple[int, ...]) -> dict[str, Any]:
    """Zeros of the right shapes, or of others."""
    shapes = RIGHT | other
    kinds: dict[str, Any] = {"lengths": int, "reset": bool}
    return {k: np.zeros(shape, kinds.get(k, float)) for k, shape in shapes.items()}


def test_the_right_shapes_pass() -> None:
    assert tg.lstm(**arrays())[0].shape == (T, B, P)


def test_a_table_is_of_two_axes_and_its_ids_are_integers() -> None:
    table = {"x": (7, I)}
    ids = np.full((T, B), 6)
    assert tg.lstm(**arrays(**table), ids=ids)[0].shape == (T, B, P)
    for wrong in (ids > 0, ids * 1.0, ids[0]):
        with pytest.raises(tg.ShapeError, match="ids: expected integers"):
            tg.lstm(**arrays(**table), ids=wrong)
    with pytest.raises(tg.ShapeError, match="or 2 with ids"):
        tg.lstm(**arrays(), ids=ids)
    with pytest.raises(tg.ShapeError, match="h0: expected"):
        tg.lstm(**arrays(**table), ids=ids[:, :2])


@pytest.mark.parametrize("name", RIGHT)
def test_a_wrong_shape_is_refused_by_name(name: str) -> None:
    for shape in [(*RIGHT[name][:-1], RIGHT[name][-1] + 1), (1,), (1, 1), (2, 1, 1), ()]:
        with pytest.raises(tg.ShapeError, match=r"lstm: expected .*(expected|got)"):
            tg.lstm(**arrays(**{name: shape}))
    if name not in ("x", "h0", "w_hr"):  # by these the sizes are known
        with pytest.raises(tg.ShapeError, match=rf"\({name}: expected \("):
            tg.lstm(**arrays(**{name: (7,)}))


def test_coupled_gates_are_three_with_two_peepholes() -> None:
    three = {"w_ih": (3 * H, I), "w_hh": (3 * H, P), "b_ih": (3 * H,), "b_hh": (3 * H,)}
    tg.lstm(**arrays(**three, w_ch=(2 * H,)), coupled_gates=True)
    with pytest.raises(tg.ShapeError, match="w_ch: expected"):
        tg.lstm(**arrays(**three), coupled_gates=True)


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(tg.InvalidValueError, match="cell_clip: expected more than 0"):
        tg.lstm(**arrays(), cell_clip=0.0)
    x, h, w = np.zeros((1, 1, 2)), np.zeros((1, 2)), np.zeros((2, 2))
    with pytest.raises(tg.InvalidValueError, match="activation: expected tanh or relu, got 'sin'"):
        tg.rnn(x, h, w, w, activation="sin")
    w, b = np.zeros((6, 2)), np.zeros(6)
    with pytest.raises(tg.ShapeError, match="b_hh: expected None without reset_after"):
        tg.gru(x, h, w, w, b, b)
    with pytest.raises(ValueError, match="b_hh: expected None without reset_after"):
        tg.gru_step(x[0], h, w, w, b, b)


MISSING = {
    "rnn w_ih": "tg.rnn(x, h, None, z(5, 5))",
    "rnn w_hh": "tg.rnn(x, h, z(5, 4), None)",
    "gru w_ih": "tg.gru(x, h, None, z(15, 5))",
    "gru w_hh": "tg.gru(x, h, z(15, 4), None)",
    "lstm c0": "tg.lstm(x, h, None, z(20, 4), z(20, 5))",
    "lstm w_ih": "tg.lstm(x, h, h, None, z(20, 5))",
    "lstm w_hh": "tg.lstm(x, h, h, z(20, 4), None)",
    "rnn h0": "tg.rnn(x, None, z(5, 4), z(5, 5))",
    "lstm x": "tg.lstm(None, h, h, z(20, 4), z(20, 5))",
}


@pytest.mark.parametrize("which", ["", "reference"])
def test_a_missing_array_is_refused_by_name_and_the_interpreter_lives_on(which: str) -> None:
    code = """
import sys, tinygrad_rnn as tg
def z(*shape): return tg.zeros(shape)
x, h = z(3, 2, 4), z(2, 5)
for call in sys.argv[1:]:
    try:
        eval(call)
    except (TypeError, ValueError) as error:
        print("refused:", error)
"""
    run = [sys.executable, "-c", code, *MISSING.values()]
    env = {**os.environ, "TINYGRAD_RNN_KERNELS": which}
    done = subprocess.run(run, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, (done.returncode, done.stderr[-300:])
    for name, line in zip(MISSING, done.stdout.splitlines(), strict=True):
        assert line.startswith("refused:")
        assert f"{name.split()[1]}: expected a" in line
        assert "None" in line


def test_what_is_no_array_is_refused_by_name() -> None:
    x, h, w = np.zeros((T, B, H)), np.zeros((B, H)), np.zeros((H, H))
    for k, name in enumerate(("x", "h0", "w_ih", "w_hh")):
        given: list[Any] = [x, h, w, w]
        given[k] = given[k].tolist()
        with pytest.raises(TypeError, match=f"{name}: expected an array, got list"):
            kernels.rnn_forward(np, *given)


def calls(name: str, dtype: str) -> Any:
    """An operation on zeros of a dtype, without its lengths and ids."""
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[name]
    h = np.zeros((B, H), dtype)
    states = [h, h] if name == "lstm" else [h]
    weights = np.zeros((gates * H, I), dtype), np.zeros((gates * H, H), dtype)

    def call(x: Any, **constants: Any) -> Any:
        return getattr(tg, name)(x, *states, *weights, **constants)

    return call


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_lengths_and_ids_are_whole_numbers_within_bounds(name: str, dtype: str) -> None:
    call, x, table = calls(name, dtype), np.zeros((T, B, I), dtype), np.zeros((7, I), dtype)
    for lengths in ([-1, 0, 1], [0, 1, T + 1], [0.0, 1.0, 2.0], [True, False, True]):
        with pytest.raises(tg.ShapeError, match="lengths: expected"):
            call(x, lengths=np.array(lengths))
    with pytest.raises(tg.ShapeError, match="lengths: expected"):
        call(x, lengths=np.array([0, 1, 2**64 - 1], "uint64"))
    assert call(x, lengths=np.array([0, 1, T], "uint8"))[0].shape == (T, B, H)
    ids = np.zeros((T, B), "uint64")
    for wrong in (7, 2**64 - 1):
        ids[1, 2] = wrong
        with pytest.raises(tg.OutOfRangeError, match=f"ids: expected 0 to 6, got {wrong}"):
            call(table, ids=ids)
    with pytest.raises(tg.OutOfRangeError, match="ids: expected 0 to 6, got -1"):
        call(table, ids=np.full((T, B), -1))


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_sizes_and_kinds_that_no_layer_has(name: str) -> None:
    x = np.zeros((T, B, I))
    states = [np.zeros((B, 0))] * (2 if name == "lstm" else 1)
    with pytest.raises(tg.ShapeError, match="h0: expected at least one feature"):
        getattr(tg, name)(x, *states, np.zeros((0, I)), np.zeros((0, 0)))
    for kind in ("int64", "bool"):
        with pytest.raises(TypeError, match=f"x: expected real numbers, got {kind}"):
            calls(name, "float64")(np.zeros((T, B, I), kind))


def test_a_clip_that_rounds_to_zero_clips() -> None:
    given = {k: np.ones_like(v) for k, v in arrays().items() if k in ("x", "h0", "w_ih", "w_hh")}
    given |= {"h0": np.ones((B, H)), "c0": np.ones((B, H)), "w_hh": np.ones((4 * H, H))}
    narrow = {k: v.astype("float32") for k, v in given.items()}
    assert not tg.lstm(**narrow, cell_clip=1e-60)[2].round(30).any()
