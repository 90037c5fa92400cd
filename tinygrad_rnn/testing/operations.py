"""An OpInfo for every public operation, from a table for each kind of them."""

from .cells import CELLS
from .convolutions import CONVOLUTIONS
from .elementwise import ELEMENTWISE
from .indexing import INDEXING
from .loops import LOOPS
from .movement import MOVEMENT
from .products import PRODUCTS
from .reductions import REDUCTIONS
from .sequences import SEQUENCES
from .steps import STEPS

OPERATIONS = [
    *ELEMENTWISE,
    *REDUCTIONS,
    *MOVEMENT,
    *INDEXING,
    *PRODUCTS,
    *CONVOLUTIONS,
    *SEQUENCES,
    *STEPS,
    *LOOPS,
    *CELLS,
]
