"""Texts, vocabularies, datasets, and batches for training."""

from .batching import Streams
from .bpe import BPEVocabulary
from .collating import PadSequences, collate, pad_sequence, unpad_sequence
from .datasets import (
    TextError,
    default_text,
    lines,
    python_topics,
    read_lines,
    read_text,
    shakespeare,
)
from .loader import DataLoader
from .parallel import Batch, collate_pairs, in_order, read_pairs
from .samples import Dataset, IterableDataset, Subset, TensorDataset, Windows, random_split
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
    "CharVocabulary",
    "DataLoader",
    "Dataset",
    "IterableDataset",
    "PadSequences",
    "Streams",
    "Subset",
    "TensorDataset",
    "TextError",
    "Vocabulary",
    "VocabularyError",
    "Windows",
    "WordVocabulary",
    "collate",
    "collate_pairs",
    "default_text",
    "in_order",
    "lines",
    "pad_sequence",
    "python_topics",
    "random_split",
    "read_lines",
    "read_pairs",
    "read_text",
    "shakespeare",
    "unpad_sequence",
    "without_blanks",
]
