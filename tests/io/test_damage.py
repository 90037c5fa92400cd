"""A damaged checkpoint loads as the saved state or raises an error, but never as another state.

Nor is memory asked for that the state does not need: every load here runs under a limit.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.io import CheckpointError, load_checkpoint, save_checkpoint
from tinygrad_rnn.recipes import (
    CharLM,
    CharLMConfig,
    CharLMTraining,
    SettingError,
    TranslateConfig,
    TranslationTraining,
    Translator,
)

from .test_checkpoint import equal

TEXT = "to be, or not to be, that is the question " * 4
PAIRS = [(f"{n} and {m}", f"{m} und {n}") for n in range(4) for m in range(4)]


def checkpoint(seed: int) -> dict[str, Any]:
    run = CharLMTraining(
        TEXT, CharLMConfig(hidden_size=4, embedding_dim=3, batch_size=2, bptt=5, steps=9, seed=seed)
    )
    next(run)
    return run.checkpoint()


@contextmanager
def little_memory() -> Iterator[None]:
    """Limits the process to 256 MiB more than it uses."""
    resource = pytest.importorskip("resource")
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        pytest.skip("the system does not say how much memory a process has")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 28), limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes], list[bytes]]:
    """Returns a folder, the contents of its files, and those of another checkpoint's files."""
    folder, other = (tmp_path_factory.mktemp(name) for name in ("one", "other"))
    save_checkpoint(folder, checkpoint(0))
    save_checkpoint(other, checkpoint(1))
    contents = {file.name: file.read_bytes() for file in folder.iterdir()}
    return folder, contents, [file.read_bytes() for file in other.iterdir()]


HOW = ["bits"] * 4 + ["cut", "longer", "block", "byte", "other", "none", "hole"]


def damaged(draw: st.DrawFn, raw: bytes, others: list[bytes]) -> bytes | int | None:
    """Draws other contents, a size for a sparse file, or None for no file."""
    how = draw(st.sampled_from(HOW))
    at = draw(st.integers(0, len(raw) - 1))
    if how == "bits":
        flipped = bytearray(raw)
        for place in [at, *draw(st.lists(st.integers(0, len(raw) - 1), max_size=3))]:
            flipped[place] ^= 1 << draw(st.integers(0, 7))
        return bytes(flipped)
    if how == "cut":
        return raw[:at]
    if how == "longer":
        return raw + draw(st.binary(min_size=1, max_size=9))
    if how == "block":
        return raw[:at] + bytes(min(512, len(raw) - at)) + raw[at + 512 :]
    if how == "byte":
        return raw[:at] + draw(st.binary(max_size=2)) + raw[at + 1 :]
    if how == "other":
        return draw(st.sampled_from(others))
    return None if how == "none" else draw(st.sampled_from([1 << 31, 1 << 36, 1 << 42]))


@given(data=st.data())
def test_damage(saved: tuple[Path, dict[str, bytes], list[bytes]], data: st.DataObject) -> None:
    folder, contents, others = saved
    for name, raw in contents.items():
        (folder / name).write_bytes(raw)
    whole = load_checkpoint(folder)
    name = data.draw(st.sampled_from(sorted(contents)))
    swaps = [*others, *(raw for other, raw in contents.items() if other != name)]
    change = data.draw(st.composite(damaged)(contents[name], swaps))  # type: ignore[arg-type]
    path = folder / name
    if change is None:
        path.unlink()
    elif isinstance(change, int):
        os.truncate(path, change)
    else:
        path.write_bytes(change)
    with little_memory():
        if change == contents[name]:
            assert equal(load_checkpoint(folder), whole)
            return
        with pytest.raises(CheckpointError) as caught:  # a file's every bit is guarded
            load_checkpoint(folder)
    assert "\n" not in str(caught.value)


def translation() -> dict[str, Any]:
    config = TranslateConfig(hidden_size=4, embedding_dim=3, batch_size=2, steps=9)
    return TranslationTraining(PAIRS, config).checkpoint()


SIZES = st.sampled_from([1, 2, 3, 5, 10**3, 10**6, 10**9, 10**18])


@given(st.dictionaries(st.sampled_from(["hidden_size", "num_layers", "embedding_dim"]), SIZES))
def test_settings_that_contradict_the_arrays(sizes: dict[str, int]) -> None:
    for state, uses in (
        (checkpoint(0), [CharLM.from_state, lambda s: CharLMTraining.resume(s, TEXT)]),
        (translation(), [Translator.from_state, lambda s: TranslationTraining.resume(s, PAIRS)]),
    ):
        own = {name: state["config"][name] for name in sizes}
        state["config"] |= sizes
        with little_memory():
            for use in uses:
                if sizes == own:
                    use(state)
                    continue
                with pytest.raises((CheckpointError, SettingError)) as caught:
                    use(state)
                assert re.search("expected shape|must be at most", str(caught.value))


@given(st.data())
def test_entries_of_other_kinds(data: st.DataObject) -> None:
    """A state that fits no training is refused in one line."""
    state = checkpoint(0)
    name = data.draw(st.sampled_from(["generators", "schedule", "optimizer", "hidden", "position"]))
    if data.draw(st.booleans()):
        del state[name]
    else:
        state[name] = data.draw(st.sampled_from(["", 1.5, [], {}, [1], {"state": 1}]))
    with pytest.raises(CheckpointError) as caught:
        CharLMTraining.resume(state, TEXT)
    assert "\n" not in str(caught.value)
