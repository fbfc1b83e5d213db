"""The one-step proofs of Theorems 3.3 and 3.4: the drawn prompt gains, the others do not lose."""

from __future__ import annotations

import sympy as sp

from theory.certificates import Proof

__all__ = ["cross_symbols", "grpo_descent_proof", "reinforce_descent_proof"]


def cross_symbols(proof: Proof) -> tuple[sp.Expr, sp.Symbol, sp.Symbol, sp.Symbol, sp.Symbol]:
    """Declare Assumption 4 for an observed prompt l and a drawn prompt i.

    Returns:
        ``<grad J_l, grad J_i>`` as (P + s) / (M x^2), then P, s, M and ``x^2 = ||X_l||^2``.
    """
    m = proof.symbol("M", "positive", "of Assumption 4")
    x_sq = proof.symbol("x2", "positive", "||X_l||^2")
    projected = proof.symbol("P", "nonnegative", "||X_l grad J_i||^2")
    slack = proof.symbol("s", "nonnegative", "||X_l||^2 M <grad J_l, grad J_i> - ||X_l grad J_i||^2, Assumption 4")
    return (projected + slack) / (m * x_sq), projected, slack, m, x_sq


def reinforce_descent_proof(proof: Proof) -> None:
    """Theorem 3.3: with ``eta = 1 / (f X^2)`` and ``f = max(1, M/2)``."""
    inner, projected, slack, m, x_sq = cross_symbols(proof)
    f = proof.symbol("f", "positive", "max(1, M/2)")
    x_max = proof.symbol("X2", "positive", "X_max^2")
    grad_sq = proof.symbol("G", "nonnegative", "||grad J_l(theta_{t-1})||^2")
    rest = proof.symbol("r", "nonnegative", "slack of the Taylor bound, drawn prompt")
    other = proof.symbol("r2", "nonnegative", "slack of the Taylor bound, another prompt drawn")
    over_one = proof.symbol("o1", "nonnegative", "f - 1")
    over_m = proof.symbol("o2", "nonnegative", "f - M/2")
    room = proof.symbol("gx", "nonnegative", "X_max^2 - ||X_l||^2")
    proof.relation(over_one, f - 1, "f >= 1")
    proof.relation(over_m, f - m / 2, "f >= M/2")
    proof.relation(room, x_max - x_sq, "X_max is the largest")
    eta = 1 / (f * x_max)
    proof.fact("Taylor with Lagrange remainder along the step; the curvature bound is P-L31-GLOBAL.")
    own = eta * grad_sq - x_max / 2 * eta**2 * grad_sq + rest
    proof.nonnegative(
        own - grad_sq / (2 * f * x_max), grad_sq * over_one / (2 * f**2 * x_max) + rest, "gain of the drawn prompt"
    )
    proof.fact("Along any y, |y^T Hess J_l y| <= 4 V ||X_l y||^2 <= ||X_l y||^2: P-STEP-16 before its last line.")
    cross = eta * inner - eta**2 / 2 * projected + other
    gap = projected * (2 * x_max * over_m + m * room) / (2 * f * m * x_sq * x_max)
    proof.nonnegative(cross, eta * (slack / (m * x_sq) + gap) + other, "a prompt that is not drawn does not lose")
    proof.fact("A prompt is drawn with odds 1/n.")


def grpo_descent_proof(proof: Proof) -> None:
    """Theorem 3.4: with ``eta = 1 / (2 f R2 X^2)`` and ``f = max(R1, 5M/8)``."""
    inner, projected, slack, m, x_sq = cross_symbols(proof)
    f = proof.symbol("f", "positive", "max(R1, 5M/8)")
    r1, r2 = proof.symbol("R1", "positive", "of Assumption 5"), proof.symbol("R2", "positive", "of Assumption 5")
    x_max = proof.symbol("X2", "positive", "X_max^2")
    c = proof.symbol("c", "positive", "sqrt(V_l(theta_{t-1})), observed prompt")
    c_i = proof.symbol("ci", "positive", "sqrt(V_i(theta_{t-1})), drawn prompt")
    grad_sq = proof.symbol("G", "nonnegative", "||grad J_l(theta_{t-1})||^2")
    drawn_sq = proof.symbol("Gi", "nonnegative", "||grad J_i(theta_{t-1})||^2")
    slopes = proof.symbol(
        "g", "nonnegative", "4 V^2 X_max^2 - ||grad J_l||^2, X-SEVERAL-LIPSCHITZ: it is at least half of that"
    )
    a1, a2 = proof.symbol("a1", "nonnegative", "R1 - 1"), proof.symbol("a2", "nonnegative", "R2 - 1")
    o1, o2 = proof.symbol("o1", "nonnegative", "f - R1"), proof.symbol("o2", "nonnegative", "f - 5M/8")
    h1 = proof.symbol("h1", "nonnegative", "R1^2 ||grad J_l||^2 - ||grad J_i||^2, Assumption 5")
    h2 = proof.symbol("h2", "nonnegative", "R2 c_i - c, Assumption 5")
    room = proof.symbol("gx", "nonnegative", "X_max^2 - ||X_l||^2")
    for left, right, because in (
        (a1, r1 - 1, "R1 >= 1, Assumption 5"),
        (a2, r2 - 1, "R2 >= 1, Assumption 5"),
        (o1, f - r1, "f >= R1"),
        (o2, f - sp.Rational(5, 8) * m, "f >= 5M/8"),
        (slopes, 4 * c**4 * x_max - grad_sq, "||grad J|| <= 2 V X_max"),
        (h1, r1**2 * grad_sq - drawn_sq, "Assumption 5, gradients"),
        (h2, r2 * c_i - c, "Assumption 5, deviations"),
        (room, x_max - x_sq, "X_max is the largest"),
    ):
        proof.relation(left, right, because)
    eta = 1 / (2 * f * r2 * x_max)
    beyond = (a1 + o1) * r2 + a2  # f R2 - 1
    own_slope = slopes / (4 * c**2 * f**2 * r2**2 * x_max**2)
    stays = c**2 * beyond * (f * r2 + 1) / (x_max * f**2 * r2**2) + own_slope
    proof.nonnegative(c**2 / x_max - eta**2 * grad_sq / c**2, stays, "drawn: the step stays in the ball of radius c/X")
    rest = proof.symbol("r", "nonnegative", "slack of the Taylor bound, drawn prompt")
    proof.fact("Taylor with Lagrange remainder along the step; the curvature bound on the ball is P-L33.")
    own = eta * grad_sq / c - sp.Rational(5, 4) * x_max * c * eta**2 * grad_sq / c**2 + rest
    left_over = 5 * grad_sq * beyond / (16 * c * x_max * f**2 * r2**2)
    proof.nonnegative(own - 3 * grad_sq / (16 * f * r2 * x_max * c), left_over + rest, "gain of the drawn prompt")
    lead = (o1 * c + f * h2) * (f * r2 * c_i + r1 * c)  # f^2 (R2 ci)^2 - R1^2 c^2
    inside = (4 * c**2 * x_max * lead + r1**2 * slopes + h1) / (4 * f**2 * x_max**2 * r2**2 * c_i**2)
    proof.nonnegative(
        c**2 / x_max - eta**2 * drawn_sq / c_i**2, inside, "another drawn: the step stays in the ball of radius c/X"
    )
    other = proof.symbol("r2b", "nonnegative", "slack of the Taylor bound, another prompt drawn")
    proof.fact("On that ball |y^T Hess J_l y| <= (5/2) c ||X_l y||^2: P-STEP-16 before its last line, with P-L33's V.")
    cross = eta * inner / c_i - sp.Rational(5, 4) * c * eta**2 * projected / c_i**2 + other
    gap = projected * (8 * f * x_max * h2 + c * (8 * x_max * o2 + 5 * m * room))
    terms = eta / c_i * (slack / (m * x_sq) + gap / (8 * f * m * x_sq * x_max * r2 * c_i)) + other
    proof.nonnegative(cross, terms, "a prompt that is not drawn does not lose")
    bound = proof.symbol("C", "positive", "C_{l,t-1}")
    over = proof.symbol("hC", "nonnegative", "C - c, Assumption 3")
    proof.relation(bound, c + over, "sqrt(V) <= C")
    proof.nonnegative(grad_sq / c - grad_sq / bound, grad_sq * over / (c * bound), "C may replace sqrt(V)")
    proof.fact("A prompt is drawn with odds 1/n.")
