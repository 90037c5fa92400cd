"""Loops over time: step by step, fused, in segments, and in parallel."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.kernels.elementwise import is_native
from tinygrad_rnn.loops import backward, cache, execute, fusion, hoisting, program
from tinygrad_rnn.tensor.observers import observe, tracers

RNG = np.random.default_rng(0)
ROW, OTHER = np.array([[1.0, 2.0], [3.0, 4.0]], "float32")


def drawn(*shape: int) -> tg.Tensor:
    return tg.tensor(RNG.normal(size=shape), requires_grad=True)


def outputs(y: Any) -> list[Any]:
    return [v for part in y for v in outputs(part)] if isinstance(y, tuple) else [y]


def compare(step: Callable[..., Any], carry: Any, xs: Any, *weights: Any, **options: Any) -> None:
    """A fused scan beside the plain one: values, gradients and second derivatives."""
    wanted = [v for v in (*outputs(carry), *outputs(xs), *weights) if v.requires_grad]
    found = []
    for fused in (False, True):
        more = options if fused else {k: v for k, v in options.items() if k != "checkpoint_every"}
        kept = {}
        for order in (1, 2):
            ys = outputs(tg.scan(step, carry, xs, fused=fused, **more))
            loss = sum((tg.sin(y).sum() for y in ys[1:]), (ys[0] ** 2).sum())
            first = tg.grad(loss, wanted, create_graph=order == 2, retain_graph=True)
            kept[order] = [*ys, *first]
        curved = [g for g in first if g.requires_grad]
        bend = sum((g * g).sum() for g in curved)
        second = tg.grad(bend, wanted, retain_graph=True) if curved else ()
        found.append([*kept[1], *kept[2], *second])
    assert len(found[0]) == len(found[1])
    for a, b in zip(*found, strict=True):
        largest = max(1.0, np.abs(b.numpy()).max(initial=0))  # of which sums round a share
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-11 * largest)


class TestFused:
    """`fused=True` is the same, in both orders, or raises."""

    def test_what_depends_on_the_inputs_alone_is_taken_out_of_the_loop_whatever_it_is(self) -> None:
        u, w, b, x = drawn(3, 8), drawn(4, 4), drawn(8), drawn(5, 2, 3)

        def step(h: Any, x: Any) -> Any:
            z = tg.tanh((x @ u + b).reshape(2, 2, 4))
            p, q = z.unstack(axis=1)
            r, s = tg.exp(-(x[:, 1:] * x[..., :1])).unstack(-1)
            h = tg.tanh(h @ w + p * q + (r * s).reshape(-1, 1) * b[:4]) + x.sum()
            return h, h[:, :2] * x[:, :2]

        stack = drawn(4, 3, 3)

        def other(h: Any, x: Any) -> Any:
            p, q, r = x.unstack(axis=-1)
            s, t = tg.tanh(x).unstack()
            product = (x @ stack).sum(axis=0) * x.sum(axis=0) + s * t + x * s
            return tg.tanh(h @ w) + (p * q + r)[:, None] + product.sum(), x @ x.mT

        compare(other, drawn(2, 4), x, w, stack)
        compare(step, drawn(2, 4), x, u, w, b)
        compare(step, drawn(2, 4), x.detach(), u, w, b, reverse=True, lengths=[3, 0])

    def test_a_weight_that_is_carry_input_and_constant_at_once(self) -> None:
        w = drawn(3, 3)

        def step(h: Any, x: Any) -> Any:
            return tg.tanh(h @ w + x * h), w * h

        compare(step, w, tg.stack([w, w, w * 2]), w)
        constant = w.detach()
        compare(lambda h, x: (tg.sin(h + constant * x), h), constant, drawn(3, 3, 3))

    def test_gradients_stop_where_the_step_stops_them(self) -> None:
        w, x = drawn(2, 2), drawn(4, 3, 2)

        def step(h: Any, x: Any) -> Any:
            with tg.no_grad():
                gate = tg.sigmoid(x @ w)
            return tg.tanh(h.detach() @ w) * gate + x.detach() * h, (h.detach(), x.detach() @ w)

        compare(step, drawn(3, 2), x, w)

    def test_nested_states_integers_and_outputs_that_are_inputs_or_constants(self) -> None:
        w, x = drawn(2), drawn(4, 3, 2)

        def step(state: Any, x: Any) -> Any:
            (h, count), c = state
            c = c + tg.where(h > 0, x, h * w)
            return ((tg.sin(c), count + 1), c), (x, w, c, h * count)

        state = ((drawn(3, 2), tg.tensor([[0]])), drawn(3, 2))
        for fused in (False, True):
            ((_, count), _), _ = tg.scan(step, state, x, fused=fused)
            assert count.tolist() == [[4]]
        wanted = [state[0][0], state[1], x, w]
        grads = []
        for fused in (False, True):
            ((h, _), c), (_, ws, cs, hs) = tg.scan(step, state, x, fused=fused)
            loss = (h * c).sum() + (ws * cs[:, :, :1].sum()).sum() + (hs * cs).sum()
            grads.append(tg.grad(loss, wanted))
        for a, b in zip(*grads, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9)

    def test_states_without_axes_and_of_one_axis(self) -> None:
        u, w = drawn(3, 2), drawn(2, 2)
        compare(lambda s, x: (s * x.sum() + s.sum(), s), drawn(), drawn(5, 2))
        compare(lambda h, x: ((x @ u) * h @ w + w @ h, h @ h), drawn(2), drawn(4, 3), u, w)

    def test_operations_of_many_inputs_and_outputs_and_fused_ones(self) -> None:
        u, w, x = drawn(6, 2), drawn(6, 2), drawn(3, 3, 2)

        def step(h: Any, x: Any) -> Any:
            a, _ = tg.unstack(tg.stack([h, tg.concat([x[:1], h[1:]])], axis=1), axis=1)
            y, _ = tg.gru(
                tg.stack([x, h]), a, u, w, None, None, None, reset_after=False, reverse=False
            )
            sign, size = tg.linalg.slogdet(tg.stack([h[0], a[1]]) + 3 * tg.eye(2, dtype="float64"))
            return y[0] * size + sign, y

        # A constant that the step creates is refused: see below.
        with pytest.raises(tg.GraphError, match="something new to 'multiply'"):
            compare(step, drawn(3, 2), x, u, w)
        eye = tg.eye(2, dtype="float64")
        tg_eye, tg.eye = tg.eye, lambda *_, **__: eye
        try:
            compare(step, drawn(3, 2), x, u, w)
        finally:
            tg.eye = tg_eye

    def test_a_graph_may_be_walked_again_and_is_freed(self) -> None:
        w, x = drawn(2, 2), drawn(4, 3, 2)
        y = tg.scan(lambda h, x: (tg.tanh(h @ w + x), h), drawn(3, 2), x, fused=True)[1].sum()
        first = tg.grad(y, [w, x], retain_graph=True)
        again = tg.grad(y, [w, x])
        for a, b in zip(first, again, strict=True):
            assert a.tolist() == b.tolist()
        with pytest.raises(tg.GraphError, match="freed"):
            tg.grad(y, [w])

    def test_functions_of_it_and_checkpoints_of_it(self) -> None:
        w, x = drawn(2, 2), drawn(3, 3, 2)

        def loss(w: Any, fused: bool = True) -> Any:
            step = lambda h, x: (tg.tanh(h @ w + x), h * h)
            return tg.scan(step, x[0] * 0, x, fused=fused)[1].sum()

        np.testing.assert_allclose(
            tg.hessian(loss, w).numpy(),
            tg.hessian(lambda w: loss(w, fused=False), w).numpy(),
            rtol=1e-9,
            atol=1e-12,
        )
        plain, saved = loss(w), tg.checkpoint(loss, w)
        for a, b in zip(tg.grad(plain, [w, x]), tg.grad(saved, [w, x]), strict=True):
            assert a.tolist() == b.tolist()

    def test_the_step_is_called_twice_and_an_overwritten_weight_is_noticed(self) -> None:
        w, calls = drawn(2, 2), []

        def step(h: Any, x: Any) -> Any:
            calls.append(1)
            return tg.tanh(h @ w + x), h

        y = tg.scan(step, tg.zeros((3, 2), dtype="float64"), drawn(50, 3, 2), fused=True)[1]
        assert len(calls) == 2
        w.data = w.data * 2
        with pytest.raises(tg.GraphError, match="overwritten"):
            y.sum().backward()

    def test_without_a_graph_on_arrays_and_of_one_step(self) -> None:
        w, x = RNG.normal(size=(2, 2)), RNG.normal(size=(4, 3, 2))
        plain = tg.scan(lambda h, x: (np.tanh(h @ w + x), h), x[0], x)
        raw = tg.scan(lambda h, x: (np.tanh(h @ w + x), h), x[0], x, fused=True)
        with tg.no_grad():
            wt = tg.tensor(w, requires_grad=True)
            bare = tg.scan(lambda h, x: (tg.tanh(h @ wt + x), h), x[0], tg.tensor(x), fused=True)
        for a, b, c in zip(plain, raw, bare, strict=True):
            assert isinstance(b, np.ndarray)
            np.testing.assert_array_equal(a, b)
            np.testing.assert_allclose(a, c.numpy(), rtol=1e-12)
            assert not c.requires_grad
        compare(lambda h, x: (h * x, h), drawn(2), drawn(1, 2))

    def test_float32_and_a_scan_within_a_scan(self) -> None:
        w = tg.randn(2, 2, requires_grad=True)

        def inner(h: Any, x: Any) -> Any:
            return tg.tanh(h @ w + 0.5 * x), h

        def outer(h: Any, x: Any) -> Any:
            h, y = tg.scan(inner, h, x, fused=True)
            return h, y.sum(axis=0)

        x, h = tg.randn(3, 4, 5, 2), tg.zeros((5, 2))
        found = [tg.scan(outer, h, x, fused=fused)[1] for fused in (False, True)]
        assert [y.dtype for y in found] == [np.float32] * 2
        (a,), (b,) = (tg.grad(y.sum(), [w]) for y in found)
        assert b.dtype == np.float32
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4)

    def test_the_operation_that_made_a_nan_is_named(self) -> None:
        with (
            tg.detect_anomaly(),
            np.errstate(all="ignore"),
            pytest.raises(tg.AnomalyError, match="'log' returned a value"),
        ):
            tg.scan(lambda h, x: (tg.log(h - x), h), tg.ones((1,)), tg.ones((5, 1)), fused=True)

    @pytest.mark.parametrize(
        ("step", "words"),
        [
            (lambda h, x: (h if h.sum().item() > 0 else -h, h), "reading a value"),
            (lambda h, x: (h if (x > 0).all() else -h, h), "reading a value"),
            (lambda h, x: (h * float(x.data[0, 0]), h), "reading a value"),
            (lambda h, x: (h * tg.tensor(x.numpy()), h), "reading a value"),
            (lambda h, x: (h * tg.rand(3, 2), h), "something new to 'multiply'"),
            (lambda h, x: (h[tg.zeros((3,), dtype="int64")] * h, h), "something new to 'getitem'"),
            (lambda h, x: (h * tg.tensor(x), h), "something new to 'multiply'"),
            (lambda h, x: (h * x.register_hook(lambda g: g)() or h, h), "a hook on a value"),
        ],
    )
    def test_what_cannot_be_repeated_is_refused(self, step: Any, words: str) -> None:
        x = tg.ones((4, 3, 2), requires_grad=True)
        if "hook" in words:

            def step(h: Any, x: Any) -> Any:
                y = h * x
                y.register_hook(lambda g: g)
                return y, h

        with pytest.raises(tg.GraphError, match=words):
            tg.scan(step, tg.ones((3, 2)), x, fused=True)
        assert not tracers
        tg.scan(step, tg.ones((3, 2)), x)

    def test_what_differs_from_step_to_step_is_refused(self) -> None:
        count = iter(range(100))

        def alternating(h: Any, x: Any) -> Any:
            return (h * x if next(count) % 2 else h + x), h

        def counting(h: Any, x: Any) -> Any:
            return h * next(count), h

        def longer(h: Any, x: Any) -> Any:
            return sum([h] * (1 + next(count)), x), h

        for step, words in [
            (alternating, "'add' at one step, 'multiply' at the next"),
            (counting, "something new to 'multiply'"),
            (longer, "operations at one step"),
        ]:
            count = iter(range(100))
            with pytest.raises(tg.GraphError, match=words):
                tg.scan(step, tg.ones((3, 2)), tg.ones((4, 3, 2)), fused=True)

    def test_a_value_kept_from_the_step_before_is_refused(self) -> None:
        before: list[Any] = []

        def delayed(h: Any, x: Any) -> Any:
            new = tg.tanh(h * x)
            seen = before.pop() if before else new
            before.append(new)
            return seen + h, h

        with pytest.raises(tg.GraphError, match="something new to 'add'"):
            tg.scan(delayed, tg.ones((3, 2)), tg.ones((4, 3, 2), requires_grad=True), fused=True)

    def test_a_graph_that_ends_at_one_step_only_is_refused(self) -> None:
        count = iter(range(100))

        def cut(h: Any, x: Any) -> Any:
            with tg.no_grad() if next(count) else tg.enable_grad():
                y = tg.tanh(h * x)
            return y + h, h

        with pytest.raises(tg.GraphError, match="at one step"):
            tg.scan(cut, tg.ones((3, 2)), tg.ones((4, 3, 2), requires_grad=True), fused=True)

    def test_the_second_look_at_a_step_computes_nothing(self) -> None:
        calls: list[Any] = []

        @tg.operation
        def counted(xp: Any, x: Any) -> Any:
            calls.extend([x] if isinstance(x, np.ndarray) else [])
            return xp.exp(x)

        counted.vjp(x=lambda g, y: g * y)
        x = tg.ones((5, 3, 2), requires_grad=True)
        tg.scan(lambda h, x: (counted(tg.tanh(h)) + x, h), tg.ones((3, 2)), x, fused=True)
        assert len(calls) == 1 + 5

    @pytest.mark.parametrize("joint", [False, True])
    def test_a_rule_reads_all_outputs_of_an_operation(self, joint: bool) -> None:
        @tg.operation
        def sine_and_cosine(xp: Any, x: Any) -> Any:
            return xp.sin(x), xp.cos(x)

        def rule(g: Any, y: Any) -> Any:
            terms = [a * b for a, b in zip(g, (y[1], -y[0]), strict=True) if a is not None]
            total = sum(terms[1:], terms[0])
            return (total,) if joint else total

        sine_and_cosine.vjp(rule) if joint else sine_and_cosine.vjp(x=rule)
        w, x = drawn(2), drawn(4, 3, 2)

        def step(h: Any, x: Any) -> Any:
            s, c = sine_and_cosine(h * w + x)
            return s * c + sine_and_cosine(x * h)[1], h

        compare(step, drawn(3, 2), x, w)

    def test_a_carry_that_changes_is_refused(self) -> None:
        x = tg.ones((4, 3, 2))
        with pytest.raises(tg.ShapeError, match=r"float32\[2\] before, and float32\[3, 2\] after"):
            tg.scan(lambda h, x: (h + x, h), tg.ones((2,)), x, fused=True)
        with pytest.raises(tg.ShapeError, match=r"float32\[3, 2\] before, and float64\[3, 2\]"):
            tg.scan(lambda h, x: (h + x, h), tg.ones((3, 2)), x.astype("float64"), fused=True)
        with pytest.raises(TypeError, match="a step that returns Tensors, got float"):
            tg.scan(lambda h, x: (h + x, 1.0), tg.ones((3, 2)), x, fused=True)


# ---------------------------------------------------------------- what it costs


class TestFusion:
    """Elementwise operations fused into one kernel."""

    @pytest.mark.skipif(not is_native(np), reason="without native code there are none")
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_they_give_what_single_operations_give(
        self, dtype: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rng = np.random.default_rng(0)
        w, b, x, h = (
            tg.tensor(rng.normal(size=s).astype(dtype) / 2, requires_grad=True)
            for s in [(5, 15), (15,), (6, 3, 5), (3, 5)]
        )

        def step(state: Any, x: Any) -> Any:
            h, c = state
            z = h @ w + b + tg.concat([x, h, c], axis=-1)
            i, o, g = tg.sigmoid(z[:, :5]), tg.maximum(z[:, 5:10], 0.0), tg.tanh(z[:, 10:])
            c = (1 - i) * c + i * g * b[:5] - abs(x) / (2 + c * c)
            h = o * (c / (1 + abs(c))) + tg.relu(-x) * 0.5
            return (h, c), (h * h - c, z.sum(axis=-1))

        def results() -> list[Any]:
            (h1, c1), (y, s) = tg.scan(step, (h, h * 0.5), x, fused=True)
            # Of what is there at the last step alone, and of what never is.
            losses = [(y * y).sum() + s.sum() + h1.sum(), c1.sum(), y.sum()]
            return [h1, y, *(g for loss in losses for g in tg.grad(
                loss, [w, b, x, h], retain_graph=True))]  # fmt: skip

        cache._cache.clear()
        fused = results()
        (known,) = cache._cache.values()
        lengths = [[len(c.fallback) for c in plan if type(c) is fusion.FusedKernel]
                   for plan in (known.fused.forward, known.fused.backward)]  # fmt: skip
        assert max(lengths[0]) > 8
        assert max(lengths[1]) > 8
        monkeypatch.setattr(execute, "fuses", lambda xp: False)
        for a, c in zip(fused, results(), strict=True):
            tolerance = 300 * np.finfo(dtype).eps
            np.testing.assert_allclose(a.numpy(), c.numpy(), rtol=tolerance, atol=tolerance)

    @pytest.mark.skipif(not is_native(np), reason="without native code there are none")
    @pytest.mark.parametrize(
        "of_columns",
        [
            lambda z: z[:, :4] * tg.tanh(z[:, 4:8]) - z[:, 8:],  # each column once
            lambda z: tg.sigmoid(z[:, 8:]) * tg.tanh(z[..., :4]) - z[..., 4:-4],
            lambda z: z[:, :4] * tg.tanh(z[:, 3:7]) - z[:, 8:],  # one twice, one never
            lambda z: z[:, :4] * tg.tanh(z[:, :4]) - z[:, 4:8] * z[:, 8:],
            lambda z: z[:, :4] * tg.tanh(z[:, 4:8]) - z[:, 9:].sum(axis=-1, keepdims=True),
            lambda z: tg.tanh(z[:, :4]) * 2 - z[:, 4:].sum(axis=-1, keepdims=True),
            lambda z: tg.tanh(z[:, ::3]) * 2 - z[:, ::-1][:, 2:6],
            lambda z: tg.tanh(z[:, :4] @ z[:4, 4:8]) + z[:, 8:] * 2 + 1,
            lambda z: tg.tanh(z[0, :4] * z[:, 4:8]) + z[:, 8:] * 2 + 1,
            lambda z: (z[:, :6] * z[:, 6:] + 1)[:, :4] * tg.tanh(z[:, :4]),
            lambda z: (z * z[:1] + 1)[:, :4] * tg.tanh(z[:, :4] + 1) - z[:, 4:8] * z[:, 8:],
        ],
    )
    @pytest.mark.parametrize("also", [None, lambda z: z.sum(axis=-1), lambda z: z[:, :4]])
    def test_columns_of_what_need_not_be_there(
        self, of_columns: Any, also: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        w, b, x, h = drawn(4, 12), drawn(12), drawn(5, 4, 12), drawn(4, 4)

        def step(state: Any, x: Any) -> Any:
            h, c = state
            z = (h @ w + tg.tanh(x)) * 0.5 + b
            c = c * 0.5 + of_columns(z)
            return (tg.tanh(c), c), (c if also is None else (c, also(z)))

        def results(fused: bool = True) -> list[Any]:
            last, ys = tg.scan(step, (h, h * 0.5), x, fused=fused)
            values = [*last, *(ys if isinstance(ys, tuple) else (ys,))]
            losses = [sum(tg.sin(v).sum() for v in values), last[1].sum()]
            return [*values, *(g for loss in losses for g in tg.grad(
                loss, [w, b, x, h], retain_graph=True))]  # fmt: skip

        cache._cache.clear()
        wanted = results(fused=False)
        found = [results()]
        monkeypatch.setattr(fusion.FusedKernel, "run", lambda *_: False)
        found.append(results())  # the fallback of a kernel
        monkeypatch.setattr(execute, "fuses", lambda xp: False)
        found.append(results())
        for values in found:
            for y, t in zip(values, wanted, strict=True):
                np.testing.assert_allclose(y.numpy(), t.numpy(), rtol=1e-11, atol=1e-12)

    @pytest.mark.skipif(not is_native(np), reason="without native code there are none")
    @pytest.mark.parametrize("every", [None, 2])
    def test_recomputed_residuals_are_not_saved(
        self, every: int | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        w, x, h = drawn(4, 4), drawn(5, 3, 4), drawn(3, 4)

        def step(h: Any, x: Any) -> Any:
            i = tg.sigmoid(x + h @ w)
            rest = (1 - i) * 2  # two instructions from a residual
            h = tg.tanh(rest * h) / (1 + abs(i)) * i + tg.tanh(h + h) * rest
            return h, h

        compare(step, h, x, w)
        cache._cache.clear()

        def gradients() -> Any:
            y = tg.scan(step, h, x, fused=True, checkpoint_every=every)[1]
            return [g.numpy() for g in tg.grad((y * y).sum(), [h, x, w])]

        found = gradients()
        (known,) = cache._cache.values()
        saved = [{*plan.pick_residuals(range(1000))} for plan in (known.plain, known.fused)]
        assert len(saved[0] - saved[1]) >= 2
        monkeypatch.setattr(fusion.FusedKernel, "run", lambda *_: False)
        for a, b in zip(found, gradients(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
        monkeypatch.setattr(execute, "fuses", lambda xp: False)
        for a, b in zip(found, gradients(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)

    def test_a_long_line_of_cheap_operations_compiles_in_time(self) -> None:
        def step(h: Any, x: Any) -> Any:
            for _ in range(60):
                h = h + h * 0.01
            return tg.tanh(h * x), h

        compare(step, drawn(2, 3), drawn(4, 2, 3))

    @pytest.mark.skipif(not is_native(np), reason="without native code they do not")
    def test_large_products_stay_in_the_loop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hoisting, "CACHE_ELEMENTS", 100)
        monkeypatch.setattr(hoisting, "MIN_ROWS", 3)
        w, u, x, h = drawn(4, 8), drawn(6, 8), drawn(5, 3, 6), drawn(3, 4)

        def step(h: Any, x: Any) -> Any:
            z = x @ u + h @ w
            h = tg.tanh(z[:, :4]) * z[:, 4:]
            return h, h

        cache._cache.clear()
        compare(step, h, x, w, u)
        (known,) = cache._cache.values()
        alone = [c.rule for c in known.fused.backward if type(c) is not fusion.FusedKernel]
        assert not any(getattr(r, "func", r) is backward._concat_cotangents for r in alone)
        products = [[f for f in p.forward if f.matrix is not None] for p in cache._cache.values()]
        assert [len(inside) for inside in products] == [2]
        monkeypatch.setattr(hoisting, "is_native", lambda xp: False)
        cache._cache.clear()
        compare(step, h, x, w, u)
        products = [[f for f in p.forward if f.matrix is not None] for p in cache._cache.values()]
        assert [len(inside) for inside in products] == [1]

    def test_an_input_of_a_kernel_can_be_its_output(self) -> None:
        w, u, x, h = drawn(4, 4), drawn(4, 4), drawn(5, 3, 4), drawn(3, 4)

        def step(h: Any, x: Any) -> Any:
            z = tg.sigmoid(x + h @ w)
            h = (1 - z) * h + z * tg.tanh(x + (z * h) @ u)
            return h, h

        compare(step, h, x, w, u)


class TestCache:
    """Equal steps are compiled once."""

    def test_new_values_of_the_same_kind_compile_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        compiled: list[Any] = []
        made = program.Tape.__init__
        monkeypatch.setattr(program.Tape, "__init__", lambda *a: compiled.append(a) or made(*a))
        cache._cache.clear()
        for _ in range(3):
            w, x = drawn(2, 2), drawn(4, 3, 2)
            compare(lambda h, x, w=w: (tg.tanh(h @ w + x * 0.5), h), drawn(3, 2), x, w)
        assert len(compiled) == 1

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (lambda h, x: h + x / (h * h * 0.0), lambda h, x: h + x / (h * h * -0.0)),
            (lambda h, x: h * 2 + x, lambda h, x: h * 3 + x),
            (lambda h, x: h + x, lambda h, x: x + h * 1.0),
            (lambda h, x: h - x, lambda h, x: x - h),
            (lambda h, x: tg.leaky_relu(h) + x, lambda h, x: tg.leaky_relu(h, 0.5) + x),
            (lambda h, x: h + x[:, ::-1], lambda h, x: h + x[:, :]),
            (lambda h, x: h + x.sum(axis=-1, keepdims=True), lambda h, x: h + x.sum(axis=0)),
            (lambda h, x: h * x.detach(), lambda h, x: h * x),
            (lambda h, x: h + x * ROW, lambda h, x: h + x * OTHER),
        ],
    )
    def test_a_step_that_does_another_thing_gets_another(self, one: Any, other: Any) -> None:
        def results(step: Any) -> list[Any]:
            h, x = (tg.tensor(v, requires_grad=True) for v in ([[0.5, -0.5]], [[[1.0, 2.0]]] * 3))
            last, ys = tg.scan(lambda h, x: (step(h, x), h), h, x, fused=True)
            return [last, ys, *tg.grad(last.sum() + ys.sum(), [h, x])]

        with np.errstate(all="ignore"):
            for step in (one, other):
                cache._cache.clear()
                true = results(step)
                cache._cache.clear()
                results(other if step is one else one)
                for a, b in zip(results(step), true, strict=True):
                    np.testing.assert_array_equal(a.numpy(), b.numpy())


def work(steps: int, fused: bool) -> int:
    """How many elements the cotangents of a scan's inputs have, all together."""
    w, x = tg.ones((2, 2), requires_grad=True), tg.ones((steps, 3, 2), requires_grad=True)
    y = tg.scan(lambda h, x: (tg.tanh(h @ w + x), h), tg.zeros((3, 2)), x, fused=fused)[1].sum()
    sizes: list[int] = []
    with observe(backward=lambda _, __, g: sizes.append(getattr(g, "value", g).size)):
        y.backward()
    return sum(sizes)


@pytest.mark.parametrize("fused", [False, True])
def test_the_backward_pass_is_linear_in_the_steps(fused: bool) -> None:
    one, two, four = (work(n, fused) for n in (100, 200, 400))
    assert four - two == 2 * (two - one)


def kept(steps: int, **options: Any) -> tuple[int, int]:
    """How many arrays of the state's size a scan keeps, and needs at the peak of both passes."""
    size, batch = 1000, 10
    x = tg.zeros((steps, 1, 1))
    h = tg.tensor(np.full((batch, size), 0.1), requires_grad=True)

    def step(h: Any, x: Any) -> Any:
        h = tg.tanh(tg.sin(h) * tg.cos(h) + x)
        return h, h[:1, :1]

    tg.grad(tg.scan(step, h, x, **options)[0].sum(), [h])  # once, for what is made only once
    gc.collect()
    tracemalloc.start()
    try:
        last, _ = tg.scan(step, h, x, **options)
        held = tracemalloc.get_traced_memory()[0]
        tg.grad(last.sum(), [h])
        return held // (8 * size * batch), tracemalloc.get_traced_memory()[1] // (8 * size * batch)
    finally:
        tracemalloc.stop()


def test_segments_keep_a_carry_each_and_the_inside_of_one() -> None:
    plain, fused = kept(64)[0], kept(64, fused=True)
    assert plain >= 3 * 64
    assert fused[0] <= 3 * 64 + 4
    held, peak = kept(64, fused=True, checkpoint_every=8)
    assert held <= 8 + 3 * 8 + 4  # the first carries, and the inside of the last segment
    assert peak <= held + 3 * 8 + 8
    assert kept(256, fused=True, checkpoint_every=16)[1] < 0.3 * kept(256, fused=True)[1]


def test_segments_of_any_length_give_the_same() -> None:
    w, x = drawn(2, 2), drawn(7, 3, 2)
    for every in (1, 2, 3, 7, 100):
        compare(
            lambda h, x: (tg.tanh(h @ w + x), h * h), drawn(3, 2), x, w,
            checkpoint_every=every, lengths=[7, 0, 4], reset=RNG.random((7, 3)) < 0.3,
        )  # fmt: skip


def test_segments_of_what_is_not_fused_are_refused() -> None:
    for options in ({}, {"fused": True}):
        with pytest.raises(ValueError, match="checkpoint_every: expected an integer from 1 up"):
            tg.scan(
                lambda h, x: (h, h), tg.ones((1,)), tg.ones((2, 1)),
                checkpoint_every=0 if options else 3, **options,
            )  # fmt: skip


def test_no_steps_are_refused() -> None:
    with pytest.raises(tg.ShapeError, match="expected at least one step"):
        tg.scan(lambda h, x: (h, h), tg.ones((1,)), tg.ones((0, 1)))


# ---------------------------------------------------------------- in parallel


def test_associative_scan_takes_two_calls_for_each_doubling() -> None:
    calls: list[int] = []

    def fn(a: Any, b: Any) -> Any:
        calls.append(len(a))
        return a + b

    for n in (1, 2, 3, 37, 64, 100):
        calls.clear()
        x = drawn(n)
        np.testing.assert_allclose(tg.associative_scan(fn, x).numpy(), np.cumsum(x.numpy()))
        assert len(calls) <= 2 * np.log2(n)
        assert sum(calls) <= 2 * n


def test_associative_scan_refuses_lengths_that_differ() -> None:
    with pytest.raises(tg.ShapeError, match=r"xs of one length, got \[2, 3\]"):
        tg.associative_scan(lambda a, b: a, (tg.ones((2,)), tg.ones((3,))))
    assert tg.associative_scan(lambda a, b: a + b, tg.ones((0, 2))).shape == (0, 2)


@pytest.mark.parametrize("reverse", [False, True])
def test_associative_scan_of_trees(reverse: bool) -> None:
    a, b = drawn(5, 2), drawn(5, 2)

    def then(f: Any, g: Any) -> Any:
        return {"b": [g["a"] * f["b"][0] + g["b"][0], None], "a": f["a"] * g["a"]}

    found = tg.associative_scan(then, {"a": a, "b": [b, None]}, reverse=reverse)
    wanted = tg.associative_scan(
        lambda f, g: (f[0] * g[0], g[0] * f[1] + g[1]), (a, b), reverse=reverse
    )
    np.testing.assert_array_equal(found["a"].numpy(), wanted[0].numpy())
    np.testing.assert_array_equal(found["b"][0].numpy(), wanted[1].numpy())
    assert found["b"][1] is None


@pytest.mark.parametrize(
    ("fn", "xs", "words"),
    [
        (lambda a, b: a[:1], tg.ones((4, 2)), r"got \[\[1, 2\]\] of \[\[2, 2\]\]"),
        (lambda a, b: a[0] + b[0], (tg.ones((4,)),), "got tuple of 1, then Tensor"),
        (lambda a, b: None, tg.ones((4,)), "got Tensor float32.*, then None"),
        (lambda a, b: a, None, "expected at least one sequence"),
        (lambda a, b: a, [1.0, 2.0], "expected Tensors of at least one axis, got float"),
        (lambda a, b: a, tg.ones(()), "expected Tensors of at least one axis, got Tensor without"),
    ],
)
def test_associative_scan_refuses_what_does_not_fit(fn: Any, xs: Any, words: str) -> None:
    with pytest.raises(tg.TinygradRnnError, match=f"associative_scan: .*{words}"):
        tg.associative_scan(fn, xs)


@pytest.mark.parametrize("fused", [False, True])
def test_arrays_that_are_no_numbers_are_refused(fused: bool) -> None:
    add = lambda total, x: (total + x, total)
    xs = tg.ones((3, 2), requires_grad=True)
    for carry in (np.zeros(2, object), np.array(["a", "b"]), np.ma.masked_array(np.zeros(2))):
        with pytest.raises(TypeError, match="scan: carry"):
            tg.scan(add, carry, xs, fused=fused)
        with pytest.raises(TypeError, match="scan: xs"):
            tg.scan(add, tg.zeros(2), np.stack([carry] * 3), fused=fused)
    total, _ = tg.scan(add, np.zeros(2, ">f4"), xs, fused=fused)
    assert total.dtype is np.dtype("float32")
