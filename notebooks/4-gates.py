# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What gates learn to do
#
# A gate is a number between 0 and 1 that a net computes at each step. The targets do not say when
# it should open; the net learns that. In this lesson a GRU learns to store a number, an LSTM
# learns to count, and we look at their gates while they do so.
#
# Chapters [10](../docs/lecture/10-gru.md) and [11](../docs/lecture/11-lstm.md) have the equations.

# %%
import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn

# %% [markdown]
# ## Storing a number
#
# At each step the net reads a number and a flag. If the flag is 1, it must store the number and
# output it at every step until the next flag. All other numbers are noise, which it must ignore. A
# vanilla RNN could store a boolean in a saturated unit, but not a number between -1 and 1.

# %%
draw = tg.Generator(0)


def numbers(steps, rows):
    value = draw.uniform(-1, 1, (steps, rows))
    flag = draw.random((steps, rows)) < 0.2
    flag[0] = True
    last = np.maximum.accumulate(np.where(flag, np.arange(steps)[:, None], 0))
    target = np.take_along_axis(value, last, axis=0)
    x = np.stack([value, flag], -1)
    return x.astype("float32"), target.astype("float32")


def train(layer, updates=400):
    head = nn.Linear(layer.hidden_size, 1, generator=tg.Generator(2))
    weights = [*layer.parameters(), *head.parameters()]
    optimizer, losses = tg.optim.Adam(weights, lr=0.02), []
    for _ in range(updates):
        x, target = numbers(30, 64)
        loss = nn.mse_loss(head(layer(x)[0])[..., 0], target)
        optimizer.zero_grad()
        loss.backward()
        tg.optim.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        losses.append(loss.item())
    return head, losses


rnn, gru = (kind(2, 4, generator=tg.Generator(1)) for kind in (nn.RNN, nn.GRU))
(_, of_rnn), (head, of_gru) = train(rnn), train(gru)

# %% Both errors fall; the GRU's falls sooner, and ends several times lower
losses = {"RNN, 4 units": of_rnn, "GRU, 4 units": of_gru}
tg.plot.curves(losses, xlabel="updates", ylabel="squared error", yscale="log")

# %% [markdown]
# The vanilla RNN cannot leave its state unchanged. Each step passes the number through $W$ and the
# tanh again, so a small change of $W$ is amplified over thirty steps: its curve jumps.
#
# ## Inside the GRU
#
# `activations` returns the gates and states of every step. Here are those of a new sequence; `!`
# marks the steps with a flag.

# %%
x, target = numbers(40, 1)
flag = x[:, 0, 1] == 1
[inside] = nn.utils.activations(gru, lambda: gru(x))[""]

# %% The update gate z falls at each flag, and the state h changes there
tg.plot.activations(inside, symbols=["!" if f else "." for f in flag])

# %% The output follows the target, a staircase with a step at each flag
output = head(gru(x)[0]).numpy()[:, 0, 0]
tg.plot.curves(
    {"target": target[:, 0], "output": output}, xlabel="step t", ylabel="number"
)

# %% [markdown]
# The state is $h_t = z \odot h_{t-1} + (1 - z) \odot \tilde h_t$: with $z = 1$ the GRU keeps it,
# with $z = 0$ it replaces it. So $z$ should be low at the flags and high elsewhere. It is, in each
# unit:

# %%
many = numbers(40, 200)[0]
[inside] = nn.utils.activations(gru, lambda: gru(many))[""]
z, flag = inside["z"].numpy(), many[..., 1] == 1
print("mean z of each unit, at flags:", z[flag].mean(axis=0).round(2))
print("mean z of each unit, between: ", z[~flag].mean(axis=0).round(2))

# %% [markdown]
# ## Counting
#
# An LSTM has a second state, $c_t = f \odot c_{t-1} + i \odot g$. With $f = 1$ it is a **sum**,
# and no tanh bounds it. So an LSTM can count. Ours reads brackets, and predicts at each step how
# many are open:


# %%
def brackets(steps, rows, deepest=8):
    depth, ids, depths = np.zeros(rows, int), [], []
    for _ in range(steps):
        opens = (draw.random((rows,)) < 0.5) & (depth < deepest) | (depth == 0)
        depth = depth + np.where(opens, 1, -1)
        ids.append(opens.astype(int))
        depths.append(depth)
    return np.array(ids), np.array(depths, "float32")


draw, start = tg.Generator(0), tg.Generator(1)
embedding = nn.Embedding(2, 2, generator=start)
head = nn.Linear(4, 1, generator=start)
lstm = nn.LSTM(2, 4, forget_bias=2.0, generator=start)
weights = [*embedding.parameters(), *lstm.parameters(), *head.parameters()]
optimizer = tg.optim.Adam(weights, lr=0.03)
for _ in range(500):
    ids, depth = brackets(30, 32)
    loss = nn.mse_loss(head(lstm(embedding(ids))[0])[..., 0], depth)
    optimizer.zero_grad()
    loss.backward()
    tg.optim.clip_grad_norm_(weights, 1.0)
    optimizer.step()
print(f"squared error at the last update: {loss.item():.3f}")

# %%
ids, depth = brackets(60, 1)
[inside] = nn.utils.activations(lstm, lambda: lstm(embedding(ids)))[""]

# %% Forget gate and cell state: in a unit whose f stays near 1, c rises and falls with the brackets
parts = {name: inside[name][:40] for name in "fc"}
tg.plot.activations(parts, symbols=[")("[i] for i in ids[:40, 0]])

# %% [markdown]
# Which of the four units is the counter? The one whose $c$ is a linear function of the depth. The
# LSTM was trained on sequences of thirty steps, and counts here over sixty:

# %%
cells = inside["c"].numpy()[:, 0]
linear = [np.corrcoef(cell, depth[:, 0])[0, 1] for cell in cells.T]
best = int(np.argmax(np.abs(linear)))
slope, offset = np.polyfit(cells[:, best], depth[:, 0], 1)
print("correlation of each unit's c with the depth:", np.round(linear, 3))

# %% The number of open brackets, and the cell state scaled to it: the two lines agree
tg.plot.curves(
    {
        "open brackets": depth[:, 0],
        f"c of unit {best}, scaled": slope * cells[:, best] + offset,
    },
    xlabel="step t",
)

# %% [markdown]
# ## Exercise
#
# Build a counter without training. An LSTM of one unit reads bits, and $c$ must be the number of
# ones so far. Fill in the weights in the order i, f, g, o: `w_ih` multiplies the bit, and `b` is
# added. The sigmoid of 40 is 1, and that of -40 is 0, up to rounding. (`w_hh`, which multiplies
# $h$, stays 0.)


# %%
def counter():
    #       i  f  g  o
    w_ih = [0, 0, 0, 0]
    b = [0, 0, 0, 0]
    return w_ih, b


# %%
def check(counter):
    w_ih, b = (np.array(part, "float32") for part in counter())
    bits = np.random.default_rng(0).integers(0, 2, 50)
    h = c = tg.zeros((1, 1))
    for bit in bits:
        h, c = tg.lstm_step(
            tg.full((1, 1), bit), h, c, w_ih[:, None], tg.zeros((4, 1)), b
        )
    if abs(c.item() - bits.sum()) > 1e-3:
        return f"not yet: after {bits.sum()} ones c is {c.item():.3f}"
    return "right"


check(counter)


# %% jupyter={"source_hidden": true}
def counter():
    w_ih = [80, 0, 0, 0]  # i is the bit itself: 80 - 40, or -40
    b = [-40, 40, 40, 0]  # f and g are always 1
    return w_ih, b


check(counter)
