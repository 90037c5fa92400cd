# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Translating dates, and where a decoder looks
#
# "march 5, 1950" and "5/3/1950" mean 1950-03-05. An encoder-decoder learns this from two thousand
# examples, once without attention and once with it. Then we draw where it looks while it writes.
#
# [Chapter 14](../docs/lecture/14-encoder-decoder.md) has the equations of both.

# %%
from datetime import date, timedelta

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn

updates = 200  # with 2000, does the net without attention catch up?

# %% [markdown]
# ## Two languages
#
# The source has six ways to write a date, the target one. Lengths differ, the order differs, and
# the name of a month has to become two digits.

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
# Characters become ids; with `marks` the vocabulary has ids for padding, start and end. The last
# 200 pairs are held out.

# %%
source = tg.data.CharVocabulary("".join(text for text, _ in pairs), marks=True)
target = tg.data.CharVocabulary("0123456789-", marks=True)
samples = [(source.encode(text), target.encode(iso)) for text, iso in pairs]
training, held_out = samples[:2000], samples[2000:]

# %% [markdown]
# ## Two models
#
# They differ in one argument. Without attention all that the decoder knows of the source is its
# first state.


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

# %% With attention the loss falls below 0.01 in a hundred updates; without, it stays near 0.8
tg.plot.curves(losses, xlabel="updates", ylabel="loss", yscale="log")

# %% [markdown]
# For training, the decoder reads the true characters. To translate, it reads its own, until it
# writes the end. How many of the 200 dates are right in all ten characters?


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
# ## Where it looks
#
# A hypothesis carries its attention: for each character that was written, a weight for each
# character of the source. The same date in two forms:

# %% Rows are the characters written. The year's digits look at the year, the month's at its name
some = ["in 1976, on the 4 of july", "july 4, 1976"]
figure, places = tg.plot.panels(2, 1, 9, 8.5)
for text, place, hypothesis in zip(
    some, places, translate(looking, some), strict=True
):
    weights = hypothesis.attention[:10, : len(text)]
    tg.plot.attention(weights, text, written(hypothesis), ax=place)
figure

# %% [markdown]
# Nobody told it what a year is. Two things are worth a discussion: the hyphens, which carry no
# information, look somewhere, too, since weights sum to 1. And a character is not always looked at
# itself: the encoder reads in both directions, so the state beside it knows it as well.
#
# ## What it has not learned
#
# It has seen the years 1950 to 2023, days that exist, and nothing but dates. Now something else:

# %%
odd = ["4 july 1976", "4 july 1776", "31 february 2000", "july 1976", "hello"]
for text, hypothesis in zip(odd, translate(looking, odd), strict=True):
    print(f"{text:20} {written(hypothesis)}")

# %% [markdown]
# Digits are copied, whatever they say. Beyond that it always answers, and never says that it does
# not know.
#
# ## Exercise
#
# Write attention in NumPy for one query: scores $e_s = q \cdot h_s$, weights $a =
# \operatorname{softmax}(e)$, and the context $\sum_s a_s h_s$. Only the first `length` rows of the
# memory are real; the others are padding, and must have the weight 0. (Scores may be large:
# $e^{1000}$ overflows, $e^{1000 - 1000}$ does not.)


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
