"""The operations, under NumPy's names: rules take this module for `xp` to be differentiable."""

from . import elementwise, indexing, linalg, movement, recurrent, reductions
from . import scan as scan_
from . import softmax as softmax_family
from .elementwise import *
from .indexing import *
from .linalg import *
from .movement import *
from .recurrent import *
from .reductions import *
from .scan import *
from .softmax import *

__all__: list[str] = []
__all__ += elementwise.__all__
__all__ += indexing.__all__
__all__ += linalg.__all__
__all__ += movement.__all__
__all__ += recurrent.__all__
__all__ += reductions.__all__
__all__ += scan_.__all__
__all__ += softmax_family.__all__
