# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Gradients that vanish and explode
#
# On its way back through time a gradient is multiplied by the same matrix again and again. This
# lesson shows what that does to its norm, draws the cliff in the loss where it explodes, and
# trains across it, once without clipping and once with it.
#
# [Chapter 9](../docs/lecture/09-gradients.md) has the equations.

# %%
import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn

# %% [markdown]
# ## Fifty steps back
#
# Five nets that have learned nothing yet. They read the same noise, and the loss is the sum of the
# last output. $W$ is a rotation times a **gain**.


# %%
def flow(layer, x):
    """The norms of dL/dh_t, for all t."""
    found = nn.utils.gradient_flow(layer, lambda: layer(x)[0][-1].sum())[""]
    return np.asarray(found[0][0] if isinstance(found, tuple) else found[0])


def rotated(gain, units=32):
    draw = tg.Generator(0)
    layer = nn.RNN(4, units, dtype="float64", generator=draw)
    nn.init.orthogonal_(layer.weight_hh_l0, gain=gain, generator=draw)
    return layer


x = tg.randn(50, 1, 4, dtype="float64", generator=tg.Generator(1))
flows = {
    f"gain {gain}": flow(rotated(gain), x) for gain in (0.5, 0.8, 1.0, 1.2, 1.5)
}

# %% From the last step back: straight lines down for gains up to 1, nearly level for 1.2 and 1.5
tg.plot.curves(flows, xlabel="step t", ylabel="norm of dL/dh_t", yscale="log")

# %% [markdown]
# On a logarithmic axis a product of nearly equal factors is a straight line. Read from right to
# left, a gain of 0.5 loses a factor of two in each step, and more, as even a gain of 1 does: the
# tanh has a slope of $1 - h^2 < 1$. This also holds back the gains above 1, whose large states
# saturate it. Take the tanh away (rectified units have slope 1 wherever they are on), and the
# explosion is there:

# %%
ramps = {}
for gain in (0.8, 1.0, 1.2, 1.5):
    layer = nn.RNN(
        4,
        32,
        nonlinearity="relu",
        bias=False,
        dtype="float64",
        generator=tg.Generator(0),
    )
    layer.weight_hh_l0.data[:] = gain * np.eye(32)
    ramps[f"gain {gain}"] = flow(layer, abs(x))

# %% Straight lines, level for 1.0, and up to a billion in fifty steps for 1.5
tg.plot.curves(ramps, xlabel="step t", ylabel="norm of dL/dh_t", yscale="log")

# %% [markdown]
# ## The cliff
#
# What does a loss look like whose gradient explodes? Take the smallest recurrent net, $h_t =
# \tanh(w h_{t-1} + b)$, let it run for twenty steps from $h_0 = 0.5$, and ask it to end at $-0.7$.
# Two weights make a landscape that can be drawn:


# %%
def loss(w, b, steps=20):
    h = 0.5
    for _ in range(steps):
        h = tg.tanh(w * h + b)
    return (h + 0.7) ** 2


ws, bs = np.linspace(0.5, 3, 126), np.linspace(0.2, -1, 121)
landscape = loss(*np.meshgrid(ws, bs, indexing="ij"))


def landscape_map():
    figure = tg.plot.heat_map(landscape, label="loss")
    figure.set_size_inches(8, 4.5)
    (axes, _) = figure.axes
    axes.set_xticks(range(0, 126, 25), ws[::25].round(1))
    axes.set_yticks(range(0, 121, 20), bs[::20].round(1))
    axes.set(xlabel="w", ylabel="b")
    return figure, axes


# %% A dark plain below and a bright plateau above, with a wall between them where w is large
landscape_map()[0]

# %% [markdown]
# On the plateau the unit stays *on*, on the plain it falls to *off*, and $b$ decides which. Here
# is a cut through the wall, at $w = 2$:

# %%
cut = tg.tensor(np.linspace(-0.5, -0.4, 4001), requires_grad=True)
height = loss(2.0, cut)
(slope,) = tg.grad(height.sum(), [cut])

# %% Left: along b the loss climbs a wall. Right: its slope has one peak, of more than ten thousand
figure, (left, right) = tg.plot.panels(1, 2, 10, 3.6)
label = "b, with w = 2"
tg.plot.curves(
    {"loss": (cut.numpy(), height.numpy())},
    xlabel=label,
    ylabel="loss",
    ax=left,
)
slopes = {"slope": (cut.numpy(), abs(slope.numpy()))}
tg.plot.curves(slopes, xlabel=label, ylabel="|dL/db|", yscale="log", ax=right)
figure

# %% [markdown]
# ## With and without clipping
#
# Gradient descent starts on the plateau, above the wall. **Clipping** keeps the direction of the
# gradient and limits its length: $g \leftarrow g\, v / \lVert g \rVert$ where $\lVert g \rVert >
# v$.


# %%
def descend(v, start=(2.0, -0.35), updates=100):
    place = [
        tg.tensor(value, dtype="float64", requires_grad=True) for value in start
    ]
    optimizer, path = tg.optim.SGD(place, lr=0.1), []
    for _ in range(updates):
        optimizer.zero_grad()
        value = loss(*place)
        path.append([value.item(), *(weight.item() for weight in place)])
        value.backward()
        tg.optim.clip_grad_norm_(place, v)
        optimizer.step()
    return np.array(path)


free, clipped = descend(v=float("inf")), descend(v=1.0)
for name, (value, w, b) in {
    "free": free[-1],
    "with clipping": clipped[-1],
}.items():
    print(
        f"{name}: it ends at w = {w:.2f}, b = {b:.2f}, where the loss is {value:.3f}"
    )

# %% Without clipping one step leaves the picture; with it the path crosses the wall and stays near
figure, axes = landscape_map()
limits = axes.axis()
for path, look in [(free, "w--x"), (clipped, "r-o")]:
    at = [(path[:, i] - a[0]) / (a[1] - a[0]) for i, a in [(1, ws), (2, bs)]]
    axes.plot(*at, look, markersize=4)
axes.axis(limits)
figure

# %% [markdown]
# The best place is at the foot of the wall, where the end passes $-0.7$ on its way from *off* to
# *on*, so both paths walk along the wall and now and then step on it. The gradient there is right,
# but it holds for a ten-thousandth of the step that is taken. The white path is thrown out by one
# update, to where the tanh is flat, and from there no gradient leads back. The red one is thrown
# back by 0.1 at most, and continues.
#
# ## Truncation
#
# The other remedy ends the gradient $\tau$ steps back. It is then the gradient of another
# function. How far does it point from the true one? We compare the directions, by the cosine
# between both, for three gains:


# %%
def gradient(layer, x, tau):
    state = layer(x[:-tau])[1].detach() if tau < len(x) else None
    y, _ = layer(x[-tau:], state)
    (g,) = tg.grad(y[-1].sum(), [layer.weight_hh_l0])
    return g.numpy().ravel()


taus = [1, 2, 3, 5, 8, 12, 20, 30, 50]
cosines = {}
for gain in (0.5, 1.0, 1.5):
    layer = rotated(gain)
    true = gradient(layer, x, 50)
    close = [
        g @ true / np.linalg.norm(g)
        for g in (gradient(layer, x, tau) for tau in taus)
    ]
    cosines[f"gain {gain}"] = (taus, close / np.linalg.norm(true))

# %% For a gain of 0.5 two steps are enough; for 1.5 even thirty point elsewhere
tg.plot.curves(
    cosines, xlabel="steps that the gradient goes back", ylabel="cosine with the true gradient",
    xscale="log",
)  # fmt: skip

# %% [markdown]
# Where gradients vanish, truncation costs nothing: there was nothing left to cut. Where they do
# not, it trades the direction for a bounded length. Neither remedy makes a net remember; that is
# the subject of [lesson 4](4-gates.py).
#
# ## Exercise
#
# How far back does a net see? Write `horizon(norms, share)`: the number of steps back from the
# last one for which the norm is still at least `share` of the norm at the last step, without a
# gap. `norms` is an array over time, as `flow` returns it.


# %%
def horizon(norms, share=0.01):
    return len(norms) - 1


# %%
def check(horizon):
    for what, norms, expected in [
        ("four equal norms", [1.0, 1.0, 1.0, 1.0], 3),
        ("norms that halve", 0.5 ** np.arange(20)[::-1], 6),
        ("1, 0.001, 0.5, 2", [1.0, 0.001, 0.5, 2.0], 1),
    ]:
        if (found := horizon(np.asarray(norms))) != expected:
            return f"not yet: of {what} it is {expected}, not {found}"
    seen = [
        int(horizon(flow(rotated(gain), x))) for gain in (0.5, 0.8, 1.0, 1.2)
    ]
    return f"right: the gains 0.5, 0.8, 1.0 and 1.2 see {seen} steps"


check(horizon)


# %% jupyter={"source_hidden": true}
def horizon(norms, share=0.01):
    below = np.flatnonzero(np.asarray(norms)[::-1] < share * norms[-1])
    return below[0] - 1 if below.size else len(norms) - 1


check(horizon)
