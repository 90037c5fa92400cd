"""A loader reads every sample once an epoch, prefetches in order, and resumes exactly."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.data import DataLoader

from ..strict import strict_device

SIZES = st.integers(1, 5)


class Squares:
    """A dataset that processes can import."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> int:
        if index == 77:
            raise KeyError("no such square")
        return index * index


class Counting:
    """An iterable dataset."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.count))


class Endless(Squares):
    def __getitem__(self, index: int) -> int:
        return super().__getitem__(index + 70)


def epoch(loader: DataLoader) -> list[list[int]]:
    return [batch.tolist() for batch in loader]


@given(st.integers(1, 30), SIZES, st.booleans(), st.booleans(), st.integers(0, 3), st.booleans())
def test_every_sample_once_an_epoch(
    count: int, size: int, shuffle: bool, drop_last: bool, prefetch: int, bucketed: bool
) -> None:
    if drop_last and count < size:
        return
    lengths = [n % 4 for n in range(count)] if bucketed else None
    loader = DataLoader(
        range(count), size, shuffle, generator=tg.Generator(count), drop_last=drop_last,
        prefetch=prefetch, lengths=lengths,
    )  # fmt: skip
    epochs = [epoch(loader) for _ in range(2)]
    for batches in epochs:
        seen = sorted(itertools.chain(*batches))
        assert len(batches) == len(loader)
        assert len(set(seen)) == len(seen) == (len(loader) * size if drop_last else count)
        assert all(len(batch) == size for batch in batches) or not drop_last
    if not shuffle:
        assert epochs[0] == epochs[1]
        if not bucketed:
            assert list(itertools.chain(*epochs[0])) == list(range(len(seen)))
    elif count > 20:
        assert epochs[0] != epochs[1]


@given(st.integers(0, 12), st.booleans(), st.integers(0, 2))
def test_position_is_all_there_is(read: int, bucketed: bool, prefetch: int) -> None:
    lengths = [n % 3 for n in range(10)] if bucketed else None

    def loader(seed: int) -> DataLoader:
        generator = tg.Generator(seed)
        return DataLoader(
            range(10), 3, True, generator=generator, lengths=lengths, prefetch=prefetch
        )

    first = loader(0)
    batches = itertools.chain.from_iterable(iter(first) for _ in range(9))
    before = [next(batches).tolist() for _ in range(read)]
    state = json.loads(json.dumps(first.state_dict()))
    whole, resumed = loader(0), loader(1)
    resumed.load_state_dict(state)
    rest = [batch for _ in range(6) for batch in epoch(resumed)]
    everything = [batch for _ in range(12) for batch in epoch(whole)]
    assert (before + rest)[:16] == everything[:16]


def test_a_loop_that_ends_early_begins_an_epoch_next_time() -> None:
    loader = DataLoader(range(6), 2)
    for batch in loader:
        assert batch.tolist() == [0, 1]
        break
    assert epoch(loader) == [[0, 1], [2, 3], [4, 5]]
    assert loader.state_dict() == {"seed": 0, "epoch": 2, "position": 0}


@pytest.mark.parametrize("prefetch", [0, 2])
def test_iterables(prefetch: int) -> None:
    loader = DataLoader(Counting(7), 3, prefetch=prefetch)
    assert epoch(loader) == [[0, 1, 2], [3, 4, 5], [6]] == epoch(loader)
    other = DataLoader(Counting(7), 3, prefetch=prefetch, drop_last=True)
    other.load_state_dict({"seed": 0, "epoch": 5, "position": 1})
    assert epoch(other) == [[3, 4, 5]]
    with pytest.raises(TypeError, match="without a length"):
        len(loader)


def test_processes_give_the_same_batches_and_their_errors() -> None:
    here = DataLoader(Squares(), 4, True, generator=tg.Generator(3))
    there = DataLoader(Squares(), 4, True, generator=tg.Generator(3), num_workers=1)
    assert epoch(there) == epoch(here)
    assert epoch(there) == epoch(here)  # the processes stay
    with pytest.raises(tg.InvalidTypeError, match=r"num_workers: .*picklable.*prefetch=2"):
        epoch(DataLoader(Squares(), 4, num_workers=1, collate=lambda batch: batch))


class UnpicklableError(Exception):
    """Cannot be sent from a process to another."""

    def __init__(self, path: str, line: int) -> None:
        super().__init__(f"{path}, line {line}")


class Unreadable(Squares):
    def __getitem__(self, index: int) -> Any:
        raise UnpicklableError("a.csv", index)


def test_an_error_that_cannot_be_pickled_is_told_by_the_process() -> None:
    with pytest.raises(ValueError, match=r"raised UnpicklableError: a\.csv, line 0"):
        epoch(DataLoader(Unreadable(), 4, num_workers=1))


@pytest.mark.parametrize("prefetch", [0, 2])
def test_errors_of_a_dataset_reach_the_loop(prefetch: int) -> None:
    loader = DataLoader(Endless(), 4, prefetch=prefetch)
    with pytest.raises(KeyError, match="no such square"):
        epoch(loader)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_batches_are_on_the_default_device_of_the_loop(prefetch: int) -> None:
    with strict_device() as name:
        loader = DataLoader([1.0, 2.0], 2, prefetch=prefetch)
        with tg.device(name):
            [batch] = loader
        assert batch.device == name


def test_buckets_are_alike_and_mixed() -> None:
    lengths = np.random.default_rng(0).integers(1, 50, 400).tolist()
    loader = DataLoader([*lengths], 10, True, generator=tg.Generator(0), lengths=lengths)
    batches = epoch(loader)
    padding = 1 - sum(map(sum, batches)) / sum(10 * max(batch) for batch in batches)
    assert padding < 0.05
    assert [max(batch) for batch in batches] != sorted(max(batch) for batch in batches)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size: expected 1 or more"),
        ({"dataset": []}, "dataset: expected at least one sample"),
        ({"dataset": iter([1])}, "read once an epoch"),
        ({"dataset": Counting(3), "shuffle": True}, "shuffle: needs a dataset with __len__"),
        ({"dataset": Counting(3), "num_workers": 2}, "num_workers: needs a dataset with __len__"),
        ({"lengths": [1]}, "lengths: expected 3"),
        ({"batch_size": 9, "drop_last": True}, "drop_last: 3 samples are fewer"),
        ({"dataset": 3}, "got int"),
    ],
)
def test_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(tg.TinygradRnnError, match=message):
        DataLoader(**{"dataset": [1, 2, 3], **arguments})


def test_states_that_do_not_fit() -> None:
    loader = DataLoader(range(4), 2)
    with pytest.raises(ValueError, match="position: expected less than the 2 batches"):
        loader.load_state_dict({"seed": 0, "epoch": 0, "position": 2})
    with pytest.raises(ValueError, match=r"expected .*'epoch', 'position', 'seed'"):
        loader.load_state_dict({"epoch": 0})


@pytest.mark.parametrize("wrong", [None, "x", 1.5, -1, (1, None)])
def test_lengths_that_are_no_lengths_are_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"DataLoader: lengths: .*lengths\[1\] = "):
        DataLoader([1, 2], 2, lengths=[1, wrong])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"shuffle": "no"}, "shuffle: expected True or False, got 'no'"),
        ({"drop_last": 1}, "drop_last: expected True or False, got 1"),
        ({"collate": "pad"}, "collate: expected a function of a list of samples"),
    ],
)
def test_settings_of_wrong_types_are_named(settings: Any, said: str) -> None:
    with pytest.raises(tg.InvalidTypeError, match=f"^DataLoader: {said}"):
        DataLoader([1, 2, 3], 2, **settings)
