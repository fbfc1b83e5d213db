"""Certificates of the update rules: P-EQ5, P-EQ10 to P-EQ12, and the talk's forms."""

from __future__ import annotations

from typing import Any

import sympy as sp

from theory.certificates import Certificate, Proof
from theory.claims._setting import probabilities
from theory.rules import Rule

__all__ = ["proof_5", "proof_10", "proof_expanded", "proof_gap"]


def proof_expanded(claim: str, rule: Rule, right_factor: Any, wrong_factor: Any) -> Certificate:
    """``weight V (u_a - m)`` equals ``c_a u_a - c_w q m``, with p = sp^2 and q = sq^2 so that roots are symbols."""
    proof = Proof(claim)
    root_p = proof.symbol("sp", "positive", "square root of p")
    root_q = proof.symbol("sq", "positive", "square root of q")
    u_a = proof.symbol("u_a", "real", "x_a . y")
    m = proof.symbol("m", "real", "sum over wrong j of w_j u_j")
    w = proof.symbol("w", "positive", "w_j = pi_j / q")
    u = proof.symbol("u", "real", "x_j . y of one wrong output j")
    p, q = root_p**2, root_q**2
    proof.relation(p + q, sp.Integer(1), "the outputs' probabilities sum to 1")
    proof.fact("grad J . y = V (u_a - m): X-IDENTITY.")
    proof.moments(q * w * u, {w * u: m}, q * m, "sum over wrong j of pi_j u_j = q m")
    weight = sp.nsimplify(rule.weight(p, q), rational=True)
    update = weight * p * q * (u_a - m)
    expanded = sp.nsimplify(right_factor(p, q), rational=True) * u_a
    expanded -= sp.nsimplify(wrong_factor(p, q), rational=True) * q * m
    proof.equal(sp.simplify(update), sp.simplify(expanded), "the update, along every direction y")
    return proof.done(f"the {rule.name} update along y equals the expanded form, for all y and all K")


def _both_groups(proof: Proof) -> tuple[sp.Symbol, ...]:
    """Declare p, q, the means of u over right and wrong outputs, the weights in either group, and u of one output."""
    p, q = probabilities(proof)
    mr = proof.symbol("mr", "real", "sum over right j of v_j u_j")
    m = proof.symbol("m", "real", "sum over wrong j of w_j u_j")
    v = proof.symbol("v", "positive", "v_j = pi_j / p of one right output j")
    w = proof.symbol("w", "positive", "w_j = pi_j / q of one wrong output j")
    u = proof.symbol("u", "real", "x_j . y of that output, right or wrong")
    proof.fact("grad J . y = V (mr - m): X-SEVERAL-IDENTITY.")
    return p, q, mr, m, v, w, u


def proof_5() -> Certificate:
    """Both equalities of eq. (5): with the advantage, with rewards alone."""
    proof = Proof("P-EQ5")
    p, q, mr, m, v, w, u = _both_groups(proof)
    a = proof.symbol("W", "positive", "1 / sqrt(V), a constant under the stop-gradient")
    mean = p * mr + q * m
    proof.fact("grad ln pi_j . y = u_j - E_pi u.")
    right, wrong = {v: sp.Integer(1), v * u: mr}, {w: sp.Integer(1), w * u: m}
    proof.moments(p * v * (q * a) * (u - mean), right, p * q * a * (mr - mean), "the right outputs")
    proof.moments(q * w * (-p * a) * (u - mean), wrong, -q * p * a * (m - mean), "the wrong outputs")
    proof.equal(
        p * q * a * (mr - mean) - q * p * a * (m - mean),
        a * p * q * (mr - m),
        "E[A grad ln pi] = grad J / sqrt(V)",
    )
    proof.moments(p * v * a * (u - mean), right, p * a * (mr - mean), "rewards alone: only right outputs have one")
    proof.equal(p * a * (mr - mean), a * p * q * (mr - m), "E[r grad ln pi] / sqrt(V) = grad J / sqrt(V)")
    return proof.done("E[A grad ln pi] . y = E[r grad ln pi] . y / sqrt(V) = grad J . y / sqrt(V), for all y and all K")


def proof_10() -> Certificate:
    """Eq. (10), over right and wrong outputs."""
    proof = Proof("P-EQ10")
    p, q, mr, m, v, w, u = _both_groups(proof)
    proof.fact("[H r]_j = pi_j (r_j - pi^T r), and pi^T r = p; pi_j = p v_j for a right j and q w_j for a wrong one.")
    proof.moments(p * v * (1 - p) * u, {v * u: mr}, p * q * mr, "right outputs: sum_j [H r]_j u_j = p q mr")
    proof.moments(q * w * (0 - p) * u, {w * u: m}, -p * q * m, "wrong outputs: sum_j [H r]_j u_j = -p q m")
    proof.equal(p * q * mr - p * q * m, p * q * (mr - m), "(X y)^T H r = V (mr - m)")
    return proof.done("y^T X^T (diag(pi) - pi pi^T) r = grad J . y, for all y and all K")


def proof_gap() -> Certificate:
    """The repaired short form of the talk."""
    proof = Proof("S-UPDATE-SHORT-FIXED")
    p, q = probabilities(proof)
    u_a = proof.symbol("u_a", "real", "x_a . y")
    m = proof.symbol("m", "real", "sum over wrong j of w_j u_j")
    proof.fact("grad J . y = V (u_a - m): X-IDENTITY, with x_bar_w . y = m.")
    proof.equal(p * q * u_a - p * q * m, p * q * (u_a - m), "the wrong outputs' mean feature is what is missing")
    return proof.done("the REINFORCE update is eta p q (x_a - x_bar_w), for all theta and all K")
