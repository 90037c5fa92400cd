"""What decoding asks of a model: a step, and a state whose rows can be chosen.

    step(tokens, state) -> (logits, state)  or  (logits, state, attention)

tokens are (N,) integers, logits (N, V) of what comes next (log-probabilities are logits, too), and
attention (N, S) says where in a source each row looked. How many rows there are changes on the way:
beams multiply, sequences end. What happens within `step` alone is the model's: a recurrent layer's
`step`, a table of n-grams, a function of yours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

from ...errors import InvalidTypeError, InvalidValueError, ShapeError, public
from ...tensor import creation, ops
from ...tensor.autodiff import no_grad
from ...tensor.tensor import Tensor

State = Any  # a Tensor, a list of one thing a row, None, or a tuple of states
Rows = int | tuple[Any, ...]  # the axis of a state's rows, or one for each part of a tuple
Step = Callable[[Tensor, State], tuple[Any, ...]]


@dataclass(frozen=True)
class Hypothesis:
    """A decoded sequence.

    tokens: what was decoded, the end among them if it was reached. log_prob: the sum of their
    log-probabilities. score: what it was ranked by. ended: whether it reached the end, or was cut
    at the maximal length. attention: (len(tokens), S), or None if the model gives none.
    """

    tokens: tuple[int, ...]
    log_prob: float
    score: float
    ended: bool
    attention: Tensor | None = None

    @property
    def alignment(self) -> list[int]:
        """Where in the source each token looked most."""
        if self.attention is None:
            raise InvalidValueError(
                "alignment: the model's step returned no attention as its third value"
            )
        found: list[int] = self.attention.argmax(axis=-1).tolist()
        return found


class Path(NamedTuple):
    """A sequence on its way: which row of the batch, what was decoded, where it was computed."""

    row: int
    tokens: tuple[int, ...] = ()
    log_prob: float = 0.0
    places: tuple[int, ...] = ()  # the row of each step's logits that gave each token

    def grown(self, token: int, log_prob: float, place: int) -> Path:
        """With one token more."""
        return Path(self.row, (*self.tokens, token), log_prob, (*self.places, place))


@public
def select(state: State, index: Sequence[int], rows: Rows = 0) -> State:
    """A state's rows, chosen and ordered anew; a row may be chosen several times.

    **Arguments** state: a Tensor, a list with one thing a row, None, or a tuple of such. index: the
    rows. rows: the axis on which a Tensor has its rows: 0 for cells, 1 for the states of layers,
    (num_layers, B, H); a tuple, if parts of the state differ. **Raises** TypeError for others.

    >>> import tinygrad_rnn as tg
    >>> h, c = select((tg.zeros((2, 3, 4)), tg.zeros((2, 3, 4))), [0, 0, 1, 1, 2, 2], rows=1)
    >>> h.shape, select(["a", "b"], [1, 1])
    ((2, 6, 4), ['b', 'b'])
    """
    if isinstance(state, tuple):
        axes = rows if isinstance(rows, tuple) else (rows,) * len(state)
        if len(axes) != len(state):
            raise ShapeError(f"select: rows: expected {len(state)} axes, one a part; got {rows}")
        return tuple(select(part, index, axis) for part, axis in zip(state, axes, strict=True))
    if state is None:
        return None
    if isinstance(state, list):
        return [state[i] for i in index]
    if not isinstance(state, Tensor) or isinstance(rows, tuple):
        raise InvalidTypeError(
            "select: expected a state of Tensors, of lists with one thing a row, or of tuples of "
            f"them, each with its axis in rows; got {type(state).__name__}, rows={rows}"
        )
    return ops.take(state, list(index), axis=rows)


class Run:
    """A model on its way through a decoding: its state, and what it attended to."""

    def __init__(self, name: str, step: Step, state: State, first: Any, rows: Rows) -> None:
        tokens = creation.as_tensor(first)
        if tokens.ndim != 1 or (tokens.size and tokens.dtype.kind not in "iu"):
            raise ShapeError(
                f"{name}: first: expected (B,) integers, the token that each row begins after; got "
                f"{tokens.dtype} {list(tokens.shape)}"
            )
        self.name, self.step, self.state, self.rows = name, step, state, rows
        self.device: str = tokens.device
        self.first: list[int] = tokens.tolist()
        self.count = len(self.first)  # rows of the state
        self.attentions: list[Tensor] = []

    def advance(self, paths: Sequence[Path]) -> Tensor:
        """One step of all paths. **Returns** the log-probabilities (N, V) of what comes next."""
        chosen = [path.places[-1] if path.places else path.row for path in paths]
        last = [path.tokens[-1] if path.tokens else self.first[path.row] for path in paths]
        with no_grad():
            if chosen != list(range(self.count)):
                self.state = select(self.state, chosen, self.rows)
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
        """What becomes of a path, with what it attended to on its way."""
        looks = [a[place] for a, place in zip(self.attentions, path.places, strict=False)]
        attention = ops.stack(looks) if looks else None
        return Hypothesis(path.tokens, path.log_prob, score, ended, attention)


def check_numbers(name: str, logits: Tensor, paths: Sequence[Path]) -> None:
    """Refuses rows (N, V) in which nothing can be chosen."""
    for path, peak in zip(paths, logits.max(axis=-1).tolist(), strict=True):
        if not -inf < peak < inf:
            why = "no token may follow"
            if peak != -inf:
                why = f"step returned {'+inf' if peak == inf else 'NaN'}"
            raise InvalidValueError(f"{name}: row {path.row}: {why} after {list(path.tokens)}")
