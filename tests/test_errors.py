"""Errors say in the name of the function that was called what it was given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.annotations import described, misfit


def raised(call: Any) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call()
    return caught.value


def test_pythons_errors_become_the_packages_and_keep_their_kind() -> None:
    error = raised(lambda: tg.tile({}, 2))
    assert isinstance(error, tg.InvalidTypeError)
    assert isinstance(error, TypeError)
    assert str(error).startswith("tile: ")
    assert isinstance(error.__cause__, AttributeError)


def test_the_outermost_public_function_speaks() -> None:
    message = str(raised(lambda: tg.nn.cross_entropy(tg.ones((2, 3)), {})))
    assert message.startswith("cross_entropy: targets: expected a Tensor, ")
    message = str(raised(lambda: tg.take(tg.ones(3), tg.tensor([7, 7]))))
    assert message.startswith("take: ")
    assert message.count("(got x=float32[3], indices=int64[2]") == 1


def test_errors_of_the_callers_own_functions_pass_unchanged() -> None:
    class Own(tg.nn.Module):
        def forward(self, x: Any) -> Any:
            return {}[x]

    def fails(*_: Any) -> Any:
        raise ValueError("mine")

    assert type(raised(lambda: tg.nn.Sequential(Own())(2))) is KeyError
    for call in (
        lambda: tg.vjp(fails, tg.ones((2,))),
        lambda: tg.scan(fails, tg.ones((2,)), tg.ones((3, 2))),
        lambda: tg.checkpoint(fails, tg.ones((2,))),
    ):
        error = raised(call)
        assert type(error) is ValueError
        assert str(error) == "mine"


def test_errors_that_are_not_about_arguments_stay_as_they_are() -> None:
    x = tg.tensor(1.0, requires_grad=True)
    y = x * x
    tg.grad(y, [x])
    error = raised(lambda: tg.grad(y, [x]))
    assert type(error) is tg.GraphError
    assert "(got " not in str(error)


# ---------------------------------------------------------------- arguments of a wrong type

LAYER = tg.nn.GRU(3, 4)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda bad: nn.decoding.Constraints(allowed=bad), "allowed: expected a function or None"),
        (lambda bad: nn.utils.quantized(bad), "model: expected a Module"),
        (lambda bad: tg.sum(tg.ones((2, 3)), axis=bad),
         "axis: expected an integer, a sequence of integers or None"),
        (lambda bad: tg.stack([tg.ones(2)], axis=bad), "axis: expected an integer"),
        (lambda bad: tg.associative_scan(bad, tg.ones((3, 2))), "fn: expected a function"),
        (lambda bad: nn.init.constant_(bad, 0.5), "x: expected a Tensor"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("bad", "described"),
    [("three", "'three'"), ({1: 2}, "{1: 2}"), (1j, "1j"), (b"x", "b'x'")],
)
def test_an_argument_of_a_wrong_type_is_named(
    call: Any, expected: str, bad: object, described: str
) -> None:
    error = raised(lambda: call(bad))
    assert isinstance(error, tg.InvalidTypeError)
    assert str(error).endswith(f": {expected}, got {described}")


WORDS: dict[Any, tuple[list[Any], list[Any], str]] = {  # what fits, what does not, in words
    int: ([3, np.int64(3), np.array(3)], [3.0, "3", None, [3]], "an integer"),
    float: ([3, 0.5, np.float32(3), np.array(0.5)], ["3", None, [1.0, 2.0]], "a number"),
    bool: ([True, np.bool_(0)], [1, None, "yes"], "True or False"),
    str: (["x"], [3, None, b"x"], "a string"),
    int | None: ([3, None], [0.5, "x"], "an integer or None"),
    Literal["a", "b"]: (["a"], ["c", None, 3], "'a' or 'b'"),
    Callable[[int], int]: ([len, int], [3, None, "len"], "a function"),
    Sequence[int]: ([[1], (1, 2), [], np.ones(2, int)], [3, None, "12", [0.5], {1: 2}],
                    "a sequence of integers"),
    Sequence[Sequence[str]]: ([[["a"], []]], [["a", 3], [[1]]],
                              "a sequence of sequences of strings"),
    tuple[int, str]: ([(1, "a")], [(1,), ("a", 1), 3, [1, "a"]], "a tuple of integers"),
    tg.Tensor: ([tg.ones(2), np.ones(2)], [3, None, [1.0]], "a Tensor"),
    tg.Tensor | np.ndarray[Any, Any] | float: ([tg.ones(2), 3], ["x", None],
                                               "a Tensor, an array or a number"),
    nn.Module: ([LAYER], [3, nn.GRU], "a Module"),
    Any: ([3, None, "x"], [], ""),
}  # fmt: skip


@pytest.mark.parametrize("hint", WORDS, ids=str)
def test_what_fits_an_annotation(hint: Any) -> None:
    def function(argument: Any) -> None:
        """Takes an argument of the type."""

    function.__annotations__["argument"] = hint
    fitting, others, words = WORDS[hint]
    for value in fitting:
        assert misfit({"argument": value}, function) == ""
    for value in others:
        said = f"argument: expected {words}, got {described(value)}"
        assert misfit({"argument": value}, function) == said


def test_the_argument_that_surely_does_not_fit_is_blamed_first() -> None:
    def function(x: tg.Tensor, axis: int) -> None:
        """Takes lists for Tensors, as many functions do."""

    assert misfit({"x": [1.0], "axis": "0"}, function).startswith("axis: ")
    assert misfit({"x": [1.0], "axis": 0}, function).startswith("x: ")


def test_errors_have_one_line() -> None:
    deep = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 2)))
    assert described(deep).startswith("Sequential() 0: Linear(2, 3)")
    assert described({"x": np.ones((2, 2))}).count("\n") == 0
    for call in (
        lambda: nn.decoding.greedy(deep.forward, None, [0], max_length=2, end=7),
        lambda: tg.io.export_onnx(deep, 3, tg.ones((2, 2))),
        lambda: tg.take(tg.ones(3), tg.tensor([[7, 7], [7, 7]])),
        lambda: tg.optim.Adam([np.ones((3, 3))], lr=0.1),
    ):
        assert "\n" not in str(raised(call))
