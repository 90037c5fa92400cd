"""Errors say in the name of the function that was called what it was given."""

from __future__ import annotations

from typing import Any

import pytest

import tinygrad_rnn as tg


def raised(call: Any) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call()
    return caught.value


def test_pythons_errors_become_the_packages_and_keep_their_kind() -> None:
    error = raised(lambda: tg.tile({}, 2))
    assert isinstance(error, tg.InvalidTypeError)
    assert isinstance(error, TypeError)
    assert str(error).startswith("tile: ")
    assert "(got x={}, reps=2)" in str(error)
    assert isinstance(error.__cause__, AttributeError)


def test_the_outermost_public_function_speaks() -> None:
    message = str(raised(lambda: tg.nn.cross_entropy(tg.ones((2, 3)), {})))
    assert message.startswith("cross_entropy: ")
    assert "targets={}" in message
    assert message.count("(got ") == 1


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
