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
# A net with 96 units reads "The House That Jack Built", a character at a time, and learns to say
# what comes next. Then we look inside: which characters are hard, and which steps of the past a
# gradient comes from.
#
# The equations are in chapters [4](../docs/lecture/04-loss.md),
# [5](../docs/lecture/05-next-character.md) and [8](../docs/lecture/08-back-propagation.md) of the
# lecture.

# %%
import numpy as np

import tinygrad_rnn as tg

epochs = 40  # with 400 the rhyme is known by heart

# %% [markdown]
# ## The text
#
# Each verse repeats the one before it, with one line more:

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
# $h_t = \tanh(U x_t + W h_{t-1} + b)$ with an embedding below, and logits for the next character
# above. The text is cut into eight streams, which are read side by side, 32 characters at a time.
# The state is carried over from window to window; `.detach()` ends the gradient there.

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
# The loss is a mean over steps, and a mean hides the most interesting part. Here is the
# **surprise** $-\log_2 p(x_{t+1})$ at each character of a verse. The net starts with the empty
# line before it:


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
# Verbs and old lines cost nothing: "cat" implies "killed the rat". What costs is the new animal,
# and of it two letters: the `c`, and the `a`, since a cow and a cock are waiting, too. Could a net
# know them? The order of the verses never changes, so yes, if it had read the verse before, and
# remembered it over the sixty characters since.
#
# ## Back-propagation through time, in a picture
#
# The loss at step $s$ depends on all states before it. We run the same weights in a loop of our
# own, which keeps every $h_t$, and ask the engine for $\lVert\partial\ell_s / \partial h_t\rVert$:
# a column for each loss, a row for each state.

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
# Below the diagonal there is nothing: a loss does not depend on later states. Up a column lies the
# past. The window begins at the last letter of "cat", and a `t` alone does not tell which verb
# will follow: at `k` and `l` the net is wrong, and these two losses have a large gradient at every
# state since the window's beginning. A dark column is a character that the net is sure of: its
# loss has hardly a gradient, at any distance.
#
# A weight is used at every step, so its gradient is a **sum over time**. If each step had a copy
# $W_t$ of its own, the gradients of the copies would show what each step contributes:

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
# The first step contributes nothing, since the state before it is 0; the steps after the last
# surprise contribute little, since all losses that come after them are small.
#
# ## Generating
#
# Each character that is drawn is the next input. With `temperature` below 1 the net takes fewer
# risks.


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
# The **perplexity** of a text says among how many equally probable characters the net might as
# well choose. Compute it from the probabilities $p_t$ that the net gave to the characters that
# came. The line below takes the mean of $1 / p_t$. Why is that wrong, and what is right?


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
            return f"not yet: that of {p} is {expected:.2f}, not {perplexity(p):.2f}"
    if (
        abs(perplexity(0.5 ** surprise(rhyme)) - 2 ** surprise(rhyme).mean())
        > 1e-6
    ):
        return "not yet: of the rhyme it must be 2 to the mean surprise"
    return "right"


check(perplexity)


# %% jupyter={"source_hidden": true}
def perplexity(p):
    return np.exp(-np.mean(np.log(p)))  # probabilities of a sequence multiply


check(perplexity)
