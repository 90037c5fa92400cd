"""The operations, under NumPy's names: rules take this module for `xp` to be differentiable."""

from .elementwise import *
from .indexing import *
from .linalg import *
from .movement import *
from .reductions import *
from .softmax import *
