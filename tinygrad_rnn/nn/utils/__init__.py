"""Training utilities: truncated BPTT, diagnostics, quantization."""

from .diagnostics import gate_saturation, gradient_flow
from .quantize import quantized
from .truncation import detach, truncated

__all__ = ["detach", "gate_saturation", "gradient_flow", "quantized", "truncated"]
