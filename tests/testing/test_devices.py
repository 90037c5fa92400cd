"""All OpInfos on other devices: a GPU where there is one, and a stand-in as strict as CuPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.tensor import backend
from tinygrad_rnn.testing import OPERATIONS, OpInfo, Sample, op_infos
from tinygrad_rnn.testing.op_info import ORDER

from ..drawing import HypothesisSampler, share
from ..strict import Counter, StrictArray, StrictModule, strict_device


@pytest.fixture(scope="module", params=["strict", pytest.param("cuda:0", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """The stand-in, and a GPU where there is one."""
    if request.param != "strict":
        yield request.param
        return
    with strict_device() as name:
        yield name


def to_third_order(info: OpInfo, sample: Sample, device: str) -> list[tg.Tensor]:
    """The outputs, and the gradients of weighted sums of them, of these, and so on.

    They are differentiated in the inputs, the parameters and the weights of the outputs.
    """
    with tg.device(device):
        wanted = [tg.as_tensor(backend.to_device(x, device)) for x in sample.inputs]
        for x in wanted:
            x.requires_grad = True
        if sample.module is not None:
            wanted += sample.module.to(device).parameters()
        ys = sample.call(info.function, *wanted[: len(sample.inputs)])
        found = last = list(ys) if isinstance(ys, tuple) else [ys]
        for order in range(1, ORDER + 1):
            if not (last := [y for y in last if y.requires_grad]):
                break
            values = [np.cos(np.arange(y.size, dtype=float)).reshape(y.shape) for y in last]
            weights = [tg.tensor(v, device=device, requires_grad=order == 1) for v in values]
            if order == 1:
                wanted += weights
            last = list(tg.grad(last, wanted, weights, create_graph=order < ORDER))
            found = [*found, *last]
        return found


@pytest.mark.parametrize("info", op_infos(), ids=lambda info: info.name)
@settings(share(6), suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_derivatives_are_those_of_the_cpu(device: str, info: OpInfo, data: st.DataObject) -> None:
    """Compares with derivatives on the CPU, which test_op_infos.py compares with differences."""
    sample = info.draw(HypothesisSampler(data))
    here, there = (to_third_order(info, sample, where) for where in ("cpu", device))
    for x, y in zip(here, there, strict=True):
        assert (x.device, y.device) == ("cpu", device)
        np.testing.assert_allclose(y.numpy(), x.numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("info", OPERATIONS, ids=lambda info: info.name)
@settings(share(4), suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_values_are_those_of_the_cpu(device: str, info: OpInfo, data: st.DataObject) -> None:
    sample = info.draw(HypothesisSampler(data))

    def run(on: str) -> list[Any]:
        with tg.device(on):
            ys = sample.call(info.function, *(tg.tensor(x, device=on) for x in sample.inputs))
        return list(ys) if isinstance(ys, tuple) else [ys]

    for there, here in zip(run(device), run("cpu"), strict=True):
        assert there.device == device
        np.testing.assert_allclose(there.numpy(), here.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", [tg.nn.RNN, tg.nn.GRU, tg.nn.LSTM])
@pytest.mark.parametrize("optimizer", [tg.optim.SGD, tg.optim.RMSprop, tg.optim.Adam])
def test_training_is_the_same_there_and_waits_for_the_norm_only(
    device: str, kind: Any, optimizer: Any
) -> None:
    def train(on: str) -> tuple[list[Any], int]:
        with tg.device(on):
            # float64: kernels differ by their rounding, which optimizers that divide by it amplify
            drawn: Any = {"generator": tg.Generator(0), "dtype": "float64"}
            table = tg.nn.Embedding(5, 3, **drawn)
            layer = kind(3, 4, 2, dropout=0.3, bidirectional=True, **drawn)
            head = tg.nn.Linear(8, 5, **drawn)
            model = tg.nn.Sequential(table, layer, head)
            step = optimizer(model.parameters(), lr=0.1)
            ids = np.arange(12).reshape(6, 2) % 5
            for _ in range(3):
                Counter.waits = 0
                y, _ = layer(table(ids), lengths=[6, 2])
                tg.nn.cross_entropy(head(y), ids, ignore_index=0).backward()
                tg.optim.clip_grad_norm_(model.parameters(), 0.5)
                step.step()
                step.zero_grad()
            waits = Counter.waits
            return [p.numpy() for p in model.parameters()], waits

    there, waits = train(device)
    for a, b in zip(there, train("cpu")[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert waits <= 1


def test_mixing_devices_names_both(device: str) -> None:
    there, here = tg.ones((2,), device=device), tg.ones((2,))
    for call in (lambda: there + here, lambda: here * there, lambda: tg.concat([here, there])):
        with pytest.raises(tg.DeviceError, match=rf"inputs on cpu and {device}: .*\.to\(\)"):
            call()
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    (x.to(device) * there).sum().backward()
    assert x.grad is not None
    assert (x.grad.device, x.grad.tolist()) == ("cpu", [1.0, 1.0])


def test_the_stand_in_refuses_what_cupy_refuses() -> None:
    xp = StrictModule()
    x = xp.asarray([1.0, 2.0])
    for wrong in (
        lambda: np.asarray(x),
        lambda: np.tanh(x),
        lambda: np.concatenate([x, x]),
        lambda: x + np.ones(2),
        lambda: np.ones(2) + x,
        lambda: xp.add(x, np.ones(2)),
        lambda: x.__setitem__(0, np.ones(1)),
        lambda: xp.vecdot,
        lambda: xp.errstate,
        lambda: x.ctypes,
    ):
        with pytest.raises((TypeError, AttributeError)):
            wrong()
    assert isinstance(xp.sum(x), StrictArray)
    assert backend.to_host(x).tolist() == [1.0, 2.0]
