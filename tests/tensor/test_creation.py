"""New tensors: what NumPy would make, in our dtypes."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg


def test_linspace_and_eye_are_numpys_in_float32() -> None:
    y = tg.linspace(-1, 2, 7, endpoint=False)
    np.testing.assert_allclose(y.numpy(), np.linspace(-1, 2, 7, endpoint=False), rtol=1e-6)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(tg.eye(2, 4, k=1).numpy(), np.eye(2, 4, 1))
    assert tg.eye(3, dtype="int64").dtype == np.int64


def test_random_integers_come_from_the_generator_they_are_given() -> None:
    def draw() -> list[int]:
        generator = tg.Generator(3)
        numbers = tg.randint(-2, 3, (50,), generator=generator)
        assert set(numbers.tolist()) == {-2, -1, 0, 1, 2}
        return [*numbers.tolist(), *tg.randperm(9, generator=generator).tolist()]

    assert draw() == draw()
    assert sorted(draw()[50:]) == list(range(9))


def test_numbers_may_be_constants_but_no_graph_is_dropped() -> None:
    x = tg.tensor([0.0, 1.0])
    np.testing.assert_allclose(tg.linspace(x[0], x[1], 3).numpy(), [0, 0.5, 1])
    assert tg.full((2,), x[1]).tolist() == [1.0, 1.0]
    assert tg.arange(tg.tensor(3)).tolist() == [0, 1, 2]
    x.requires_grad = True
    for name, make in {
        "linspace: stop": lambda: tg.linspace(0, x[1], 3),
        "arange": lambda: tg.arange(x[1]),
        "full: value": lambda: tg.full((2,), x[1]),
    }.items():
        with pytest.raises(tg.errors.InvalidTypeError, match=rf"{name}: expected a number.*item"):
            make()
