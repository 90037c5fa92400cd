"""Models trained in threads, and in processes that were forked, give what each gives alone."""

import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from threading import Event
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


def checking(done: Event) -> None:
    """Looks for what is not finite, and has it."""
    while not done.is_set():
        with pytest.raises(tg.AnomalyError), tg.detect_anomaly(), np.errstate(all="ignore"):
            tg.log(tg.zeros((1,), requires_grad=True))


def without_gradients(done: Event) -> None:
    """Infers, with a hook."""
    layer, seen = nn.LSTM(3, 8, generator=tg.Generator(0)), list[Any]()
    layer.register_forward_hook(lambda _, __, found: seen.append(found[0]))
    with tg.no_grad():
        while not done.is_set() or not seen:
            y = layer(tg.ones((5, 2, 3)))[0]
            assert seen[-1] is y
            assert not y.requires_grad
            assert np.array_equal(y.numpy(), seen[0].numpy())


@pytest.mark.usefixtures("frequent_switches")
def test_what_other_threads_do_changes_nothing() -> None:
    """Anomaly detection, inference and hooks are those of one thread."""
    alone, done = {kind: trained(kind) for kind in KINDS}, Event()
    with ThreadPoolExecutor(4) as pool:
        others = [pool.submit(other, done) for other in (checking, without_gradients)]
        found = [pool.submit(trained, kind) for kind in KINDS]
        try:
            for kind, result in zip(KINDS, found, strict=True):
                assert same(result.result(), alone[kind]), kind
        finally:
            done.set()
        for other in others:
            other.result()


def test_detections_of_two_threads_end_with_their_blocks() -> None:
    """Whichever ends first."""
    entered, left = Event(), Event()

    def first() -> None:
        with tg.detect_anomaly():
            entered.set()
            assert left.wait(60)

    with ThreadPoolExecutor(1) as pool, np.errstate(all="ignore"):
        other = pool.submit(first)
        assert entered.wait(60)
        with tg.detect_anomaly():
            left.set()
            other.result()
        assert tg.log(tg.zeros((1,))).item() == -np.inf


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_train_as_alone(method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot start processes by {method}")
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert same(pool.submit(trained, "lstm").result(), trained("lstm"))


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
