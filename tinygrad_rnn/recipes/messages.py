"""A program's messages in two languages: LibreOffice's, from another language to English.

Debian packages the translations to a hundred languages, such as the Chinese one:

    apt-get install libreoffice-l10n-zh-cn
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..data import TextError
from ..data.parallel_texts import plain, read_catalogue
from ..data.sets import SETS, cache_folder
from ..data.splits import Parts, Texts, split_by_hash
from .comparison import Comparison
from .translate import TranslateConfig
from .translation_table import against_baselines
from .translation_training import TranslationTraining

CHINESE = "zh_CN"
TEST, VALIDATION = 1_000, 500  # messages
SHORTEST, LONGEST = 2, 30  # words of an English message

CONFIG = TranslateConfig(
    cell="lstm", hidden_size=256, num_layers=1, embedding_dim=256, dropout=0.3, attention="general",
    source_symbols="chars", target_symbols="bpe", vocab_size=3000, max_length=80, tied=True,
    batch_size=64, steps=3_000, lr=2e-3,
)  # fmt: skip
QUICK = {"hidden_size": 64, "steps": 400}


def messages(
    language: str = CHINESE,
    folder: str | Path | None = None,
    *,
    test: int = TEST,
    validation: int = VALIDATION,
) -> Parts:
    """Reads the translated messages of one line and 2 to 30 English words, and splits them.

    **Arguments** language: as in the name of its folder. folder: of the languages; where Debian
    installs them, or of downloaded data, if None. test, validation: numbers of messages, which a
    hash of the source chooses. **Raises** TextError for a damaged catalogue, or too few messages.
    """
    installed = Path(SETS["messages"].folder).parent
    places = [Path(one) / language for one in ([folder] if folder else [installed, cache_folder()])]
    place = next((one for one in places if one.is_dir()), places[0])
    found: dict[str, Counter[str]] = {}
    for file in sorted(place.glob("**/*.mo")):
        for english, other in read_catalogue(file):
            a, b = plain(other), plain(english)
            if a != b and SHORTEST <= len(b.split()) <= LONGEST and "\n" not in a + b:
                found.setdefault(a, Counter())[b] += 1
    if len(found) <= test + validation:
        package = f"libreoffice-l10n-{language.lower().replace('_', '-')}"
        raise TextError(
            f"{place} has {len(found):,} messages: more than {test + validation:,} are needed, "
            f"which are held out: on Debian sudo apt-get install {package}; elsewhere name the "
            "folder of the languages with --folder"
        )
    pairs = [(a, b.most_common(1)[0][0]) for a, b in found.items()]
    return split_by_hash(pairs, test, validation)


class TranslationMemory:
    """Gives the translation of the most similar source: by pairs of letters (Dice 1945).

    >>> pairs = [("打开文件", "open file"), ("关闭窗口", "close window")]
    >>> TranslationMemory(pairs).translate("打开文档")
    'open file'
    """

    def __init__(self, pairs: Sequence[Texts]) -> None:
        self.targets = [target for _, target in pairs]
        self.sizes: list[int] = []
        self.places: dict[str, list[int]] = {}
        for i, (source, _) in enumerate(pairs):
            self.sizes.append(len(_letters(source)))
            for two in _letters(source):
                self.places.setdefault(two, []).append(i)

    def translate(self, text: str) -> str:
        """Returns the translation of the most similar source, the first of several."""
        wanted = _letters(text)
        common = Counter(i for two in wanted for i in self.places.get(two, ()))
        best = max(common, key=lambda i: (common[i] / (self.sizes[i] + len(wanted)), -i), default=0)
        return self.targets[best]


def compare(training: TranslationTraining, parts: Parts) -> Comparison:
    """Compares translations of the test's messages with those of the most similar messages."""
    memory = {"most similar message": TranslationMemory(parts.training).translate}
    return against_baselines(training, "messages", parts.training, parts.test, **memory)


def _letters(text: str) -> set[str]:
    return {f" {text} "[i : i + 2] for i in range(len(text) + 1)}
