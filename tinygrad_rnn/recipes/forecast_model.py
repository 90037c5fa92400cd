"""The network of `forecast`: corrects the distribution that a classical model gives a step.

It reads the residuals of the classical model (`classical.py`), and gives the location and the scale
of the next one, in units of its volatility, and the degrees of freedom of Student's t. Its last
layer starts at zero, so it starts as the classical model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..data.series import stocks, unemployment
from ..nn import Dropout, Linear, Module
from ..tensor import ops
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .cells import CELLS, check_weights_fit
from .settings import SettingError, setting
from .task import TaskSettings

HIGHEST_DF = 100.0
SLOWER = 0.1  # corrections of the mean are learnt slower: it has much more noise than the scale
EXAMPLES = {  # with their periods and units
    "stocks": (stocks, 0, "adjusted close, $"), "unemployment": (unemployment, 12, "rate, %"),
}  # fmt: skip


@dataclass(frozen=True)
class ForecastConfig(TaskSettings):
    """All that determines a training, except its data."""

    example: str = setting("stocks", "Without --data.", one_of=EXAMPLES)
    date: str = setting("date", "The column of dates.")
    value: str = setting("value", "The column of values.")
    series: str = setting("", "The column that names the series; '' for one series a file.")
    covariates: str = setting("", "Columns that are known in advance, with commas between them.")
    period: int = setting(
        0, "Steps of a season, to forecast values; 1 for none; 0 forecasts returns.",
        at_least=0, at_most=100_000,
    )  # fmt: skip
    horizon: int = setting(20, "Steps ahead.", at_least=1, at_most=1000)
    paths: int = setting(1000, "Sampled paths of a forecast.", at_least=2, at_most=10_000)
    cell: str = "rnn"
    hidden_size: int = 24
    dropout: float = 0.2
    window: int = setting(120, "Steps in a sequence of the training.", at_least=2, at_most=100_000)
    epochs: int = 30
    lr: float = 1e-2
    # It shrinks the weights: the noise has little to teach.
    weight_decay: float = setting(0.01, "Weight decay of AdamW.", at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.value in (name.strip() for name in self.covariates.split(",")):
            raise SettingError(
                f"`covariates` must be known in advance: {self.value!r} is the column to forecast"
            )


class ForecastModel(Module):
    """Recurrent layers, and a linear map of states and inputs to Student's t-distributions.

    **Arguments** features: of a step. generator: draws weights and masks.
    """

    def __init__(self, features: int, config: ForecastConfig, generator: Generator) -> None:
        super().__init__()
        check_weights_fit(config, features, 3)
        self.layers = CELLS[config.cell](
            features, config.hidden_size, num_layers=config.num_layers, generator=generator
        )
        self.dropout = Dropout(config.dropout, generator=generator)
        self.head = Linear(config.hidden_size + features, 3, generator=generator)
        self.head.weight.data[:] = 0
        assert self.head.bias is not None
        self.head.bias.data[:] = [0, 0, 5]  # about 7 degrees of freedom

    def forward(self, x: Tensor, state: Any = None) -> tuple[tuple[Tensor, Tensor, Tensor], Any]:
        """**Returns** location, scale and degrees of freedom, each (T, B); and the state."""
        y, state = self.layers(x, state)
        found = self.head(ops.concat([self.dropout(y), x], axis=2))
        df = 2.05 + ops.clip(ops.softplus(found[:, :, 2]), 0, HIGHEST_DF)
        return (SLOWER * found[:, :, 0], ops.exp(found[:, :, 1]), df), state
