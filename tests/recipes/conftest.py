"""A small text, and configurations for short trainings on it."""

from collections.abc import Callable

import pytest

from tinygrad_rnn.recipes import CharLMConfig, CharLMTraining

TEXT = "".join(f"{n} times {n} is {n * n}.\n" for n in range(40))


@pytest.fixture
def text() -> str:
    return TEXT


@pytest.fixture
def tiny() -> Callable[..., CharLMConfig]:
    """Returns a function that creates configurations of short trainings."""
    sizes = {
        "hidden_size": 6,
        "embedding_dim": 4,
        "batch_size": 3,
        "bptt": 7,
        "steps": 12,
        "lr": 0.01,
    }
    return lambda **changes: CharLMConfig(**{**sizes, **changes})


@pytest.fixture
def trained(tiny: Callable[..., CharLMConfig]) -> CharLMTraining:
    run = CharLMTraining(TEXT, tiny(hidden_size=16, steps=30))
    for _ in run:
        pass
    return run
