"""What the theorems about runs share: left-hand sides, and the proof of "descent, then telescope".

Both theorems say ``E gain_t >= a E[||grad J_i||^2 / C_t] / (n X^2)`` with a constant a, and derive a sum and a minimum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from theory.certificates import Proof
from theory.exact import maximum
from theory.policy import Array

__all__ = [
    "UNDRAWN",
    "descent_proof",
    "drawn_gain",
    "gain",
    "mean_factor",
    "min_proof",
    "reinforce_bound",
    "running_max",
    "running_min",
    "steps_column",
    "sum_proof",
    "unweighted_sum",
    "weighted_rate",
]

UNDRAWN = "A prompt that is not drawn does not move (S-ORTHO-FIXED); it is drawn with odds 1/n."


def gain(run: Any) -> Array:
    """``E J_i(theta_t) - E J_i(theta_{t-1})``, shape ``(T, n)``."""
    return run.gain


def reinforce_bound(run: Any) -> Array:
    """``2 n (1 - p0) X_max^2`` for every T, the cumulative bound of Theorem 3.1, ``(T, n)``."""
    return 2 * run.n * run.q[0] * run.x_max_sq + 0 * run.grad_sq[:-1]


def steps_column(run: Any) -> Array:
    """1, 2, ..., T as a column: the number of terms of each prefix."""
    return np.arange(1, len(run.grad_sq))[:, None]


def mean_factor(run: Any) -> Array:
    """``C(i, T) = 8 / (3 T) sum_{t<T} C_{i,t}`` for every prefix length, ``(T, n)``."""
    return np.asarray(run.std_bound[:-1].cumsum(axis=0) * 8 / (3 * steps_column(run)))


def running_max(values: Array) -> Array:
    """Largest of each prefix along the first axis; floats or balls."""
    rows = [values[0]]
    for row in values[1:]:
        rows.append(maximum(rows[-1], row))
    return np.array(rows, dtype=values.dtype)


def running_min(values: Array) -> Array:
    """Smallest of each prefix along the first axis; floats or balls."""
    return -running_max(-values)


def descent_proof(
    proof: Proof, *, coefficient: tuple[int, int], curvature: tuple[int, int], step: tuple[int, int], normalised: bool
) -> None:
    """One step: Taylor with curvature ``l X^2`` (times sqrt(V) if normalised), then the mean over the drawn prompt.

    Args:
        proof: receives the steps.
        coefficient: the a of the claim, as a fraction.
        curvature: l, as a fraction.
        step: eta X^2, as a fraction.
        normalised: the update is divided by c = sqrt(V), and the curvature bound carries a factor c.
    """
    x_sq = proof.symbol("X2", "positive", "X_max^2")
    grad_sq = proof.symbol("G", "nonnegative", "||grad J_i(theta_{t-1})||^2")
    taylor = proof.symbol("r", "nonnegative", "slack of the Taylor bound")
    c = proof.symbol("c", "positive", "sqrt(V_i(theta_{t-1}))") if normalised else sp.Integer(1)
    eta = sp.Rational(*step) / x_sq / c
    bound = sp.Rational(*curvature) * x_sq * c
    name = "P-L33 on the ball, which the step does not leave" if normalised else "P-L31-GLOBAL"
    proof.fact(f"Taylor with Lagrange remainder along the step; the curvature bound is {name}.")
    if normalised:
        p, q = proof.symbol("p", "positive", "success"), proof.symbol("q", "positive", "failure")
        slack = proof.symbol(
            "g", "nonnegative", "4 V^2 X_max^2 - ||grad J||^2, X-SEVERAL-LIPSCHITZ: it is at least half of that"
        )
        proof.relation(c**2, p * q, "c = sqrt(V)")
        proof.relation(grad_sq, 4 * (p * q) ** 2 * x_sq - slack, "||grad J|| <= sqrt(2) V X_max <= 2 V X_max")
        proof.nonnegative(
            c**2 / x_sq - eta**2 * grad_sq, slack / (4 * c**2 * x_sq**2), "the step stays in the ball of radius c / X"
        )
    value = eta * grad_sq - bound / 2 * eta**2 * grad_sq + taylor
    proof.nonnegative(
        value - sp.Rational(*coefficient) * grad_sq / (x_sq * c), taylor, "gain of a prompt when it is drawn"
    )
    proof.fact(UNDRAWN)
    if normalised:
        bound_c = proof.symbol("C", "positive", "C_{i,t-1}")
        over = proof.symbol("h", "nonnegative", "C - c, Assumption 3")
        proof.relation(bound_c, c + over, "sqrt(V) <= C: Assumption 3")
        proof.nonnegative(grad_sq / c - grad_sq / bound_c, grad_sq * over / (c * bound_c), "C may replace sqrt(V)")


def drawn_gain(proof: Proof, factor: sp.Expr) -> tuple[sp.Expr, sp.Symbol, sp.Symbol, sp.Symbol]:
    """GRPO with ``eta = 1 / (2 f X_max^2)``: a draw gains at least ``17 G / (40 f X_max^2 c)``, by the best constants.

    Args:
        proof: receives the steps.
        factor: f, at least 1: 1 plus something that is not negative.

    Returns:
        That bound, ``X_max^2``, ``c = sqrt(V)`` and ``G = ||grad J||^2``, both at the start of the step.
    """
    x_sq = proof.symbol("X2", "positive", "X_max^2")
    c = proof.symbol("c", "positive", "sqrt(V_i) where prompt i is drawn")
    grad_sq = proof.symbol("G", "nonnegative", "||grad J_i||^2 there")
    short = proof.symbol("g", "nonnegative", "2 V^2 X_max^2 - ||grad J_i||^2, X-SEVERAL-LIPSCHITZ")
    rest = proof.symbol("r", "nonnegative", "slack of the Taylor bound")
    proof.relation(short, 2 * c**4 * x_sq - grad_sq, "||grad J|| <= sqrt(2) V X_max")
    eta, beyond = 1 / (2 * factor * x_sq), factor - 1
    moved = (eta / c) ** 2 * grad_sq
    outside = short / (4 * c**2 * x_sq**2 * factor**2)
    spare = c**2 * beyond * (2 + beyond) / (2 * x_sq * factor**2) + outside
    proof.nonnegative(c**2 / (2 * x_sq) - moved, spare, "drawn: 2 X^2 ||y||^2 <= V for the step y")
    proof.fact("So the step stays in the ball of radius c / X. Taylor along it; curvature on the ball: X-SHARP-BALL.")
    own = eta * grad_sq / c - sp.Rational(3, 10) * x_sq * c * moved + rest
    least = sp.Rational(17, 40) * grad_sq / (factor * x_sq * c)
    left_over = sp.Rational(3, 40) * grad_sq * beyond / (factor**2 * x_sq * c) + rest
    proof.nonnegative(own - least, left_over, "a draw gains 17 G / (40 f X^2 c) or more")
    return least, x_sq, c, grad_sq


def _telescope(proof: Proof, coefficient: tuple[int, int] | None, one_step: str) -> tuple[sp.Expr, sp.Symbol, sp.Expr]:
    """``B - W`` as a visibly non-negative expression, with W the (weighted) sum and B its bound.

    ``one_step`` is the id of the one-step inequality. ``coefficient`` is the a of
    ``E gain_t >= a E[...] / (n X^2)``; None stands for the talk's runs, where the gain is at least ``a [...] / X^2``
    with a positive a that depends on n.
    """
    total = proof.symbol("W", "nonnegative", "sum over t < T of E ||grad J_i(theta_t)||^2 (/ C_{i,t} if weighted)")
    n = sp.Integer(1) if coefficient is None else proof.symbol("n", "positive", "number of prompts")
    x_sq = proof.symbol("X2", "positive", "X_max^2")
    q0 = proof.symbol("q0", "positive", "1 - J_i(theta_0)")
    rise = proof.symbol("D", "real", "E J_i(theta_T) - J_i(theta_0)")
    room = proof.symbol("h", "nonnegative", "1 - E J_i(theta_T)")
    slack = proof.symbol("r", "nonnegative", "sum of the slacks of the one-step inequality")
    a = proof.symbol("a", "positive", "of the one-step bound") if coefficient is None else sp.Rational(*coefficient)
    proof.fact(f"The one-step inequality {one_step} holds at every t < T; its left sides telescope.")
    proof.relation(q0, rise + room, "J_i <= 1")
    proof.relation(rise * n * x_sq, a * total + slack, "telescoping")
    bound = n * x_sq * q0 / a
    terms = (n * x_sq * room + slack) / a
    proof.nonnegative(bound - total, terms, "the cumulative bound")
    return bound, total, terms


def sum_proof(proof: Proof, coefficient: tuple[int, int] | None, *, one_step: str, weighted: bool) -> None:
    """``sum E ||grad||^2 <= n X^2 q0 / a``; if weighted, with 1 / C_t in the sum, and then max C in the bound."""
    bounded = _telescope(proof, coefficient, one_step)
    if weighted:
        unweighted_sum(proof, *bounded)


def unweighted_sum(proof: Proof, bound: sp.Expr, total: sp.Symbol, terms: sp.Expr) -> None:
    """From ``bound - total = terms >= 0`` with ``total = sum E ||grad||^2 / C_t``: max C bounds the sum without C."""
    plain = proof.symbol("P", "nonnegative", "sum over t < T of E ||grad J_i(theta_t)||^2")
    largest = proof.symbol("Cmax", "positive", "max over t < T of C_{i,t}")
    over = proof.symbol("g", "nonnegative", "sum of (Cmax - C_t) E ||grad||^2 / C_t")
    proof.relation(largest * total, plain + over, "each C_t is at most Cmax")
    proof.nonnegative(largest * bound - plain, largest * terms + over, "Cmax times the weighted bound")


def min_proof(proof: Proof, coefficient: tuple[int, int] | None, *, one_step: str, weighted: bool) -> None:
    """The minimum of T terms is at most their mean; if weighted, by the Cauchy-Schwarz inequality."""
    bound, total, terms = _telescope(proof, coefficient, one_step)
    if weighted:
        weighted_rate(proof, bound, total, terms)
        return
    least, steps = _least(proof)
    over = proof.symbol("g", "nonnegative", "sum of (E ||grad||^2 - mu)")
    proof.relation(total, steps * least + over, "each term is at least the least")
    proof.nonnegative(bound / steps - least, (terms + over) / steps, "the rate")


def _least(proof: Proof) -> tuple[sp.Symbol, sp.Symbol]:
    least = proof.symbol("mu", "nonnegative", "min over t < T of E ||grad J_i(theta_t)||^2")
    return least, proof.symbol("T", "positive", "number of steps")


def weighted_rate(proof: Proof, bound: sp.Expr, total: sp.Symbol, terms: sp.Expr) -> None:
    """From ``bound - total = terms >= 0`` with ``total = sum E ||grad||^2 / C_t``: the rate with the mean of C."""
    least, steps = _least(proof)
    over = proof.symbol("g", "nonnegative", "sum of (E ||grad||^2 - mu) / C_t")
    inverse = proof.symbol("H", "positive", "sum over t < T of 1 / C_t")
    mean = proof.symbol("A", "positive", "sum over t < T of C_t")
    cauchy = proof.symbol("k", "nonnegative", "H A - T^2 >= 0, Cauchy-Schwarz")
    proof.relation(total, least * inverse + over, "each term is at least the least")
    proof.relation(inverse * mean, steps**2 + cauchy, "Cauchy-Schwarz")
    proof.nonnegative(
        bound * mean / steps**2 - least,
        (terms * mean + over * mean + least * cauchy) / steps**2,
        "the rate with the mean of C_t",
    )
