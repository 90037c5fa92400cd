"""New tensors: what NumPy would make, in our dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@given(
    start=st.integers(-9, 9),
    stop=st.none() | st.integers(-9, 9),
    step=st.sampled_from([-3, -1, 1, 2, 5, 0.5]),
    dtype=st.sampled_from([None, "float64", "int16"]),
)
def test_arange_is_numpys(start: int, stop: int | None, step: float, dtype: str | None) -> None:
    true = np.arange(0, start, step) if stop is None else np.arange(start, stop, step)
    if dtype == "int16" and not np.array_equal(true.astype(dtype), true):
        with pytest.raises(ValueError, match="arange: dtype: int16 does not hold"):
            tg.arange(start, stop, step, dtype=dtype)
        return
    found = tg.arange(start, stop, step=step, dtype=dtype)
    assert found.dtype == (dtype or ("float32" if isinstance(step, float) else "int64"))
    np.testing.assert_array_equal(found.numpy(), true)


def test_no_dtype_is_the_default_one() -> None:
    for x in (
        tg.zeros(2, dtype=None),
        tg.ones(2, dtype=None),
        tg.eye(2, dtype=None),
        tg.full(2, 1, dtype=None),
        tg.linspace(0, 1, 3, dtype=None),
        tg.rand(2, dtype=None),
        tg.randn(2, dtype=None),
        tg.arange(0.0, 1.0, dtype=None),
        tg.tensor([1.0], dtype=None),
        tg.one_hot([1], 2, dtype=None),
        tg.nn.Linear(1, 2, dtype=None).weight,
    ):
        assert x.dtype == np.float32


def test_numbers_may_come_from_constants() -> None:
    a, b = tg.tensor([1.0, 2.0])
    assert tg.linspace(a, b, 3).tolist() == [1.0, 1.5, 2.0]
    assert tg.arange(tg.tensor([3, 1]).max()).tolist() == [0, 1, 2]
    assert tg.full(tg.tensor(2), np.float64(0.1), dtype="float64").tolist() == [0.1, 0.1]
    assert tg.zeros((tg.tensor(2), np.int64(3))).shape == (2, 3)


SHAPES = {
    "zeros": tg.zeros,
    "ones": tg.ones,
    "full": lambda shape: tg.full(shape, 1.0),
    "rand": tg.rand,
    "randn": lambda shape: tg.randn(shape, 1),
    "randint": lambda shape: tg.randint(0, 3, shape),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(
    "shape", [-1, (2, -1), 2.0, (2, 2.5), "ab", None, True, (2, None), ((2, 3),), np.float64(2)]
)
def test_what_is_no_shape_is_refused_by_name(name: str, shape: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"{name}: shape: expected"):
        SHAPES[name](shape)


@pytest.mark.parametrize("draw", [tg.rand, tg.randn])
def test_a_random_shape_is_one_argument_or_several(draw: Any) -> None:
    several = draw(2, 3, generator=tg.Generator(0)).tolist()
    for shape in ((2, 3), [2, 3], tg.zeros((2, 3)).shape):
        assert draw(shape, generator=tg.Generator(0)).tolist() == several
    assert draw().shape == draw(()).shape == ()
    with pytest.raises(TypeError, match=r"an integer, got \(2, 3\): tg.randint\(0, 5, \(2, 3\)\)"):
        tg.randint(5, (2, 3))  # type: ignore[arg-type]  # PyTorch's


W = tg.tensor([1.0, 2.0], requires_grad=True)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tg.arange(0, 3, 0), "arange: expected a step other than 0"),
        (lambda: tg.arange(float("nan")), "arange: .*finite"),
        (lambda: tg.arange(float("inf")), "arange: .*finite"),
        (lambda: tg.arange("a"), "arange: stop: expected a number"),
        (lambda: tg.arange(W[0]), "arange: stop: expected a number"),
        (lambda: tg.arange(W.detach()), "arange: stop: expected a number"),
        (lambda: tg.arange(300, dtype="uint8"), "arange: dtype: uint8"),
        (lambda: tg.linspace(W[0], 1, 3), r"linspace: start: .*x\.item\(\)"),
        (lambda: tg.linspace(0, 1, -1), "linspace: num: expected 0 or more, got -1"),
        (lambda: tg.linspace(0, 1, 2.5), "linspace: num: expected an integer"),
        (lambda: tg.eye(-1), "eye: n: expected 0 or more"),
        (lambda: tg.eye(2, 2.5), "eye: m: expected an integer"),
        (lambda: tg.eye(2, k=0.5), "eye: k: expected an integer"),
        (lambda: tg.full(2, "a"), "full: value: expected a number"),
        (lambda: tg.full(2, W[0]), "full: value: expected a number"),
        (lambda: tg.full(2, [1.0, 2.0]), "full: value: expected a number"),
        (lambda: tg.full(2, 300, dtype="uint8"), "full: value: .*out of bounds"),
        (lambda: tg.full(2, float("nan"), dtype="int64"), "full: value: nan"),
        (lambda: tg.randint(5, 5), "randint: expected low below high"),
        (lambda: tg.randint(5, 2), "randint: expected low below high"),
        (lambda: tg.randint(0, 2.5), "randint: high: expected an integer"),
        (lambda: tg.randint(0, 2**64), "randint: .*64 bits"),
        (lambda: tg.randperm(-1), "randperm: n: expected 0 or more"),
        (lambda: tg.randperm([1, 2]), "randperm: n: expected an integer"),
        (lambda: tg.randn(2, dtype="int64"), "randn: dtype: expected one of reals"),
        (lambda: tg.rand(2, dtype=bool), "rand: dtype: expected one of reals"),
        (lambda: tg.rand(2, generator=0), "rand: generator: expected a tg.Generator"),
        (lambda: tg.Generator(-1), "Generator: seed"),
        (lambda: tg.manual_seed("a"), "manual_seed: seed"),
        (lambda: tg.full_like(tg.tensor([1]), 1.5), "full_like: .*int64 can represent"),
        (lambda: tg.zeros(2, device=0), "device: expected its name"),
        (lambda: tg.zeros(2, device=""), "unknown device"),
        (lambda: tg.tensor([1.0], requires_grad="yes"), "requires_grad: expected True or False"),
        (lambda: W.register_hook(3), "register_hook: expected a function"),
        (lambda: tg.from_dlpack(np.ma.array([1.0])), "from_dlpack: .*masked"),
        (lambda: tg.from_dlpack(np.ones(1, ">f8")), "from_dlpack: .*byte order"),
    ],
)
def test_wrong_arguments_are_named(call: Any, words: str) -> None:
    with pytest.raises(tg.TinygradRnnError, match=words):
        call()
