"""Ball arithmetic: floats taken as the exact rationals they are, results with rigorous error bounds.

``flint.arb`` balls sit in numpy object arrays, so the text of ``theory.policy`` and of every claim runs on them
unchanged. A comparison of balls is true only when it is certain; false may mean undecided.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import flint
import numpy as np
import numpy.typing as npt

from theory.policy import Array

__all__ = [
    "as_balls",
    "as_floats",
    "is_exact",
    "largest",
    "maximum",
    "precision",
    "segment_variance",
    "softmax_jet",
    "spectral_norm_sq",
    "taylor_remainder",
]


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """Ball arithmetic with ``bits`` of working precision inside the block."""
    before = flint.ctx.prec
    flint.ctx.prec = bits
    try:
        yield
    finally:
        flint.ctx.prec = before


def is_exact(values: Any) -> bool:
    """Whether an array holds balls rather than floats."""
    return np.asarray(values).dtype == object


def as_balls(values: npt.ArrayLike) -> Array:
    """Floats (or integers) of any shape as balls of radius 0: the float itself, not its decimal print."""
    source = np.asarray(values, dtype=np.float64)
    balls = np.empty(source.shape, dtype=object)
    for index in np.ndindex(source.shape):
        balls[index] = flint.arb(float(source[index]))
    return balls


def as_floats(values: Any) -> npt.NDArray[np.float64]:
    """Midpoints of balls (or floats) as float64."""
    if not is_exact(values):
        return np.asarray(values, dtype=np.float64)
    return np.asarray(np.vectorize(float, otypes=[np.float64])(values), dtype=np.float64)


def maximum(first: Any, second: Any) -> Any:
    """Elementwise maximum; for balls an enclosure of it even where the order is undecided."""
    if is_exact(first) or is_exact(second):
        return np.frompyfunc(lambda a, b: flint.arb(a).max(flint.arb(b)), 2, 1)(first, second)
    return np.maximum(first, second)


def largest(rows: Any) -> Any:
    """Maximum along the first axis; floats or balls."""
    result = rows[0]
    for row in rows[1:]:
        result = maximum(result, row)
    return result


def spectral_norm_sq(matrix: Array) -> Any:
    """``||X||^2``, the largest eigenvalue of ``X X^T``; for balls a rigorous enclosure.

    On balls the entries must be exact, as those of an instance are: the characteristic polynomial is then formed in
    rationals and its roots are isolated, which no cluster of eigenvalues can defeat.

    Args:
        matrix: ``(K, d)``.

    Raises:
        ValueError: a ball that is not exact.
    """
    if not is_exact(matrix):
        return np.linalg.norm(matrix, 2) ** 2
    rational = flint.fmpq_mat([[entry.fmpq() for entry in row] for row in matrix])
    polynomial = (rational * rational.transpose()).charpoly()
    largest = flint.arb(0)
    for root, _ in polynomial.numer().complex_roots():
        largest = largest.max(root.real)
    return largest


def softmax_jet(logits: Sequence[Any], slopes: Sequence[Any], answer: int) -> tuple[Any, Any, Any]:
    """``J``, ``dJ/ds``, ``d2J/ds2`` at s = 0 of the success probability with logits ``z + s u``, from its definition.

    Truncated power series in s with ball coefficients: nothing of the two identities is used, so this is what they
    and every formula derived from them are checked against.

    Args:
        logits: K balls ``z_j``.
        slopes: K balls ``u_j = x_j . y``.
        answer: index of the right output.
    """
    before = flint.ctx.cap
    flint.ctx.cap = 3
    try:
        total = flint.arb_series([1])
        for j, (z, u) in enumerate(zip(logits, slopes, strict=True)):
            if j != answer:
                total = total + flint.arb_series([z - logits[answer], u - slopes[answer]]).exp()
        jet = 1 / total
        return jet[0], jet[1], 2 * jet[2]
    finally:
        flint.ctx.cap = before


def taylor_remainder(logits: Sequence[Any], slopes: Sequence[Any], answer: int) -> Any:
    """``int_0^1 (1 - s) J''(s) ds`` along logits ``z + s u``: what ``J(1) - J(0) - J'(0)`` must equal; a ball.

    The integral form of the remainder; Lagrange's form ``J''(s') / 2`` with some s' in [0, 1] follows from it by the
    mean value theorem. Integrated rigorously, from the definition of softmax as in :func:`softmax_jet`.

    Args:
        logits: K balls ``z_j``.
        slopes: K balls ``u_j``.
        answer: index of the right output.
    """
    lines = [
        (z - logits[answer], u - slopes[answer])
        for j, (z, u) in enumerate(zip(logits, slopes, strict=True))
        if j != answer
    ]

    def integrand(s: Any, analytic: bool) -> Any:
        # J = 1 / T with T = 1 + sum_j exp(z_j - z_a + s (u_j - u_a)), hence J'' = 2 T'^2 / T^3 - T'' / T^2.
        weights = [((z + s * u).exp(), u) for z, u in lines]
        total = 1 + sum(w for w, _ in weights)
        first = sum(w * u for w, u in weights)
        second = sum(w * u * u for w, u in weights)
        return (1 - s) * (2 * first * first / total - second) / (total * total)

    return _integral(integrand)


def segment_variance(logits: Sequence[Any], slopes: Sequence[Any], right: Sequence[int]) -> Any:
    """``2 int_0^1 (1 - s) V(s) ds`` along logits ``z + s u``: V at some point of the segment.

    Such a point exists by the mean value theorem; the weights are those of Taylor's remainder.

    Args:
        logits: K balls ``z_j``.
        slopes: K balls ``u_j``.
        right: indices of the right outputs, at least one.
    """
    first = right[0]
    lines = [(z - logits[first], u - slopes[first]) for z, u in zip(logits, slopes, strict=True)]
    also = [lines[j] for j in right[1:]]
    wrong = [line for j, line in enumerate(lines) if j not in right]

    def integrand(s: Any, analytic: bool) -> Any:
        good, bad = 1 + _weight(also, s), _weight(wrong, s)
        return 2 * (1 - s) * good * bad / ((good + bad) * (good + bad))

    return _integral(integrand)


def _weight(lines: Sequence[tuple[Any, Any]], s: Any) -> Any:
    """``sum exp(z + s u)`` over lines (z, u)."""
    return sum((z + s * u).exp() for z, u in lines)


def _integral(integrand: Any) -> Any:
    # The goal is relative: far from p = 1/2 the value itself may lie below any absolute one.
    return flint.acb.integral(integrand, 0, 1, abs_tol=flint.arb(2) ** (-16 * flint.ctx.prec)).real
