"""A text that is learnt in no time, and runs on it that take none."""

from collections.abc import Callable

import pytest

from tinygrad_rnn.recipes import Config, Training

TEXT = "".join(f"{n} times {n} is {n * n}.\n" for n in range(40))


@pytest.fixture
def text() -> str:
    return TEXT


@pytest.fixture
def tiny() -> Callable[..., Config]:
    """Makes configurations that run in a moment."""
    sizes = {"hidden": 6, "embedding": 4, "batch": 3, "bptt": 7, "steps": 12, "lr": 0.01}
    return lambda **changes: Config(**{**sizes, **changes})


@pytest.fixture
def trained(tiny: Callable[..., Config]) -> Training:
    run = Training(TEXT, tiny(hidden=16, steps=30))
    for _ in run:
        pass
    return run
