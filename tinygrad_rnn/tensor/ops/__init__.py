"""The operations, under NumPy's names: rules take this module for `xp` to be differentiable."""

from . import (
    cumulative,
    elementwise,
    indexing,
    matrices,
    movement,
    prefix,
    products,
    recurrent,
    reductions,
    sorting,
    tiling,
)
from . import linalg as linalg
from . import scan as scan_
from . import softmax as softmax_family
from .cumulative import *
from .elementwise import *
from .indexing import *
from .matrices import *
from .movement import *
from .prefix import *
from .products import *
from .recurrent import *
from .reductions import *
from .scan import *
from .softmax import *
from .sorting import *
from .tiling import *

__all__: list[str] = []
__all__ += cumulative.__all__
__all__ += elementwise.__all__
__all__ += indexing.__all__
__all__ += matrices.__all__
__all__ += movement.__all__
__all__ += prefix.__all__
__all__ += products.__all__
__all__ += recurrent.__all__
__all__ += reductions.__all__
__all__ += scan_.__all__
__all__ += softmax_family.__all__
__all__ += sorting.__all__
__all__ += tiling.__all__
