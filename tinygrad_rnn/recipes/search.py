"""The search for the likeliest sequences that a decoder generates: greedy, or by beams."""

from __future__ import annotations

from typing import Any

from ..data import END, START
from ..nn.decoding import Hypothesis, beam_search, gnmt, greedy
from ..tensor.creation import full


def search(
    decoder: Any,
    state: Any,
    count: int,
    beams: int,
    n_best: int = 1,
    length_penalty: float = 0.6,
    **options: Any,
) -> list[list[Hypothesis]]:
    """Searches for sequences from START to END.

    **Arguments** decoder: an `nn.Decoder`. state: before its first step. count: of sequences.
    beams: 1 is greedy search. length_penalty: GNMT's alpha. options: `max_length`, `constraints`.
    **Returns** the n_best of each sequence, the best first.
    """
    options |= {"end": END, "batch_axis": decoder.batch_axis}
    first = full((count,), START, dtype="int64", device=decoder.head.weight.device)
    if beams == 1:
        return [[best] for best in greedy(decoder.step, state, first, **options)]
    options |= {"beams": beams, "n_best": n_best, "length_penalty": gnmt(length_penalty)}
    return beam_search(decoder.step, state, first, **options)
