"""The machine of one bit: gates of 0 and 1 are the lecture's three cases, and they are learned."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.recipes import GatesConfig, SettingError
from tinygrad_rnn.recipes import gates as machine
from tinygrad_rnn.recipes.gates_table import accuracy, by_symbol


def test_gates_set_by_hand_are_keep_standard_update_and_mlp() -> None:
    rows = {row.symbol: row for row in by_symbol(machine.forced())}
    gates = {symbol: (row.reset, row.update) for symbol, row in rows.items()}
    assert gates == {
        symbol: pytest.approx(pair, abs=1e-12)
        for symbol, pair in {".": (0, 1), "!": (1, 0), "0": (0, 0), "1": (0, 0)}.items()
    }
    assert rows["."].off == 0
    assert all(row.off < 1e-6 for row in rows.values())
    assert accuracy(machine.forced()) == 1


def test_the_symbols_equations_differ_from_each_other() -> None:
    """`off` notices another equation: with a reset gate that is open, the MLP is an RNN."""
    wrong = machine.forced()
    wrong.layer.bias_ih_l0.data[0] = 2 * machine.SHUT
    rows = {row.symbol: row.off for row in by_symbol(wrong)}
    assert rows["!"] < 1e-6
    assert rows["0"] > 0.5


def test_one_unit_learns_these_gates() -> None:
    found, loss = machine.learned(GatesConfig(restarts=1, seed=2))
    assert loss < 0.1
    assert accuracy(found) > 0.99
    rows = {row.symbol: row for row in by_symbol(found)}
    assert rows["."].update > 0.7
    assert max(rows[symbol].update for symbol in "!01") < 0.2
    assert rows["!"].reset > 0.8
    assert max(rows[symbol].reset for symbol in "01") < 0.4


def test_sentences() -> None:
    ids = machine.draw(tg.Generator(0), 500, 20)
    assert (ids[0] >= 2).all()
    np.testing.assert_allclose(
        np.bincount(ids[1:].ravel()) / ids[1:].size, machine.OFTEN, atol=0.02
    )
    for sentence in ("", ".1", "1x"):
        with pytest.raises(SettingError, match="`sentence` must consist of the symbols"):
            machine.encode(sentence)
