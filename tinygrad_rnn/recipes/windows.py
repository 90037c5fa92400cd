"""The base of trainings by truncated back-propagation through time, which read a text in windows.

Each window begins with the detached hidden state of the window before. A checkpoint holds that
state, and several ranks divide it as they divide the streams of a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from ..distributed import Communicator
from ..io import CheckpointError
from ..tensor import tree
from ..tensor.creation import as_tensor
from .trainer import RecipeTrainer


class WindowTrainer(RecipeTrainer):
    """Trains on windows of streams of text, and carries a state (L, B, H) from each to the next."""

    kinds: ClassVar = {"hidden": (list, type(None))}

    def carry(self, state: Any, ended: bool) -> None:
        """Keeps a window's last state, detached, for the next window; none at the text's end."""
        self.carried = None if ended else tree.mapped(lambda h: h.detach(), state)

    def checkpoint(self) -> dict[str, Any]:
        """Returns the state of the training, with the carried state."""
        hidden = None if self.carried is None else tree.leaves(self.carried)
        return {**super().checkpoint(), "hidden": hidden}

    def load_state(self, saved: dict[str, Any]) -> None:
        """Restores the carried state. **Raises** CheckpointError for other shapes."""
        super().load_state(saved)
        if (arrays := saved["hidden"]) is None:
            return
        config = self.config
        shape = (config.num_layers, config.batch_size, config.hidden_size)
        expected = [shape] * (2 if config.cell == "lstm" else 1)
        if [array.shape for array in arrays] != expected:
            raise CheckpointError(f"the checkpoint's hidden states are not {expected}")
        state = tuple(as_tensor(array, device=self.device) for array in arrays)
        self.carried = state if len(state) > 1 else state[0]

    def distribute(self, communicator: Communicator) -> None:
        """Divides each batch, and the states carried from batch to batch (L, B, H), among ranks."""
        super().distribute(communicator)
        self._map_carried(communicator.part)

    def whole_checkpoint(self) -> dict[str, Any]:
        """Returns the checkpoint, with the carried states of all ranks, which all call it."""
        own = self.carried
        self._map_carried(self.communicator.join)
        try:
            return self.checkpoint()
        finally:
            self.carried = own

    def _map_carried(self, change: Callable[[Any, int], Any]) -> None:
        if self.carried is not None:
            self.carried = tree.mapped(lambda h: as_tensor(change(h.data, 1)), self.carried)
