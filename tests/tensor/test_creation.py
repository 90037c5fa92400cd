"""New tensors: what NumPy would make, in our dtypes."""

from __future__ import annotations

import numpy as np

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
