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
# lesson shows what that does to the norm of the gradient, draws the cliff in the loss where the
# gradient explodes, and trains across the cliff, once without clipping and once with it.
#
# [Chapter 9](../docs/lecture/09-gradients.md) has the equations.

# %%
import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn

# %% [markdown]
# ## Fifty steps back
#
# Five untrained nets read the same noise, and the loss is the sum of the last output. The recurrent
# matrix $W$ of each is a random orthogonal matrix times a **gain**.


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

# %% From the last step back: straight lines down for gains up to 1.2, and a level one for 1.5
tg.plot.curves(flows, xlabel="step t", ylabel="norm of dL/dh_t", yscale="log")

# %% [markdown]
# On a logarithmic axis a product of nearly equal factors is a straight line. Read from right to
# left. With a gain of 0.5 the norm more than halves at each step, and even with a gain of 1 it
# shrinks: besides $W$, each step multiplies the gradient by the slope of the tanh, $1 - h^2 < 1$.
# For gains above 1 the states are large and saturate the tanh, so its small slope prevents the
# explosion. Rectified units have slope 1 wherever they are active, and with them the gradient
# explodes:

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
# What does a loss look like whose gradient explodes? Take the smallest recurrent net,
# $h_t = \tanh(w h_{t-1} + b)$, run it for twenty steps from $h_0 = 0.5$, and let the loss be the
# squared distance of the last state from $-0.7$. It has two weights, so we can draw the loss as a
# landscape:


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
# On the plateau the unit stays *on*, on the plain it falls to *off*. Here is a cut through the wall
# between them, at $w = 2$:

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
# gradient and limits its length: if $\lVert g \rVert > v$, then
# $g \leftarrow g\, v / \lVert g \rVert$.


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
    "without clipping": free[-1],
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
# The minimum lies in the wall, where the last state passes $-0.7$ on its way from *off* to *on*.
# So both paths run along the foot of the wall, and now and then an update lands on it. The
# gradient there is right, but only within a tiny distance, and a step in proportion to it goes
# much too far. One such step throws the white path to a place where the tanh is flat, from which
# no gradient leads back. The red path moves by at most 0.1 (the learning rate times $v$), and
# continues.
#
# ## Truncation
#
# The other remedy stops the gradient after $\tau$ steps back. What it gives is no longer the
# gradient of the loss. How close are the directions of the two? We compute the cosine of the angle
# between them, for three gains:


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

# %% For a gain of 0.5 two steps are enough; for 1.5 even thirty are not
tg.plot.curves(
    cosines, xlabel="steps that the gradient goes back", ylabel="cosine with the true gradient",
    xscale="log",
)  # fmt: skip

# %% [markdown]
# Where gradients vanish, truncation costs nothing: nothing was left to cut off. Where they do not,
# truncation bounds the length of the gradient and changes its direction. Neither remedy makes a net
# remember; that is the subject of [lesson 4](4-gates.py).
#
# ## Exercise
#
# How far back does a gradient reach? Write `horizon(norms, share)`: the largest number $k$ such
# that at each of the last $k$ steps before the final one the norm is at least `share` times the
# norm at the final step. `norms` is an array over time, as `flow` returns it.


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
            return f"not yet: for {what} it is {expected}, not {found}"
    reached = [
        int(horizon(flow(rotated(gain), x))) for gain in (0.5, 0.8, 1.0, 1.2)
    ]
    return (
        f"right: with gains of 0.5, 0.8, 1.0 and 1.2 it reaches {reached} steps"
    )


check(horizon)


# %% jupyter={"source_hidden": true}
def horizon(norms, share=0.01):
    below = np.flatnonzero(np.asarray(norms)[::-1] < share * norms[-1])
    return below[0] - 1 if below.size else len(norms) - 1


check(horizon)
