"""Chains of elementwise functions as one CUDA kernel, and compiled scans that are made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.kernels.elementwise import (
    FUNCTIONS,
    ElementwiseProgram,
    Symbol,
    compile_elementwise,
)

from .driver import start

pytestmark = pytest.mark.gpu

ODD = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0]


def compiled(
    tape: list[Symbol], results: Any, parts: Any = None, columns: int = 0
) -> ElementwiseProgram:
    program = compile_elementwise(tape, results, parts, columns)
    assert program is not None
    return program


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", range(4))
def test_every_function_on_odd_numbers_and_layouts(cp: Any, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    shape = [(5,), (3, 7), (2, 3, 4), (300,)][seed]
    x, y = (rng.choice([*ODD, *rng.normal(size=6)], shape).astype(dtype) for _ in range(2))
    row = rng.normal(size=shape[-1:]).astype(dtype)

    def chain(x: Any, y: Any, row: Any) -> list[Any]:
        made = [f(x, y) if f.nin == 2 else f(x) for f in FUNCTIONS]
        return [*made, made[2] * 0.5 + row - made[0], x + float("inf"), (-0.0 - y) * 0.1]

    tape: list[Symbol] = []
    program = compiled(tape, [(s,) for s in chain(*(Symbol(tape) for _ in range(3)))])
    on = [cp.asarray(a) for a in (x, y, row)]
    if len(shape) == 2:
        on[0] = cp.asarray(x.T.copy()).T
        on[1] = cp.concatenate([on[1], on[1]], axis=-1)[:, : shape[-1]]
    found = program(tuple(on[n] for n in program.inputs))
    assert found is not None
    with np.errstate(all="ignore"):
        true = chain(x, y, row)
    for a, b in zip(found, true, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a.get(), b, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("rows", [(4,), (2, 3), ()])
def test_columns_are_read_and_written_in_place(cp: Any, rows: tuple[int, ...]) -> None:
    rng, width = np.random.default_rng(0), 5
    wide = [rng.normal(size=(*rows, 12)) for _ in range(2)]
    tape: list[Symbol] = []
    a, b, c = (Symbol(tape) for _ in range(3))
    results = [(a * b + c,), (a, a - c)]
    program = compiled(tape, results, {0: 2, 1: 7}, width)
    x, y = wide[0][..., 2:7], wide[1][..., 7:12]
    true = [x * y + x, np.concatenate([x, y * 0], axis=-1)]
    true[1][..., width:] = x - x
    into = cp.empty((*rows, width))
    given = [*map(cp.asarray, wide), cp.asarray(x.copy())]
    found = program(tuple(given[n] for n in program.inputs), (into, None))
    assert found is not None
    assert found[0] is into
    for p, q in zip(found, true, strict=True):
        np.testing.assert_array_equal(p.get(), q)
    taken = program(tuple(given[n] for n in program.inputs), (given[2], None))
    assert taken is not None
    assert taken[0] is not given[2]  # an input is not overwritten


def test_what_it_does_not_take_runs_one_by_one(cp: Any) -> None:
    tape: list[Symbol] = []
    a, b = Symbol(tape), Symbol(tape)
    program = compiled(tape, [(a + b * 2.0,)])
    x = cp.ones((2, 3))
    for other in (x.astype("float32"), cp.ones((3, 3)), cp.ones((2, 3), "int64"), np.ones((2, 3))):
        assert program((x, other)) is None


@pytest.mark.parametrize("cell", ["MGUCell", "LSTMCell", "GRUCell", "SRUCell"])
def test_a_compiled_scan_gives_the_numbers_of_the_cpu_in_few_launches(cell: str) -> None:
    def run(device: str, steps: int, fused: bool = True) -> tuple[list[Any], tuple[int, int]]:
        layer = tg.nn.Recurrent(getattr(tg.nn, cell)(3, 5, generator=tg.Generator(0)), fused=fused)
        layer.to(device)
        rng = np.random.default_rng(0)
        x = tg.tensor(rng.normal(size=(steps, 4, 3)), dtype="float32", device=device)
        x.requires_grad = True
        with start().counting() as forward:
            y, _ = layer(x)
        with start().counting() as backward:
            (y * y).sum().backward()
        found = [y, x.grad, *(p.grad for p in layer.parameters())]
        return [a.numpy() for a in found], (forward["launches"], backward["launches"])

    for a, b in zip(run("cuda", 6)[0], run("cpu", 6)[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)

    def of_ten_steps(fused: bool) -> list[int]:
        short, long = run("cuda", 6, fused)[1], run("cuda", 16, fused)[1]
        return [b - a for a, b in zip(short, long, strict=True)]

    (forward, backward), (plain, plain_backward) = of_ten_steps(True), of_ten_steps(False)
    assert forward <= 0.35 * plain
    assert backward <= 0.6 * plain_backward
