"""Two translations of the Bible, aligned by verse: the parallel text that every language has.

They are modules of the SWORD project, which Debian packages for many languages:

    apt-get install sword-text-kjv sword-text-sparv

Translations with one numbering of verses agree in the verses' positions in their files.
"""

from __future__ import annotations

from pathlib import Path

from ..data import TextError
from ..data.parallel_texts import read_module
from ..data.splits import Parts, split_by_hash
from .translate import TranslateConfig

MODULES = Path("/usr/share/sword/modules/texts/ztext")
ENGLISH, SPANISH = "engKJV2006eb", "spaRV1909eb"
TEST, VALIDATION = 1_000, 500  # verses

CONFIG = TranslateConfig(
    cell="lstm", hidden_size=256, num_layers=1, embedding_dim=256, dropout=0.3, attention="general",
    source_symbols="bpe", target_symbols="bpe", vocab_size=2000, max_length=80, tied=True,
    batch_size=64, steps=6_000, lr=2e-3,
)  # fmt: skip
QUICK = {"hidden_size": 64, "steps": 100}


def verses(
    source: str = ENGLISH,
    target: str = SPANISH,
    folder: str | Path = MODULES,
    *,
    test: int = TEST,
    validation: int = VALIDATION,
) -> Parts:
    """Reads the verses that both modules have.

    **Arguments** source, target: the modules' names. folder: where they are installed. test,
    validation: numbers of verses, which a hash of the source's text chooses. **Raises** TextError
    for a missing or damaged module, or for modules that number verses differently.
    """
    sides = [read_module(Path(folder) / name) for name in (source, target)]
    if len(sides[0]) != len(sides[1]):
        raise TextError(
            f"{source} has places for {len(sides[0]):,} verses and {target} for "
            f"{len(sides[1]):,}: they number verses differently and cannot be aligned"
        )
    pairs = [pair for pair in zip(*sides, strict=True) if all(pair)]
    parts = split_by_hash(pairs, test, validation)
    if not parts.training:
        raise TextError(
            f"{source} and {target} have only {len(pairs):,} verses in common: more than "
            f"{test + validation:,} are needed, which are held out"
        )
    return parts
