"""A symbol's number that names no row is a mistake, and is said to be one.

-1 and -100 pad labels and batches everywhere. Read as ids they must not be the last rows of the
table: the model would learn from padding without an error.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn


@pytest.mark.parametrize("bad", [-1, -4])
def test_embedding(bad: int) -> None:
    table = nn.Embedding(4, 2)
    with pytest.raises(IndexError, match=f"Embedding: ids: .*{bad} is outside 0 to 3"):
        table(tg.tensor([[0, bad]]))


@pytest.mark.parametrize("layer", [nn.RNN, nn.GRU, nn.LSTM])
def test_layers_that_read_a_table(layer: Any) -> None:
    table, layer = nn.Embedding(4, 2), layer(2, 3)
    with pytest.raises(IndexError, match=f"{layer.name}: ids: .*-1 is outside 0 to 3"):
        layer(table.weight, ids=tg.tensor([[0], [-1]]))


def test_embedding_with_padding() -> None:
    table = nn.Embedding(4, 2, padding_idx=0)
    with pytest.raises(IndexError):
        table(tg.tensor([0, -1]))


@pytest.mark.parametrize("kind", ["int8", "int16", "int64", "uint8", "uint32", "uint64"])
def test_ids_of_any_integers(kind: str) -> None:
    table, most = nn.Embedding(4, 2), np.iinfo(kind).max
    ids = np.array([[0, 3], [1, 2]], kind)
    np.testing.assert_array_equal(table(ids).numpy(), table.weight.numpy()[ids])
    np.testing.assert_array_equal(table(ids.T[::-1]).numpy(), table.weight.numpy()[ids.T[::-1]])
    assert table(ids[:0]).shape == (0, 2, 2)
    for bad in (4, most, *((-1, np.iinfo(kind).min) if kind.startswith("int") else ())):
        with pytest.raises(IndexError, match=f"{bad} is outside 0 to 3"):
            table(np.array([0, bad], kind))


@pytest.mark.parametrize("ids", [[0.0, 1.0], [True, False]])
def test_ids_that_are_no_integers(ids: Any) -> None:
    with pytest.raises(TypeError, match="Embedding: ids: expected integers, got"):
        nn.Embedding(4, 2)(ids)


def read_by(kind: str) -> Any:
    """A function that reads ids (T, B) of 4 symbols, each in another way."""
    table = nn.Embedding(4, 3)
    decoder = nn.Decoder(nn.Embedding(4, 3), nn.GRU(3, 3))
    encoder = nn.Encoder(nn.Embedding(4, 3), nn.GRU(3, 3))
    padded = nn.Encoder(nn.Embedding(4, 3, padding_idx=0), nn.GRU(3, 3))
    copying = nn.Decoder(nn.Embedding(4, 3), nn.GRU(3, 3), nn.DotAttention(3), copy=True)
    ways: dict[str, Any] = {
        "Recurrent": lambda ids: nn.Recurrent(nn.MGUCell(3, 3))(table.weight, ids=ids),
        "LSTM of other activations": lambda ids: nn.LSTM(3, 3, activation="relu")(
            table.weight, ids=ids
        ),
        "batch_first": lambda ids: nn.LSTM(3, 3, batch_first=True)(table.weight, ids=ids),
        "without a graph": lambda ids: no_graph(nn.LSTM(3, 3), table.weight, ids),
        "Encoder": encoder,
        "Encoder with padding": padded,
        "Decoder": lambda ids: decoder(ids),
        "Decoder step": lambda ids: decoder.step(ids[0], decoder.start(batch=2)),
        "copied": lambda ids: copying.prepare_memory(tg.zeros((2, 2, 3)), symbols=ids),
        "Pointer": lambda ids: nn.Pointer(3)(
            tg.zeros((2, 4)), tg.zeros((2, 3)), tg.zeros((2, 2)), tg.tensor(ids)
        ),
        "Seq2Seq": lambda ids: nn.Seq2Seq(encoder, decoder)(ids * 0, ids),
        "Seq2Seq sampled": lambda ids: nn.Seq2Seq(encoder, decoder)(
            ids * 0, ids[::-1], teacher_forcing_ratio=0.0
        ),
        "one_hot": lambda ids: tg.one_hot(tg.tensor(ids), 4),
    }
    return ways[kind]


def no_graph(layer: Any, table: tg.Tensor, ids: Any) -> Any:
    with tg.no_grad():
        return layer(table, ids=ids)


@pytest.mark.parametrize("bad", [-1, -100, 4])
@pytest.mark.parametrize(
    "kind",
    [
        "Recurrent", "LSTM of other activations", "batch_first", "without a graph", "Encoder",
        "Encoder with padding", "Decoder", "Decoder step", "copied", "Pointer", "Seq2Seq",
        "Seq2Seq sampled", "one_hot",
    ],
)  # fmt: skip
def test_every_way_to_read_a_table(kind: str, bad: int) -> None:
    read = read_by(kind)
    read(np.array([[0, 3], [1, 2]]))
    with pytest.raises(IndexError, match=f"{bad} is outside 0 to 3"):
        read(np.array([[0, bad], [1, 2]]))


@pytest.mark.parametrize("padding", [-1, -100, 99])
def test_ids_past_a_rows_length_are_not_read(padding: int) -> None:
    table, lengths = nn.Embedding(4, 3, generator=tg.Generator(0)), [3, 1]
    ids = np.array([[0, 3], [1, padding], [2, padding]])
    for layer in (nn.GRU(3, 3), nn.Recurrent(nn.MGUCell(3, 3)), nn.LSTM(3, 3, layer_norm=True)):
        found, _ = layer(table.weight, ids=ids, lengths=lengths)
        expected, _ = layer(table.weight, ids=np.clip(ids, 0, 3), lengths=lengths)
        np.testing.assert_array_equal(found.numpy(), expected.numpy())
    encoder = nn.Encoder(nn.Embedding(4, 3, padding_idx=0), nn.GRU(3, 3))
    found, _ = encoder(ids, lengths=lengths)
    expected, _ = encoder(np.clip(ids, 0, 3), lengths=lengths)
    np.testing.assert_array_equal(found.numpy(), expected.numpy())


def test_a_padding_counted_from_the_end_does_not_learn() -> None:
    table = nn.Embedding(5, 3, padding_idx=-1)
    before = table.weight.numpy().copy()
    optimizer = tg.optim.SGD(table.parameters(), lr=1.0)
    table([4, 0]).sum().backward()
    optimizer.step()
    assert (before[4] == 0).all()
    np.testing.assert_array_equal(table.weight.numpy()[1:], before[1:])
    assert (table.weight.numpy()[0] != before[0]).all()
    with pytest.raises(IndexError, match="-1 is outside 0 to 4"):
        table([-1, 0])


def test_vectors_that_were_learned_elsewhere() -> None:
    vectors = np.arange(6.0).reshape(3, 2)
    frozen = tg.nn.Embedding.from_pretrained(vectors)
    assert frozen(2).tolist() == [4.0, 5.0]
    assert frozen.weight.dtype == np.float64
    assert not frozen.weight.requires_grad
    learned = tg.nn.Embedding.from_pretrained(tg.tensor(vectors), freeze=False, padding_idx=0)
    learned([0, 1]).sum().backward()
    assert learned.weight.grad.tolist() == [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]  # type: ignore[union-attr]
    learned.weight.data[0] = 9.0
    assert vectors[0, 0] == 0.0
    with pytest.raises(tg.ShapeError, match=r"embeddings: expected reals .*got int64 \[3\]"):
        tg.nn.Embedding.from_pretrained([1, 2, 3])
