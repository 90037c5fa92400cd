"""Hypothesis profiles: `dev` is quick, `ci` is what make test runs, `deep` searches for hours."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

import tinygrad_rnn as tg

slow_is_fine = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("dev", max_examples=20, deadline=None, suppress_health_check=slow_is_fine)
settings.register_profile("ci", max_examples=60, deadline=None, suppress_health_check=slow_is_fine)
settings.register_profile(
    "deep", max_examples=5000, deadline=None, suppress_health_check=slow_is_fine
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves out what needs a GPU where none answers."""
    if not tg.cuda.is_available():
        without = pytest.mark.skip(reason=tg.cuda.why_not())
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(without)


settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
