"""Seeds the generator of every test and of every example in docstrings and documents.

They must hold with every seed: `TEST_SEED=7 make test` tries another.
"""

from __future__ import annotations

import os

import pytest

import tinygrad_rnn as tg


def pytest_runtest_setup(item: pytest.Item) -> None:
    tg.manual_seed(int(os.environ.get("TEST_SEED", "0")))
