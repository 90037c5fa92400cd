import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.data import DataLoader, PadSequences


class Reviews:
    def __init__(self, count):
        rng = np.random.default_rng(0)
        self.ids = [rng.integers(1, 50, rng.integers(3, 20)) for _ in range(count)]
        self.labels = [int((ids < 25).mean() > 0.5) for ids in self.ids]

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, i):
        return self.ids[i], self.labels[i]


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 8)
        self.lstm = nn.LSTM(8, 16, num_layers=2)
        self.head = nn.Linear(16, 2)

    def forward(self, ids, lengths):
        _, (h, _) = self.lstm(self.embedding(ids), lengths=lengths)
        return self.head(h[-1])


tg.manual_seed(0)
model = Classifier()
model.load_state_dict(tg.load("start.safetensors"))
loader = DataLoader(Reviews(200), batch_size=20, collate=PadSequences())
optimizer = tg.optim.Adam(model.parameters(), lr=3e-2)
scheduler = tg.optim.StepLR(optimizer, step_size=1, gamma=0.8)
losses = []
for epoch in range(3):
    for ids, lengths, labels in loader:
        loss = nn.cross_entropy(model(ids, lengths), labels)
        optimizer.zero_grad()
        loss.backward()
        tg.optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    scheduler.step()
    tg.io.save_checkpoint(
        "checkpoint",
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "epoch": epoch,
        },
    )
