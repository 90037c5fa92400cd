"""Every OpInfo: derivatives, values, and that the operation keeps to the rules."""

from __future__ import annotations

import inspect
import traceback
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import cells, loops
from tinygrad_rnn.tensor import ops
from tinygrad_rnn.tensor.random import default_generator
from tinygrad_rnn.testing import (
    MODULES,
    OPERATIONS,
    OpInfo,
    Sample,
    SeededSampler,
    index_of,
    op_infos,
    sequence,
)
from tinygrad_rnn.testing.elementwise import ELEMENTWISE
from tinygrad_rnn.testing.indexing import INDEXING
from tinygrad_rnn.testing.movement import MOVEMENT
from tinygrad_rnn.testing.products import PRODUCTS
from tinygrad_rnn.testing.reductions import REDUCTIONS

from ..drawing import HypothesisSampler, share
from .references import reference_of

named = pytest.mark.parametrize("info", op_infos(), ids=lambda info: info.name)
operations = pytest.mark.parametrize("info", OPERATIONS, ids=lambda info: info.name)


def arrays(y: Any) -> list[Any]:
    """The outputs as NumPy arrays."""
    ys = y if isinstance(y, (tuple, list)) else [y]
    return [v.numpy() if isinstance(v, tg.Tensor) else np.asarray(v) for v in ys]


def traced(sample: Sample) -> list[tg.Tensor]:
    xs = [tg.as_tensor(x) for x in sample.inputs]  # shared: layouts stay as they were drawn
    for x in xs:
        x.requires_grad = True
    return xs


@pytest.mark.quick
@operations
@share(2)
@given(data=st.data())
def test_derivatives_agree_with_finite_differences_to_third_order(
    info: OpInfo, data: st.DataObject
) -> None:
    sample = info.draw(HypothesisSampler(data))
    sample.errors(info.function)


@pytest.mark.quick
@pytest.mark.parametrize("info", MODULES, ids=lambda info: info.name)
@share(4)
@given(data=st.data())
def test_derivatives_of_modules_agree_with_finite_differences_to_third_order(
    info: OpInfo, data: st.DataObject
) -> None:
    """They are composed of the operations above, and add only how these are connected."""
    sample = info.draw(HypothesisSampler(data))
    sample.errors(info.function)


@named
def test_the_same_draws_are_the_same_case(info: OpInfo) -> None:
    once = info.draw(SeededSampler(7))
    tg.rand(1)  # whatever else has been drawn meanwhile
    before = default_generator().state
    again = info.draw(SeededSampler(7))
    assert default_generator().state == before
    modules = [sample.module.state_dict() if sample.module else {} for sample in (once, again)]
    for a, b in zip(
        [*once.inputs, *modules[0].values()], [*again.inputs, *modules[1].values()], strict=True
    ):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@operations
@given(data=st.data())
def test_values_are_right_raw_arrays_give_raw_arrays_and_float32_stays(
    info: OpInfo, data: st.DataObject
) -> None:
    sample = info.draw(
        HypothesisSampler(data)
    )  # once for all three: to draw takes most of the time
    values_agree_with_the_reference(info, sample)
    raw_arrays_in_raw_arrays_out_and_nothing_is_changed(info, sample)
    float32_stays_float32_forwards_and_backwards(info, sample)


def values_agree_with_the_reference(info: OpInfo, sample: Sample) -> None:
    found = arrays(sample.call(info.function, *traced(sample)))
    true = arrays(sample.call(reference_of(info), *sample.inputs))
    assert len(found) == len(true)
    for y, expected in zip(found, true, strict=True):
        np.testing.assert_allclose(y, expected, rtol=1e-9, atol=1e-11)
        assert y.shape == expected.shape


def raw_arrays_in_raw_arrays_out_and_nothing_is_changed(info: OpInfo, sample: Sample) -> None:
    before = [x.copy() for x in sample.inputs]
    raw = sample.call(info.function, *sample.inputs)
    assert not any(isinstance(v, tg.Tensor) for v in (raw if isinstance(raw, tuple) else [raw]))
    for y, t in zip(arrays(raw), arrays(sample.call(info.function, *traced(sample))), strict=True):
        np.testing.assert_array_equal(y, t)
    for x, kept in zip(sample.inputs, before, strict=True):
        np.testing.assert_array_equal(x, kept)


WITH_ARRAYS = {"where", "softmax_cross_entropy"}  # in their cases: raw arrays come out
LISTED = [
    info
    for info in [*ELEMENTWISE, *REDUCTIONS, *MOVEMENT, *INDEXING, *PRODUCTS]
    if info.name not in {"diagonal", "trace", "one_hot", "linalg.cholesky"}  # cases read x.ndim
    and "linear_" not in info.name
]


@pytest.mark.parametrize("info", LISTED, ids=lambda info: info.name)
def test_lists_of_numbers_in_tensors_out(info: OpInfo) -> None:
    for seed in range(5):
        sample = info.draw(SeededSampler(seed))
        lists = [x.astype(np.float32).tolist() for x in sample.inputs]
        xs = [tg.tensor(v) for v in lists]
        if [x.shape for x in xs] != [x.shape for x in sample.inputs]:
            continue  # what is empty has no shape as a list
        found, true = (sample.call(info.function, *given) for given in (lists, xs))
        for y, expected in zip(*map(outputs, (found, true)), strict=True):
            assert type(y) is tg.Tensor or info.name in WITH_ARRAYS
            assert y.dtype == expected.dtype or info.name in WITH_ARRAYS
            np.testing.assert_allclose(*arrays((y, expected)), rtol=1e-6)


@pytest.mark.parametrize("info", OPERATIONS, ids=lambda info: info.name)
def test_what_is_no_number_is_refused_beside_arrays_and_tensors(info: OpInfo) -> None:
    for seed, like in enumerate((np.asarray, tg.tensor)):
        sample = info.draw(SeededSampler(seed))
        for i in range(len(sample.inputs)):
            for wrong in ({}, "text", {1.0}, object(), None):
                xs: list[Any] = [like(x) for x in sample.inputs]
                xs[i] = wrong
                try:
                    ys = outputs(sample.call(info.function, *xs))
                except (tg.TinygradRnnError, AttributeError, TypeError) as error:
                    # a sample's own code may ask for the shape of what it hands over
                    if not isinstance(error, tg.TinygradRnnError):
                        frames = traceback.extract_tb(error.__traceback__)
                        assert "testing" in frames[-1].filename
                    continue
                assert wrong is None, (i, wrong)
                assert all(y.dtype.kind in "fiub" for y in ys)  # None: an input left out


def outputs(y: Any) -> Any:
    return y if isinstance(y, tuple) else (y,)


def float32_stays_float32_forwards_and_backwards(info: OpInfo, sample: Sample) -> None:
    if info.name == "astype":
        return  # its dtype is its purpose
    xs = [tg.tensor(x, "float32", requires_grad=True) for x in sample.inputs]
    ys = sample.call(info.function, *xs)
    ys = [y for y in (ys if isinstance(ys, tuple) else [ys]) if y.requires_grad]
    if not ys:
        return
    for y in ys:
        assert y.dtype == np.float32
        assert isinstance(y.data, np.ndarray)
    for g in tg.grad(ys, xs, [tg.tensor(np.ones(y.shape, np.float32)) for y in ys]):
        assert g.dtype == np.float32


def test_every_public_operation_has_a_row() -> None:
    public = {
        *ops.__all__,
        *loops.__all__,
        *cells.__all__,
        *(f"linalg.{name}" for name in ops.linalg.__all__),
    }
    assert public == {info.name for info in OPERATIONS}


def test_every_layer_cell_and_loss_has_a_row() -> None:
    covered = {info.name.split()[0] for info in MODULES}
    containers = {"Module", "ModuleList", "Sequential", "Parameter", "Cell", "StateDictError"}
    containers |= {"Attention", "Memory", "ModuleDict", "summary"}
    public = {
        name
        for name in tg.nn.__all__
        if name not in containers | {"init", "dropout"} and callable(getattr(tg.nn, name))
    }
    assert public == covered


@pytest.mark.parametrize(
    "info", [info for info in OPERATIONS if info.kind == "constant"], ids=lambda info: info.name
)
@given(data=st.data())
def test_what_is_constant_leaves_no_graph(info: OpInfo, data: st.DataObject) -> None:
    sample = info.draw(HypothesisSampler(data))
    y = sample.call(info.function, *traced(sample))
    assert not any(v.requires_grad for v in (y if isinstance(y, tuple) else [y]))


def test_index_of_draws_every_kind() -> None:
    """The drawn indices are worth something only if all kinds come up."""
    kinds = {type(index_of(SeededSampler(seed), 3)) for seed in range(50)}
    assert kinds == {int, slice, list, np.ndarray}


def test_sequences_draw_every_option() -> None:
    """And so are its sequences; alone, and all of them at once."""
    seen: set[str] = set()
    most = 0
    for seed in range(300):
        inputs, constants, options = sequence(SeededSampler(seed), "lstm", 3, 2, 2, 2)
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


WHOLE = ["bool", "int8", "uint8", "int16", "uint16", "int32", "int64", "uint64"]
SINGLE = {i.name for i in [*ELEMENTWISE, *REDUCTIONS, *MOVEMENT, *INDEXING, *PRODUCTS]}
FIXED = {"astype", "one_hot"}  # whose dtype is their purpose


@pytest.mark.parametrize(
    "info", [i for i in OPERATIONS if i.name not in FIXED], ids=lambda info: info.name
)
@share(2)
@given(data=st.data())
def test_reals_have_the_dtype_of_the_reals_that_come_in_and_of_integers_float32(
    info: OpInfo, data: st.DataObject
) -> None:
    """Whatever the integers beside them; NumPy's result would often be float64."""
    sample = info.draw(SeededSampler(data.draw(st.integers(0, 2**16))))
    # Others are composed of several, some of which may have integers alone.
    real = data.draw(
        st.sampled_from(["float16", "float32"] if info.name in SINGLE else ["float32"])
    )
    dtypes = data.draw(st.tuples(*[st.sampled_from([real, *WHOLE]) for _ in sample.inputs]))
    with np.errstate(all="ignore"):
        xs = [tg.tensor(np.abs(x).astype(d)) for x, d in zip(sample.inputs, dtypes, strict=True)]
        try:
            found = outputs(sample.call(info.function, *xs))
        except tg.TinygradRnnError:
            return  # one that does not take these dtypes, or a singular matrix
    reals = {y.dtype for y in found if y.dtype.kind == "f"}
    assert reals <= {np.dtype(real if real in dtypes else "float32")}
