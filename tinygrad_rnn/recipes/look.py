"""The surprise, units and gates of a trained model over a text: the content of the page of `look`.

Of a language model: each symbol's surprise, the likeliest symbols after it, and all gates and
states. Of a translation model: attention. Of a classifier: each word's contribution to the label;
of a tagger: to each tag. The result is a tree that JSON can express; long arrays are in base64.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import TextError
from ..nn.utils import activations
from ..tensor.creation import as_tensor
from ..tensor.ops import log_softmax
from .charlm import CharModel
from .language_model import LanguageModel
from .runs import load_run
from .tagger import Tagger
from .translator import Translator

LIKELIEST = 5  # next symbols that are shown
WINDOW = 1024  # symbols that a language model reads at a time
MOST = 12_000_000  # activations on a page, a byte each; of more, those that vary least are left out
NAMES = {
    "r": "reset gate r", "z": "update gate z", "n": "candidate n", "h": "state h", "c": "state c",
    "i": "input gate i", "f": "forget gate f", "g": "candidate g", "o": "output gate o",
}  # fmt: skip


def look(folder: str | Path, texts: Sequence[str], device: str | None = None) -> dict[str, Any]:
    """Reads texts with the model of a checkpoint, and returns the content of a page.

    **Arguments** folder: of the checkpoint. texts: one for a language model, or lines. **Raises**
    CheckpointError for a run that cannot be looked at, TextError if there is no text.
    """
    if not any(texts):
        raise TextError("the text is empty; there is nothing to look at")
    recipe, found = load_run(folder, "look", device)
    if isinstance(found, LanguageModel):
        text = "\n".join(texts)
        return surprises(found.model, found.encode(text), found.split(text), list(found.symbols))
    lines = [text for text in texts if text.strip()]
    if isinstance(found, Translator):
        return translation(found, lines)
    tagging = isinstance(found, Tagger)
    texts = found.explain([line.split() for line in lines]) if tagging else found.predict(lines)
    return {"kind": recipe.recipe, "texts": list(texts)}


def surprises(
    model: CharModel, ids: NDArray[np.int64], symbols: list[str], vocabulary: list[str]
) -> dict[str, Any]:
    """Computes surprises, the likeliest next symbols, and activations.

    The surprise of a symbol is -log2 P(symbol | all before), in bits.

    **Arguments** ids: of the start symbol, and of the symbols. vocabulary: the symbols of all ids.
    """
    logs: list[NDArray[Any]] = []

    device = next(model.parameters()).device

    def run() -> None:
        state = None
        for at in range(0, len(ids), WINDOW):
            window = as_tensor(ids[at : at + WINDOW][:, None], device=device)
            logits, state = model(window, state)
            logs.append(log_softmax(logits, axis=-1).numpy()[:, 0].astype("float32"))

    layers = activations(model, run)["layers"]
    log_p = np.concatenate(logs)
    bits = -log_p[np.arange(len(symbols)), ids[1:]] / np.log(2)
    count = min(LIKELIEST, len(vocabulary))
    after = log_p[1:]
    best = np.argsort(-after, axis=-1, kind="stable")[:, :count]
    parts = [
        _part(f"{f'layer {n}, ' * (len(layers) > 1)}{NAMES.get(letter, letter)}", values[1:, 0])
        for n, layer in enumerate(layers, start=1)
        for letter, values in ((k, v.numpy()) for k, v in layer.items())
    ]
    return {
        "kind": "text",
        "symbols": symbols,
        "vocabulary": vocabulary,
        "bits": packed(bits.astype("<f4")),
        "next": packed(best.astype("<u4")),
        "probabilities": packed(np.exp(np.take_along_axis(after, best, axis=-1)).astype("<f4")),
        "parts": _fitted(parts),
    }


def _part(name: str, values: NDArray[Any]) -> dict[str, Any]:
    """Values (T, units) as bytes, from the lowest, 0, to the highest, 255."""
    bound = max(1.0, float(np.ceil(np.abs(values).max())))
    low = -bound if values.min() < 0 else 0.0
    scaled = np.round((values - low) / (bound - low) * 255).astype("uint8")
    return {"name": name, "low": low, "high": bound, "values": scaled}


def _fitted(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Packs the units of each part, and leaves out those that vary least, if there are too many."""
    steps = len(parts[0]["values"])
    most = max(1, MOST // (steps * len(parts)))
    for part in parts:
        values = part["values"]
        units = np.sort(np.argsort(-values.std(axis=0), kind="stable")[:most])
        part["units"] = units.tolist()
        part["of"] = values.shape[1]
        part["values"] = packed(values[:, units].T)  # a unit's bytes lie together
    return parts


def packed(values: NDArray[Any]) -> str:
    """Encodes the bytes of an array, row by row, in base64."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def translation(translator: Translator, lines: Sequence[str]) -> dict[str, Any]:
    """Translates lines, with the attention of each target symbol to the source symbols."""
    pairs = []
    for line, [best] in zip(lines, translator.translate(lines, n_best=1), strict=True):
        weights = [] if best.attention is None else best.attention.astype(float).round(3).tolist()
        pairs.append(
            {
                "source": translator.source_tokens(line),
                "target": best.tokens,
                "weights": weights,
                "log_prob": best.log_prob,
            }
        )
    return {"kind": "translation", "pairs": pairs}
