"""Launches, copies and waits of a training update on a GPU, counted on the stand-in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.recipes import CharLMConfig, CharLMTraining

from .driver import start

pytestmark = pytest.mark.gpu

LETTERS = list("abcdefghijklmnopqrstuvwxyz ,.\n")
TEXT = "".join(np.random.default_rng(0).choice(LETTERS, 3000))
STEPS = 8


def training(device: str, **settings: Any) -> CharLMTraining:
    sizes: dict[str, Any] = {"hidden_size": 16, "embedding_dim": 8, "batch_size": 4, "bptt": STEPS}
    return CharLMTraining(TEXT, CharLMConfig(**{**sizes, "steps": 12, **settings}), device)


def counted(call: Callable[[], Any]) -> dict[str, int]:
    with start().counting() as found:
        call()
    return found


# Kernels and products of a step, forwards and backwards: a GRU of this kind needs two of each.
OF_STEP = {"rnn": 4, "gru": 8, "lstm": 4}


@pytest.mark.parametrize("cell", OF_STEP)
def test_an_update_waits_once_and_launches_no_more_than_this(cell: str) -> None:
    run = training("cuda", cell=cell)
    next(run), next(run)
    update = counted(lambda: next(run))
    assert (update["waits"], update["sorts"]) == (1, 1)  # the ids, so that their sums repeat
    assert update["to_device"] <= 4  # inputs, targets, and the addresses for clipping and for Adam
    assert update["launches"] + update["products"] <= OF_STEP[cell] * STEPS + 40


def test_neither_forward_nor_backward_waits() -> None:
    run = training("cuda", cell="lstm", num_layers=2)
    next(run)
    made: list[Any] = []
    batch = next(iter(run.data))
    forward = counted(lambda: made.append(run.train_step.batch_loss(batch)))
    assert (forward["waits"], forward["to_host"]) == (0, 0)
    assert forward["to_device"] == 2  # the ids that are read, and those that are to be predicted
    backward = counted(made[0][0].backward)
    assert (backward["waits"], backward["to_host"], backward["to_device"]) == (0, 0, 0)


STEPS_OF = {
    "SGD": lambda ps: tg.optim.SGD(ps, 0.1),
    "SGD, momentum": lambda ps: tg.optim.SGD(ps, 0.1, 0.9, nesterov=True, weight_decay=0.1),
    "RMSprop": tg.optim.RMSprop,
    "RMSprop, momentum": lambda ps: tg.optim.RMSprop(ps, momentum=0.9, weight_decay=0.1),
    "Adam": tg.optim.Adam,
    "AdamW": tg.optim.AdamW,
}


@pytest.mark.parametrize("name", STEPS_OF)
def test_clipping_and_a_step_take_the_same_launches_for_any_number_of_parameters(name: str) -> None:
    def launches(parameters: int) -> tuple[int, int]:
        ps = [tg.ones((3, n + 1), device="cuda", requires_grad=True) for n in range(parameters)]
        for p in ps:
            p.grad = p.detach() * 2
        optimizer = STEPS_OF[name](ps)
        optimizer.step()
        clip = counted(lambda: tg.optim.clip_grad_norm_(ps, 1.0))
        assert clip["waits"] == 1
        step = counted(optimizer.step)
        assert (step["waits"], step["to_host"], step["to_device"]) == (0, 0, 1)
        return clip["launches"], step["launches"]

    assert launches(2) == launches(40)
    assert launches(2)[1] == 1


class Labels(tg.nn.Module):
    """A classifier of sequences."""

    def __init__(self, dtypes: tuple[str, str]) -> None:
        generator = tg.Generator(0)
        layers = {"device": "cuda", "generator": generator}
        self.lstm = tg.nn.LSTM(3, 8, batch_first=True, dtype=dtypes[0], **layers)
        self.head = tg.nn.Linear(8, 5, dtype=dtypes[1], **layers)

    def forward(self, x: Any) -> Any:
        return self.head(self.lstm(x)[0][:, -1].astype(self.head.weight.dtype))


# Without clipping, too, since the Trainer looks at the norm; and where no launch takes all.
@pytest.mark.parametrize("dtypes", [("float32", "float32"), ("float32", "float64")])
@pytest.mark.parametrize("clip", [None, 1e-3])
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("name", ["SGD, momentum", "RMSprop", "Adam"])
def test_an_update_of_the_trainer_waits_once(
    dtypes: tuple[str, str], clip: float | None, accumulate: int, name: str
) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(96, STEPS, 3)).astype("float32"), rng.integers(0, 5, 96)
    model = Labels(dtypes)
    loader = tg.data.DataLoader(tg.data.TensorDataset(x, y), 4, prefetch=2, device="cuda")

    def loss(model: Any, batch: Any) -> Any:
        return tg.nn.cross_entropy(model(batch[0]), batch[1]), len(batch[1])

    trainer = tg.train.Trainer(
        model, loader, loss, STEPS_OF[name](list(model.parameters())),
        steps=8, clip=clip, accumulate=accumulate, evaluate_every=8,
    )  # fmt: skip
    next(trainer), next(trainer)
    update = counted(lambda: next(trainer))
    assert update["waits"] == 1
    assert update["to_host"] <= 2  # the norm and the loss, and what checks of ids have found
    if dtypes[0] == dtypes[1]:
        assert update["launches"] + update["products"] <= accumulate * (4 * STEPS + 50)


def test_constants_are_made_on_the_device() -> None:
    for make in (tg.zeros, tg.ones, lambda shape, device: tg.full(shape, 3.0, device=device)):
        found = counted(lambda make=make: make((2, 3), device="cuda"))  # type: ignore[misc]
        assert (found["to_device"], found["waits"]) == (0, 0)


def figures(device: str, **settings: Any) -> list[tuple[float, float]]:
    return [(p.loss, p.norm) for p in training(device, **settings)]


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_training_gives_the_losses_of_the_cpu(cell: str) -> None:
    np.testing.assert_allclose(figures("cuda", cell=cell), figures("cpu", cell=cell), rtol=2e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_training_has_the_same_bits_in_every_order(dropout: float) -> None:
    settings: dict[str, Any] = {"cell": "lstm", "num_layers": 2, "dropout": dropout}
    with start().order(1):
        first = figures("cuda", **settings)
    with start().order(2):
        assert figures("cuda", **settings) == first
    np.testing.assert_allclose(first, figures("cpu", **settings), rtol=2e-5)


@pytest.mark.parametrize("settings", [{}, {"top_p": 0.9}, {"temperature": 0}])
def test_a_generated_character_waits_once(settings: dict[str, Any]) -> None:
    texts = {}
    for device in ("cuda", "cpu"):
        run = training(device)
        next(run)

        def text(length: int, run: Any = run) -> str:
            return "".join(run.lm.sample(length, generator=tg.Generator(1), **settings))

        texts[device] = text(5)
        short, long = counted(lambda f=text: f(5)), counted(lambda f=text: f(15))  # type: ignore[misc]
        if device == "cuda":
            a_character = {k: (long[k] - short[k]) / 10 for k in long}
            assert a_character["waits"] == 1
            assert a_character["launches"] + a_character["products"] <= 13
    assert texts["cuda"] == texts["cpu"]
