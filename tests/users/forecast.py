"""A forecast of a series from a CSV file, with a training loop of one's own."""

import sys

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn


class Forecaster(nn.Module):
    def __init__(self, hidden_size: int = 16) -> None:
        self.layer = nn.GRU(1, hidden_size)
        self.head = nn.Linear(hidden_size, 1)

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        outputs, _ = self.layer(tg.moveaxis(x, 0, 1))
        return self.head(outputs[-1])


tg.manual_seed(0)
series = np.loadtxt(sys.argv[1], delimiter=",", skiprows=1, dtype="float32", ndmin=2)
mean, deviation = series.mean(), series.std()
windows = tg.data.Windows((series - mean) / deviation, length=20)
train = tg.data.Subset(windows, range(len(windows) - 50))
test = tg.data.Subset(windows, range(len(windows) - 50, len(windows)))
loader = tg.data.DataLoader(train, 32, shuffle=True, drop_last=True, prefetch=2)

model = Forecaster()
optimizer = tg.optim.AdamW(model.parameters(), lr=1e-2)
schedule = tg.optim.CosineLR(optimizer, total_steps=8 * len(loader), warmup_steps=5)
for _ in range(8):
    for x, y in loader:
        loss = nn.mse_loss(model(x), y[:, 0])
        optimizer.zero_grad()
        loss.backward()
        tg.optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()

model.eval()
with tg.no_grad():
    x, y = next(iter(tg.data.DataLoader(test, len(test))))
    error = nn.mse_loss(model(x), y[:, 0]).item()
    last = nn.mse_loss(x[:, -1], y[:, 0]).item()  # of repeating the last value
