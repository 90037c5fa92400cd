"""Embedding lookup."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidValueError, ShapeError
from ..tensor import creation, ops
from ..tensor.conversion import DType
from ..tensor.random import Generator
from ..tensor.tensor import Tensor, TensorLike
from . import init
from .checks import flag, ids_of, placement, positive, probability
from .dropout import Dropout, dropped, kept
from .module import Module, Parameter


class Embedding(Module):
    """Looks up vectors by integer ids; the gradient costs as much as the lookup.

    **Arguments** num_embeddings: how many symbols; embedding_dim: the vectors' length. padding_idx:
    an id whose vector is and stays zero. dropout: the probability of a symbol to be zero
    wherever it stands, while training, one draw a call (Merity et al. 2017). Parameter: weight
    (num_embeddings, embedding_dim), drawn from the normal distribution.

    A layer that gives scores for the same symbols may share the weight: `linear.weight =
    embedding.weight`. It is learned once, and saved under both names.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Embedding(10, 4, padding_idx=0)(tg.tensor([[1, 2, 0]])).shape
    (1, 3, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        device: str | None = None,
        dtype: DType = "float32",
        *,
        dropout: float = 0.0,
        generator: Generator | None = None,
    ) -> None:
        probability("Embedding: dropout", dropout)
        placement("Embedding", device, dtype, generator)
        self.dropout, self.generator = dropout, generator
        positive("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        if padding_idx is not None and not (
            type(padding_idx) is int and -num_embeddings <= padding_idx < num_embeddings
        ):
            raise InvalidValueError(
                f"Embedding: padding_idx {padding_idx!r} is outside {num_embeddings}: expected an "
                f"integer from {-num_embeddings} to {num_embeddings - 1}, or None"
            )
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        empty = creation.zeros((num_embeddings, embedding_dim), dtype=dtype, device=device)
        self.weight = init.normal_(Parameter(empty), generator=generator)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0

    @classmethod
    def from_pretrained(
        cls,
        embeddings: TensorLike,
        freeze: bool = True,
        padding_idx: int | None = None,
        **options: Any,
    ) -> Embedding:
        """Creates an embedding from vectors, which are copied.

        **Arguments** embeddings: (num_embeddings, embedding_dim), a Tensor or an array of reals.
        freeze: leaves them as they are in training. padding_idx: an id whose vector no training
        changes. options: others of Embedding's.

        >>> import tinygrad_rnn as tg
        >>> tg.nn.Embedding.from_pretrained([[0.0, 1.0], [2.0, 3.0]])(1).tolist()
        [2.0, 3.0]
        """
        flag("Embedding.from_pretrained", freeze=freeze)
        vectors = creation.as_tensor(embeddings)
        if vectors.ndim != 2 or vectors.dtype.kind != "f":
            raise ShapeError(
                "Embedding.from_pretrained: embeddings: expected reals (num_embeddings, "
                f"embedding_dim); got {vectors.dtype} {list(vectors.shape)}"
            )
        rows, size = vectors.shape
        made = cls(rows, size, padding_idx, vectors.device, vectors.dtype, **options)
        made.weight.data = vectors.data.copy()
        made.weight.requires_grad = not freeze
        return made

    def forward(self, ids: TensorLike) -> Tensor:
        """**Arguments** ids: integers (...), from 0 to below num_embeddings.

        **Returns** (..., embedding_dim). **Raises** TypeError, IndexError naming the id.
        """
        ids = ids_of("Embedding", "ids", ids, self.num_embeddings, self.weight.device)
        y = ops.take(self.weight, ids, axis=0)
        if self.training and self.dropout:
            words = kept((self.num_embeddings, 1), self.dropout, self.generator, y.device)
            y = dropped(y, ops.take(words, ids, axis=0), self.dropout)
        if self.padding_idx is None:
            return y
        real = (ids != self.padding_idx).expand_dims(axis=-1)
        return ops.where(real, y, y.detach())  # no gradient for the padding's vector

    def inputs(self, ids: TensorLike, dropout: Dropout) -> tuple[Tensor, Any]:
        """Returns the arguments of a recurrent layer: `x, ids = ...` for `layers(x, ids=ids)`.

        The vectors after a dropout, with None; or, where each symbol has the same vector at every
        step, the whole table, of which the layers read rows.

        **Arguments** ids: integers (T, B).
        """
        dropped = (self.training and self.dropout) or (dropout.training and dropout.p)
        varies = self.padding_idx is not None or dropped
        return (dropout(self(ids)), None) if varies else (self.weight, ids)
