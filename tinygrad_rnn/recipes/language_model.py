"""The base of language models of characters and of words: the chain rule, and sampling.

P(s_1 ... s_n) = P(s_1 | start) P(s_2 | start, s_1) ... P(s_n | start, s_1 ... s_{n-1})
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidTypeError
from ..nn.decoding import draw, probabilities
from ..nn.utils import quantized
from ..tensor.autodiff import no_grad
from ..tensor.creation import as_tensor
from ..tensor.ops import log_softmax
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from ..train import DivergedError, inference
from .settings import check


class LanguageModel:
    """A model of the next symbol: scores and generates text."""

    model: Any  # reads ids (T, B) and a state; returns logits (T, B, V) and the next state
    start: str  # the symbol that it reads before a text's first one
    encode: Callable[[str], NDArray[np.int64]]  # the ids of the start symbol, and of a text's
    first = 0  # id of the first symbol that it generates
    window = 1024  # symbols that it reads at a time, which bounds the memory and no more

    @property
    def symbols(self) -> Sequence[str]:
        """The symbols of all ids."""
        raise InvalidTypeError(f"{type(self).__name__} defines no symbols")

    def split(self, text: str) -> list[str]:
        """Splits a text into symbols."""
        return list(text)

    def quantized(self) -> Self:
        """Returns the model with recurrent weights of 8 bits: it generates faster."""
        found = copy(self)
        vars(found)["model"] = quantized(self.model)
        return found

    def sample(
        self,
        length: int,
        prompt: str = "",
        *,
        generator: Generator,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> Iterator[str]:
        """Generates text after a prompt, and yields each symbol as soon as it is drawn.

        **Arguments** length: the number of symbols. prompt: the text before the first of them.
        temperature, top_k, top_p: as in `nn.decoding.probabilities`.

        **Raises** VocabularyError for an unknown character in the prompt, SettingError for an
        argument outside its range; both when called, before the first symbol.
        """
        check("length", length, at_least=0)
        check("temperature", temperature, float, at_least=0)
        if top_k is not None:
            check("top_k", top_k, at_least=1)
        if top_p is not None:
            check("top_p", top_p, float, above=0, at_most=1)
        ids = self.encode(prompt)

        def generated() -> Iterator[str]:
            with inference(self.model):
                logits, state = self.model(self._tensor(ids[:, None]))
            logits = logits[-1]
            for count in range(1, length + 1):
                # Drawn on the host, to which the symbol goes anyway: one wait for a GPU.
                known = logits.to("cpu")[:, self.first :]
                p = probabilities(known, temperature, top_k, top_p)
                drawn = draw(p, generator) + self.first
                yield self.symbols[drawn.item()]
                if count < length:
                    with no_grad():
                        logits, state = self.model.step(drawn.to(self.device), state)

        return generated()

    def score(self, text: str, window: int | None = None) -> NDArray[np.float64]:
        """Computes the factors of the chain rule: log P of each symbol, given all before it.

        **Returns** (n,) natural logarithms; their sum is log P(text).

        **Raises** VocabularyError for a character outside the vocabulary, DivergedError for a model
        whose probabilities are NaN.
        """
        return self.score_ids(self.encode(text), window)

    def score_ids(self, ids: NDArray[np.int64], window: int | None = None) -> NDArray[np.float64]:
        """Computes the factors of symbols. **Arguments** ids: that of the start symbol first."""
        factors: list[NDArray[np.float64]] = [np.empty(0)]
        state, step = None, window or self.window
        with inference(self.model):
            for at in range(0, len(ids) - 1, step):
                x, y = ids[:-1][at : at + step], ids[1:][at : at + step]
                logits, state = self.model(self._tensor(x[:, None]), state)
                log_p = log_softmax(logits, axis=-1).numpy()[:, 0]
                factors.append(log_p[np.arange(len(y)), y].astype(np.float64))
        log_probs = np.concatenate(factors)
        if np.isnan(log_probs).any():
            raise DivergedError("the probabilities are NaN: the weights are too large")
        return log_probs

    @property
    def device(self) -> str:
        """The device of the weights."""
        return str(next(self.model.parameters()).device)

    def _tensor(self, ids: NDArray[np.int64]) -> Tensor:
        return as_tensor(ids, device=self.device)
