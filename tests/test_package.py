"""The package's face: every __init__ says what it offers, and offers what it says."""

from __future__ import annotations

import importlib
import pkgutil
import types

import pytest

import tinygrad_rnn as tg

PACKAGES = ["tinygrad_rnn"] + [
    info.name for info in pkgutil.walk_packages(tg.__path__, "tinygrad_rnn.") if info.ispkg
]


@pytest.mark.parametrize("name", PACKAGES)
def test_all_names_exactly_what_a_package_offers(name: str) -> None:
    package = importlib.import_module(name)
    public = {
        key
        for key, value in vars(package).items()
        if not key.startswith("_") and not isinstance(value, types.ModuleType)
    }
    said = getattr(package, "__all__", [])
    assert len(said) == len(set(said))
    assert public <= set(said), "offered and not said"
    for key in said:
        assert hasattr(package, key), f"{key} is said and not offered"


@pytest.mark.parametrize("name", tg.__all__)
def test_every_public_name_has_a_docstring(name: str) -> None:
    thing = getattr(tg, name)
    assert (thing.__doc__ or "").strip()


def test_methods_are_the_functions() -> None:
    x = tg.tensor([[0.5, -1.0]])
    for name in ("tanh", "sum", "exp", "softmax", "relu", "mean"):
        assert getattr(x, name)().tolist() == getattr(tg, name)(x).tolist()


def test_a_new_unary_operation_with_its_proof_takes_six_lines_at_most() -> None:
    """The rule, its name in `__all__` of its table, and its row: what CONTRIBUTING.md shows."""
    from tinygrad_rnn.catalogue import Case as C
    from tinygrad_rnn.catalogue import Row, real, shape

    swish = tg.Op("swish", lambda xp, x: x * tg.sigmoid(x)).vjp(
        x=lambda g, x, y: g * (y + tg.sigmoid(x) * (1 - y))
    )
    row = Row("swish", "operation", swish, lambda d: C([real(d, shape(d))], lambda f, x: f(x)))
    assert all(error < 1e-6 for error in row.check())


def test_every_file_of_tests_and_every_kind_of_kernel_has_a_quick_test(
    request: pytest.FixtureRequest,
) -> None:
    items = request.session.items
    quick = [item for item in items if item.get_closest_marker("quick")]
    assert {item.path for item in quick} == {item.path for item in items}
    kernels = [item.name for item in quick if item.path.name == "test_kernels.py"]
    for implementation in ("reference", "picked"):
        assert not kernels or any(implementation in name for name in kernels)
