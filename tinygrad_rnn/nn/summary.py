"""A table of a model: layers, output shapes, parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import public
from ..tensor import html
from ..tensor.tensor import Tensor
from .checks import instance
from .module import Module, inference


@dataclass(frozen=True)
class Row:
    """A module of a model: its name and class, the shape of its output, its own parameters."""

    name: str
    kind: str
    output: str
    parameters: int


@dataclass(frozen=True)
class Summary:
    """A table of a model, which prints as text, and in notebooks as HTML."""

    rows: list[Row]
    parameters: int
    trainable: int
    nbytes: int

    def cells(self) -> list[tuple[str, str, str, str]]:
        """The lines of the table: layer, output, parameters, share."""
        return [
            (
                f"{row.name} ({row.kind})" if row.name else row.kind,
                row.output,
                f"{row.parameters:,}",
                f"{row.parameters / max(self.parameters, 1):.1%}",
            )
            for row in self.rows
        ]

    def total(self) -> str:
        """The last line."""
        frozen = self.parameters - self.trainable
        parts = f"{frozen:,} of them frozen, " if frozen else ""
        return f"{self.parameters:,} parameters, {parts}{_bytes(self.nbytes)}"

    def __str__(self) -> str:
        lines = [HEADER, *self.cells()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = [
            f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}"
            for a, b, c, d in lines
        ]
        rule = "-" * len(text[0])
        return "\n".join([text[0], rule, *text[1:], rule, self.total()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html.table(HEADER, self.cells(), self.total())


HEADER = ("layer", "output", "parameters", "share")


@public
def summary(model: Module, *example: Any, **options: Any) -> Summary:
    """Returns a table of a model's modules: output shape, parameters, share of all parameters.

    Runs the model on the example in evaluation mode, without recording. A module has the parameters
    that it holds itself, a shared one those that no module above it has; a module that the model
    does not call has no output shape.

    **Arguments** example: the arguments of a call of the model; if there are none, the table has no
    output shapes. options: its keyword arguments.

    >>> import tinygrad_rnn as tg
    >>> model = tg.nn.Sequential(tg.nn.Linear(8, 16), tg.nn.ReLU(), tg.nn.Linear(16, 1))
    >>> tg.nn.summary(model, tg.zeros((32, 8)))
    layer       output    parameters  share
    ---------------------------------------
    Sequential  (32, 1)            0   0.0%
    0 (Linear)  (32, 16)         144  89.4%
    1 (ReLU)    (32, 16)           0   0.0%
    2 (Linear)  (32, 1)           17  10.6%
    ---------------------------------------
    161 parameters, 644 B
    """
    instance("summary", "model", model, Module)
    outputs = _outputs(model, example, options) if example or options else {}
    seen: set[int] = set()
    rows = []
    for name, module in model.named_modules():
        own = [p for p in module.own_parameters() if id(p) not in seen]
        seen.update(map(id, own))
        output = outputs.get(id(module), "-")
        rows.append(Row(name, type(module).__name__, output, sum(p.size for p in own)))
    parameters = list(model.parameters())
    return Summary(
        rows,
        sum(p.size for p in parameters),
        sum(p.size for p in parameters if p.requires_grad),
        sum(p.size * p.dtype.itemsize for p in parameters),
    )


def _outputs(model: Module, example: tuple[Any, ...], options: Mapping[str, Any]) -> dict[int, str]:
    """Runs the model. **Returns** the output shape of each module that was called, by its id."""
    shapes: dict[int, str] = {}

    def note(module: Module, _: object, y: object) -> None:
        shapes[id(module)] = _shape(y)

    removals = [module.register_forward_hook(note) for module in model.modules()]
    try:
        with inference(model):
            model(*example, **options)
    finally:
        for remove in removals:
            remove()
    return shapes


def _shape(y: object) -> str:
    """The shape of an output; those of its parts, if it is a tuple."""
    if isinstance(y, Tensor):
        return str(y.shape)
    if isinstance(y, (tuple, list)):
        return ", ".join(_shape(v) for v in y)
    if isinstance(y, Mapping):
        return ", ".join(f"{k}: {_shape(v)}" for k, v in y.items())
    return type(y).__name__


def _bytes(n: int) -> str:
    for unit in ("B", "kB", "MB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n = n / 1000  # type: ignore[assignment]
    return f"{n:.3g} GB"
