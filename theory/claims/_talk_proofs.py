"""The proofs of the talk's theorems, repaired: one step, the sum and the rate, with step size eta / n."""

from __future__ import annotations

import sympy as sp

from theory.certificates import Certificate, Proof
from theory.claims._runs import min_proof, sum_proof
from theory.rules import GRPO, Rule

__all__ = ["descent_certificate", "sum_certificate"]


def descent_certificate(rule: Rule) -> Certificate:
    """S-REINFORCE-DESCENT-FIXED and S-GRPO-DESCENT-FIXED."""
    normalised = rule is GRPO
    proof = Proof(f"S-{rule.name.upper()}-DESCENT-FIXED")
    x_sq = proof.symbol("X2", "positive", "X_max^2")
    grad_sq = proof.symbol("G", "nonnegative", "||grad J_i(theta_{t-1})||^2")
    taylor = proof.symbol("r", "nonnegative", "slack of the Taylor bound")
    n = proof.symbol("n", "positive", "number of prompts")
    proof.fact("J_i sees only its own part of the joint step, of size eta / n: the others leave it (S-ORTHO-FIXED).")
    if not normalised:
        eta, curvature, a = 1 / (x_sq * n), x_sq, (2 * n - 1) / (2 * n**2)
        proof.fact("Taylor with Lagrange remainder; the curvature bound is S-SMOOTH-GLOBAL.")
        proof.nonnegative(
            eta * grad_sq - curvature / 2 * eta**2 * grad_sq + taylor - a * grad_sq / x_sq, taylor, "gain"
        )
        return proof.done("J_i(theta_t) - J_i(theta_{t-1}) >= (2n - 1) / (2 n^2 X^2) ||grad J_i(theta_{t-1})||^2")
    c = proof.symbol("c", "positive", "sqrt(V_i(theta_{t-1}))")
    p, q = proof.symbol("p", "positive", "success"), proof.symbol("q", "positive", "failure")
    slack = proof.symbol(
        "g", "nonnegative", "4 V^2 X_max^2 - ||grad J||^2, X-SEVERAL-LIPSCHITZ: it is at least half of that"
    )
    more = proof.symbol("m", "nonnegative", "n - 1")
    bound = proof.symbol("C", "positive", "C_i(t-1)")
    over = proof.symbol("h", "nonnegative", "C - c, Assumption 3")
    proof.relation(c**2, p * q, "c = sqrt(V)")
    proof.relation(grad_sq, 4 * (p * q) ** 2 * x_sq - slack, "||grad J|| <= 2 V X_max")
    proof.relation(more, n - 1, "at least one prompt")
    proof.relation(over, bound - c, "sqrt(V) <= C")
    eta = 1 / (2 * x_sq * n * c)
    inside = slack / (4 * n**2 * c**2 * x_sq**2) + c**2 * more * (more + 2) / (x_sq * n**2)
    proof.nonnegative(c**2 / x_sq - eta**2 * grad_sq, inside, "the own part stays in the ball of radius c / X")
    proof.fact("Taylor with Lagrange remainder; the curvature bound on the ball is S-SMOOTH-BALL.")
    value = eta * grad_sq - sp.Rational(5, 4) * x_sq * c * eta**2 * grad_sq + taylor
    a = (8 * n - 5) / (16 * n**2)
    proof.nonnegative(value - a * grad_sq / (x_sq * c), taylor, "gain")
    proof.nonnegative(grad_sq / c - grad_sq / bound, grad_sq * over / (c * bound), "C may replace sqrt(V)")
    return proof.done("J_i(theta_t) - J_i(theta_{t-1}) >= (8n - 5) / (16 n^2 X^2 C_i(t-1)) ||grad J_i(theta_{t-1})||^2")


def sum_certificate(rule: Rule, part: str) -> Certificate:
    """The repaired SUM and MIN of both."""
    proof = Proof(f"S-{rule.name.upper()}-{part}-FIXED")
    build = sum_proof if part == "SUM" else min_proof
    build(proof, None, one_step=f"S-{rule.name.upper()}-DESCENT-FIXED", weighted=rule is GRPO)
    proof.fact("a = (8n - 5) / (16 n^2) for GRPO and (2n - 1) / (2 n^2) for REINFORCE, both positive for n >= 1.")
    return proof.done("the bound with a in place of the printed constant, for every T and every n")
