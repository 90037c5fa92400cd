"""Hypothesis profiles: `dev` is quick, `ci` draws the same each time, `deep` searches for hours."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

import tinygrad_rnn as tg

slow_is_fine = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("dev", max_examples=20, deadline=None, suppress_health_check=slow_is_fine)
settings.register_profile(
    "ci", max_examples=60, deadline=None, derandomize=True, suppress_health_check=slow_is_fine
)
settings.register_profile(
    "deep", max_examples=5000, deadline=None, suppress_health_check=slow_is_fine
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects what needs a GPU where none answers: `-m gpu` then fails, having run nothing."""
    if not tg.cuda.is_available():
        left_out = [item for item in items if "gpu" in item.keywords]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if "gpu" not in item.keywords]


settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
