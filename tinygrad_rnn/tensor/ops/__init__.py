"""The operations, under NumPy's names: rules take this module for `xp` to be differentiable."""

from ...errors import public as _public
from ..operation import Op as _Op
from . import (
    cumulative,
    elementwise,
    indexing,
    matrices,
    movement,
    products,
    reductions,
    sorting,
    tiling,
    windows,
)
from . import linalg as linalg
from . import linear as linear_family
from . import softmax as softmax_family
from .cumulative import *
from .elementwise import *
from .indexing import *
from .linear import *
from .matrices import *
from .movement import *
from .products import *
from .reductions import *
from .softmax import *
from .sorting import *
from .tiling import *
from .windows import *

__all__: list[str] = []
__all__ += cumulative.__all__
__all__ += elementwise.__all__
__all__ += indexing.__all__
__all__ += linear_family.__all__
__all__ += matrices.__all__
__all__ += movement.__all__
__all__ += products.__all__
__all__ += reductions.__all__
__all__ += softmax_family.__all__
__all__ += sorting.__all__
__all__ += tiling.__all__
__all__ += windows.__all__

for (
    _name
) in __all__:  # an operation says itself what was wrong with a call; here functions of them do
    if not isinstance(globals()[_name], _Op):
        globals()[_name] = _public(globals()[_name])
for _name in linalg.__all__:
    if not isinstance(vars(linalg)[_name], _Op):
        setattr(linalg, _name, _public(vars(linalg)[_name]))
