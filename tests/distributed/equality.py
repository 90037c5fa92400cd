"""A program for mpiexec: all recipes train as one process does with the joined batch.

Rank 0 trains twice, with the others and alone. The last batch of an epoch has fewer samples than
the others, the sequences are of different lengths, and 4 ranks have parts of different sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import recipes
from tinygrad_rnn.data.images import Captioned
from tinygrad_rnn.data.series import Series
from tinygrad_rnn.data.splits import Parts
from tinygrad_rnn.recipes import (
    Caption,
    Classify,
    Forecast,
    RecipeTrainer,
    Speech,
    Tag,
    WordLM,
    letters,
)
from tinygrad_rnn.recipes.series import split

ranks = tg.distributed.communicator()
rng = np.random.default_rng(0)
TEXT = "".join(f"{n} times {n} is {n * n}.\n" for n in range(60))
SMALL = {"hidden_size": 6, "embedding_dim": 5, "dropout": 0.0, "lr": 0.01}


def charlm(cell: str) -> RecipeTrainer:
    config = recipes.CharLMConfig(cell=cell, num_layers=2, batch_size=5, bptt=7, steps=40, **SMALL)
    return recipes.CharLMTraining(TEXT, config)


def wordlm() -> RecipeTrainer:
    config = WordLM.settings(
        hidden_size=6,
        dropout=0.0,
        weight_dropout=0.0,
        batch_size=5,
        bptt=7,
        steps=40,
        average=0.5,
        order=2,
        lr=0.01,
    )
    return WordLM(TEXT * 3, config)


def translate() -> RecipeTrainer:
    config = replace(letters.CONFIG, **SMALL, batch_size=6, steps=40)
    pairs = letters.examples("reverse", 45, (1, 9), seed=0)
    return recipes.TranslationTraining(pairs, config, heldout=pairs[:9])


WORDS = ["to", "be", "or", "not", "that", "is", "the", "question"]
SENTENCES = [[WORDS[i] for i in rng.integers(0, 8, n)] for n in rng.integers(2, 12, 45)]


def classify() -> RecipeTrainer:
    items = [(" ".join(s), str("not" in s), 1.0) for s in SENTENCES]
    config = Classify.settings(**SMALL, word_dropout=0.0, batch_size=6, epochs=6)
    return Classify(Parts.of([items], 0), config)


def tag() -> RecipeTrainer:
    items = [[(word, "V" if word in ("be", "is") else "O") for word in s] for s in SENTENCES]
    config = Tag.settings(**SMALL, word_dropout=0.0, batch_size=6, epochs=6)
    return Tag(Parts.of([items], 0), config)


def speech() -> RecipeTrainer:
    items = [(rng.normal(size=(n, 3)).astype("float32"), str(n % 2)) for n in range(3, 48)]
    config = Speech.settings(hidden_size=6, dropout=0.0, noise=0.0, batch_size=6, epochs=6)
    return Speech(Parts.of([items], 0), config)


def caption() -> RecipeTrainer:
    pixels = rng.integers(0, 256, (30, 16, 16, 3)).astype(np.uint8)
    items = [
        Captioned(str(i), one, [" ".join(s)])
        for i, (one, s) in enumerate(zip(pixels, SENTENCES, strict=False))
    ]
    config = Caption.settings(
        image_size=16, channels=4, **SMALL, shift=0, batch_size=6, epochs=6, label_smoothing=0.1
    )
    training = Caption(Parts.of([items], 0), config)
    for module in training.model.modules():  # whose statistics are those of each rank's part
        if isinstance(module, tg.nn.BatchNorm1d):
            module.eval()
    return training


def forecast() -> RecipeTrainer:
    days = [datetime(2020, 1, 1) + timedelta(days=i) for i in range(500)]
    walks = np.exp(np.cumsum(rng.normal(0, 0.01, (2, 500)), axis=1))
    series = [Series(str(i), days, walk, np.zeros((500, 0))) for i, walk in enumerate(walks)]
    config = Forecast.settings(hidden_size=6, dropout=0.0, window=50, batch_size=6, epochs=6)
    return Forecast(split(series, 0, "value"), config)


def memory(problem: str) -> RecipeTrainer:
    config = recipes.MemoryConfig(problem, "gru", length=12, hidden_size=6, batch_size=6, steps=40)
    return recipes.Memory(config)


TRAININGS: dict[str, Callable[[], RecipeTrainer]] = {
    "charlm": lambda: charlm("lstm"),
    "wordlm": wordlm, "translate": translate, "classify": classify, "tag": tag, "speech": speech,
    "caption": caption, "forecast": forecast,
    **{f"memory {problem}": (lambda p=problem: memory(p)) for problem in ("adding", "reber")},
}  # fmt: skip


def curve(create: Callable[[], RecipeTrainer], dtype: str, steps: int, together: bool) -> Any:
    """The losses, norms and counts of a training, and its weights."""
    global rng
    rng = np.random.default_rng(0)
    training = create()
    training.model.to(dtype)

    def cast(module: Any, args: Any) -> Any:
        return tuple(
            x.astype(dtype) if isinstance(x, tg.Tensor) and "float" in str(x.dtype) else x
            for x in args
        )

    training.model.register_forward_pre_hook(cast)
    if together:
        training.distribute(ranks)
    records = []
    for _, progress in zip(range(steps), training, strict=False):
        records.append([progress.loss, progress.norm, progress.count])
        if progress.figures is not None:
            records.append([progress.validation, 0, 0])
    carried = tg.tensor(0.0) if training.carried is None else training.carried
    leaves = carried if isinstance(carried, tuple) else (carried,)
    if together and training.carried is not None:
        leaves = tuple(tg.as_tensor(ranks.join(h.data, 1)) for h in leaves)
    weights = [p.numpy().ravel() for p in (*training.model.parameters(), *leaves)]
    return np.array(records, float), np.concatenate(weights)


def error_of(alone: Any, shared: Any) -> float:
    return float((np.abs(alone - shared) / np.maximum(1, np.abs(alone))).max())


failures = 0
for name, create in TRAININGS.items():
    for dtype, steps, bound in (("float64", 9, 1e-12), ("float32", 12, 1e-4)):
        together = curve(create, dtype, steps, True)
        alike = len(set(ranks.gather(together[1].tobytes()))) == 1
        if ranks.rank == 0:
            errors = list(map(error_of, curve(create, dtype, steps, False), together))
            right = errors[0] <= bound and alike and (dtype == "float32" or errors[1] <= bound)
            failures += not right
            print(f"{name} {dtype}: {errors[0]:.1e} {errors[1]:.1e}{' WRONG' * (not right)}")
if ranks.rank == 0:
    print("all equal" if not failures else f"{failures} differ")
