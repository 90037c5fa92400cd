import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn

x = np.random.default_rng(0).normal(size=(500, 12, 2)).astype("float32")
y = (x.sum(axis=(1, 2)) > 0).astype("int64")


class Model(nn.Module):
    def __init__(self):
        self.gru = nn.GRU(2, 16, batch_first=True)
        self.dense = nn.Linear(16, 2)

    def forward(self, x):
        return self.dense(self.gru(x)[0][:, -1])


def loss(model, batch):
    x, y = batch
    return nn.cross_entropy(model(x), y), len(y)


model = Model()
train, test = tg.data.TensorDataset(x[:400], y[:400]), tg.data.TensorDataset(x[400:], y[400:])
trainer = tg.train.Trainer(
    model, tg.data.DataLoader(train, 32, shuffle=True), loss,
    tg.optim.Adam(model.parameters(), lr=0.01), epochs=4, clip=1.0,
    validation=tg.data.DataLoader(test, 32), patience=3,
    callbacks=[tg.train.CSVLog("log.csv")],
)  # fmt: skip
history = trainer.fit("checkpoints")
with tg.no_grad():
    predicted = tg.argmax(model.eval()(tg.tensor(x[:5])), axis=-1)
