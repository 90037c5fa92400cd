"""Hypothesis profiles: `dev` is quick, `ci` is what make test runs, `deep` searches for hours."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

slow_is_fine = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("dev", max_examples=20, deadline=None, suppress_health_check=slow_is_fine)
settings.register_profile("ci", max_examples=60, deadline=None, suppress_health_check=slow_is_fine)
settings.register_profile(
    "deep", max_examples=5000, deadline=None, suppress_health_check=slow_is_fine
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
