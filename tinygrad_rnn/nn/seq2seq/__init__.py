"""Sequence-to-sequence models: encoder, bridge, decoder."""

from . import teacher_forcing
from .bridge import Bridge
from .decoder import Decoder
from .encoder import Encoder
from .model import Seq2Seq
from .pointer import Pointer

__all__ = ["Bridge", "Decoder", "Encoder", "Pointer", "Seq2Seq", "teacher_forcing"]
