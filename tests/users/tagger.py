"""A tagger of words by a bidirectional LSTM: padded batches in buckets, and lengths."""

import numpy as np
from numpy.typing import NDArray

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.data import DataLoader, PadSequences

IGNORED = -100
Batch = tuple[tg.Tensor, NDArray[np.int64], tg.Tensor]


class Tagger(nn.Module):
    def __init__(self, words: int, tags: int) -> None:
        self.embedding = nn.Embedding(words, 16)
        self.layers = nn.LSTM(16, 16, bidirectional=True)
        self.head = nn.Linear(32, tags)

    def forward(self, ids: tg.Tensor, lengths: NDArray[np.int64]) -> tg.Tensor:
        hidden, _ = self.layers(self.embedding(ids), lengths=lengths)
        return self.head(hidden)


def sentences(count: int) -> list[tuple[list[int], list[int]]]:
    """The tag of a word says whether the next word is larger: 0 at the end."""
    drawn = np.random.default_rng(0)
    words = [drawn.integers(1, 10, drawn.integers(2, 12)).tolist() for _ in range(count)]
    return [(row, [int(b > a) for a, b in zip(row, [*row[1:], 0], strict=True)]) for row in words]


def loss(model: nn.Module, batch: Batch) -> tuple[tg.Tensor, int]:
    ids, lengths, tags = batch
    return nn.cross_entropy(model(ids, lengths), tags, ignore_index=IGNORED), int(lengths.sum())


def right(model: nn.Module, loader: DataLoader) -> float:
    found = total = 0
    with tg.no_grad():
        for ids, lengths, tags in loader:
            best = tg.argmax(model(ids, lengths), axis=-1).numpy()
            found += int((best == tags.numpy()).sum())
            total += int(lengths.sum())
    return found / total


tg.manual_seed(0)
train = sentences(400)
padded = PadSequences(2, padding_value=(0, IGNORED))
loader = DataLoader(
    train, 16, shuffle=True, lengths=[len(words) for words, _ in train], collate=padded
)
model = Tagger(10, 2)
optimizer = tg.optim.Adam(model.parameters(), lr=0.02)
trainer = tg.train.Trainer(
    model, loader, loss, optimizer, epochs=4, clip=1.0,
    validation=lambda model: 1 - right(model, loader), callbacks=[tg.train.CSVLog("log.csv")],
)  # fmt: skip
trainer.fit(quiet=True)
accuracy = right(model.eval(), loader)
