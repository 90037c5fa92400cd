"""What can go wrong, by name: each error says what was expected, what came, and what to do.

All share the base `TinygradRnnError`, and each is the builtin error that Python would raise, too.
"""

import numpy as np


class TinygradRnnError(Exception):
    """The base of every error that the package raises."""


class InvalidTypeError(TinygradRnnError, TypeError):
    """An argument of a kind or a dtype that a function does not take."""


class InvalidValueError(TinygradRnnError, ValueError):
    """An argument of the right kind whose value a function does not take."""


class OutOfRangeError(TinygradRnnError, IndexError):
    """An index, an id or an axis that names nothing."""


class ShapeError(TinygradRnnError, ValueError):
    """Shapes, dtypes or axes that an operation or a layer cannot work with."""


class MatrixError(TinygradRnnError, np.linalg.LinAlgError):
    """A matrix of the right shape that is singular, or not positive definite."""


class DeviceError(TinygradRnnError, RuntimeError):
    """A device that is not there, or tensors of different devices in one operation."""


class GraphError(TinygradRnnError, RuntimeError):
    """A graph that cannot be differentiated: freed, changed since, or never recorded."""


class ExportError(TinygradRnnError, BufferError):
    """A tensor that cannot be handed to another library as it is."""


class AnomalyError(TinygradRnnError, FloatingPointError):
    """A value or a gradient that is NaN or infinite."""


class GradcheckError(TinygradRnnError, AssertionError):
    """A gradient that differs from the finite differences of its function."""
