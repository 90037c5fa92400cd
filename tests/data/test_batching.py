"""Streams cover every symbol once, in order, and continue from any position."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.data import Streams


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int, int]:
    batch, window = draw(st.integers(1, 6)), draw(st.integers(1, 7))
    return draw(st.integers(batch * window + 1, batch * window + 80)), batch, window


@given(sizes())
def test_a_pass_covers_every_symbol_once(drawn: tuple[int, int, int]) -> None:
    n, batch, window = drawn
    streams = Streams(np.arange(n), batch, window)
    windows = [next(streams) for _ in range(streams.windows)]
    assert streams.at_start

    x = np.concatenate([x for x, _ in windows])
    y = np.concatenate([y for _, y in windows])
    np.testing.assert_array_equal(y, x + 1)  # the next symbol
    np.testing.assert_array_equal(x.T.ravel(), np.arange(x.size))  # streams are contiguous
    assert 0 <= (n - 1) - x.size < batch
    assert all(x.shape == (window, batch) for x, _ in windows[:-1])


@given(sizes(), st.integers(0, 40))
def test_position_resumes(drawn: tuple[int, int, int], steps: int) -> None:
    n, batch, window = drawn
    one, other = (Streams(np.arange(n), batch, window) for _ in range(2))
    for _ in range(steps):
        next(one)
    other.position = one.position
    for _ in range(3):
        assert one.at_start == other.at_start
        for left, right in zip(next(one), next(other), strict=True):
            np.testing.assert_array_equal(left, right)


def test_passes_follow_each_other() -> None:
    streams = Streams(np.arange(7), batch=2, window=2)
    starts, firsts = [], []
    for _, (x, _) in zip(range(4), streams, strict=False):
        firsts.append(x[0].tolist())
        starts.append(streams.at_start)
    assert firsts == [[0, 3], [2, 5], [0, 3], [2, 5]]
    assert starts == [False, True, False, True]


def test_too_short() -> None:
    with pytest.raises(ValueError, match=r"12 symbols.*at least 13.*[Ll]ower batch or window"):
        Streams(np.arange(12), batch=3, window=4)
    assert Streams(np.arange(13), batch=3, window=4).windows == 1


@pytest.mark.parametrize(("batch", "window"), [(0, 1), (1, 0), (-1, 2)])
def test_sizes_below_one(batch: int, window: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Streams(np.arange(9), batch, window)
