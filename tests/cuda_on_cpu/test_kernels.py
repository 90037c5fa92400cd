"""Our CUDA kernels under the checks for races and stray writes, and with bugs planted in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_rnn import kernels
from tinygrad_rnn.kernels import cuda

from .driver import start

pytestmark = pytest.mark.gpu


def sums_of_rows(cp: Any) -> tuple[Any, Any]:
    ids = np.array([3, 1, 3, 3, 0, 1, 3, 3, 3, 3, 3, 3])
    values = np.arange(12 * 40, dtype="float32").reshape(12, 40)
    table, expected = cp.zeros((5, 40), "float32"), np.zeros((5, 40), "float32")
    cuda.scatter_add(cp, table, cp.asarray(ids), cp.asarray(values))
    np.add.at(expected, ids, values)
    return table.get(), expected


def clipped(cp: Any) -> tuple[Any, Any]:
    gs = [np.linspace(-1, 1, n) for n in (3, 5000)]
    norm, scaled = cuda.clip_norm(cp, [cp.asarray(g) for g in gs], 2.0)
    wanted = np.sqrt(sum((g * g).sum() for g in gs))
    return (
        np.concatenate([norm.get(), *[s.get() for s in scaled]]),
        np.concatenate([[wanted], *[g * 2 / wanted for g in gs]]),
    )


def adam(cp: Any) -> tuple[Any, Any]:
    arrays = [[cp.full(n, value) for n in (3, 5000)] for value in (1.0, 0.5, 0.0, 0.0)]
    cuda.adam(
        cp, *arrays, step=1, lr=0.1, betas=(0.9, 0.99), eps=0, decay=0, decoupled=False
    )  # fmt: skip
    found = [x.get() for x in (*arrays[0], *arrays[2])]
    return np.concatenate(found), np.repeat([0.9, 0.05], 5003)


def sgd(cp: Any) -> tuple[Any, Any]:
    """Two steps with Nesterov's momentum."""
    p, g, v = ([cp.full(n, value) for n in (3, 5000)] for value in (1.0, 0.5, 0.0))
    for _ in range(2):
        cuda.sgd(cp, p, g, v, lr=0.1, momentum=0.5, nesterov=True, decay=0)
    # v = 0.5, 0.75; the steps are 0.75 and 0.875
    return np.concatenate([x.get() for x in (*p, *v)]), np.repeat([0.8375, 0.75], 5003)


def rmsprop(cp: Any) -> tuple[Any, Any]:
    p, g, s, v = ([cp.full(n, value) for n in (3, 5000)] for value in (1.0, 0.5, 0.0, 0.0))
    for _ in range(2):
        cuda.rmsprop(cp, p, g, s, v, lr=0.1, alpha=0.75, eps=0, momentum=0.5, decay=0)
    # s = 1/16, 7/64; g / sqrt(s) = 2, 4 / sqrt(7)
    v2 = 1 + 4 / np.sqrt(7)
    found = np.concatenate([x.get() for x in (*p, *s, *v)])
    return found, np.repeat([1 - 0.1 * (2 + v2), 7 / 64, v2], 5003)


def masks(cp: Any) -> tuple[Any, Any]:
    out = cp.empty(131, bool)
    cuda.random_words(cp, out, 1, 2, 3, 2**31)
    from tinygrad_rnn.kernels.philox import _words

    return out.get(), _words(131, 1, 2, 3) >= 2**31


def cross_entropy(cp: Any) -> tuple[Any, Any]:
    """Losses, gradients and their sum, of rows that count and one that does not."""
    rng = np.random.default_rng(0)
    x, targets, weights = rng.normal(size=(4, 300)), np.array([5, 299, 7, 4]), rng.random(4)
    x[2], counts, weights[1] = np.nan, np.array([True, True, False, True]), 0
    losses, dx = cp.empty(4), cp.asarray(x)
    cuda.cross_entropy(
        cp, dx, *map(cp.asarray, (targets, weights, counts)),
        smoothing=0.1, losses=losses, gradient=dx,
    )  # fmt: skip
    total = cuda.weighted_sum(cp, cp.asarray(weights), losses)
    counts_x = np.where(counts[:, None], x, 0)
    true = kernels.cross_entropy(np, counts_x, targets, smoothing=0.1) * counts
    gradient = kernels.cross_entropy_gradient(np, counts_x, targets, weights, smoothing=0.1)
    parts = losses.get(), dx.get().ravel(), total.get().ravel()
    expected = true, (gradient * counts[:, None]).ravel(), [(weights * true).sum()]
    return np.concatenate(parts), np.concatenate(expected)


def recurrence(cp: Any) -> tuple[Any, Any]:
    """The states of a linear recurrence, in both directions."""
    rng = np.random.default_rng(0)
    a, b, h0 = (rng.normal(size=shape) for shape in ((5, 300), (5, 300), 300))
    found = [
        (kernels.linear_recurrence(xp, *map(xp.asarray, (a, b, h0)), reverse=reverse))
        for xp in (cp, np)
        for reverse in (False, True)
    ]
    return np.stack([x.get() for x in found[:2]]), np.stack(found[2:])


CALLS = [sums_of_rows, clipped, adam, sgd, rmsprop, masks, cross_entropy, recurrence]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_they_have_no_races_in_any_order(cp: Any, call: Callable[[Any], Any], seed: int) -> None:
    with start().order(seed):
        np.testing.assert_allclose(*call(cp), rtol=1e-6)


BUGS: dict[str, tuple[Any, str, str, str]] = {
    "no barrier before partial sums are added": (
        sums_of_rows, "= sum;\n    __syncthreads();", "= sum;", "race",
    ),
    "a run that every block of it adds": (
        sums_of_rows, "if (first && sorted[first - 1] == id) return;", "", "race",
    ),
    "a partial sum that is left out": (sums_of_rows, "int p = 1;", "int p = 2;", ""),
    "no barrier within a tree": (
        clipped, "+ k];\n    __syncthreads();", "+ k];", "race",
    ),
    "no end of a tensor": (
        clipped, "begin + CHUNK < line[1] ? begin + CHUNK : line[1]", "begin + CHUNK", "",
    ),
    "the wrong tensor's line": (adam, "<= blockIdx.x", "< blockIdx.x", ""),
    "a moment that is not kept": (adam, "mi = m[i] = ", "mi = 1.5 * ", ""),
    "a step without the gradient before it": (sgd, "step + momentum * vi : vi", "vi : vi", ""),
    "a momentum that is not kept": (sgd, "vi = v[i] = ", "vi = ", ""),
    "a mean of the gradient itself": (rmsprop, "rest * (gi * gi)", "rest * gi", ""),
    "no end of a mask": (masks, "if (block * 4 + i < count) ", "", "stray write"),
    "no barrier before shared memory is used again": (
        cross_entropy, "  __syncthreads();  // the threads may still read an earlier result\n", "",
        "race",
    ),
    "the target is read when it may be overwritten": (
        cross_entropy, "  __syncthreads();  // x[target] may be overwritten\n", "", "race",
    ),
    "a row that does not count": (cross_entropy, "if (counts && !counts[row])", "if (false)", ""),
    "the target of no row": (cross_entropy, "c == target ? d", "c == row ? d", ""),
    "no end of a state": (recurrence, "if (j >= size) return;", "", "race"),
    "a step from the wrong end": (recurrence, "steps - 1 - t", "steps - t", "stray write"),
    "the state of the first step": (recurrence, "y[at] = h =", "y[at] =", ""),
    "a round too few": (masks, "round < 10", "round < 9", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", BUGS)
def test_planted_bugs_are_caught(cp: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    call, old, new, found = BUGS[name]
    checked, planted = cp.RawModule, []

    def with_bug(code: str) -> Any:
        planted.append(old in code)
        return checked(code=code.replace(old, new))

    monkeypatch.setattr(cp, "RawModule", with_bug)
    try:
        ours, expected = call(cp)
    except cp.cuda.driver.CUDADriverError:
        assert found in start().failure
    else:
        assert not found
        assert not np.allclose(ours, expected, rtol=1e-6)
    assert any(planted)
