"""The same training with other settings on the workers of a Dask cluster: python elsewhere.py."""

import numpy as np
from dask.distributed import Client, LocalCluster


def train(lr, seed=0):
    import tinygrad_rnn as tg  # on the worker

    t = np.arange(400, dtype="float32")
    windows = tg.data.Windows(np.sin(t / 3), length=12, horizon=1)
    generator = tg.Generator(seed)
    model = tg.nn.Sequential(
        tg.nn.Linear(12, 16, generator=generator),
        tg.nn.Tanh(),
        tg.nn.Linear(16, 1, generator=generator),
    )
    trainer = tg.train.Trainer(
        model,
        tg.data.DataLoader(windows, 32, shuffle=True, generator=generator),
        lambda model, batch: tg.nn.mse_loss(model(batch[0]), batch[1]),
        tg.optim.Adam(model.parameters(), lr=lr),
        epochs=5,
    )
    history = trainer.fit(quiet=True)
    return history[-1]["loss"], {name: p.numpy() for name, p in model.state_dict().items()}


if __name__ == "__main__":
    cluster = LocalCluster(n_workers=2, threads_per_worker=1)  # or yours: Client("scheduler:8786")
    with cluster, Client(cluster) as client:
        rates = [0.1, 0.01, 0.001]
        results = client.gather(client.map(train, rates))
    for lr, (loss, _) in zip(rates, results, strict=True):
        print(f"lr {lr}: loss {loss:.6f}")
    best, weights = min(results, key=lambda result: result[0])
