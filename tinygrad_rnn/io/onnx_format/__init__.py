"""Models in the ONNX format."""

from .export import export_onnx, export_seq2seq
from .importing import OnnxModel, import_onnx

__all__ = ["OnnxModel", "export_onnx", "export_seq2seq", "import_onnx"]
