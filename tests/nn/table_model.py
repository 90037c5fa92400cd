"""Small models whose every sequence can be enumerated: what comes next stands in a table."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

import tinygrad_rnn as tg

Array = np.ndarray[Any, Any]


class Table:
    """Next-token log-probabilities and attention by a state that depends on all tokens so far.

    The state of a row is a number, another one for each sequence of up to four tokens, so that no
    two have equal scores. The state has several copies of it, on the axes `batch_axis`, so that a
    test detects a search that selects the wrong row of one of them.
    """

    batch_axis = (0, (1, 0))

    def __init__(self, seed: int, tokens: int, batch: int, states: int = 1009, places: int = 3):
        rng = np.random.default_rng(seed)
        logits = rng.normal(size=(states, tokens)) * 2
        self.logits = logits
        self.log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        looks = np.exp(rng.normal(size=(states, places)) * 3)
        self.attention = looks / looks.sum(-1, keepdims=True)
        self.tokens, self.states, self.calls = tokens, states, 0
        self.first = rng.integers(0, tokens, batch).tolist()
        self.begin = rng.integers(0, states, batch)

    def start(self, chosen: list[int] | None = None) -> Any:
        begin = self.begin if chosen is None else self.begin[chosen]
        return tg.tensor(begin), (tg.tensor(np.stack([begin, begin])), begin.tolist())

    def step(self, tokens: tg.Tensor, state: Any) -> tuple[tg.Tensor, Any, tg.Tensor]:
        self.calls += 1
        one, (two, three) = state
        assert two.tolist() == [one.tolist()] * 2
        assert three == one.tolist()
        now = (one * 5 + tokens * 3 + 1) % self.states
        new = now, (tg.stack([now, now]), now.tolist())
        return tg.tensor(self.logits)[now], new, tg.tensor(self.attention)[now]

    def without_attention(self, tokens: tg.Tensor, state: Any) -> tuple[tg.Tensor, Any]:
        logits, state, _ = self.step(tokens, state)
        return logits, state

    # ------------------------------------------------------------ by hand

    def path(self, row: int, sequence: tuple[int, ...]) -> tuple[Array, Array]:
        """The log-probability and the attention of each of a row's tokens."""
        state, last = int(self.begin[row]), self.first[row]
        gains, looks = [], []
        for token in sequence:
            state = (state * 5 + last * 3 + 1) % self.states
            gains.append(self.log_probs[state, token])
            looks.append(self.attention[state])
            last = token
        return np.array(gains), np.array(looks)

    def sequences(self, end: int | None, max_length: int) -> Iterator[tuple[int, ...]]:
        """All that end at their end, or have the maximal length without one."""
        for length in range(1, max_length + 1):
            for body in itertools.product(range(self.tokens), repeat=length):
                ended = body[-1] == end
                if end not in body[:-1] and (ended or length == max_length):
                    yield body
