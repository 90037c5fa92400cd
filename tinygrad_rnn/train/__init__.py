"""Training: the loop that recipes share, its checkpoints, its display and its logs."""

from ..nn.module import inference
from .display import Display, show
from .divergence import DivergedError, check_weights, worst_bits
from .logs import CSVLog, TensorBoard
from .progress import Progress
from .signals import stop_requests
from .trainer import Trainer

__all__ = [
    "CSVLog",
    "DivergedError",
    "Display",
    "Progress",
    "TensorBoard",
    "Trainer",
    "check_weights",
    "inference",
    "show",
    "stop_requests",
    "worst_bits",
]
