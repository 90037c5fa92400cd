"""Attention generalises to sequences longer than those of the training."""

from dataclasses import replace

import pytest

from tinygrad_rnn.recipes import SettingError, TranslationTraining
from tinygrad_rnn.recipes.letters import CONFIG, TASKS, exact, examples


@pytest.mark.parametrize("task", TASKS)
def test_examples(task: str) -> None:
    pairs = examples(task, 200, (2, 5), seed=1)
    assert pairs == examples(task, 200, (2, 5), seed=1) != examples(task, 200, (2, 5), seed=2)
    assert {len(source) for source, _ in pairs} == {2, 3, 4, 5}
    wanted = {"copy": list, "reverse": lambda s: s[::-1], "sort": sorted}[task]
    assert all(list(target) == list(wanted(source)) for source, target in pairs)


def test_unknown_tasks() -> None:
    with pytest.raises(SettingError, match="one of copy, reverse, sort, not 'shuffle'"):
        examples("shuffle", 1, (1, 2), seed=0)


def test_reversal_carries_over_to_longer_sequences() -> None:
    sizes = {"hidden_size": 32, "embedding_dim": 16, "steps": 250, "batch_size": 32, "lr": 0.01}
    config = replace(CONFIG, **sizes)  # type: ignore[arg-type]
    run = TranslationTraining(
        examples("reverse", 2000, (1, 6), seed=0),
        config,
        heldout=examples("reverse", 50, (1, 6), 1),
    )
    for _ in run:
        pass
    assert exact(run.translator, examples("reverse", 100, (7, 10), seed=2)) > 0.8
