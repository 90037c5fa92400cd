"""What helps to train recurrent networks, and to see what goes on inside."""

from .probes import gate_saturation, gradient_flow
from .rounding import quantized
from .truncation import detach, truncated

__all__ = ["detach", "gate_saturation", "gradient_flow", "quantized", "truncated"]
