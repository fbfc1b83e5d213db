"""What the displayed steps of the appendices share: quantities of a point in both arithmetics, and pieces of proofs."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from theory.certificates import Proof
from theory.exact import maximum
from theory.points import Point
from theory.policy import Array

__all__ = [
    "cauchy_schwarz",
    "deviation",
    "entries",
    "expanded_update",
    "feature_norms",
    "largest",
    "norm",
    "output_slopes",
    "root",
    "smaller",
    "taylor_symbols",
    "wrong_outputs",
]


def wrong_outputs(point: Point) -> Array:
    """Which outputs are wrong, ``(n, K)``."""
    wrong = np.ones(point.features.shape[:2], dtype=bool)
    wrong[np.arange(len(point.answers)), point.answers] = False
    return wrong


def entries(state: Any) -> Array:
    """``H(pi) r`` by cases: ``V`` at the right output, ``-p pi_j`` at a wrong one, ``(n, K)``."""
    result = -state.p[:, None] * state.policy
    result[np.arange(len(state.answers)), state.answers] = state.variance
    return np.asarray(result)


def output_slopes(point: Point) -> Array:
    """``X_i y``, ``(n, K)``."""
    return np.asarray(point.features @ point.direction)


def feature_norms(point: Point) -> Array:
    """``||x_{i,j}||``, ``(n, K)``."""
    return norm(point.features, axis=2)


def norm(values: Array, axis: int = 1) -> Array:
    """Euclidean norm along an axis."""
    return np.asarray(np.sum(values * values, axis=axis) ** 0.5)


def largest(values: Array) -> Array:
    """Largest entry of each row, floats or balls."""
    result = values[:, 0]
    for column in values.T[1:]:
        result = maximum(result, column)
    return np.asarray(result)


def smaller(first: Array, second: Array) -> Array:
    """Elementwise minimum, floats or balls."""
    return np.asarray(-maximum(-first, -second))


def root(number: int, like: Array) -> Array:
    """Square root of a number in the arithmetic and the shape of an array."""
    return np.asarray((0 * like + number) ** 0.5)


def deviation(point: Point) -> Array:
    """``sqrt(V_i)``."""
    return np.asarray(point.state.variance**0.5)


def expanded_update(point: Point) -> Array:
    """``sqrt(p q) x_a - sqrt(p / q) sum_{j != a} pi_j x_j``, as eq. (12) has it, ``(n, d)``."""
    state = point.state
    right = point.features[np.arange(len(point.answers)), point.answers]
    rest = np.sum((state.policy * wrong_outputs(point))[..., None] * point.features, axis=1)
    return np.asarray(deviation(point)[:, None] * right - ((state.p / state.q) ** 0.5)[:, None] * rest)


def cauchy_schwarz(
    proof: Proof, one: tuple[sp.Symbol, str], other: tuple[sp.Symbol, str], product: sp.Symbol
) -> sp.Symbol:
    """``|h . u| <= N U`` from a sum of squares over the outputs.

    Args:
        proof: receives the steps.
        one: the norm N, and the name of an entry ``h_j`` (its sign chosen so that ``h . u >= 0``).
        other: the norm U, and the name of an entry ``u_j``.
        product: ``|h . u|``.

    Returns:
        The slack ``N U - |h . u|``, as a non-negative symbol.
    """
    (n, first), (u, second) = one, other
    h_j, u_j = proof.symbol(f"{first}_j", "real", f"entry j of {first}"), sp.Symbol(f"{second}_j", real=True)
    if all(symbol["name"] != f"{second}_j" for symbol in proof.symbols):
        u_j = proof.symbol(f"{second}_j", "real", f"entry j of {second}")
    squares = proof.symbol(f"k_{first}", "nonnegative", f"sum over j of ({first}_j {u} - {second}_j {n})^2")
    slack = proof.symbol(f"s_{first}", "nonnegative", f"{n} {u} - {product}, shown to be non-negative below")
    sums = {h_j**2: n**2, u_j**2: u**2, h_j * u_j: product}
    total = 2 * n * u * (n * u - product)
    proof.moments((h_j * u - u_j * n) ** 2, sums, total, f"sum of squares, {first} against {second}")
    proof.relation(squares, total, "that sum")
    proof.nonnegative(n * u - product, squares / (2 * n * u), f"Cauchy-Schwarz for {first} and {second}")
    proof.relation(slack, n * u - product, "Cauchy-Schwarz, as just shown")
    return slack


def taylor_symbols(proof: Proof, normalised: bool) -> tuple[sp.Symbol, sp.Symbol, sp.Symbol]:
    """Declare the gain of the drawn prompt's Taylor bound.

    Returns:
        ``X_max^2``, ``||grad J_l||^2``, and the slack of the Taylor bound.
    """
    x_sq = proof.symbol("X2", "positive", "X_max^2")
    grad_sq = proof.symbol("G", "nonnegative", "||grad J_l(theta_{t-1})||^2")
    taylor = proof.symbol("r", "nonnegative", "slack of the curvature bound in Taylor's remainder")
    name = "P-L33 on the ball, which the step does not leave" if normalised else "P-L31-GLOBAL"
    proof.fact(f"Taylor with Lagrange remainder along the step; the curvature bound is {name}.")
    return x_sq, grad_sq, taylor
