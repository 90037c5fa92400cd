"""Models in the ONNX format."""

from .export import export_onnx, export_seq2seq

__all__ = ["export_onnx", "export_seq2seq"]
