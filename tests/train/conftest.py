"""What the tests of training share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def unsynchronised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saves without waiting for the disk: the power of a test's machine does not fail."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)
