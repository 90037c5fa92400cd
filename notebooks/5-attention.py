# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Translating dates with attention
#
# "march 5, 1950" and "5/3/1950" mean 1950-03-05. An encoder-decoder learns this translation from
# two thousand examples, once without attention and once with it. Then we draw the attention
# weights.
#
# [Chapter 14](../docs/lecture/14-encoder-decoder.md) has the equations.

# %%
from datetime import date, timedelta

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn

updates = 200  # with 2000, does the net without attention catch up?

# %% [markdown]
# ## Two languages
#
# The source writes a date in one of six ways, the target in one. The two differ in length and in
# order, and the name of a month becomes two digits.

# %%
draw = tg.Generator(0)
MONTHS = [date(2000, month, 1).strftime("%B").lower() for month in range(1, 13)]


def spoken(day, form):
    month = MONTHS[day.month - 1]
    return [
        f"{day.day} {month} {day.year}",
        f"{month} {day.day}, {day.year}",
        f"{month[:3]} {day.day}, {day.year}",
        f"{day.day}. {month[:3]} {day.year}",
        f"{day.day}/{day.month}/{day.year}",
        f"in {day.year}, on the {day.day} of {month}",
    ][form]


days = [
    date(1950, 1, 1) + timedelta(days=int(n))
    for n in draw.integers(0, 27_000, (2200,))
]
pairs = [
    (spoken(day, int(draw.integers(0, 6, ()))), day.isoformat()) for day in days
]
pairs[:4]

# %% [markdown]
# A vocabulary turns characters into ids; with `marks` it has ids for padding, start and end, too.
# We hold out the last 200 pairs.

# %%
source = tg.data.CharVocabulary("".join(text for text, _ in pairs), marks=True)
target = tg.data.CharVocabulary("0123456789-", marks=True)
samples = [(source.encode(text), target.encode(iso)) for text, iso in pairs]
training, held_out = samples[:2000], samples[2000:]

# %% [markdown]
# ## Two models
#
# The models differ in one argument. Without attention, the decoder knows the source only through
# its initial state.


# %%
def build(attends, units=48):
    g = tg.Generator(0)
    encoder = nn.Encoder(
        nn.Embedding(len(source), 16, generator=g),
        nn.GRU(16, units, bidirectional=True, generator=g),
    )
    attention = (
        nn.AdditiveAttention(units, encoder.memory_size, generator=g)
        if attends
        else None
    )
    embedding = nn.Embedding(len(target), 16, generator=g)
    decoder = nn.Decoder(
        embedding, nn.GRU(16, units, generator=g), attention, generator=g
    )
    return nn.Seq2Seq(encoder, decoder, generator=g)


def train(model):
    optimizer, losses = tg.optim.Adam(model.parameters(), lr=0.01), []
    order = tg.Generator(1)
    for _ in range(updates):
        rows = order.integers(0, len(training), (64,))
        batch = tg.data.collate_pairs([training[row] for row in rows])
        logits = model(batch.source, batch.inputs, lengths=batch.lengths)
        loss = nn.cross_entropy(logits, batch.targets, ignore_index=tg.data.PAD)
        optimizer.zero_grad()
        loss.backward()
        tg.optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    return losses


plain, looking = build(attends=False), build(attends=True)
losses = {"without attention": train(plain), "with attention": train(looking)}

# %% With attention the loss falls below 0.01 in a hundred updates; without it, it stays near 0.8
tg.plot.curves(losses, xlabel="updates", ylabel="loss", yscale="log")

# %% [markdown]
# In training the decoder reads the true characters. In translation it reads its own, until it
# writes the end symbol. What fraction of the 200 dates is right in all ten characters?


# %%
def translate(model, texts):
    batch = tg.data.collate_pairs(
        [(source.encode(text), [tg.data.END]) for text in texts]
    )
    with tg.no_grad():
        return nn.decoding.greedy(
            model.step,
            model.start(batch.source, lengths=batch.lengths),
            [tg.data.START] * len(texts),
            max_length=11,
            end=tg.data.END,
            batch_axis=model.batch_axis,
        )


def written(hypothesis):
    return target.decode(
        [token for token in hypothesis.tokens if token != tg.data.END]
    )


texts, wanted = zip(*pairs[2000:], strict=True)
for name, model in {
    "without attention": plain,
    "with attention": looking,
}.items():
    found = [written(hypothesis) for hypothesis in translate(model, texts)]
    print(
        f"{name}: {np.mean(np.array(found) == wanted):.0%} right; {texts[0]!r} is {found[0]!r}"
    )

# %% [markdown]
# ## Where the decoder looks
#
# A hypothesis has its attention weights: for each character that the decoder wrote, one weight for
# each character of the source. Here is the same date in two forms:

# %% A row for each character written: the year's digits attend to the year, the month's to its name
some = ["in 1976, on the 4 of july", "july 4, 1976"]
figure, places = tg.plot.panels(2, 1, 9, 8.5)
for text, place, hypothesis in zip(
    some, places, translate(looking, some), strict=True
):
    weights = hypothesis.attention[:10, : len(text)]
    tg.plot.attention(weights, text, written(hypothesis), ax=place)
figure

# %% [markdown]
# The training data do not say what a year is, only which date belongs to which. Two observations
# are worth a discussion. The hyphens carry no information, and yet they attend to something, since
# the weights of a row sum to 1. And the decoder sometimes attends to the neighbour of the
# character that it needs: the encoder reads in both directions, so that the neighbour's state
# knows the character, too.
#
# ## What the model has not learned
#
# In training it saw only dates, only days that exist, and only the years 1950 to 2023. What does
# it do with other inputs?

# %%
odd = ["4 july 1976", "4 july 1776", "31 february 2000", "july 1976", "hello"]
for text, hypothesis in zip(odd, translate(looking, odd), strict=True):
    print(f"{text:20} {written(hypothesis)}")

# %% [markdown]
# It copies digits, whether the date exists or not. And it writes a date for every input: it has no
# way to say that it does not know.
#
# ## Exercise
#
# Write attention in NumPy for one query: scores $e_s = q \cdot h_s$, weights $a =
# \operatorname{softmax}(e)$, and the context $\sum_s a_s h_s$. Only the first `length` rows of the
# memory belong to the source; the others are padding, and must get the weight 0. (Scores may be
# large: $\exp(1000)$ overflows, $\exp(1000 - 1000)$ does not.)


# %%
def attend(query, memory, length):  # (units,), (steps, units)
    weights = np.full(len(memory), 1 / len(memory))
    return weights @ memory, weights


# %%
def check(attend):
    rng = np.random.default_rng(0)
    for scale, length in [(1, 7), (1, 3), (100, 5)]:
        query, memory = scale * rng.normal(size=4), rng.normal(size=(7, 4))
        context, weights = attend(query, memory, length)
        right = nn.DotAttention(4)(
            tg.tensor(query)[None, None],
            tg.tensor(memory)[:, None],
            lengths=[length],
        )
        if not np.allclose(weights, right[1].numpy()[0, 0]):
            return f"not yet: the weights for length {length} are {right[1].numpy()[0, 0].round(2)}"
        if not np.allclose(context, right[0].numpy()[0, 0]):
            return "not yet: the weights are right, the context is not"
    return "right"


check(attend)


# %% jupyter={"source_hidden": true}
def attend(query, memory, length):
    scores = memory[:length] @ query
    weights = np.zeros(len(memory))
    weights[:length] = np.exp(scores - scores.max())
    weights /= weights.sum()
    return weights @ memory, weights


check(attend)
