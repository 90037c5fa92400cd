"""What can go wrong, by name: each error says what was expected, what came, and what to do."""


class ShapeError(ValueError):
    """Shapes, dtypes or axes that an operation or a layer cannot work with."""


class DeviceError(RuntimeError):
    """A device that is not there, or tensors of different devices in one operation."""


class GraphError(RuntimeError):
    """A graph that cannot be differentiated: freed, changed since, or never recorded."""


class AnomalyError(FloatingPointError):
    """A value or a gradient that is no number, or infinite, found by `detect_anomaly`."""


class GradcheckError(AssertionError):
    """A gradient that differs from the finite differences of its function."""
