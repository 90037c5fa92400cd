"""One row for every operation, cell and layer: how to draw a case of it, and what it must equal.

`tinygrad-rnn gradcheck` walks the rows with random cases; the tests walk them with hypothesis,
which searches for the case that fails and makes it small. A public operation without a row fails a
test.
"""

from .attention import ATTENTION as _ATTENTION
from .case import Array, Case, Draw, Row, Seeded, real, shape
from .cells import CELL_MODULES as _CELLS
from .indexing import index_of
from .networks import NETWORKS as _BUILT_IN
from .operations import OPERATIONS
from .sequences import sequence

__all__ = [
    "NETWORKS", "OPERATIONS",
    "Array", "Case", "Draw", "Row", "Seeded", "index_of", "real", "rows", "sequence", "shape",
]  # fmt: skip

NETWORKS = [*_BUILT_IN, *_CELLS, *_ATTENTION]


def rows() -> list[Row]:
    """Every row: operations, cells, layers, losses."""
    return [*OPERATIONS, *NETWORKS]
