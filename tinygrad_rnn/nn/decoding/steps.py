"""The interface of a model to decoding: a step, and a state whose batch rows can be selected.

    step(tokens, state) -> (logits, state)  or  (logits, state, attention)

tokens are (N,) integers, logits (N, V) of the next token (log-probabilities are logits, too), and
attention (N, S) the attention weights over a source. N changes during decoding: beams multiply,
sequences end. Any function can be `step`: the `step` of a recurrent layer, a table of n-grams.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

from ...errors import InvalidTypeError, InvalidValueError, OutOfRangeError, ShapeError, public
from ...tensor import creation, ops
from ...tensor.autodiff import no_grad
from ...tensor.shapes import integer
from ...tensor.tensor import Tensor

State = Any  # a Tensor, a list of one thing a row, None, or a tuple of states
BatchAxis = int | tuple[Any, ...]  # of a state, or one for each part of a tuple
Step = Callable[[Tensor, State], tuple[Any, ...]]
MaxLength = int | Sequence[int] | Tensor  # of every result, or one for each batch row


@dataclass(frozen=True)
class Hypothesis:
    """A decoded sequence.

    tokens: with the end token, if the model produced it. log_prob: the sum of their
    log-probabilities. score: the key of the ranking. ended: True if it has the end token, False if
    it was cut at the maximal length. attention: (len(tokens), S), or None if the model returns
    none.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.decoding.Hypothesis(tokens=(4, 2), log_prob=-1.5, score=-0.75, ended=True).tokens
    (4, 2)
    """

    tokens: tuple[int, ...]
    log_prob: float
    score: float
    ended: bool
    attention: Tensor | None = None

    @property
    def alignment(self) -> list[int]:
        """The source position with the largest attention weight, for each token."""
        if self.attention is None:
            raise InvalidValueError(
                "alignment: the model's step returned no attention as its third value"
            )
        found: list[int] = self.attention.argmax(axis=-1).tolist()
        return found


class Path(NamedTuple):
    """A partial sequence: its batch row, its tokens, and where each was computed."""

    row: int
    tokens: tuple[int, ...] = ()
    log_prob: float = 0.0
    places: tuple[int, ...] = ()  # the row of each step's logits that produced each token

    def grown(self, token: int, log_prob: float, place: int) -> Path:
        """Returns the path extended by a token."""
        return Path(self.row, (*self.tokens, token), log_prob, (*self.places, place))


@public
def select(state: State, index: Sequence[int], batch_axis: BatchAxis = 0) -> State:
    """Selects batch rows of a state by index; an index may occur several times.

    **Arguments** state: a Tensor, a list with one item per batch row, None, or a tuple of these.
    index: the batch rows. batch_axis: the batch axis of a Tensor: 0 for cells, 1 for the states of
    layers, (num_layers, B, H); a tuple, if parts of the state differ. **Raises** TypeError for
    others.

    >>> import tinygrad_rnn as tg
    >>> h, c = select((tg.zeros((2, 3, 4)), tg.zeros((2, 3, 4))), [0, 0, 1, 1, 2, 2], batch_axis=1)
    >>> h.shape, select(["a", "b"], [1, 1])
    ((2, 6, 4), ['b', 'b'])
    """
    if isinstance(state, tuple):
        several = isinstance(batch_axis, tuple)
        axes: Any = batch_axis if several else (batch_axis,) * len(state)
        if len(axes) != len(state):
            raise ShapeError(
                f"select: batch_axis: expected {len(state)} axes, one per part; got {batch_axis}"
            )
        return tuple(select(part, index, axis) for part, axis in zip(state, axes, strict=True))
    if state is None:
        return None
    if isinstance(state, list):
        return [state[i] for i in index]
    if not isinstance(state, Tensor) or isinstance(batch_axis, tuple):
        raise InvalidTypeError(
            "select: expected a state of Tensors, of lists with one item per batch row, or of "
            "tuples of them, each with its axis in batch_axis; got "
            f"{type(state).__name__}, batch_axis={batch_axis}"
        )
    axis = integer(batch_axis, "select: batch_axis")
    rows = [integer(i, "select: index") for i in index]
    most = state.shape[axis] if -state.ndim <= axis < state.ndim else 0
    if not all(-most <= i < most for i in rows):
        raise OutOfRangeError(
            f"select: index: expected rows of axis {axis} of {list(state.shape)}, got {rows}"
        )
    return ops.take(state, rows, axis=axis)


class Decoding:
    """A model that decodes a batch: its state, and its attention weights so far."""

    def __init__(
        self,
        name: str,
        step: Step,
        state: State,
        start_tokens: Any,
        max_length: MaxLength,
        batch_axis: BatchAxis,
    ) -> None:
        tokens = creation.as_tensor(start_tokens)
        if tokens.ndim != 1 or (tokens.size and tokens.dtype.kind not in "iu"):
            raise ShapeError(
                f"{name}: start_tokens: expected (B,) integers, the token before each result; got "
                f"{tokens.dtype} {list(tokens.shape)}"
            )
        self.name, self.step, self.state, self.batch_axis = name, step, state, batch_axis
        self.device: str = tokens.device
        self.start_tokens: list[int] = tokens.tolist()
        self.count = len(self.start_tokens)  # batch size of the state
        self.max_lengths = _max_lengths(name, max_length, self.count)
        self.attentions: list[Tensor] = []

    def advance(self, paths: Sequence[Path]) -> Tensor:
        """Advances all paths by a step. **Returns** the next log-probabilities, (N, V)."""
        chosen = [path.places[-1] if path.places else path.row for path in paths]
        last = [path.tokens[-1] if path.tokens else self.start_tokens[path.row] for path in paths]
        with no_grad():
            if chosen != list(range(self.count)):
                self.state = select(self.state, chosen, self.batch_axis)
            self.count = len(chosen)
            result = self.step(Tensor(last, dtype="int64", device=self.device), self.state)
            logits, self.state = creation.as_tensor(result[0]), result[1]
            if logits.ndim != 2 or len(logits) != self.count or not logits.shape[1]:
                raise ShapeError(
                    f"{self.name}: step: expected logits ({self.count}, V) for {self.count} "
                    f"tokens; got {list(logits.shape)}"
                )
            check_numbers(self.name, logits, paths)
            if len(result) > 2:
                self.attentions.append(result[2])
            return ops.log_softmax(logits)

    def hypothesis(self, path: Path, score: float, ended: bool) -> Hypothesis:
        """Returns a path as a hypothesis, with its attention weights."""
        looks = [a[place] for a, place in zip(self.attentions, path.places, strict=False)]
        attention = ops.stack(looks) if looks else None
        return Hypothesis(path.tokens, path.log_prob, score, ended, attention)


def _max_lengths(name: str, max_length: MaxLength, rows: int) -> list[int]:
    """The maximal length of each batch row's results."""
    found = creation.as_tensor(max_length)
    if found.shape not in ((), (rows,)) or (found.size and found.dtype.kind not in "iu"):
        raise ShapeError(
            f"{name}: max_length: expected an integer, or {rows}, one per batch row; got "
            f"{found.dtype} {list(found.shape)}"
        )
    if found.size and found.min().item() < 1:
        raise InvalidValueError(f"{name}: max_length: expected 1 or more, got {found.min().item()}")
    each: list[int] = found.tolist() if found.ndim else [found.item()] * rows
    return each


def check_beams(name: str, beams: int, n_best: int) -> None:
    """Refuses a search for more results than it has beams."""
    if integer(beams, f"{name}: beams") < 1:
        raise InvalidValueError(f"{name}: beams: expected 1 or more, got {beams}")
    if not 1 <= integer(n_best, f"{name}: n_best") <= beams:
        raise InvalidValueError(f"{name}: n_best: expected 1 to beams {beams}, got {n_best}")


def check_numbers(name: str, logits: Tensor, paths: Sequence[Path]) -> None:
    """Refuses logits (N, V) with a row that has no finite maximum."""
    for path, peak in zip(paths, logits.max(axis=-1).tolist(), strict=True):
        if not -inf < peak < inf:
            why = "constraints: no token is allowed"
            if peak != -inf:
                got = "+inf" if peak == inf else "NaN"
                why = f"step: expected logits with a finite maximum, got {got}"
            raise InvalidValueError(f"{name}: {why} in row {path.row} after {list(path.tokens)}")
