"""An OpInfo for every operation, cell, layer and loss: how to draw samples of its inputs.

`tinygrad-rnn gradcheck` checks them with random samples; the tests draw samples by hypothesis,
which searches for one that fails, and shrinks it. A public operation without an OpInfo fails a
test.
"""

from .attention import ATTENTION as _ATTENTION
from .cells import CELL_MODULES as _CELLS
from .indexing import index_of
from .modules import MODULES as _BUILT_IN
from .op_info import Array, OpInfo, Sample, Sampler, SeededSampler, real, shape
from .operations import OPERATIONS
from .own import cells_of
from .sequences import sequence

__all__ = [
    "MODULES", "OPERATIONS",
    "Array", "OpInfo", "Sample", "Sampler", "SeededSampler", "cells_of", "index_of", "op_infos",
    "real", "sequence", "shape",
]  # fmt: skip

MODULES = [*_BUILT_IN, *_CELLS, *_ATTENTION]


def op_infos() -> list[OpInfo]:
    """All of them: operations, cells, layers, losses."""
    return [*OPERATIONS, *MODULES]
