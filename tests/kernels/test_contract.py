"""What does not fit is refused before any kernel sees it, by the array's name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

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


def test_a_table_is_of_two_axes_and_its_ids_are_whole_numbers() -> None:
    table = {"x": (7, I)}
    ids = np.full((T, B), 6)
    assert tg.lstm(**arrays(**table), ids=ids)[0].shape == (T, B, P)
    for wrong in (ids > 0, ids * 1.0, ids[0]):
        with pytest.raises(tg.ShapeError, match="ids: expected whole numbers"):
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
    with pytest.raises(tg.ShapeError, match="cell_clip: expected more than 0"):
        tg.lstm(**arrays(), cell_clip=0.0)
    x, h, w = np.zeros((1, 1, 2)), np.zeros((1, 2)), np.zeros((2, 2))
    with pytest.raises(tg.ShapeError, match="activation: expected tanh or relu, got 'sin'"):
        tg.rnn(x, h, w, w, activation="sin")
    w, b = np.zeros((6, 2)), np.zeros(6)
    with pytest.raises(tg.ShapeError, match="b_hh: expected None without reset_after"):
        tg.gru(x, h, w, w, b, b)
    with pytest.raises(ValueError, match="b_hh: expected None without reset_after"):
        tg.gru_step(x[0], h, w, w, b, b)
