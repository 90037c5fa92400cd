"""The losses as modules, under PyTorch's names: settings first, then predictions and targets."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidTypeError, ShapeError
from ..loops.scan import Lengths
from ..tensor import creation
from ..tensor.tensor import Tensor, TensorLike
from . import loss, regression
from .checks import flag, one_of, whole
from .ctc import ctc_loss
from .module import Module
from .options import arguments

__all__ = [
    "BCEWithLogitsLoss", "CTCLoss", "CrossEntropyLoss", "GaussianNLLLoss", "HuberLoss", "L1Loss",
    "MSELoss", "NLLLoss", "StudentTNLLLoss",
]  # fmt: skip

REDUCTIONS = ("mean", "sum", "none")


class _Loss(Module):
    """A loss with its reduction."""

    def __init__(self, reduction: str = "mean") -> None:
        one_of(type(self).__name__, "reduction", reduction, REDUCTIONS)
        self.reduction = reduction

    def _settings(self) -> dict[str, Any]:
        """The arguments of the constructor: those that the function takes, too."""
        return {name: getattr(self, name) for name in arguments(type(self))}

    def _factors(self, name: str, value: object, ndim: int | None = None) -> None:
        """Registers factors of classes or elements as a buffer; None for no factors."""
        if value is None:
            setattr(self, name, None)
            return
        what = f"{type(self).__name__}: {name}"
        try:
            factors = creation.as_tensor(value)
        except (TypeError, ValueError) as error:
            raise InvalidTypeError(f"{what}: expected an array of reals: {error}") from error
        if factors.dtype.kind not in "fiu":
            raise InvalidTypeError(f"{what}: expected an array of reals, got {factors.dtype}")
        if ndim is not None and factors.ndim != ndim:
            raise ShapeError(
                f"{what}: expected one for each class, (C,); got {list(factors.shape)}"
            )
        self.register_buffer(name, factors)


class CrossEntropyLoss(_Loss):
    """`cross_entropy` as a module. Classes are on the last axis, not on the second.

    **Arguments** weight: (C,) factors of the classes, a buffer; the others as `cross_entropy`.

    >>> import tinygrad_rnn as tg
    >>> loss = tg.nn.CrossEntropyLoss(label_smoothing=0.1)
    >>> round(loss(tg.zeros((3, 4)), [0, 1, 2]).item(), 4)
    1.3863
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: TensorLike | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction)
        self._factors("weight", weight, 1)
        self.ignore_index = whole("CrossEntropyLoss", "ignore_index", ignore_index)
        self.label_smoothing = loss.share("CrossEntropyLoss", label_smoothing)

    def forward(self, logits: Tensor, targets: TensorLike) -> Tensor:
        """**Arguments** logits: (..., C); targets: (...) integers, or (..., C) probabilities."""
        return loss.cross_entropy(logits, targets, **self._settings())


class NLLLoss(_Loss):
    """`nll_loss` as a module. Classes are on the last axis, not on the second.

    **Arguments** weight: (C,) factors of the classes, a buffer; the others as `nll_loss`.

    >>> import tinygrad_rnn as tg
    >>> round(tg.nn.NLLLoss()(tg.log_softmax(tg.zeros((1, 2))), [1]).item(), 4)
    0.6931
    """

    weight: Tensor | None

    def __init__(
        self, weight: TensorLike | None = None, *, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self._factors("weight", weight, 1)
        self.ignore_index = whole("NLLLoss", "ignore_index", ignore_index)

    def forward(self, log_probs: Tensor, targets: TensorLike) -> Tensor:
        """**Arguments** log_probs: (..., C); targets: (...) integers below C."""
        return loss.nll_loss(log_probs, targets, **self._settings())


class BCEWithLogitsLoss(_Loss):
    """`binary_cross_entropy_with_logits` as a module.

    **Arguments** pos_weight: factors of the positive targets, a buffer. reduction: `mean`, `sum`,
    `none`.

    >>> import tinygrad_rnn as tg
    >>> loss = tg.nn.BCEWithLogitsLoss(pos_weight=tg.tensor([2.0]))
    >>> round(loss(tg.zeros((3, 1)), tg.ones((3, 1))).item(), 4)
    1.3863
    """

    pos_weight: Tensor | None

    def __init__(self, *, reduction: str = "mean", pos_weight: TensorLike | None = None) -> None:
        super().__init__(reduction)
        self._factors("pos_weight", pos_weight)

    def forward(self, logits: Tensor, target: TensorLike) -> Tensor:
        """**Arguments** logits and target, from 0 to 1: of one shape."""
        return loss.binary_cross_entropy_with_logits(logits, target, **self._settings())


class MSELoss(_Loss):
    """`mse_loss` as a module.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.MSELoss()(tg.tensor([1.0, 2.0]), [1.0, 4.0]).item()
    2.0
    """

    def forward(self, prediction: Tensor, target: TensorLike) -> Tensor:
        """**Arguments** prediction and target: of one shape."""
        return regression.mse_loss(prediction, target, reduction=self.reduction)


class L1Loss(_Loss):
    """`l1_loss` as a module.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.L1Loss()(tg.tensor([1.0, 2.0]), [1.0, 4.0]).item()
    1.0
    """

    def forward(self, prediction: Tensor, target: TensorLike) -> Tensor:
        """**Arguments** prediction and target: of one shape."""
        return regression.l1_loss(prediction, target, reduction=self.reduction)


class HuberLoss(_Loss):
    """`huber_loss` as a module.

    **Arguments** delta: where the loss becomes linear, above 0.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.HuberLoss()(tg.tensor([3.0]), [0.0]).item()
    2.5
    """

    def __init__(self, *, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        regression.above("HuberLoss", "delta", delta)
        self.delta = delta

    def forward(self, prediction: Tensor, target: TensorLike) -> Tensor:
        """**Arguments** prediction and target: of one shape."""
        return regression.huber_loss(prediction, target, **self._settings())


class GaussianNLLLoss(_Loss):
    """`gaussian_nll_loss` as a module.

    **Arguments** full: adds log(2 pi) / 2. eps: the least variance.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.GaussianNLLLoss()(tg.tensor([0.0]), [2.0], tg.tensor([1.0])).item()
    2.0
    """

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction)
        flag("GaussianNLLLoss", full=full)
        regression.above("GaussianNLLLoss", "eps", eps)
        self.full, self.eps = full, eps

    def forward(self, prediction: Tensor, target: TensorLike, var: TensorLike) -> Tensor:
        """**Arguments** prediction and target: of one shape; var: the variance."""
        return regression.gaussian_nll_loss(prediction, target, var, **self._settings())


class StudentTNLLLoss(_Loss):
    """`student_t_nll_loss` as a module.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([0.0])
    >>> round(tg.nn.StudentTNLLLoss()(x, [0.0], tg.ones((1,)), 1.0).item(), 4)
    1.1447
    """

    def forward(
        self, prediction: Tensor, target: TensorLike, scale: TensorLike, df: TensorLike
    ) -> Tensor:
        """**Arguments** prediction and target: of one shape; scale, df: above 0."""
        return regression.student_t_nll_loss(prediction, target, scale, df, **self._settings())


class CTCLoss(_Loss):
    """`ctc_loss` as a module.

    **Arguments** blank: the class of the blank. zero_infinity: counts a row that no alignment is
    possible of as 0.

    >>> import tinygrad_rnn as tg
    >>> even = tg.log_softmax(tg.zeros((3, 1, 2)))
    >>> round(tg.exp(-tg.nn.CTCLoss()(even, [[1]])).item(), 3)
    0.75
    """

    def __init__(
        self, blank: int = 0, *, reduction: str = "mean", zero_infinity: bool = False
    ) -> None:
        super().__init__(reduction)
        flag("CTCLoss", zero_infinity=zero_infinity)
        self.blank, self.zero_infinity = whole("CTCLoss", "blank", blank), zero_infinity

    def forward(
        self,
        log_probs: Tensor,
        targets: TensorLike,
        input_lengths: Lengths = None,
        target_lengths: Lengths = None,
    ) -> Tensor:
        """**Arguments** as `ctc_loss`: log_probs (T, B, C), targets (B, S), lengths (B,)."""
        return ctc_loss(log_probs, targets, input_lengths, target_lengths, **self._settings())
