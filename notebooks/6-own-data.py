# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own data, from a CSV file to C
#
# Measurements often come as a table with one row for each point in time. This lesson reads such a
# table, trains a classifier of sequences with the `Trainer`, looks at its mistakes, and exports it
# as a C header that runs without Python. For a table of your own, change the cell that reads it.
#
# Details are in [Your own data](../docs/howto/data.md), [the Trainer](../docs/training.md) and
# [Deploying](../docs/howto/deploy.md).

# %%
import csv
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn

folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## The table
#
# Eight people draw gestures on a tablet, fifteen of each kind. This cell simulates them, so that
# you need not download anything: each person holds the pen at an angle of their own, and draws in
# a size and at a speed of their own. A row of the table is a point.

# %%
GESTURES = ["line", "vee", "circle"]
draw = np.random.default_rng(0)
with open(folder / "gestures.csv", "w", newline="", encoding="utf-8") as file:
    table = csv.writer(file)
    table.writerow(["recording", "person", "gesture", "x", "y"])
    for person in range(8):
        angle, size = draw.normal(0, 0.7), draw.uniform(0.5, 2)
        speed = draw.uniform(20, 40)
        for recording in range(45):
            gesture = GESTURES[recording % 3]
            t = np.linspace(0, 1, int(speed * draw.uniform(0.8, 1.2)))
            x, y = {
                "line": (2 * t - 1, 0.3 * t),
                "vee": (2 * t - 1, abs(2 * t - 1)),
                "circle": (np.sin(6 * t), np.cos(6 * t)),
            }[gesture]
            turn = size * np.exp(1j * (angle + draw.normal(0, 0.1)))
            noise = draw.normal(0, 0.35, (2, len(t)))
            for point in turn * (x + 1j * y) + noise[0] + 1j * noise[1]:
                place = f"{point.real:.3f}", f"{point.imag:.3f}"
                table.writerow(
                    [f"{person}-{recording}", person, gesture, *place]
                )

print(*(folder / "gestures.csv").read_text("utf-8").split("\n")[:4], sep="\n")

# %% [markdown]
# ## Rows become sequences
#
# Points of the same recording form a sequence. A sample is a pair of a sequence, (steps, 2), and a
# label. We keep the persons for the exercise.

# %%
recordings = {}
with open(folder / "gestures.csv", newline="", encoding="utf-8") as file:
    for row in csv.DictReader(file):
        key = row["recording"], row["person"], row["gesture"]
        recordings.setdefault(key, []).append(
            [float(row["x"]), float(row["y"])]
        )

people = [person for _, person, _ in recordings]
samples = [
    (np.array(points, "float32"), GESTURES.index(gesture))
    for (_, _, gesture), points in recordings.items()
]
lengths = [len(points) for points, _ in samples]
print(f"{len(samples)} recordings of {min(lengths)} to {max(lengths)} points")

# %% [markdown]
# ## Training
#
# `PadSequences` pads sequences of different lengths to a batch, and the layer reads each one up to
# its own end. The `Trainer` computes the validation loss after every epoch, and stops when it has
# not improved for five epochs.


# %%
class Classifier(nn.Module):
    def __init__(self, seed):
        draw = tg.Generator(seed)
        self.gru = nn.GRU(2, 16, generator=draw)
        self.head = nn.Linear(16, len(GESTURES), generator=draw)

    def forward(self, x, lengths):
        _, h = self.gru(x, lengths=lengths)  # the state at each row's own end
        return self.head(h[-1])


def loss(model, batch):
    x, lengths, labels = batch
    return nn.cross_entropy(model(x, lengths), labels), len(labels)


def fit(training, held_out):
    def batches(samples, size, shuffle=False):
        collate = tg.data.PadSequences()
        return tg.data.DataLoader(
            samples,
            size,
            shuffle=shuffle,
            generator=tg.Generator(0),
            collate=collate,
        )

    model = Classifier(seed=1)
    optimizer = tg.optim.Adam(model.parameters(), lr=0.01)
    trainer = tg.train.Trainer(
        model,
        batches(training, 16, shuffle=True),
        loss,
        optimizer,
        epochs=20,
        validation=batches(held_out, 100),
        patience=5,
        clip=1.0,
    )
    return model.eval(), trainer.fit(quiet=True)


def predict(model, points):
    with tg.no_grad():
        return int(tg.argmax(model(points[:, None], [len(points)])).item())


training, held_out = tg.data.random_split(
    samples, [0.75, 0.25], tg.Generator(0)
)
model, history = fit(training, held_out)

# %% Training and validation loss fall together
tg.plot.losses(history)

# %% [markdown]
# ## Mistakes
#
# Accuracy is a single number; a confusion matrix shows which classes the model confuses.

# %%
matrix = np.zeros((3, 3), int)
for points, label in held_out:
    matrix[label, predict(model, points)] += 1
print(
    f"accuracy: {np.trace(matrix) / matrix.sum():.1%} of {matrix.sum()} held-out recordings"
)

# %% Rows are the true gestures, columns the predicted ones: almost all are on the diagonal
tg.plot.confusion(matrix, GESTURES)

# %% [markdown]
# ## Export
#
# `save_model` writes one file, which this package reads. `export_c` writes one header in C99, which
# needs no library but `math.h`, reads one point at a time, and allocates no memory.
# (`tg.io.export_onnx` writes ONNX, with the extra `onnx`.)

# %%
tg.io.save_model(folder / "gestures.safetensors", model, config={"seed": 1})
copy = tg.io.load_model(folder / "gestures.safetensors", cls=Classifier)
tg.io.export_c(nn.Sequential(model.gru, model.head), folder / "model.h")
for file in sorted(folder.iterdir()):
    print(f"{file.name:22} {file.stat().st_size:7} bytes")

# %% [markdown]
# This program includes the header, reads points, and prints the scores after the last one. If
# there is a C compiler, the cell compiles and runs it:

# %%
PROGRAM = r"""
#include <stdio.h>
#include "model.h"

int main(void) {
    float point[2], scores[3];
    model_state state;
    model_reset(&state);
    while (scanf("%f %f", &point[0], &point[1]) == 2)
        model_step(&state, point, scores);
    printf("%.4f %.4f %.4f\n", scores[0], scores[1], scores[2]);
    return 0;
}
"""
points, label = held_out[0]
print(
    "Python:",
    *(
        f"{score:.4f}"
        for score in copy(points[:, None], [len(points)]).numpy()[0]
    ),
)
if compiler := shutil.which("cc"):
    (folder / "main.c").write_text(PROGRAM, "utf-8")
    subprocess.run(
        [compiler, "-O2", "main.c", "-lm", "-o", "main"], cwd=folder, check=True
    )
    typed = "\n".join(f"{x} {y}" for x, y in points)
    done = subprocess.run(
        [folder / "main"],
        input=typed,
        capture_output=True,
        text=True,
        check=True,
    )
    print("C:     ", done.stdout.strip())

# %% [markdown]
# ## Exercise
#
# The accuracy above is too optimistic. Each person has recordings in both parts, so the model has
# seen everyone's hand; but an app will meet new people. Write `split(people)`, which returns the
# indices of the recordings for training and of those for testing, so that **no person is in both
# parts** and about a quarter of the recordings is for testing. `people[i]` is the person of
# recording `i`.


# %%
def split(people):
    order = np.random.default_rng(0).permutation(len(people))
    return order[len(order) // 4 :], order[: len(order) // 4]


# %%
def check(split):
    for table in [people, [*"aabbbccd"]]:
        first, second = ([int(i) for i in part] for part in split(table))
        if sorted(first + second) != [*range(len(table))]:
            return "not yet: each recording must be in one of the parts, once"
        if not 0.1 <= len(second) / len(table) <= 0.4:
            return f"not yet: {len(second)} of {len(table)} recordings are not about a quarter"
        both = {table[i] for i in first} & {table[i] for i in second}
        if both:
            return f"not yet: {len(both)} persons are in both parts"
    first, second = ([samples[i] for i in part] for part in split(people))
    model, _ = fit(first, second)
    accuracy = np.mean(
        [predict(model, points) == label for points, label in second]
    )
    return f"right: for new people the accuracy is {accuracy:.1%}"


check(split)


# %% jupyter={"source_hidden": true}
def split(people):
    names = sorted(set(people))
    tested = names[: max(1, len(names) // 4)]
    return (
        [i for i, person in enumerate(people) if person not in tested],
        [i for i, person in enumerate(people) if person in tested],
    )


check(split)
