"""Models trained in threads, and in processes that were forked, give what each gives alone."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn

KINDS = ["lstm", "gru", "fused", "scanned"]


def model(kind: str, generator: tg.Generator) -> nn.Module:
    if kind == "lstm":
        return nn.LSTM(3, 8, num_layers=2, dropout=0.3, recurrent_dropout=0.2, generator=generator)
    if kind == "gru":
        return nn.GRU(3, 8, bidirectional=True, layer_norm=True, generator=generator)
    return nn.Recurrent(nn.JANETCell(3, 8, generator=generator), fused=kind == "fused")


def trained(kind: str) -> dict[str, Any]:
    """Trains a model with dropout on shuffled data. **Returns** its weights and losses."""
    generator = tg.Generator(KINDS.index(kind))
    layer = model(kind, generator)
    rng = np.random.default_rng(0)
    data = tg.data.DataLoader(
        tg.data.TensorDataset(rng.normal(size=(12, 6, 3)).astype("float32")), 4, shuffle=True,
        generator=generator, prefetch=1,
    )  # fmt: skip

    def loss(layer: nn.Module, batch: Any) -> tg.Tensor:
        y, _ = layer(tg.permute_dims(batch[0], (1, 0, 2)))
        return tg.mean(tg.square(y - 0.5))

    trainer = tg.train.Trainer(
        layer, data, loss, tg.optim.Adam(layer.parameters(), lr=0.01), epochs=4, clip=1.0,
        validation=data, on_nan="skip",
    )  # fmt: skip
    losses = [progress.loss for progress in trainer]
    return {"losses": losses} | {n: p.numpy() for n, p in layer.named_parameters()}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[n], other[n]) for n in one)


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    """Threads take turns a thousand times as often as they do by default."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("frequent_switches")
def test_models_train_in_threads_as_alone() -> None:
    alone = {kind: trained(kind) for kind in KINDS}
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(trained, KINDS * 2))
    for kind, result in zip(KINDS * 2, found, strict=True):
        assert same(result, alone[kind]), kind


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks as POSIX does")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_trains_as_its_parent() -> None:
    """After the parent has trained, with threads of its own."""
    alone = {kind: trained(kind) for kind in KINDS}
    child = os.fork()
    if not child:
        status = 1
        try:
            status = 0 if all(same(trained(kind), alone[kind]) for kind in KINDS) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert same(trained("lstm"), alone["lstm"])


def test_python_without_the_gil_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    for name in [n for n in sys.modules if n.partition(".")[0] == "tinygrad_rnn"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match="free-threaded Python"):
        import tinygrad_rnn  # noqa: F401
