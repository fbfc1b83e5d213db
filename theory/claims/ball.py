"""P-L33: the curvature bound that holds on a ball whose radius scales with the standard deviation."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import sympy as sp

from theory.assumptions import UNIQUE_ANSWER
from theory.certificates import Certificate, Proof
from theory.claim import Claim
from theory.claims._setting import symmetric_pair
from theory.points import Ball
from theory.policy import Array

__all__ = ["CLAIMS"]


def _right(ball: Ball) -> Array:
    return ball.x_max_sq * ball.state.variance**0.5 * ball.direction_sq * 5 / 2


def _proof(claim: str) -> Certificate:
    proof = Proof(claim)
    proof.fact("J is X/2-Lipschitz (P-L32), so in the ball p moves by delta with |delta| <= c/2, c = sqrt(V).")
    proof.fact("At theta' the curvature is at most 4 X^2 V(theta') (P-L31-VAR).")
    proof.fact("With b = |1 - 2p| and |delta| = e c/2: V(theta') <= c^2 + |delta| b - delta^2.")
    _far_from_half(proof)
    _near_half(proof)
    return proof.done("4 V(theta') <= (5/2) sqrt(V(theta)) on the ball, hence the bound; equality at p = 1/10")


def _excess(c: sp.Symbol, b: sp.Symbol, e: sp.Symbol) -> sp.Expr:
    """``(5/2) c - 4 (c^2 + (e c / 2) b - (e c / 2)^2)``, divided by c."""
    return sp.Rational(5, 2) - 4 * c - 2 * e * b + e**2 * c


def _far_from_half(proof: Proof) -> None:
    c = proof.symbol("c", "positive", "case 1: sqrt(V(theta))")
    b = proof.symbol("b", "nonnegative", "case 1: |1 - 2p|")
    e = proof.symbol("e", "nonnegative", "case 1: |delta| / (c / 2), at most 1")
    f = proof.symbol("f", "nonnegative", "case 1: 1 - e")
    h = proof.symbol("h", "nonnegative", "case 1: 2b - c(1 + e) >= 0, the maximum lies at the end of the interval")
    proof.relation(b**2, 1 - 4 * c**2, "(1 - 2p)^2 = 1 - 4V")
    proof.relation(f, 1 - e, "|delta| <= c/2")
    proof.relation(h, 2 * b - c * (1 + e), "case 1")
    root = sp.Rational(5, 2) + 3 * c + 2 * b
    proof.nonnegative(
        _excess(c, b, e), (sp.Rational(3, 2) * b - 4 * c) ** 2 / root + f * h, "case 1: 5/2 sqrt(V) - 4 V(theta') >= 0"
    )


def _near_half(proof: Proof) -> None:
    c = proof.symbol("k", "positive", "case 2: sqrt(V(theta))")
    b = proof.symbol("b2", "nonnegative", "case 2: |1 - 2p|")
    e = proof.symbol("e2", "nonnegative", "case 2: |delta| / (c / 2), at most 1")
    h = proof.symbol("h2", "nonnegative", "case 2: c - b >= 0, since 2b <= c(1 + e) <= 2c")
    proof.relation(b**2, 1 - 4 * c**2, "(1 - 2p)^2 = 1 - 4V")
    proof.relation(h, c - b, "case 2")
    quarter = sp.Rational(1, 4)
    rest = (5 * quarter * h * (c + b) + quarter) / (sp.Rational(5, 2) * c + 1)
    proof.nonnegative(c * _excess(c, b, e), (c * e - b) ** 2 + rest, "case 2: c (5/2 sqrt(V) - 4 V(theta')) >= 0")


_PAPER = Claim(
    id="P-L33",
    source="paper",
    place="Lemma 3.3",
    title="non-uniform local smoothness",
    statement=(
        r"\|\nabla^2 J_i(\theta')\| \le \tfrac52 X_{\max}^2 \sqrt{V_i(\theta)}\ \text{ whenever }\ "
        r"\|\theta'-\theta\| \le \sqrt{V_i(\theta)}/X_{\max}"
    ),
    scope="ball",
    relation="<=",
    left=lambda ball: ball.displaced_quadratic,
    right=_right,
    assumptions=(UNIQUE_ANSWER,),
    proof=partial(_proof, "P-L33"),
    witness=partial(symmetric_pair, 0.102566, displacement=1.0),
)
CLAIMS = (
    _PAPER,
    replace(
        _PAPER,
        id="S-SMOOTH-BALL",
        source="talk",
        place="Lemma (Non-uniform Local Smoothness)",
        proof=partial(_proof, "S-SMOOTH-BALL"),
    ),
)
