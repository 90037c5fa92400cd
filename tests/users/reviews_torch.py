import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader, Dataset


class Reviews(Dataset):
    def __init__(self, count):
        rng = np.random.default_rng(0)
        self.ids = [rng.integers(1, 50, rng.integers(3, 20)) for _ in range(count)]
        self.labels = [int((ids < 25).mean() > 0.5) for ids in self.ids]

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, i):
        return self.ids[i], self.labels[i]


def collate(samples):
    ids, labels = zip(*samples, strict=True)
    lengths = torch.tensor([len(row) for row in ids])
    padded = pad_sequence([torch.from_numpy(row) for row in ids])
    return padded, lengths, torch.tensor(labels)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 8)
        self.lstm = nn.LSTM(8, 16, num_layers=2)
        self.head = nn.Linear(16, 2)

    def forward(self, ids, lengths):
        x = self.embedding(ids)
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        _, (h, _) = self.lstm(packed)
        return self.head(h[-1])


torch.manual_seed(0)
model = Classifier()
save_file(model.state_dict(), "start.safetensors")
loader = DataLoader(Reviews(200), batch_size=20, collate_fn=collate)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-2)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.8)
losses = []
for epoch in range(3):
    for ids, lengths, labels in loader:
        loss = nn.functional.cross_entropy(model(ids, lengths), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    scheduler.step()
    torch.save(
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "epoch": epoch,
        },
        "checkpoint.pt",
    )
