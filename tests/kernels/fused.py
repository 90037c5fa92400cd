"""The fused operations, run by one implementation whatever the dispatch would pick."""

from __future__ import annotations

from typing import Any

import tinygrad_rnn as tg
from tinygrad_rnn import kernels
from tinygrad_rnn.testing.sequences import FUSED, packed


class Fused:
    """`tg.rnn`, `tg.gru` or `tg.lstm`, with their arguments."""

    def __init__(self, module: Any, name: str) -> None:
        forward = getattr(module, f"{name}_forward")
        self.op = tg.Op(name, forward, decomposition=FUSED[name].decomposition)
        self.op.vjp(getattr(module, f"{name}_backward", kernels.backward))

    def __call__(self, *xs: Any, **arguments: Any) -> Any:
        named = dict(zip(self.op.inputs, xs, strict=False))
        inputs, settings = packed(self.op.name, **named, **arguments)
        return self.op(*inputs, **settings)

    def decomposition(self, **arguments: Any) -> Any:
        inputs, settings = packed(self.op.name, **arguments)
        decomposition: Any = self.op.decomposition
        return decomposition(*inputs, **settings)
