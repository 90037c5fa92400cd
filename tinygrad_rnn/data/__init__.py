"""Texts, vocabularies, and batches for training."""

from .batching import Streams
from .bpe import BPEVocabulary
from .datasets import (
    TextError,
    default_text,
    lines,
    python_topics,
    read_lines,
    read_text,
    shakespeare,
)
from .parallel import Batch, Buckets, collate, in_order, read_pairs
from .vocabulary import END, PAD, START, UNKNOWN, CharVocabulary, Vocabulary, VocabularyError
from .words import WordVocabulary, without_blanks

VOCABULARIES: dict[str, type[Vocabulary]] = {
    kind.kind: kind for kind in (CharVocabulary, WordVocabulary, BPEVocabulary)
}

__all__ = [
    "END",
    "PAD",
    "START",
    "UNKNOWN",
    "VOCABULARIES",
    "BPEVocabulary",
    "Batch",
    "Buckets",
    "CharVocabulary",
    "Streams",
    "TextError",
    "Vocabulary",
    "VocabularyError",
    "WordVocabulary",
    "collate",
    "default_text",
    "in_order",
    "lines",
    "python_topics",
    "read_lines",
    "read_pairs",
    "read_text",
    "shakespeare",
    "without_blanks",
]
