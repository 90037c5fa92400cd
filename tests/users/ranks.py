"""A plain loop on several ranks: mpiexec -n 2 python ranks.py."""

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn

ranks = tg.distributed.communicator()
series = np.random.default_rng(0).normal(size=(100, 20, 3)).astype("float32")

model = nn.GRU(3, 3, batch_first=True, generator=tg.Generator(0))
optimizer = tg.optim.Adam(model.parameters(), lr=0.01)
loader = tg.data.DataLoader(series, 16, shuffle=True, generator=tg.Generator(0))
loader.shard(ranks.rank, ranks.size)
tg.distributed.broadcast_parameters(model)

for epoch in range(3):
    for x in loader:
        optimizer.zero_grad()
        y, _ = model(x[:, :-1])
        loss = nn.mse_loss(y, x[:, 1:])
        loss.backward()
        _, mean = tg.distributed.average_gradients(model.parameters(), len(x), loss)
        tg.optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    if ranks.rank == 0:
        print(f"epoch {epoch}: loss {mean:.5f}")
if ranks.rank == 0:
    tg.save("model.safetensors", model.state_dict())
