"""A network whose gradient explodes, and the remedies: clipping, and truncation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..nn import RNN
from ..optim import SGD, clip_grad_norm_
from ..tensor.random import Generator
from .memory import HELD_OUT, MemoryConfig, Reader, evaluated, loss_of, reach
from .problems import PROBLEMS
from .sample import Sample

EXPLODING = 1200  # updates of the training
LENGTH, BATCH = 20, 32  # of its sequences
CLIP = 0.2  # the largest norm of a gradient that is clipped
TRUNCATED = LENGTH // 3  # steps that a truncated gradient goes back
GROWTH = 1.1  # of the gradient, in each step that it goes back


@dataclass(frozen=True)
class Explosion:
    """A network whose gradient explodes, and what clipping and truncation change."""

    norms: dict[str, list[float]]  # |dL/dh_t| at the beginning, by remedy; 0 where it is cut
    losses: dict[str, list[float]]  # of each update, with and without clipping
    wrong: dict[str, float]  # the final share of the held-out sequences


def explosion(steps: int = EXPLODING) -> Explosion:
    """Trains rectified linear units (Le et al. 2015) on temporal order, clipped or not.

    Their recurrent matrix starts as a multiple of the identity, so that a gradient grows by one
    factor with every step that it goes back. Without clipping, one update by such a gradient is
    enough: units that are then negative for all inputs have no gradient, and never recover.
    """
    problem = PROBLEMS["order"]
    sample = problem.draw(Generator(1), LENGTH, HELD_OUT)
    norms: dict[str, list[float]] = {}
    losses: dict[str, list[float]] = {}
    share: dict[str, float] = {}
    for name, limit in (("without clipping", math.inf), (f"clipped at {CLIP:g}", CLIP)):
        generator = Generator(0)
        model = _rectified(generator)
        optimizer = SGD(model.parameters(), lr=0.03, momentum=0.9)
        start = problem.draw(generator, LENGTH, BATCH)
        flow = np.array(reach(model, start))
        loss_of(model, start).backward()
        norm = clip_grad_norm_(model.parameters(), limit)
        norms[name] = (flow * min(1.0, limit / norm)).tolist()
        if limit == math.inf:
            cut = Sample(start.x[-TRUNCATED:], start.target[-TRUNCATED:])
            zeros = [0.0] * (LENGTH - TRUNCATED)
            norms[f"truncated to {TRUNCATED} steps"] = zeros + reach(model, cut)
        losses[name] = []
        for _ in range(steps):
            optimizer.zero_grad()
            drawn = problem.draw(generator, LENGTH, BATCH)
            loss = loss_of(model, drawn)
            loss.backward()
            clip_grad_norm_(model.parameters(), limit)
            optimizer.step()
            losses[name].append(float(loss.item()))
        share[name] = evaluated(model, sample)
    return Explosion(norms, losses, share)


def _rectified(generator: Generator) -> Reader:
    """A network whose gradient grows by GROWTH in each step that it goes back."""
    features, size = PROBLEMS["order"].features, 64
    model = Reader(MemoryConfig("order", "rnn", hidden_size=size), generator)
    layer = model.layer = RNN(features, size, nonlinearity="relu", generator=generator)
    layer.weight_hh_l0.data[:] = GROWTH * np.eye(size)
    layer.weight_ih_l0.data[:] *= 0.1
    layer.bias_ih_l0.data[:] = 0
    layer.bias_hh_l0.data[:] = 0
    return model
