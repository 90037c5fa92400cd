"""The operations, under NumPy's names: rules take this module for `xp` to be differentiable."""

from . import (
    convolutional,
    cumulative,
    elementwise,
    gated,
    indexing,
    matrices,
    minimal,
    movement,
    prefix,
    products,
    recurrent,
    reductions,
    sorting,
    tiling,
    xlstm,
)
from . import linalg as linalg
from . import scan as scan_
from . import softmax as softmax_family
from .convolutional import *
from .cumulative import *
from .elementwise import *
from .gated import *
from .indexing import *
from .matrices import *
from .minimal import *
from .movement import *
from .prefix import *
from .products import *
from .recurrent import *
from .reductions import *
from .scan import *
from .softmax import *
from .sorting import *
from .tiling import *
from .xlstm import *

__all__: list[str] = []
__all__ += convolutional.__all__
__all__ += cumulative.__all__
__all__ += elementwise.__all__
__all__ += gated.__all__
__all__ += indexing.__all__
__all__ += matrices.__all__
__all__ += minimal.__all__
__all__ += movement.__all__
__all__ += prefix.__all__
__all__ += products.__all__
__all__ += recurrent.__all__
__all__ += reductions.__all__
__all__ += scan_.__all__
__all__ += softmax_family.__all__
__all__ += sorting.__all__
__all__ += tiling.__all__
__all__ += xlstm.__all__
