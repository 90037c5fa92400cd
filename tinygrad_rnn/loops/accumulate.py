"""What the steps of a loop give, collected: outputs and cotangents of all steps, and sums."""

from __future__ import annotations

from typing import Any

from ..kernels.products import sum_of_products
from ..tensor.ops.indexing import Sum
from ..tensor.shapes import sum_to

ROWS = 4096  # of factors that are held back until they are multiplied


class Stack:
    """What all steps give, one upon another; zeros for those that give nothing."""

    def __init__(self, xp: Any, steps: int) -> None:
        self.xp, self.steps = xp, steps
        self.whole: Any = None
        self.last: Any = None
        self.missing: list[int] = []

    def room(self, t: int) -> Any:
        """Where what a step gives will be; None as long as nobody knows its shape."""
        self.last = None if self.whole is None else self.whole[t, ...]
        return self.last

    def put(self, t: int, y: Any) -> None:
        """Takes what a step gives, if it is not in its room already; of that step alone."""
        if y is None:
            self.missing.append(t)
        elif self.whole is None:
            self.whole = self.xp.empty((self.steps, *y.shape), y.dtype)
            self.whole[t] = y
        elif y is not self.last:
            self.whole[t] = y

    def result(self) -> Any:
        """All of it; None if there was nothing."""
        if self.whole is not None and self.missing:
            self.whole[self.missing] = 0
        return self.whole


class TracedStack:
    """The same of Tensors."""

    def __init__(self, xp: Any, steps: int) -> None:
        self.xp = xp
        self.whole: list[Any] = [None] * steps

    def room(self, t: int) -> Any:
        """Nowhere: a Tensor is not written into."""
        return None

    def put(self, t: int, y: Any) -> None:
        """Takes what a step gives."""
        self.whole[t] = y

    def result(self) -> Any:
        """All of it; None if there was nothing."""
        some = next((g for g in self.whole if g is not None), None)
        if some is None:
            return None
        zero = self.xp.zeros_like(some)
        return self.xp.stack([zero if g is None else g for g in self.whole])


class Total:
    """The cotangent of a constant, summed over all steps; of products their factors, at first."""

    def __init__(self, xp: Any, products: bool) -> None:
        self.xp, self.products = xp, products
        self.sum: Sum | None = None
        self.factors: list[tuple[Any, Any]] = []
        self.rows = 0

    def add(self, term: Any) -> None:
        """Adds what one step gives: a cotangent, or the two factors of one."""
        if not self.products:
            self._add(term)
            return
        a, g = term
        if a.ndim != 2 or g.ndim != 2:
            a, g = (v.reshape((-1, v.shape[-1])) for v in term)
        self.factors.append((a, g))
        self.rows += a.shape[0]
        if self.rows >= ROWS:
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
        """All of it, in the constant's shape; None if there was none."""
        if self.factors:
            self._multiply()
        return None if self.sum is None else sum_to(self.sum.total, shape)
