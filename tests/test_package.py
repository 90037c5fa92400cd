"""The package's face: every __init__ says what it offers, and offers what it says."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import pydoc
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import recipes

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


@pytest.mark.parametrize("name", PACKAGES)
def test_no_public_name_shadows_a_package(name: str) -> None:
    """So that `import a.b as c` and `from a import b` both give the package."""
    above, _, last = name.rpartition(".")
    assert not above or getattr(importlib.import_module(above), last) is sys.modules[name]


def test_the_recipes_say_what_to_read_of_each() -> None:
    """Their list names every file, and no other in the lines of commands."""
    files = {info.name for info in pkgutil.iter_modules(recipes.__path__)}
    said = str(recipes.__doc__)
    assert files <= set(re.findall(r"[a-z_]+", said))
    commands = [line.split("  ")[-1] for line in said.splitlines() if line.startswith("    ")]
    named = set(re.findall(r"[a-z_]+", " ".join(commands)))
    assert named - files <= {"their", "data", "and"}


def test_the_engine_is_a_package_and_a_function() -> None:
    import tinygrad_rnn.tensor
    import tinygrad_rnn.tensor.autodiff as ad
    from tinygrad_rnn import tensor

    assert tinygrad_rnn.tensor is tg.tensor is tensor is sys.modules["tinygrad_rnn.tensor"]
    assert tinygrad_rnn.tensor.autodiff is ad  # type: ignore[attr-defined]
    assert ad.grad is tg.grad
    x = tg.tensor([1.0, 2.0], "float64", requires_grad=True)
    assert type(x) is tg.Tensor
    assert x.dtype == "float64"
    assert x.requires_grad
    ours, theirs = (
        [(p.name, p.kind, p.default) for p in inspect.signature(made).parameters.values()]
        for made in (tg.tensor, tg.Tensor)
    )
    assert ours == theirs
    assert "requires_grad=False" in pydoc.render_doc(tg.tensor)


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
    from tinygrad_rnn.testing import OpInfo, real, shape
    from tinygrad_rnn.testing import Sample as C

    swish = tg.Op("swish", lambda xp, x: x * tg.sigmoid(x)).vjp(
        x=lambda g, x, y: g * (y + tg.sigmoid(x) * (1 - y))
    )
    row = OpInfo("swish", "operation", swish, lambda d: C([real(d, shape(d))], lambda f, x: f(x)))
    assert all(error < 1e-6 for error in row.check())


@pytest.mark.parametrize("layer", [tg.nn.RNN, tg.nn.GRU, tg.nn.LSTM])
def test_a_layer_call_with_lengths_passes_seven_files_outside_of_the_engine(layer: Any) -> None:
    """As docs/architecture.md says, forwards and backwards."""
    model, x = layer(3, 4), tg.zeros((5, 2, 3), requires_grad=True)
    root = Path(tg.__file__).parent
    files = set[str]()

    def call() -> None:
        y, _ = model(x, lengths=[5, 3])
        y.sum().backward()

    def entered(frame: types.FrameType, event: str, _: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and root in path.parents:
            files.add(path.relative_to(root).as_posix())

    call()  # what is imported or made once is not of the call
    sys.setprofile(entered)
    try:
        call()
    finally:
        sys.setprofile(None)
    outside = {name for name in files if not name.startswith("tensor/")}
    assert "nn/recurrent/layer.py" in outside
    assert len(outside) <= 7, sorted(outside)


def test_every_file_of_tests_and_every_kind_of_kernel_has_a_quick_test(
    request: pytest.FixtureRequest,
) -> None:
    items = request.session.items
    quick = [item for item in items if item.get_closest_marker("quick")]
    assert {item.path for item in quick} == {item.path for item in items}
    kernels = [item.name for item in quick if item.path.name == "test_kernels.py"]
    for implementation in ("reference", "picked"):
        assert not kernels or any(implementation in name for name in kernels)
