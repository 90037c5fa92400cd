"""A fused scan is the plain one, whatever the step does, or it names what it cannot repeat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.tensor import tree

STEPS = 4


def reals(values: Any) -> list[tg.Tensor]:
    """The Tensors of reals in a tree."""
    return [v for v in tree.leaves(values) if isinstance(v, tg.Tensor) and v.dtype.kind == "f"]


def results(run: Callable[[], Any], wanted: list[tg.Tensor]) -> tuple[Any, list[Any]]:
    """What a function gives, and the first and second derivatives of it."""
    value = run()
    live = [v for v in reals(value) if v.requires_grad]
    if not live:
        return value, []
    loss = sum((tg.sin(v).sum() for v in live), tg.zeros((), dtype=live[0].dtype))
    first = tg.grad(loss, wanted, create_graph=True)
    curved = [g for g in first if g.requires_grad]
    bend = sum(((g * g).sum() for g in curved), tg.zeros((), dtype=live[0].dtype))
    second = tg.grad(bend, wanted) if curved and bend.requires_grad else ()
    return value, [*first, *second]


def assert_same(found: Any, wanted: Any) -> None:
    """Two trees are of one structure, and their leaves of the same dtypes, shapes and values."""
    assert tree.difference(wanted, found) == ""
    for a, b in zip(tree.leaves(found, wanted), tree.leaves(wanted), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.requires_grad == b.requires_grad
        a, b = (v.detach().numpy() for v in (a, b))
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


def agree(run: Callable[[bool], Any], wanted: list[tg.Tensor], *words: str) -> str:
    """A fused run is the plain one, or is refused in words; the words, if it is."""
    try:
        plain: Any = results(lambda: run(False), wanted)
    except tg.TinygradRnnError as error:
        with pytest.raises(type(error)):
            results(lambda: run(True), wanted)
        return str(error)
    try:
        value, derivatives = results(lambda: run(True), wanted)
    except tg.GraphError as error:
        assert str(error).startswith("scan: expected a step that does the same whatever the values")
        return str(error)
    assert_same(value, plain[0])
    assert len(derivatives) == len(plain[1])
    for a, b in zip(derivatives, plain[1], strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6, atol=1e-8)
    return ""
