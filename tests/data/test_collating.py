"""Samples become batches, sequences are padded and come back, gradients reach them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.data import (
    DataLoader,
    PadSequences,
    TensorDataset,
    Windows,
    collate,
    pad_sequence,
    random_split,
    unpad_sequence,
)

LENGTHS = st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(any)


class Point(NamedTuple):
    x: float
    name: str


def test_structures() -> None:
    batch = collate([Point(1.0, "a"), Point(2.0, "b")])
    assert isinstance(batch, Point)
    assert batch.x.tolist() == [1.0, 2.0]  # type: ignore[attr-defined]
    assert batch.name == ["a", "b"]
    for samples, dtype in (([1, 2], "int64"), ([1.0, 2.0], "float32"), ([True, False], "bool")):
        assert collate(samples).dtype == dtype
    assert collate([np.float64(1), np.float64(2)]).dtype == "float64"
    assert collate([tg.ones((2,)), tg.zeros((2,))]).shape == (2, 2)
    with pytest.raises(tg.ShapeError, match="PadSequences"):
        collate([np.zeros(2), np.zeros(3)])
    with pytest.raises(TypeError, match="same structure"):
        collate([(1, 2), (1,)])


@given(LENGTHS, st.booleans(), st.booleans(), st.sampled_from([(), (2,)]))
def test_padding_and_back(
    lengths: list[int], batch_first: bool, tensors: bool, features: tuple[int, ...]
) -> None:
    generator = np.random.default_rng(len(lengths))
    arrays = [generator.random((n, *features)).astype("float32") for n in lengths]
    sequences: list[Any] = [tg.tensor(a) for a in arrays] if tensors else arrays
    padded = pad_sequence(sequences, batch_first, padding_value=-1)
    outer = (len(lengths), max(lengths)) if batch_first else (max(lengths), len(lengths))
    assert padded.shape == (*outer, *features)
    for array, back in zip(arrays, unpad_sequence(padded, lengths, batch_first), strict=True):
        np.testing.assert_array_equal(back.numpy(), array)
    assert (padded.numpy() == -1).sum() == (max(lengths) * len(lengths) - sum(lengths)) * int(
        np.prod(features)
    )


def test_gradients_reach_the_sequences() -> None:
    sequences = [tg.ones((n,), requires_grad=True) for n in (3, 1)]
    (pad_sequence(sequences) * tg.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])).sum().backward()
    assert [s.grad.tolist() for s in sequences] == [[1.0, 3.0, 5.0], [2.0]]  # type: ignore[union-attr]


@pytest.mark.oracle
def test_padding_is_that_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    arrays = [np.arange(2.0 * n).reshape(n, 2) for n in (3, 1, 2)]
    theirs = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(a) for a in arrays])
    np.testing.assert_array_equal(pad_sequence(arrays).numpy(), theirs.numpy())


def test_a_tagger_s_batch() -> None:
    samples = [([5, 6], [1, 2], "x"), ([7], [3], "y")]
    tokens, lengths, tags, names = PadSequences(2, batch_first=True, padding_value=(0, -100))(
        samples
    )
    assert tokens.tolist() == [[5, 6], [7, 0]]
    assert lengths.tolist() == [2, 1]
    assert tags.tolist() == [[1, 2], [3, -100]]
    assert names == ["x", "y"]
    layer = tg.nn.LSTM(1, 3)
    assert layer(tokens.T[..., None].astype("float32"), lengths=lengths)[0].shape == (2, 2, 3)
    with pytest.raises(tg.ShapeError, match="sample 0: expected 2 sequences of one length"):
        PadSequences(2)([([5, 6], [1])])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pad_sequence([]), "at least one"),
        (lambda: pad_sequence([np.zeros((2, 3)), np.zeros((2, 4))]), "differ in T_i only"),
        (lambda: unpad_sequence(np.zeros((2, 3)), [1, 2]), "lengths: expected 3 from 0 to 2"),
        (lambda: unpad_sequence(np.zeros((2, 2)), [1, 3]), "lengths: expected 2 from 0 to 2"),
        (lambda: TensorDataset(np.zeros(2), np.zeros(3)), "same number of rows"),
        (lambda: TensorDataset([1, 2]), "expected arrays or Tensors, got list"),
        (lambda: Windows(np.zeros(3), 3), "3 steps are too few"),
        (lambda: Windows(np.zeros(3), 1, stride=0), "stride: expected 1 or more"),
        (lambda: Windows(np.zeros(3), 1)[2], "none at 2"),
        (lambda: random_split(range(3), [0.5, 0.6], tg.Generator(0)), "sum to 1"),
    ],
)
def test_refused(call: Any, message: str) -> None:
    with pytest.raises(tg.TinygradRnnError, match=message):
        call()


@given(st.integers(2, 20), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_windows(steps: int, length: int, horizon: int, stride: int) -> None:
    if steps < length + horizon:
        return
    windows = Windows(np.arange(steps), length, horizon, stride)
    pairs = [windows[i] for i in range(len(windows))]
    for i, (x, y) in enumerate(pairs):
        start = i * stride
        assert np.concatenate([x, y]).tolist() == [*range(start, start + length + horizon)]
    assert len(windows) * stride + length + horizon > steps  # none is left out
    x, y = next(iter(DataLoader(windows, 2)))
    assert x.shape[1:] == (length,)
    assert y.shape[1:] == (horizon,)


def test_parts_are_disjoint_and_complete() -> None:
    parts = random_split(range(11), [0.5, 0.3, 0.2], tg.Generator(0))
    assert sorted(i for part in parts for i in part) == list(range(11))
    assert [len(part) for part in parts] == [6, 3, 2]


@pytest.mark.parametrize("seed", range(20))
def test_lists_of_numbers_have_the_dtype_of_a_tensor_of_them(seed: int) -> None:
    """Some are empty: ids stay integers, and Python's floats are float32."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 4, 5).tolist()
    lengths[int(rng.integers(5))] += 1
    number = (int, float)[seed % 2]
    sequences = [[number(n) for n in rng.integers(0, 9, length)] for length in lengths]
    padded = pad_sequence(sequences, batch_first=True)
    assert padded.dtype == tg.tensor([number(1)]).dtype
    assert [s.tolist() for s in unpad_sequence(padded, lengths, True)] == sequences
    batch, counts, labels = PadSequences()([(sequence, 1) for sequence in sequences])
    assert batch.dtype == padded.dtype
    assert counts.tolist() == lengths
    assert labels.tolist() == [1] * 5


def test_empty_lists_beside_sequences_of_vectors() -> None:
    assert pad_sequence([[], [[1.0, 2.0]], np.zeros((2, 2), "float64")]).shape == (2, 3, 2)
    assert pad_sequence([[], []]).dtype == "float32"


@pytest.mark.parametrize("value", [0.5, float("nan"), float("inf"), -1])
@pytest.mark.parametrize("kind", [np.asarray, tg.tensor])
def test_padding_that_the_dtype_cannot_represent(value: float, kind: Any) -> None:
    ids = [kind(np.array([1, 2], "uint8")), kind(np.array([3], "uint8"))]
    with pytest.raises(ValueError, match=r"padding_value|out of bounds"):
        pad_sequence(ids, padding_value=value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PadSequences()([(None, 1)]), "sample 0: expected a sequence, or a tuple"),
        (lambda: PadSequences()([([1], 1), 3]), "sample 1: expected a sequence, or a tuple"),
        (lambda: PadSequences(3)([([1], [1])]), "a tuple that begins with 3 of them"),
        (lambda: PadSequences(0), "sequences: expected 1 or more"),
        (lambda: PadSequences(2, padding_value=(0,)), "padding_value: expected 2"),
        (lambda: pad_sequence(x for x in [[1]]), "expected a list of them, got generator"),
        (lambda: unpad_sequence([[1, 2]], [1, 1]), "padded: expected an array or a Tensor"),
        (lambda: unpad_sequence(np.zeros(3), [1]), "padded: expected an array or a Tensor"),
        (lambda: unpad_sequence(np.zeros((3, 2)), [1.5, 2]), "lengths: expected integers"),
        (lambda: collate([]), "expected a list of samples"),
        (lambda: collate([{"a": 1}, {"b": 1}]), "the same structure"),
        (lambda: DataLoader({"x": [1], "y": [2]}, 1), "expected samples by number, got a dict"),
    ],
)
def test_what_cannot_be_padded_or_stacked(call: Any, message: str) -> None:
    with pytest.raises(tg.TinygradRnnError, match=message):
        call()


def test_splits_by_counts_and_by_the_default_generator() -> None:
    tg.manual_seed(3)
    parts = random_split(range(10), [7, 3])
    assert [len(part) for part in parts] == [7, 3]
    tg.manual_seed(3)
    assert [[*part] for part in random_split(range(10), [0.7, 0.3])] == [[*part] for part in parts]
    assert sorted(i for part in parts for i in part) == list(range(10))
    with pytest.raises(ValueError, match="or counts that sum to 10"):
        random_split(range(10), [7, 4])


def test_a_loader_says_what_it_reads() -> None:
    loader = DataLoader(TensorDataset(np.zeros((5, 2))), 2)
    assert repr(loader) == "DataLoader(TensorDataset, 5 samples, batch_size=2, shuffle=False)"
    assert repr(DataLoader({1, 2}, 2)) == "DataLoader(set, batch_size=2, shuffle=False)"


def test_a_collate_function_names_itself_and_its_arguments() -> None:
    with pytest.raises(tg.InvalidTypeError, match=r"^PadSequences: batch_first: expected True"):
        PadSequences(batch_first="no")  # type: ignore[arg-type]
    with pytest.raises(tg.InvalidValueError, match=r"^PadSequences: sequences: expected at least"):
        PadSequences()([])
    for value in (float("nan"), float("inf"), 1e30):
        with pytest.raises(tg.InvalidValueError, match=r"padding_value: int64 cannot represent"):
            pad_sequence([np.array([1]), np.array([1, 2])], padding_value=value)
