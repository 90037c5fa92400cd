# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # An engine from scratch
#
# A derivative says how much an output changes when an input changes. A program with a thousand
# inputs has a thousand derivatives, and **reverse-mode differentiation** computes all of them in
# one backward pass. This lesson builds an engine for single numbers in one cell of code, trains a
# recurrent unit with it, and measures how far a gradient check can be trusted.
#
# [The engine on one page](../docs/engine.md) does the same for arrays, as the package does.

# %%
import math
import random

import numpy as np

import tinygrad_rnn as tg

# %% [markdown]
# ## A number that remembers its parents
#
# Each result keeps its **parents**, each with the **local derivative** with respect to it. An
# engine has to record nothing else. `backward` visits the results from the last to the first, and
# adds to each parent's gradient the result's gradient times the local derivative: the chain rule,
# summed over all paths.


# %%
class Number:
    def __init__(self, value, parents=()):
        self.value, self.parents, self.grad = value, parents, 0.0

    def __add__(self, other):
        other = number(other)
        return Number(self.value + other.value, [(self, 1.0), (other, 1.0)])

    def __mul__(self, other):
        other = number(other)
        return Number(
            self.value * other.value, [(self, other.value), (other, self.value)]
        )

    def tanh(self):
        y = math.tanh(self.value)
        return Number(y, [(self, 1 - y * y)])

    def backward(self):
        order, seen = [], set()

        def visit(result):  # parents first
            if id(result) not in seen:
                seen.add(id(result))
                for parent, _ in result.parents:
                    visit(parent)
                order.append(result)

        visit(self)
        self.grad = 1.0
        for result in reversed(order):
            for parent, slope in result.parents:
                parent.grad += result.grad * slope


def number(value):
    return value if isinstance(value, Number) else Number(value)


# %% [markdown]
# $y = x \cdot x + 3x$ has the derivative $2x + 3$, which is 7 at $x = 2$. Three edges lead to $x$,
# and each contributes: $2 + 2 + 3$.

# %%
x = Number(2.0)
y = x * x + x * 3
y.backward()
y.value, x.grad

# %% [markdown]
# ## A recurrent unit
#
# A recurrent unit with one number of memory is $h_t = \tanh(w\,h_{t-1} + u\,x_t + b)$. Below is the
# graph of two steps, drawn by the package, whose graph has the same operations as ours. Each step
# reads `w`, `u` and `b`, so two gradients arrive at each of them, and the engine adds them.


# %%
def unit(w, u, b, xs, h):
    for x in xs:
        h = (w * h + u * x + b).tanh()
    return h


# %% The graph of two steps: w, u and b each lead to two operations
leaves = {name: tg.tensor(0.5, requires_grad=True) for name in "wub"}
tg.plot.graph(unit(*leaves.values(), [1.0, -1.0], tg.tensor(0.1)), leaves)

# %% [markdown]
# `unit` works with either engine, and both give the same three derivatives:

# %%
ours = [Number(0.5) for _ in "wub"]
unit(*ours, [1.0, -1.0, 0.5], Number(0.1)).backward()

theirs = [tg.tensor(0.5, dtype="float64", requires_grad=True) for _ in "wub"]
unit(*theirs, [1.0, -1.0, 0.5], tg.tensor(0.1, dtype="float64")).backward()

for name, a, b in zip("wub", ours, theirs, strict=True):
    print(name, f"{a.grad:.12f}", f"{b.grad.item():.12f}")

# %% [markdown]
# ## Training
#
# The unit is to become a **latch**: an input of 1 switches it on, -1 switches it off, and 0 leaves
# it as it is. The target is the last input that was not 0. Gradient descent moves each weight
# against its gradient:

# %%
draw = random.Random(0)


def example(length=8):
    xs = [
        1.0,
        *(draw.choice([1.0, -1.0, 0.0, 0.0, 0.0]) for _ in range(length - 1)),
    ]
    return xs, [x for x in xs if x][-1]


w, u, b = (Number(draw.uniform(0, 0.5)) for _ in range(3))
losses, path = [], []
for _ in range(150):
    loss = Number(0.0)
    for xs, target in (example() for _ in range(16)):
        error = unit(w, u, b, xs, Number(0.0)) + -target
        loss = loss + error * error * (1 / 16)
    loss.backward()
    for weight in (w, u, b):
        weight.value -= 0.2 * weight.grad
        weight.grad = 0.0
    losses.append(loss.value)
    path.append([w.value, u.value, b.value])

# %% Left: the loss falls from 0.7 to near 0. Right: w and u grow, and b returns to 0
figure, (left, right) = tg.plot.panels(1, 2, 10, 3.6)
tg.plot.curves(
    {"loss": losses}, xlabel="updates", ylabel="squared error", ax=left
)
named = dict(zip("wub", np.transpose(path), strict=True))
tg.plot.curves(named, xlabel="updates", ylabel="weight", ax=right)
figure

# %% [markdown]
# Why did $w$ grow beyond 1? When $x = 0$, the state must not change: $h = \tanh(w h)$. This
# equation has solutions other than 0 only if $w > 1$: one for *on*, one for *off*. Near update 20
# the loss jumps and $b$ swings: while the two solutions are separating, a small change of the
# weights changes the outcome most. [Lesson 3](3-gradients.py) looks at such a place.
#
# ## Can we trust a gradient?
#
# A net can train even if one of its rules has the wrong sign; it only trains worse. So we compare
# gradients with **finite differences**, $(f(x + \epsilon) - f(x - \epsilon)) / 2 \epsilon$. How
# small should $\epsilon$ be?


# %%
def off(epsilon, kind):
    f = [kind(v) for v in (1 + epsilon, 1 - epsilon)]
    difference = (np.tanh(f[0]) - np.tanh(f[1])) / (f[0] - f[1])
    return max(abs(float(difference) - (1 - math.tanh(1) ** 2)), 1e-17)


# %% The error falls as the square of epsilon, then rises again: at 1e-5 in float64, 1e-2 in float32
sizes = 10.0 ** np.arange(-12, 0.1, 0.5)
tg.plot.curves(
    {
        "float64": (sizes, [off(e, np.float64) for e in sizes]),
        "float32": (sizes[10:], [off(e, np.float32) for e in sizes[10:]]),
    },
    xlabel="epsilon",
    ylabel="error of the difference",
    xscale="log",
    yscale="log",
)

# %% [markdown]
# Read the curves from the right. First the error falls as $\epsilon^2$: this is the **truncation
# error**, from the third derivative, which the difference ignores. Then it rises again: the two
# values are nearly equal, their leading digits cancel, and the **rounding error** remains. The best
# $\epsilon$ lies between; in float32 only five digits are right even there. This is why
# `tg.gradcheck` computes in float64:

# %%
latch = [np.array(weight) for weight in (1.5, 1.0, 0.0)]
tg.gradcheck(
    lambda w, u, b: unit(w, u, b, [1.0, 0.0, -1.0], 0.1 * w), latch, order=2
)

# %% [markdown]
# ## Exercise
#
# Give the engine a division. What are the local derivatives of $a / b$ with respect to $a$ and $b$?
# Replace the two 1.0, then run the check.


# %%
def divide(a, b):
    return Number(a.value / b.value, [(a, 1.0), (b, 1.0)])


# %%
def check(divide):
    for a, b in [(3.0, 2.0), (-1.0, 0.5), (2.0, -4.0)]:
        inputs = Number(a), Number(b)
        divide(*inputs).backward()
        for name, got, ahead, behind in [
            ("a", inputs[0].grad, (a + 1e-5) / b, (a - 1e-5) / b),
            ("b", inputs[1].grad, a / (b + 1e-5), a / (b - 1e-5)),
        ]:
            slope = (ahead - behind) / 2e-5
            if abs(got - slope) > 1e-6:
                return f"not yet: at {a} / {b}, d/d{name} is {slope:.3f}, not {got:.3f}"
    return "right"


check(divide)


# %% jupyter={"source_hidden": true}
def divide(a, b):
    return Number(
        a.value / b.value, [(a, 1 / b.value), (b, -a.value / b.value**2)]
    )


check(divide)
