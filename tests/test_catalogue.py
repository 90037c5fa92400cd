"""Every row of the catalogue: derivatives, values, and that the operation keeps to the rules."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.catalogue import (
    NETWORKS,
    OPERATIONS,
    Case,
    Row,
    Seeded,
    index_of,
    rows,
    sequence,
)
from tinygrad_rnn.catalogue.elementwise import ELEMENTWISE
from tinygrad_rnn.catalogue.indexing import INDEXING
from tinygrad_rnn.catalogue.movement import MOVEMENT
from tinygrad_rnn.catalogue.products import PRODUCTS
from tinygrad_rnn.catalogue.reductions import REDUCTIONS
from tinygrad_rnn.tensor import ops
from tinygrad_rnn.tensor.random import default_generator

from .drawing import Searched

named = pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
operations = pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: row.name)


def arrays(y: Any) -> list[Any]:
    """The outputs as NumPy arrays."""
    ys = y if isinstance(y, (tuple, list)) else [y]
    return [v.numpy() if isinstance(v, tg.Tensor) else np.asarray(v) for v in ys]


def traced(case: Case) -> list[tg.Tensor]:
    xs = [tg.as_tensor(x) for x in case.inputs]  # shared: layouts stay as they were drawn
    for x in xs:
        x.requires_grad = True
    return xs


@pytest.mark.quick
@named
@given(data=st.data())
def test_derivatives_agree_with_finite_differences_to_third_order(
    row: Row, data: st.DataObject
) -> None:
    case = row.draw(Searched(data))
    case.errors(row.function)


@named
def test_the_same_draws_are_the_same_case(row: Row) -> None:
    once = row.draw(Seeded(7))
    tg.rand(1)  # whatever else has been drawn meanwhile
    before = default_generator().state
    again = row.draw(Seeded(7))
    assert default_generator().state == before
    modules = [case.module.state_dict() if case.module else {} for case in (once, again)]
    for a, b in zip(
        [*once.inputs, *modules[0].values()], [*again.inputs, *modules[1].values()], strict=True
    ):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@operations
@given(data=st.data())
def test_values_agree_with_the_reference(row: Row, data: st.DataObject) -> None:
    assert row.reference is not None, "nothing to compare with"
    case = row.draw(Searched(data))
    found = arrays(case.call(row.function, *traced(case)))
    true = arrays(case.call(row.reference, *case.inputs))
    assert len(found) == len(true)
    for y, expected in zip(found, true, strict=True):
        np.testing.assert_allclose(y, expected, rtol=1e-9, atol=1e-11)
        assert y.shape == expected.shape


@operations
@given(data=st.data())
def test_raw_arrays_in_raw_arrays_out_and_nothing_is_changed(row: Row, data: st.DataObject) -> None:
    case = row.draw(Searched(data))
    before = [x.copy() for x in case.inputs]
    raw = case.call(row.function, *case.inputs)
    assert not any(isinstance(v, tg.Tensor) for v in (raw if isinstance(raw, tuple) else [raw]))
    for y, t in zip(arrays(raw), arrays(case.call(row.function, *traced(case))), strict=True):
        np.testing.assert_array_equal(y, t)
    for x, kept in zip(case.inputs, before, strict=True):
        np.testing.assert_array_equal(x, kept)


WITH_ARRAYS = {"where", "softmax_cross_entropy"}  # in their cases: raw arrays come out
LISTED = [
    row
    for row in [*ELEMENTWISE, *REDUCTIONS, *MOVEMENT, *INDEXING, *PRODUCTS]
    if row.name not in {"diagonal", "trace", "one_hot", "linalg.cholesky"}  # cases read x.ndim
    and "linear_" not in row.name
]


@pytest.mark.parametrize("row", LISTED, ids=lambda row: row.name)
def test_lists_of_numbers_in_tensors_out(row: Row) -> None:
    for seed in range(5):
        case = row.draw(Seeded(seed))
        lists = [x.astype(np.float32).tolist() for x in case.inputs]
        xs = [tg.tensor(v) for v in lists]
        if [x.shape for x in xs] != [x.shape for x in case.inputs]:
            continue  # what is empty has no shape as a list
        found, true = (case.call(row.function, *given) for given in (lists, xs))
        for y, expected in zip(*map(outputs, (found, true)), strict=True):
            assert type(y) is tg.Tensor or row.name in WITH_ARRAYS
            assert y.dtype == expected.dtype or row.name in WITH_ARRAYS
            np.testing.assert_allclose(*arrays((y, expected)), rtol=1e-6)


def outputs(y: Any) -> Any:
    return y if isinstance(y, tuple) else (y,)


@operations
@given(data=st.data())
def test_float32_stays_float32_forwards_and_backwards(row: Row, data: st.DataObject) -> None:
    if row.name == "astype":
        return  # its dtype is its purpose
    case = row.draw(Searched(data))
    xs = [tg.tensor(x, "float32", requires_grad=True) for x in case.inputs]
    ys = case.call(row.function, *xs)
    ys = [y for y in (ys if isinstance(ys, tuple) else [ys]) if y.requires_grad]
    if not ys:
        return
    for y in ys:
        assert y.dtype == np.float32
        assert isinstance(y.data, np.ndarray)
    for g in tg.grad(ys, xs, [tg.tensor(np.ones(y.shape, np.float32)) for y in ys]):
        assert g.dtype == np.float32


def test_every_public_operation_has_a_row() -> None:
    public = {*ops.__all__, *(f"linalg.{name}" for name in ops.linalg.__all__)}
    assert public == {row.name for row in OPERATIONS}


def test_every_layer_cell_and_loss_has_a_row() -> None:
    covered = {row.name.split()[0] for row in NETWORKS}
    containers = {"Module", "ModuleList", "Sequential", "Parameter", "Cell", "StateDictError"}
    containers |= {"Attention", "Memory"}
    public = {
        name
        for name in tg.nn.__all__
        if name not in containers | {"init", "dropout"} and callable(getattr(tg.nn, name))
    }
    assert public == covered


@pytest.mark.parametrize(
    "row", [row for row in OPERATIONS if row.kind == "constant"], ids=lambda row: row.name
)
@given(data=st.data())
def test_what_is_constant_leaves_no_graph(row: Row, data: st.DataObject) -> None:
    case = row.draw(Searched(data))
    y = case.call(row.function, *traced(case))
    assert not any(v.requires_grad for v in (y if isinstance(y, tuple) else [y]))


def test_index_of_draws_every_kind() -> None:
    """The catalogue's indices are worth something only if all kinds come up."""
    kinds = {type(index_of(Seeded(seed), 3)) for seed in range(50)}
    assert kinds == {int, slice, list, np.ndarray}


def test_sequences_draw_every_option() -> None:
    """And so are its sequences; alone, and all of them at once."""
    seen: set[str] = set()
    most = 0
    for seed in range(300):
        inputs, constants, options = sequence(Seeded(seed), "lstm", 3, 2, 2, 2)
        on = {
            k for given in (inputs, constants, options) for k, v in given.items() if v is not None
        }
        on -= {k for k, v in options.items() if v is False}
        on |= {"a hard clip"} if (options["cell_clip"] or 100) < 100 else set()
        seen |= on
        most = max(most, len(on))
    fused = inspect.signature(tg.lstm).parameters
    assert seen == {*fused, "a hard clip"}
    assert most >= len(seen) - 2
