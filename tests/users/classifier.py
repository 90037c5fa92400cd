"""A classifier of sequences from arrays: it trains, stops, resumes, and draws its loss curve."""

import sys

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn


class Classifier(nn.Module):
    def __init__(self) -> None:
        self.layers = nn.GRU(2, 16, batch_first=True)
        self.head = nn.Linear(16, 2)

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        return self.head(self.layers(x)[0][:, -1])


def loss(model: nn.Module, batch: tuple[tg.Tensor, tg.Tensor]) -> tuple[tg.Tensor, int]:
    x, y = batch
    return nn.cross_entropy(model(x), y), len(y)


tg.manual_seed(0)
x = np.random.default_rng(0).normal(size=(500, 12, 2)).astype("float32")
y = (x.sum(axis=(1, 2)) > 0).astype("int64")
train, test = tg.data.random_split(tg.data.TensorDataset(x, y), [0.8, 0.2], tg.Generator(0))
model = Classifier()
optimizer = tg.optim.Adam(model.parameters(), lr=0.01)
trainer = tg.train.Trainer(
    model, tg.data.DataLoader(train, 32, shuffle=True), loss, optimizer,
    epochs=int(sys.argv[2]), validation=tg.data.DataLoader(test, 100), clip=1.0,
)  # fmt: skip
history = trainer.fit(sys.argv[1], resume=True)
tg.plot.save(tg.plot.losses(history), "losses.png")
