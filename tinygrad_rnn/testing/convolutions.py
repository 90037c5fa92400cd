"""OpInfos of convolutions and of the windows that they are made of."""

from __future__ import annotations

from typing import Any

from .builders import applied, op_info
from .op_info import Sample, Sampler, real, shape


def _geometry(d: Sampler, axes: int) -> tuple[tuple[int, ...], Any, Any, tuple[int, ...]]:
    """Lengths, strides and dilations of windows, and a shape into which they fit."""
    lengths = tuple(d.integer(1, 3) for _ in range(axes))
    stride = tuple(d.integer(1, 2) for _ in range(axes))
    dilation = tuple(d.integer(1, 2) for _ in range(axes))
    reach = [n * (k - 1) + 1 for k, n in zip(lengths, dilation, strict=True)]
    space = tuple(n + d.integer(0, 3) for n in reach)
    if axes == 1 and d.one_of([True, False]):
        return lengths, stride[0], dilation[0], space
    return lengths, stride, dilation, space


def _sliding_windows(d: Sampler) -> Sample:
    lengths, stride, dilation, space = _geometry(d, d.integer(1, 2))
    x = real(d, (*shape(d, most=1), *space))
    return applied(x, lengths=lengths, stride=stride, dilation=dilation)


def _overlap_add(d: Sampler) -> Sample:
    lengths, stride, dilation, space = _geometry(d, d.integer(1, 2))
    each = [(v,) * len(space) if isinstance(v, int) else v for v in (stride, dilation)]
    counts = [
        (n - b * (k - 1) - 1) // a + 1 for n, k, a, b in zip(space, lengths, *each, strict=True)
    ]
    windows = real(d, (*lengths, *shape(d, most=1), *counts))
    return applied(windows, shape=space, stride=stride, dilation=dilation)


def _conv(d: Sampler) -> Sample:
    axes, groups = d.integer(1, 2), d.integer(1, 2)
    lengths, stride, dilation, space = _geometry(d, axes)
    batch, channels, outputs = (d.integer(1, 2) for _ in range(3))
    unit = stride == 1 or stride == (1,) * axes
    given: dict[str, Any] = {
        "stride": stride,
        "dilation": dilation,
        "groups": groups,
        "padding": d.one_of([0, 1, (2,) * axes, "valid", *(["same"] if unit else [])]),
    }
    inputs = [
        real(d, (batch, groups * channels, *space)),
        real(d, (groups * outputs, channels, *lengths)),
        *([real(d, (groups * outputs,))] if d.one_of([False, True]) else []),
    ]
    return Sample(inputs, lambda f, x, w, b=None: f(x, w, b, **given))


CONVOLUTIONS = [
    op_info("sliding_windows", _sliding_windows),
    op_info("overlap_add", _overlap_add),
    op_info("conv", _conv),
]
