"""Files: named tensors in a file, and checkpoints of a training in a folder."""

from .checkpoint import has_checkpoint, load_checkpoint, save_checkpoint
from .files import CheckpointError
from .lock import lock_checkpoint
from .weights import load, save

__all__ = [
    "CheckpointError",
    "has_checkpoint",
    "load",
    "load_checkpoint",
    "lock_checkpoint",
    "save",
    "save_checkpoint",
]
