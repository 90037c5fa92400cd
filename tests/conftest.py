"""Hypothesis profiles, and which tests `make quick` runs.

`quick` draws a few cases, `dev` some, `ci` the same ones each time, `deep` searches for hours.
"""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import tinygrad_rnn as tg

from . import commands

collect_ignore = ["sanitized"]  # what every Python process of `make sanitize` loads

slow_is_fine = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile(
    "quick", max_examples=3, deadline=None, derandomize=True, suppress_health_check=slow_is_fine
)
settings.register_profile("dev", max_examples=20, deadline=None, suppress_health_check=slow_is_fine)
settings.register_profile(
    "ci", max_examples=60, deadline=None, derandomize=True, suppress_health_check=slow_is_fine
)
settings.register_profile(
    "deep", max_examples=5000, deadline=None, suppress_health_check=slow_is_fine
)


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by -m
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks the first test of each file as quick; deselects GPU tests if there is no GPU.

    `-m gpu` then fails, having run nothing.
    """
    if not tg.cuda.is_available():
        # Not item.keywords: the name of a folder is among them.
        left_out = [item for item in items if item.get_closest_marker("gpu")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("gpu")]
    first = {item.path: item for item in reversed(items)}
    for item in first.values():
        item.add_marker("quick")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Seeds the generators of a test's module: it draws the same, whichever tests ran before."""
    if isinstance(item, pytest.Function):
        seed = [int(os.environ.get("TEST_SEED", "0")), zlib.crc32(item.nodeid.encode())]
        for value in vars(item.module).values():
            if isinstance(value, np.random.Generator):
                value.bit_generator.state = np.random.default_rng(seed).bit_generator.state


settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> commands.Run:
    """Returns a function that runs `tinygrad-rnn` in a new folder, and returns what it prints."""
    monkeypatch.chdir(tmp_path)
    return commands.run


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, for tests of pages; they are skipped where it is not installed."""
    api = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()
