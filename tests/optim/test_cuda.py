"""Optimizers on a GPU update as on the CPU: tests for `make test-cupy`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import kernels

pytestmark = pytest.mark.gpu

Make = Callable[..., tg.optim.Optimizer]

OPTIMIZERS: dict[str, tuple[Make, dict[str, Any]]] = {
    "SGD": (tg.optim.SGD, {}),
    "SGD, decay": (tg.optim.SGD, {"weight_decay": 0.1}),
    "SGD, momentum": (tg.optim.SGD, {"momentum": 0.9}),
    "SGD, nesterov": (tg.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "RMSprop": (tg.optim.RMSprop, {}),
    "RMSprop, momentum": (tg.optim.RMSprop, {"momentum": 0.9, "weight_decay": 0.1, "alpha": 0.5}),
    "Adam": (tg.optim.Adam, {"weight_decay": 0.1}),
    "AdamW": (tg.optim.AdamW, {}),
}
SHAPES: Sequence[tuple[int, ...]] = [(), (3,), (0, 4), (50, 90), (2, 3, 5)]


def trained(make: Make, settings: dict[str, Any], dtype: str, device: str) -> list[Any]:
    """Parameters and states after some steps; a parameter has no gradient in the first one."""
    rng = np.random.default_rng(0)
    values = [rng.normal(size=shape).astype(dtype) for shape in SHAPES]
    ps = [tg.tensor(value, device=device, requires_grad=True) for value in values]
    optimizer = make(ps, lr=0.05, **settings)
    for step in range(4):
        for i, p in enumerate(ps):
            g = rng.normal(size=p.shape).astype(dtype)
            p.grad = None if (step, i) == (0, 1) else tg.tensor(g, device=device)
        optimizer.step()
    state = optimizer.state_dict()["state"]
    arrays = [p.data for p in ps]
    for number in sorted(state):
        arrays += [a for _, a in sorted(state[number].items()) if hasattr(a, "shape")]
    return [tg.as_tensor(a).numpy() for a in arrays]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_they_update_as_on_the_cpu(name: str, dtype: str) -> None:
    make, settings = OPTIMIZERS[name]
    theirs, ours = (trained(make, settings, dtype, on) for on in ("cpu", "cuda"))
    tolerance = 2e-6 if dtype == "float32" else 1e-14
    for expected, found in zip(theirs, ours, strict=True):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parameters_of_two_dtypes_are_updated_one_by_one(name: str) -> None:
    make, settings = OPTIMIZERS[name]

    def found(device: str) -> list[Any]:
        ps = [
            tg.ones((3,), dtype=dtype, device=device, requires_grad=True)
            for dtype in ("float32", "float64")
        ]
        for p in ps:
            p.grad = p.detach() * 2
        make(ps, **settings).step()
        return [p.tolist() for p in ps]

    np.testing.assert_allclose(found("cuda"), found("cpu"), rtol=1e-6)


def test_a_subclass_with_an_update_of_its_own_is_not_passed_over() -> None:
    class Sign(tg.optim.SGD):
        def update(self, p: Any, g: Any, state: dict[str, Any], group: Any, xp: Any) -> None:
            p -= group["lr"] * xp.sign(g)

    p = tg.tensor([1.0], device="cuda", requires_grad=True)
    (p * 8).sum().backward()
    Sign([p], lr=0.5).step()
    assert p.tolist() == [0.5]


def test_an_infinite_parameter_without_decay_stays_infinite() -> None:
    for make, settings in OPTIMIZERS.values():
        p = tg.tensor([np.inf, 1.0], device="cuda", requires_grad=True)
        p.grad = tg.ones((2,), device="cuda")
        make([p], **{**settings, "weight_decay": 0}).step()
        assert p[0].item() == np.inf


def test_a_norm_alone_leaves_the_gradients_where_they_are() -> None:
    import cupy

    g = cupy.array([3.0, 4.0])
    norm, found = kernels.cuda.clip_norm(cupy, [g], np.inf)
    assert (norm.item(), found[0] is g) == (5, True)
