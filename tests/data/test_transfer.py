"""Batches are copied to a GPU beside the work: tests for `make test-cupy`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.data import DataLoader, transfer

from ..cuda_on_cpu import driver
from .test_loader import Squares

pytestmark = pytest.mark.gpu

SAMPLES = [(np.full((40, 3), i, "float32"), {"label": i}, "name") for i in range(20)]


@pytest.fixture
def late() -> Iterator[None]:
    """Copies run when someone waits for them, on the stand-in."""
    if not driver.started():
        yield
        return
    with driver.start().late_copies():
        yield


def check(batch: Any, first: int, count: int = 4) -> None:
    x, labels, names = batch
    assert (x.device, labels["label"].device, names) == ("cuda:0", "cuda:0", ["name"] * count)
    expected = np.arange(first, first + count)
    assert labels["label"].tolist() == expected.tolist()
    np.testing.assert_array_equal(x.numpy()[:, 7, 2], expected)


def read(loader: DataLoader, use: Any = check) -> int:
    """Uses every batch, late enough that the next one is prepared."""
    count = 0
    for i, batch in enumerate(loader):
        use(batch, 4 * i)
        (batch[0] * 2).sum()  # launches that read the batch when it is freed
        time.sleep(0.01)
        count += 1
    return count


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_batches_arrive_whole(late: None, prefetch: int) -> None:
    loader = DataLoader(SAMPLES, 4, prefetch=prefetch, device="cuda")
    for _ in range(2):
        assert read(loader) == 5


def test_the_host_waits_for_no_copy(late: None) -> None:
    loader = DataLoader(SAMPLES, 4, prefetch=2, device="cuda")
    with driver.start().counting() as counts:
        assert read(loader, lambda *_: None) == 5
    assert (counts["waits"], counts["to_host"]) == (0, 0)
    assert counts["to_device"] == 10  # two Tensors a batch


def test_the_next_copy_starts_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    log = []
    start = transfer.Transfers.start

    def noted(self: Any, batch: Any) -> Any:
        log.append(f"copy {int(batch[0, 0].item())}")
        return start(self, batch)

    monkeypatch.setattr(transfer.Transfers, "start", noted)
    loader = DataLoader([np.full(3, i) for i in range(4)], prefetch=2, device="cuda")
    batches = iter(loader)
    for i in range(4):
        batch = next(batches)
        log.append(f"work {int(batch[0, 0].item())}")
        assert len(batch) == 1
        time.sleep(0.05 * (i < 3))
    # The first ones may not be prepared yet; from then on a copy is a batch ahead.
    assert log.index("copy 2") < log.index("work 1") + 2
    assert log.index("copy 3") < log.index("work 2") < log.index("work 3")


def copied(kept: int | None) -> None:
    """Copies two batches, of which the second one is prepared before the first copy has run."""
    transfers = transfer.Transfers("cuda")
    transfers._unfinished = deque(maxlen=kept)
    first = transfers.start(transfers.locked(tg.ones((1000,))))
    second = transfers.start(transfers.locked(tg.zeros((1000,))))
    assert first.result().tolist() == [1] * 1000
    assert second.result().tolist() == [0] * 1000


def test_the_memory_of_the_host_is_kept_until_it_is_copied(late: None) -> None:
    copied(kept=None)


@pytest.mark.skipif(not driver.started(), reason="plants bugs that only the stand-in reports")
def test_planted_bugs_are_caught(late: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import cupy

    with pytest.raises(AssertionError):  # the memory is freed before it is copied
        copied(kept=0)
    loader = DataLoader(SAMPLES, 4, prefetch=2, device="cuda")
    with monkeypatch.context() as bug:  # the batch is used before it is copied
        bug.setattr(transfer.Transfer, "result", lambda self: self._batch)
        with pytest.raises(AssertionError):
            read(loader)
    with monkeypatch.context() as bug:  # the copy does not wait for the work on what was there
        record, early = cupy.cuda.Stream.record, cupy.cuda.Stream.null.record()
        bug.setattr(cupy.cuda.Stream, "record", lambda self: record(self) if self.ptr else early)
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError):
            read(loader)
        assert "does not wait for earlier launches" in driver.start().failure


def test_what_is_not_a_constant_of_the_host_is_moved_as_it_is(late: None) -> None:
    w = tg.ones((2,), requires_grad=True)

    def collate(samples: list[int]) -> Any:
        return w * samples[0], tg.ones((2,), device="cuda"), tg.ones((0, 2)), None, np.ones(2)

    (first,) = DataLoader([3], collate=collate, prefetch=1, device="cuda")
    assert [x.device for x in first[:3]] == ["cuda:0"] * 3
    assert first[2].shape == (0, 2)
    assert first[3] is None
    assert type(first[4]) is np.ndarray
    first[0].sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [3, 3]


def test_batches_of_processes_and_errors_arrive(late: None) -> None:
    loader = DataLoader(Squares(), 5, num_workers=1, device="cuda")
    assert [x.tolist() for x in loader] == [[0, 1, 4, 9, 16], [25, 36, 49, 64, 81]]

    def failing(samples: list[int]) -> Any:
        if 2 in samples:
            raise KeyError("no such sample")
        return tg.tensor(samples)

    batches = iter(DataLoader(range(4), 1, collate=failing, prefetch=2, device="cuda"))
    assert [next(batches).tolist(), next(batches).tolist()] == [[0], [1]]
    with pytest.raises(KeyError, match="no such sample"):
        next(batches)


def test_a_loop_that_ends_early_leaves_nothing_behind(late: None) -> None:
    loader = DataLoader(SAMPLES, 4, prefetch=2, device="cuda")
    for batch in loader:
        check(batch, 0)
        break
    assert read(loader) == 5


def test_a_training_has_the_losses_of_batches_of_the_host() -> None:
    def losses(device: str | None) -> list[float]:
        model = tg.nn.Linear(3, 1, generator=tg.Generator(0), device="cuda")
        loader = DataLoader(SAMPLES, 4, prefetch=2, device=device)
        trainer = tg.train.Trainer(
            model, loader, lambda model, batch: tg.mean(model(batch[0]) ** 2),
            tg.optim.SGD(model.parameters(), lr=1e-3), epochs=2,
        )  # fmt: skip
        return [p.loss for p in trainer]

    assert losses("cuda") == losses(None)
