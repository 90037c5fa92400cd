"""A search for settings by Optuna, which resumes where it stopped: python search.py [trials]."""

import sys

import numpy as np
import optuna

import tinygrad_rnn as tg
from tinygrad_rnn import nn

x = np.random.default_rng(0).normal(size=(300, 12, 2)).astype("float32")
y = (x.sum(axis=(1, 2)) > 0).astype("int64")
samples = tg.data.TensorDataset(x, y)
known, held_out = tg.data.random_split(samples, [0.8, 0.2], tg.Generator(0))


class Model(nn.Module):
    def __init__(self, hidden, generator):
        self.gru = nn.GRU(2, hidden, batch_first=True, generator=generator)
        self.head = nn.Linear(hidden, 2, generator=generator)

    def forward(self, x):
        return self.head(self.gru(x)[0][:, -1])


def loss(model, batch):
    x, y = batch
    return nn.cross_entropy(model(x), y), len(y)


def objective(trial):
    generator = tg.Generator(trial.number)
    model = Model(trial.suggest_int("hidden", 2, 32, log=True), generator)
    lr = trial.suggest_float("lr", 1e-4, 0.1, log=True)
    trainer = tg.train.Trainer(
        model, tg.data.DataLoader(known, 16, shuffle=True, generator=generator), loss,
        tg.optim.Adam(model.parameters(), lr=lr), epochs=4, clip=1.0,
        validation=tg.data.DataLoader(held_out, 60),
    )  # fmt: skip
    for progress in trainer:
        if progress.validation is not None:
            trial.report(progress.validation, progress.step)
            if trial.should_prune():
                raise optuna.TrialPruned
    return trainer.best


if __name__ == "__main__":
    study = optuna.create_study(
        study_name="gru",
        storage="sqlite:///search.db",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=0),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
    )
    more = int(sys.argv[1] if len(sys.argv) > 1 else 12) - len(study.trials)
    study.optimize(objective, n_trials=max(0, more))
    pruned = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in study.trials)
    print(f"{len(study.trials)} trials, {pruned} pruned; best {study.best_value:.4f}")
    print(study.best_params)
