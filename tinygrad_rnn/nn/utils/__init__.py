"""Training utilities: truncated BPTT, diagnostics, quantization."""

import sys as _sys
import typing as _typing

from ...errors import unknown_name as _unknown_name
from .diagnostics import activations, gate_saturation, gradient_flow
from .quantize import quantized
from .truncation import detach, truncated

__all__ = ["activations", "detach", "gate_saturation", "gradient_flow", "quantized", "truncated"]

if not _typing.TYPE_CHECKING:

    def __getattr__(name: str) -> _typing.Any:
        """Refuses a name that does not exist; of PyTorch's, it says what to type."""
        raise _unknown_name("nn.utils", name, _sys.modules[__name__])
