"""The recurrent layers that a recipe's `cell` chooses from, and whether a model of a size fits."""

from __future__ import annotations

from typing import Any

from ..nn import GRU, LSTM, RNN
from .settings import check_memory

CELLS: dict[str, Any] = {"rnn": RNN, "gru": GRU, "lstm": LSTM}
LAYER = 10_000  # bytes of a layer besides its weights


def check_weights_fit(config: Any, width: int, rows: int, num_layers: int | None = None) -> None:
    """Refuses sizes with which weights and gradients cannot fit in memory.

    **Arguments** config: with cell and hidden_size. width: of the layers' input. rows: of all
    tables together, such as symbols. num_layers: in all; that of config, if None. **Raises**
    SettingError.
    """
    layers = num_layers or config.num_layers
    size, gates = config.hidden_size, {"rnn": 1, "gru": 3, "lstm": 4}[config.cell]
    weights = gates * size * (width + (2 * layers - 1) * size) + rows * (width + size)
    check_memory(
        "a model of this size (`hidden_size`, `num_layers`, `embedding_dim`)",
        8 * weights + LAYER * layers,
    )
