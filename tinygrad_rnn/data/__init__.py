"""Text on its way into a network: where it comes from, its symbols, its batches."""

from .batching import Streams
from .datasets import TextError, default_text, python_topics, read_text, shakespeare
from .vocabulary import CharVocabulary, VocabularyError

__all__ = [
    "CharVocabulary",
    "Streams",
    "TextError",
    "VocabularyError",
    "default_text",
    "python_topics",
    "read_text",
    "shakespeare",
]
