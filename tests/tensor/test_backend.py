"""Devices: what is missing is said, with the remedy."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.tensor import backend


def test_without_cupy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for ask in (
        lambda: tg.zeros((2,), device="cuda"),
        lambda: tg.zeros((2,)).to("cuda"),
        lambda: tg.set_default_device("cuda"),
        lambda: tg.nn.Linear(2, 2).to("cuda"),
    ):
        with pytest.raises(tg.DeviceError, match=r"needs CuPy.*pip install"):
            ask()
    assert not tg.cuda.is_available()


def test_with_cupy_and_no_gpu_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class CupyWithoutGpu:
        __version__ = "14"

        @staticmethod
        def is_available() -> bool:
            return False

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "cupy", CupyWithoutGpu)  # type: ignore[arg-type]
    with pytest.raises(tg.DeviceError, match="no usable GPU: install an NVIDIA driver"):
        tg.zeros((2,), device="cuda:0")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:0", ""])
def test_unknown_devices(name: str) -> None:
    with pytest.raises(tg.DeviceError, match="unknown device"):
        backend.parse(name)


def test_the_default_device_has_three_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tg.default_device() == "cpu"
    monkeypatch.setenv("TINYGRAD_RNN_DEVICE", "cuda")
    assert tg.default_device() == "cuda"
    with tg.device("cpu"):
        assert tg.default_device() == "cpu"
    monkeypatch.setattr(backend, "_process_wide", "cpu")
    assert tg.default_device() == "cpu"


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_importing_the_package_imports_numpy_and_nothing_else() -> None:
    modules: Any = run(
        "import sys, numpy; before = set(sys.modules); import tinygrad_rnn;"
        "new = {m.partition('.')[0] for m in set(sys.modules) - before};"
        "print(sorted(m for m in new - sys.stdlib_module_names if not m.startswith('_')))"
    )
    assert modules.strip() == "['tinygrad_rnn']"
