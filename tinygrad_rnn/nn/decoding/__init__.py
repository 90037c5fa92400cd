"""Decoding: greedy search, sampling, beam search, CTC."""

from .alignments import ctc_beam_search, ctc_greedy
from .beam import beam_search
from .constraints import Constraints
from .penalties import average, gnmt
from .sampling import check_sampling, draw, greedy, probabilities, sample
from .steps import Hypothesis, select

__all__ = [
    "beam_search", "greedy", "sample", "ctc_beam_search", "ctc_greedy",
    "Constraints", "Hypothesis", "average", "gnmt",
    "check_sampling", "draw", "probabilities", "select",
]  # fmt: skip
