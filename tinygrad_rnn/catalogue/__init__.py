"""One row for every operation, cell and layer: how to draw a case of it, and what it must equal.

`tinygrad-rnn gradcheck` walks the rows with random cases; the tests walk them with hypothesis,
which searches for the case that fails and makes it small. A public operation without a row fails a
test.
"""

from .case import Array, Case, Draw, Row, Seeded, real, shape
from .indexing import index_of
from .networks import NETWORKS
from .operations import OPERATIONS
from .sequences import sequence

__all__ = [
    "NETWORKS", "OPERATIONS",
    "Array", "Case", "Draw", "Row", "Seeded", "index_of", "real", "rows", "sequence", "shape",
]  # fmt: skip


def rows() -> list[Row]:
    """Every row: operations, cells, layers, losses."""
    return [*OPERATIONS, *NETWORKS]
