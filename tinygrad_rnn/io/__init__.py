"""Files: named tensors, models, checkpoints of a training, and other libraries' formats."""

from .c_code import export_c
from .checkpoint import has_checkpoint, load_checkpoint, save_checkpoint
from .files import CheckpointError
from .flax import from_flax, to_flax
from .keras import KerasChain, from_keras, to_keras
from .lock import lock_checkpoint
from .model import LoadReport, load_matching, load_model, save_model
from .onnx_format import OnnxModel, export_onnx, export_seq2seq, import_onnx
from .pytorch import from_torch, to_torch
from .weights import load, save

__all__ = [
    "CheckpointError",
    "KerasChain",
    "LoadReport",
    "OnnxModel",
    "export_c",
    "export_onnx",
    "export_seq2seq",
    "from_flax",
    "from_keras",
    "from_torch",
    "has_checkpoint",
    "import_onnx",
    "load",
    "load_checkpoint",
    "load_matching",
    "load_model",
    "lock_checkpoint",
    "save",
    "save_checkpoint",
    "save_model",
    "to_flax",
    "to_keras",
    "to_torch",
]
