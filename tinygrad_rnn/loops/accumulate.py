"""Accumulators of a loop: output buffers over all steps, and sums of cotangents."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ..kernels.products import sum_of_products
from ..tensor.autodiff import Sum
from ..tensor.shapes import sum_to

MAX_ROWS = 4096  # of factors that are collected before they are multiplied


class OutputBuffer:
    """Stacks a value of every step along a new first axis; zeros where a step has none."""

    def __init__(self, xp: ModuleType, steps: int) -> None:
        self.xp, self.steps = xp, steps
        self.whole: Any = None
        self.last: Any = None
        self.missing: list[int] = []

    def slot(self, t: int) -> Any:
        """The slice for step t, to write into; None until the shape is known."""
        self.last = None if self.whole is None else self.whole[t, ...]
        return self.last

    def write(self, t: int, y: Any) -> None:
        """Stores the value of step t, unless it was written into its slot."""
        if y is None:
            self.missing.append(t)
        elif self.whole is None:
            self.whole = self.xp.empty((self.steps, *y.shape), y.dtype)
            self.whole[t] = y
        elif y is not self.last:
            self.whole[t] = y

    def result(self) -> Any:
        """The whole buffer; None if no step had a value."""
        if self.whole is not None and self.missing:
            self.whole[self.missing] = 0
        return self.whole


class TracedOutputBuffer:
    """An OutputBuffer of Tensors, which are stacked at the end."""

    def __init__(self, xp: ModuleType, steps: int) -> None:
        self.xp = xp
        self.whole: list[Any] = [None] * steps

    def slot(self, t: int) -> Any:
        """None: Tensors are not written in place."""
        return None

    def write(self, t: int, y: Any) -> None:
        """Stores the value of step t."""
        self.whole[t] = y

    def result(self) -> Any:
        """The whole buffer; None if no step had a value."""
        some = next((g for g in self.whole if g is not None), None)
        if some is None:
            return None
        zero = self.xp.zeros_like(some)
        return self.xp.stack([zero if g is None else g for g in self.whole])


class SumOfProducts:
    """Sums the cotangents of a constant over all steps.

    **Arguments** products: whether each is a product a.T @ g, given as (a, g). Such factors are
    collected, so that many steps share one matrix product.
    """

    def __init__(self, xp: ModuleType, products: bool) -> None:
        self.xp, self.products = xp, products
        self.sum: Sum | None = None
        self.factors: list[tuple[Any, Any]] = []
        self.rows = 0

    def add(self, term: Any) -> None:
        """Adds the term of one step: a cotangent, or the factors of one."""
        if not self.products:
            self._add(term)
            return
        a, g = term
        if a.ndim != 2 or g.ndim != 2:
            a, g = (v.reshape((-1, v.shape[-1])) for v in term)
        self.factors.append((a, g))
        self.rows += a.shape[0]
        if self.rows >= MAX_ROWS:
            self._multiply()

    def _add(self, term: Any) -> None:
        if self.sum is None:
            self.sum = Sum(term)
        else:
            self.sum.add(term)

    def _multiply(self) -> None:
        a, g = zip(*self.factors, strict=True)
        self.factors, self.rows = [], 0
        self._add(sum_of_products(self.xp, a, g))

    def result(self, shape: tuple[int, ...]) -> Any:
        """The sum in the constant's shape; None if no step had a term."""
        if self.factors:
            self._multiply()
        return None if self.sum is None else sum_to(self.sum.total, shape)
