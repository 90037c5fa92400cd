"""Derives `coefficients.hpp`: the polynomials from which `math.hpp` makes tanh and the sigmoid.

Both need exp(r) - 1 = r + r^2 q(r) for |r| <= log(2) / 2 alone. q is the polynomial whose largest
error is least (Remez: the error alternates between as many points as there are unknowns), which
reaches the whole diminished by |r|. Run it as `python coefficients.py`.
"""

from __future__ import annotations

from math import factorial
from pathlib import Path

import numpy as np

HEADER = """\
// Made by coefficients.py: q in exp(r) - 1 = r + r^2 q(r), |r| <= log(2) / 2, lowest degree first.
#pragma once

namespace tgrnn {{
{tables}
}} // namespace tgrnn
"""


def minimax(degree: int) -> tuple[list[float], float]:
    """The coefficients of q, and the largest error of r + r^2 q(r) relative to it."""
    half = np.log(np.longdouble(2)) / 2 * np.longdouble("1.0001")
    r = half * np.cos(np.linspace(0, np.pi, 20001, dtype=np.longdouble))
    wanted = np.zeros_like(r)
    for k in reversed(range(25)):  # (exp(r) - 1 - r) / r^2, by Horner's rule
        wanted = wanted * r + 1 / np.longdouble(factorial(k + 2))
    at = np.linspace(0, len(r) - 1, degree + 2).round().astype(int)
    for _ in range(10):
        # q(r) + (-1)^k e = wanted at the chosen points
        a = np.empty((degree + 2, degree + 2), np.longdouble)
        a[:, :-1] = r[at, None] ** np.arange(degree + 1)
        a[:, -1] = (-1.0) ** np.arange(degree + 2)
        q = _solve(a, wanted[at])[:-1]
        error = np.polynomial.polynomial.polyval(r, q) - wanted
        runs = np.split(np.arange(len(r)), np.flatnonzero(np.diff(np.sign(error))) + 1)
        tops = np.array([run[np.argmax(np.abs(error[run]))] for run in runs])
        at = tops[np.abs(error[tops]) > np.abs(error).max() / 10]  # the rest is rounding
        if len(at) != degree + 2:
            raise ArithmeticError(f"degree {degree}: the error alternates {len(at)} times")
    return [float(c) for c in q], float(np.max(np.abs(error * r)))


def _solve(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Gauss's elimination with pivots, in extended precision, which LAPACK does not have."""
    a, b = a.copy(), b.copy()
    n = len(b)
    for k in range(n):
        pivot = k + int(np.argmax(np.abs(a[k:, k])))
        a[[k, pivot]], b[[k, pivot]] = a[[pivot, k]], b[[pivot, k]]
        for i in range(k + 1, n):
            factor = a[i, k] / a[k, k]
            a[i] -= factor * a[k]
            b[i] -= factor * b[k]
    for k in reversed(range(n)):
        b[k] = (b[k] - a[k, k + 1 :] @ b[k + 1 :]) / a[k, k]
    return b


def main() -> None:
    """Writes the header beside this file."""
    tables = []
    for name, degree, suffix, digits in (("float", 4, "f", 9), ("double", 9, "", 17)):
        q, error = minimax(degree)
        values = ",\n    ".join(f"{c:.{digits}g}{suffix}" for c in q)
        tables.append(
            f"\n// Relative error {error:.1e}.\n"
            f"constexpr {name} expm1_{name}[] = {{\n    {values},\n}};"
        )
        print(f"{name}: degree {degree}, relative error {error:.2e}")
    (Path(__file__).parent / "coefficients.hpp").write_text(HEADER.format(tables="\n".join(tables)))


if __name__ == "__main__":
    main()
