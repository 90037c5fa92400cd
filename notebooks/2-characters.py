# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A vanilla RNN learns a rhyme
#
# A network with 96 units reads "The House That Jack Built", one character at a time, and learns to
# predict the next one. Then we look inside: which characters are hard to predict, and how far back
# in time the gradient of each prediction reaches.
#
# The equations are in chapters [4](../docs/lecture/04-loss.md),
# [5](../docs/lecture/05-next-character.md) and [8](../docs/lecture/08-back-propagation.md) of the
# lecture.

# %%
import numpy as np

import tinygrad_rnn as tg

epochs = 40  # with 400 the loss falls below 0.04 bits a character

# %% [markdown]
# ## The text
#
# Each verse repeats the one before it and adds one line:

# %%
new = {
    "the house that Jack built": "",
    "the malt": "lay in",
    "the rat": "ate",
    "the cat": "killed",
    "the dog": "worried",
    "the cow with the crumpled horn": "tossed",
    "the maiden all forlorn": "milked",
    "the man all tattered and torn": "kissed",
    "the priest all shaven and shorn": "married",
    "the cock that crowed in the morn": "waked",
    "the farmer sowing his corn": "kept",
}
who, did = list(new), list(new.values())


def verse(n):
    lines = [f"That {did[k]} {who[k - 1]}" for k in range(n, 0, -1)]
    return "\n".join([f"This is {who[n]}", *lines]) + ".\n\n"


rhyme = "".join(verse(n) for n in range(len(who)))
print(f"{verse(3)}{len(rhyme)} characters")

# %% [markdown]
# ## The net
#
# An embedding gives $x_t$, the recurrent layer computes $h_t = \tanh(U x_t + W h_{t-1} + b)$, and a
# linear layer gives the logits of the next character. We cut the text into eight streams, which the
# net reads in parallel, in windows of 32 characters. It carries the state over from one window to
# the next; `.detach()` ends the gradient there.

# %%
vocabulary = tg.data.CharVocabulary.of([rhyme])
ids = np.asarray(vocabulary.encode(rhyme))
steps = (len(ids) - 1) // 8
inputs, targets = (a[: 8 * steps].reshape(8, steps).T for a in (ids, ids[1:]))


class Model(tg.nn.Module):
    def __init__(self, symbols, units=96):
        draw = tg.Generator(0)
        self.embedding = tg.nn.Embedding(symbols, 16, generator=draw)
        self.rnn = tg.nn.RNN(16, units, generator=draw)
        self.head = tg.nn.Linear(units, symbols, generator=draw)

    def forward(self, ids, state=None):
        h, state = self.rnn(self.embedding(ids), state)
        return self.head(h), state


model = Model(len(vocabulary))
optimizer = tg.optim.Adam(model.parameters(), lr=3e-3)
history = []
for _ in range(epochs):
    state = None
    for start in range(0, steps, 32):
        logits, state = model(inputs[start : start + 32], state)
        state = state.detach()
        loss = tg.nn.cross_entropy(logits, targets[start : start + 32])
        optimizer.zero_grad()
        loss.backward()
        tg.optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        history.append(loss.item() / np.log(2))

# %% The loss begins at 5 bits a character, the logarithm of 31, and falls below 0.2
tg.plot.curves({"loss": history}, xlabel="updates", ylabel="bits a character")

# %% [markdown]
# ## Loss over time
#
# The loss is a mean over steps, and a mean hides where the errors are. So here is the loss of each
# step, the **surprise** $-\log_2 p(x_{t+1})$, over the beginning of a verse. The first input is the
# empty line before it:


# %%
def surprise(text):
    ids = np.asarray(vocabulary.encode(text))[:, None]
    with tg.no_grad():
        logits, _ = model(ids[:-1])
    losses = tg.nn.cross_entropy(logits, ids[1:], reduction="none").numpy()
    return losses[:, 0] / np.log(2)


line = "\n\nThis is the cat\nThat killed the rat\nThat ate the malt"
bits = surprise(line)

# %% Two high bars, at the c and the a of "cat"; almost none elsewhere
figure, (axes,) = tg.plot.panels(1, 1, 11, 3)
axes.bar(range(len(bits)), bits)
axes.set_xticks(
    range(len(bits)), [symbol.replace("\n", "¶") for symbol in line[1:]]
)
axes.set(ylabel="surprise, bits", xlabel="character")
figure

# %% [markdown]
# Verbs and known lines cost almost nothing, since "cat" implies "killed the rat". The new animal
# costs, and two of its letters do: the `c`, and the `a`, since "cow" and "cock" begin with a `c`,
# too. Could a net predict them? The order of the verses never changes, so it could, if it had read
# the verse before and remembered "rat" over the seventy characters that follow it.
#
# ## Back-propagation through time, in a picture
#
# The loss at step $s$ depends on the states up to step $s$. We run the trained weights in a loop of
# our own, which keeps every $h_t$, and ask the engine for
# $\lVert\partial\ell_s / \partial h_t\rVert$: one column for each loss, one row for each state.

# %%
window = line[16:46]
ids = np.asarray(vocabulary.encode(window))[:, None]
layer = model.rnn
weights = (
    layer.weight_ih_l0,
    layer.weight_hh_l0,
    layer.bias_ih_l0 + layer.bias_hh_l0,
)
states, losses = [tg.zeros((1, 96))], []
for x, target in zip(model.embedding(ids[:-1]), ids[1:], strict=True):
    states.append(tg.rnn_step(x, states[-1], *weights))
    losses.append(tg.nn.cross_entropy(model.head(states[-1]), target))

reach = np.full((len(losses), len(losses)), np.nan)
for s, loss in enumerate(losses):
    for t, g in enumerate(tg.grad(loss, states[1 : s + 2], retain_graph=True)):
        reach[s, t] = np.log10(max(np.linalg.norm(g.numpy()), 1e-9))

# %% A triangle: each loss reaches its own state and all earlier ones; bright columns at k and l
tg.plot.heat_map(
    reach,
    symbols=[symbol.replace("\n", "¶") for symbol in window[1:]],
    units=[symbol.replace("\n", "¶") for symbol in window[:-1]],
    low=-4,
    label="log10 of |dl/dh|",
)

# %% [markdown]
# The area below the diagonal is empty: a loss does not depend on later states. Going up a column
# leads into the past. The window begins at the last letter of "cat", and a `t` alone does not tell
# which verb will follow: at `k` and `l` the net is wrong, and these two losses have a large
# gradient with respect to every earlier state of the window. A dark column is a character of which
# the net is sure: its loss has almost no gradient, at any distance.
#
# Every step uses the same weight, so the weight's gradient is a **sum over time**. We give each
# step a copy $W_t$ of its own; the gradients of the copies show what each step contributes:

# %%
copies = [tg.tensor(weights[1].numpy(), requires_grad=True) for _ in losses]
h, total = tg.zeros((1, 96)), 0.0
for x, target, copy in zip(
    model.embedding(ids[:-1]), ids[1:], copies, strict=True
):
    h = tg.rnn_step(x, h, weights[0], copy, weights[2])
    total = total + tg.nn.cross_entropy(model.head(h), target)
parts = tg.grad(total, copies)
(whole,) = tg.grad(sum(losses), [weights[1]])
np.allclose(sum(part.numpy() for part in parts), whole.numpy(), atol=1e-4)

# %% What each step contributes to the gradient of W: much before the surprises, little after them
figure, (axes,) = tg.plot.panels(1, 1, 9, 3)
axes.bar(range(len(parts)), [np.linalg.norm(part.numpy()) for part in parts])
axes.set_xticks(
    range(len(parts)), [symbol.replace("\n", "¶") for symbol in window[:-1]]
)
axes.set(xlabel="character that is read", ylabel="norm of dL/dW_t")
figure

# %% [markdown]
# The first step contributes nothing, since the state before it is 0. The steps after the last
# surprise contribute little, since all losses after them are small.
#
# ## Generating
#
# We draw a character from the net's distribution, and feed it back as the next input. A
# `temperature` below 1 makes the probable characters even more probable.


# %%
def write(length, temperature, seed=0):
    draw, state, text = tg.Generator(seed), None, "\n\n"
    for symbol in vocabulary.encode(text):
        with tg.no_grad():
            logits, state = model(np.array([[symbol]]), state)
    for _ in range(length):
        p = tg.nn.decoding.probabilities(logits[0], temperature)
        symbol = tg.nn.decoding.draw(p, draw).item()
        text += vocabulary.decode([symbol])
        with tg.no_grad():
            logits, state = model(np.array([[symbol]]), state)
    return text.strip()


print(write(250, temperature=0.7))

# %% [markdown]
# ## Exercise
#
# The **perplexity** of a text is the number of equally probable characters that would be as hard to
# predict. Compute it from $p_t$, the probability that the net gave to each character of the text.
# The line below takes the mean of $1 / p_t$. Why is that wrong, and what is right?


# %%
def perplexity(p):
    return np.mean(1 / np.asarray(p))


# %%
def check(perplexity):
    for p, expected in [
        ([0.1, 0.1], 10),
        ([1.0, 0.25], 2),
        ([0.5, 0.125, 1.0], 16 ** (1 / 3)),
    ]:
        if abs(perplexity(p) - expected) > 1e-9:
            return f"not yet: the perplexity of {p} is {expected:.2f}, not {perplexity(p):.2f}"
    if (
        abs(perplexity(0.5 ** surprise(rhyme)) - 2 ** surprise(rhyme).mean())
        > 1e-6
    ):
        return "not yet: for the rhyme it must be 2 to the power of the mean surprise"
    return "right"


check(perplexity)


# %% jupyter={"source_hidden": true}
def perplexity(p):
    return np.exp(-np.mean(np.log(p)))  # probabilities of a sequence multiply


check(perplexity)
