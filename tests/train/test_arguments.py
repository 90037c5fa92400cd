"""Arguments that would train nothing, or something else, are refused before the first update."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.train import CSVLog, Trainer

X = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
Y = np.array([0, 1, 0, 1, 1, 0])
SAMPLES = tg.data.TensorDataset(X, Y)


def mean_loss(model: nn.Module, batch: Any) -> tg.Tensor:
    return nn.cross_entropy(model(batch[0]), batch[1])


def trainer(data: Any = None, loss: Any = mean_loss, **settings: Any) -> Trainer:
    model = nn.Linear(3, 2)
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
    if "schedule" in settings and isinstance(settings["schedule"], type):
        settings["schedule"] = settings["schedule"](optimizer)
    batches = tg.data.DataLoader(SAMPLES, 2) if data is None else data
    return Trainer(model, batches, loss, optimizer, **{"epochs": 1, **settings})


LOADER = r"expected batches, as tg.data.DataLoader\(tg.data.TensorDataset\(x, y\), 32\), got "


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": (X, Y)}, "data: " + LOADER + "a tuple of arrays"),
        ({"data": X}, "data: " + LOADER + r"float32\[6, 3\]"),
        ({"data": SAMPLES}, "data: " + LOADER),  # without a batch axis
        ({"data": tg.data.Subset(SAMPLES, [0, 1])}, "data: " + LOADER),
        ({"data": {"x": X}}, "data: " + LOADER),
        ({"data": 3}, "data: " + LOADER + "3"),
        ({"data": []}, "data: expected batches in each epoch"),
        ({"validation": (X, Y)}, "validation: " + LOADER),
        ({"validation": SAMPLES}, "validation: " + LOADER),
        ({"loss": nn.cross_entropy}, "loss: expected a function of the model and a batch"),
        ({"loss": nn.CrossEntropyLoss()}, "loss: expected a function of the model and a batch"),
        ({"loss": "mse"}, "loss: expected a function of the model and a batch"),
        ({"patience": 2}, "patience waits for a validation figure"),
        ({"schedule": tg.optim.ReduceLROnPlateau}, "ReduceLROnPlateau waits for a validation"),
        ({"schedule": "cosine"}, "schedule: expected one of tg.optim"),
        ({"callbacks": print}, "callbacks: expected a list of functions"),
        ({"callbacks": ["log.csv"]}, "callbacks: expected a list of functions"),
        ({"explosion": None}, "explosion: expected more than 1"),
        ({"clip": 0}, "^Trainer: clip: expected more than 0, got 0"),
        ({"clip": "none"}, "^Trainer: clip: expected a number, got 'none'"),
        ({"accumulate": None}, "^Trainer: accumulate: expected an integer, got None"),
    ],
)
def test_arguments_are_refused_at_once(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(tg.TinygradRnnError, match=message):
        trainer(**settings)


class Named(Trainer):
    """A trainer of another name."""


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ({}, {"keep_last": 0}, "Trainer.fit: keep_last: expected 1 or more, got 0"),
        ({"loss": lambda model, batch: 3}, {}, "Trainer: loss: expected a scalar Tensor, .* got 3"),
        ({"validation": lambda model: "a"}, {}, "Trainer: validation: expected .* got 'a'"),
        ({"validation": [None]}, {}, "Trainer: validation: expected batches with .*a list\\)"),
    ],
)
@pytest.mark.parametrize("kind", [Trainer, Named])
def test_an_error_names_the_trainer_once(
    settings: dict[str, Any], options: dict[str, Any], message: str, kind: type[Trainer]
) -> None:
    run = trainer(**settings)
    run.__class__ = kind
    with pytest.raises(tg.TinygradRnnError) as caught:
        run.fit(quiet=True, **options)
    assert re.fullmatch(message, str(caught.value))


def test_an_optimizer_or_a_schedule_of_another_model_is_refused() -> None:
    model, other = nn.Linear(3, 2), tg.optim.Adam(nn.Linear(3, 2).parameters())
    with pytest.raises(ValueError, match="optimizer: it has no parameter of the model"):
        Trainer(model, [(X, Y)], mean_loss, other, steps=1)
    with pytest.raises(ValueError, match="schedule: it sets the learning rate of another"):
        trainer(schedule=tg.optim.StepLR(other, 1))


@pytest.mark.parametrize("count", [None, "a", -1, math.nan, True, np.arange(2)])
def test_counts_that_are_none(count: Any) -> None:
    with pytest.raises(TypeError, match="loss: expected a count of samples, from 0 up"):
        next(trainer(loss=lambda model, batch: (mean_loss(model, batch), count)))


def test_a_result_of_three_values() -> None:
    with pytest.raises(TypeError, match="loss: expected a scalar Tensor, or a pair"):
        next(trainer(loss=lambda model, batch: (mean_loss(model, batch), 1, 2)))


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_counts_may_be_tensors_and_some_may_be_zero(seed: int, accumulate: int) -> None:
    """The history is Python's numbers, and equals that of counts that are Python's."""
    counts = np.random.default_rng(seed).integers(0, 3, 6).tolist()
    counts[0] += 1  # of the first update

    def history(convert: Any) -> list[dict[str, float]]:
        given = iter(counts)

        def loss(model: nn.Module, batch: Any) -> tuple[tg.Tensor, Any]:
            return mean_loss(model, batch), convert(next(given))

        tg.manual_seed(0)
        batches = [(X[[i]], Y[[i]]) for i in range(6)]
        return trainer(batches[: 2 * accumulate], loss, accumulate=accumulate).fit(quiet=True)

    counts[accumulate] += 1  # of the second
    expected = history(int)
    assert history(tg.tensor) == history(np.int64) == expected
    assert all(type(value) in (int, float) for value in expected[0].values())


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_training_that_counts_nothing(accumulate: int) -> None:
    with pytest.raises(ValueError, match="loss: expected a count above 0 of some batch"):
        trainer(loss=lambda model, batch: (mean_loss(model, batch), 0), accumulate=accumulate).fit(
            quiet=True
        )


@pytest.mark.parametrize("figure", [None, "0.5", {"accuracy": "high"}, [1.0, 2.0]])
def test_what_a_validation_function_returns(figure: Any) -> None:
    with pytest.raises(TypeError, match="validation: expected that the function returns a number"):
        trainer(validation=lambda model: figure).fit(quiet=True)


def test_a_generator_of_batches_is_read_once() -> None:
    generator = ((X, Y) for _ in range(2))
    with pytest.raises(ValueError, match=r"data: .* can be read only once"):
        trainer(generator, epochs=None, steps=3).fit(quiet=True)


def test_best_weights_need_a_validation(tmp_path: Path) -> None:
    made = trainer()
    made.fit(tmp_path / "run", quiet=True)
    with pytest.raises(tg.io.CheckpointError, match=r"has no best weights: .* validation="):
        made.load_best(tmp_path / "run")


def test_a_log_in_a_new_folder_and_what_cannot_be_one(tmp_path: Path) -> None:
    log = tmp_path / "new folder" / "gr\u00f6\u00dfe.csv"
    trainer(callbacks=[CSVLog(log)]).fit(quiet=True)
    assert len(log.read_text(encoding="utf-8").splitlines()) == 4
    with pytest.raises(tg.io.CheckpointError, match=r"CSVLog: cannot write .*: Is a directory"):
        trainer(callbacks=[CSVLog(tmp_path)]).fit(quiet=True)
    (tmp_path / "other.csv").write_text("name,age\nx,3\n")
    made = trainer(callbacks=[])
    next(made)
    made.callbacks = [CSVLog(tmp_path / "other.csv")]
    with pytest.raises(tg.io.CheckpointError, match="is no log of a training"):
        next(made)
