"""Fingerprints of training data, by which a checkpoint tells whether it resumes with the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

import numpy as np

Data = Any  # a text, pairs of texts; or a tree of strings, numbers and arrays


def fingerprint(data: Data) -> dict[str, Any]:
    """Identifies training data by their length and their SHA-256 digest.

    **Arguments** data: a text, pairs of texts, or a tree of strings, numbers and arrays.
    """
    pairs = isinstance(data, Sequence) and all(
        isinstance(one, tuple) and all(isinstance(text, str) for text in one) for one in data
    )
    text = "\n".join(map("\t".join, data)) if pairs and not isinstance(data, str) else _text(data)
    raw = text.encode("utf-8", "surrogatepass")
    return {"characters": len(text), "sha256": hashlib.sha256(raw).hexdigest()}


def _text(data: Any) -> str:
    """Writes a tree so that different data have different texts."""
    if isinstance(data, str):
        return data
    if isinstance(data, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(data).tobytes()).hexdigest()
        return f"{data.dtype.str} {data.shape} {digest}"
    if is_dataclass(data):
        data = vars(data)
    if isinstance(data, Mapping):
        return _text([list(data), list(data.values())])
    if isinstance(data, Sequence):
        parts = [_text(one) for one in data]
        return "".join(f"{len(part)}:{part}" for part in parts)
    return repr(data)
