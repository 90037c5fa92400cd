"""Settings: one declaration gives the default, the range, the error and the option."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, get_args, get_origin

import numpy as np
import pytest

from tinygrad_rnn.cli.memory import memory
from tinygrad_rnn.cli.options import options
from tinygrad_rnn.cli.train import charlm, phones, task, translate, verses
from tinygrad_rnn.recipes import CharLMConfig, MemoryConfig, SettingError, TranslateConfig
from tinygrad_rnn.recipes.settings import Settings, check, setting

CONFIGS = [MemoryConfig(), CharLMConfig(), TranslateConfig()]


@dataclass(frozen=True)
class Example(Settings):
    """One setting of each type."""

    units: int = setting(4, "Units.", at_least=1)
    rate: float = setting(0.5, "Rate.", at_least=0, below=1)
    kind: str = setting("a", "Kind.", one_of=("a", "b"))
    flag: bool = setting(False, "Flag.")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("units", 0, "`units` must be at least 1, not 0"),
        ("units", 2**31, "`units` must be at most 2,147,483,647, not 2,147,483,648"),
        ("units", 1.5, "`units` must be an integer, not 1.5"),
        ("units", True, "`units` must be an integer, not True"),
        ("rate", 1, "`rate` must be at least 0 and below 1, not 1"),
        ("rate", -0.1, "`rate` must be at least 0 and below 1, not -0.1"),
        ("rate", float("nan"), "`rate` must be at least 0 and below 1, not nan"),
        ("rate", "0.5", "`rate` must be a number, not '0.5'"),
        ("kind", "c", "`kind` must be one of a, b, not 'c'"),
        ("kind", None, "`kind` must be a string, not None"),
        ("flag", 1, "`flag` must be True or False, not 1"),
    ],
)
def test_values_outside_the_range(name: str, value: Any, message: str) -> None:
    with pytest.raises(SettingError) as caught:
        replace(Example(), **{name: value})
    assert str(caught.value) == message


def test_values_within_the_range() -> None:
    config = Example(units=np.int64(2**31 - 1), rate=np.float32(0), kind="b", flag=True)
    assert replace(config, rate=0) == config  # an integer is a real number, too
    check("rate", 1e300, float, above=0)
    with pytest.raises(SettingError, match="`rate` must be finite, not inf"):
        check("rate", float("inf"), float, above=0)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: type(c).__name__)
def test_signatures_have_every_setting_by_name(config: Any) -> None:
    parameters = inspect.signature(type(config)).parameters
    assert list(parameters) == [field.name for field in fields(config)]
    assert {name: p.default for name, p in parameters.items()} == vars(config)
    assert all(field.metadata["help"].endswith(".") for field in fields(config))


@pytest.mark.parametrize(
    ("command", "config", "missing"),
    [
        (charlm, CharLMConfig(), set()),
        (translate, TranslateConfig(), set()),
        (memory, MemoryConfig(), {"problem", "cell"}),
    ],
)
def test_commands_have_an_option_for_every_setting(
    command: Any, config: Any, missing: set[str]
) -> None:
    assert vars(config).keys() - inspect.signature(command).parameters.keys() == missing


@pytest.mark.parametrize("command", [charlm, translate, verses, phones, task, memory])
def test_a_setting_that_is_not_typed_is_absent(command: Any) -> None:
    for name, parameter in inspect.signature(command).parameters.items():
        if name in vars(TranslateConfig()) | vars(CharLMConfig()):
            assert parameter.default is None


def test_an_option_describes_its_setting() -> None:
    received: dict[str, Any] = {}

    @options(Example(units=7), "units", "kind", quick={"units": 2, "kind": "a", "last": 5})
    def command(*, first: int = 1, settings: dict[str, Any], last: int | None = None) -> None:
        received.update(settings, first=first, last=last)

    parameters = inspect.signature(command).parameters
    assert list(parameters) == ["first", "units", "kind", "quick", "last"]
    assert get_origin(parameters["units"].annotation) is Annotated
    shown = [get_args(parameters[name].annotation)[1] for name in ("units", "kind")]
    assert [(option.help, option.show_default) for option in shown] == [
        ("Units.", "7; at least 1"),
        ("Kind: a or b.", "a"),
    ]
    command(first=3, units=None, kind="b", quick=False, last=4)
    assert received == {"kind": "b", "first": 3, "last": 4}
    command(first=3, units=None, kind="b", quick=True, last=None)
    assert received == {"units": 2, "kind": "b", "first": 3, "last": 5}
