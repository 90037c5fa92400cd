"""Normalization over features, and over a batch."""

from __future__ import annotations

from itertools import chain

from ..errors import ShapeError
from ..tensor import creation, ops
from ..tensor.conversion import DType
from ..tensor.tensor import Tensor, TensorLike
from .checks import features_last, flag, input_of, placement, positive, real
from .module import Module, Parameter


class LayerNorm(Module):
    """(x - mean) / sqrt(var + eps) * weight + bias, over the last axis (Ba et al. 2016).

    **Arguments** features: the length of the last axis. eps: keeps the division finite.
    Parameters: weight and bias, (features,), which start at 1 and 0.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.LayerNorm(2)(tg.tensor([[1.0, 3.0]])).numpy().round(3)
    array([[-1.,  1.]], dtype=float32)
    """

    def __init__(
        self, features: int, eps: float = 1e-5, device: str | None = None, dtype: DType = "float32"
    ) -> None:
        positive("LayerNorm", features=features)
        real("LayerNorm", "eps", eps, least=0)
        placement("LayerNorm", device, dtype)
        self.features, self.eps = features, eps
        self.weight = Parameter(creation.ones((features,), dtype=dtype, device=device))
        self.bias = Parameter(creation.zeros((features,), dtype=dtype, device=device))

    def forward(self, x: TensorLike) -> Tensor:
        """**Arguments** x: (..., features). **Returns** the same shape."""
        x = input_of("LayerNorm", "x", x, self.weight)
        features_last("LayerNorm", x, self.features)
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = ops.mean(centred * centred, axis=-1, keepdims=True)
        y: Tensor = centred / ops.sqrt(variance + self.eps) * self.weight + self.bias
        return y


class BatchNorm1d(Module):
    """(x - mean) / sqrt(var + eps) * weight + bias, over a batch (Ioffe and Szegedy 2015).

    In training mode, mean and var are those of the batch, and running means of them are updated; in
    evaluation mode they are these running means. Padding counts as any other step: for sequences of
    different lengths take `LayerNorm`.

    **Arguments** num_features: the number of channels C. eps: keeps the division finite. momentum:
    the weight of a batch in the running means; None for the mean over all batches. affine: whether
    there are weight and bias, (C,), which start at 1 and 0. track_running_stats: whether there are
    running means; the batch is used in evaluation mode too, if not. Buffers: running_mean,
    running_var, num_batches_tracked.

    >>> import tinygrad_rnn as tg
    >>> norm = tg.nn.BatchNorm1d(1)
    >>> norm(tg.tensor([[1.0], [3.0]])).numpy().round(3).tolist()
    [[-1.0], [1.0]]
    >>> round(norm.running_mean.item(), 3)
    0.2
    """

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: str | None = None,
        dtype: DType = "float32",
    ) -> None:
        positive("BatchNorm1d", num_features=num_features)
        real("BatchNorm1d", "eps", eps, least=0)
        if momentum is not None:
            real("BatchNorm1d", "momentum", momentum, least=0)
        flag("BatchNorm1d", affine=affine, track_running_stats=track_running_stats)
        placement("BatchNorm1d", device, dtype)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        zeros = creation.zeros((num_features,), dtype=dtype, device=device)
        ones = creation.ones((num_features,), dtype=dtype, device=device)
        self.weight = Parameter(ones) if affine else None
        self.bias = Parameter(zeros) if affine else None
        if track_running_stats:
            self.register_buffer("running_mean", zeros)
            self.register_buffer("running_var", ones)
            count = creation.zeros((), dtype="int64", device=device)
            self.register_buffer("num_batches_tracked", count)

    def forward(self, x: TensorLike) -> Tensor:
        """**Arguments** x: (B, C) or (B, C, T). **Returns** the same shape."""
        like = next(chain(self.parameters(), self.buffers()), None)
        x = input_of("BatchNorm1d", "x", x, like)
        if x.ndim not in (2, 3) or x.shape[1] != self.num_features:
            raise ShapeError(
                f"BatchNorm1d: x: expected (B, {self.num_features}) or (B, {self.num_features}, "
                f"T), got {list(x.shape)}"
            )
        if self.training or not self.track_running_stats:
            mean, var = self._of_batch(x)
        else:
            mean, var = self._column(self.running_mean, x), self._column(self.running_var, x)
        y: Tensor = (x - mean) / ops.sqrt(var + self.eps)
        if self.weight is None or self.bias is None:
            return y
        return y * self._column(self.weight, x) + self._column(self.bias, x)

    def _of_batch(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the variance of each channel, which update the running means."""
        axes = (0, 2)[: x.ndim - 1]
        count = x.size // self.num_features
        if count < 2:
            raise ShapeError(
                "BatchNorm1d: x: expected two values or more for each channel while training, got "
                f"{list(x.shape)}: call .eval(), or use a larger batch"
            )
        mean = x.mean(axis=axes, keepdims=True)
        var = ops.square(x - mean).mean(axis=axes, keepdims=True)
        if self.training and self.track_running_stats:
            self.num_batches_tracked = self.num_batches_tracked + 1
            share = self.momentum
            if share is None:
                share = 1 / self.num_batches_tracked.item()
            unbiased = var.detach() * (count / (count - 1))
            for name, new in {"running_mean": mean.detach(), "running_var": unbiased}.items():
                old = getattr(self, name)
                setattr(self, name, old + share * (new.reshape(-1).astype(old.dtype) - old))
        return mean, var

    def _column(self, v: Tensor, x: Tensor) -> Tensor:
        """A value of each channel, to broadcast with x."""
        return v.reshape((1, -1, *(1,) * (x.ndim - 2)))
