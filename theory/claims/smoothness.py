"""P-L31-VAR, P-L31-GLOBAL, P-L32: how the reward variance bounds curvature and slope."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import sympy as sp

from theory.assumptions import UNIQUE_ANSWER
from theory.certificates import Certificate, Proof
from theory.claim import Claim
from theory.claims._setting import groups, probabilities, symmetric_pair
from theory.points import Point
from theory.policy import Array

__all__ = ["CLAIMS"]


def _variance_bound(point: Point) -> Array:
    return 4 * point.x_max_sq * point.state.variance * point.direction_sq


def _global_bound(point: Point) -> Any:
    return point.x_max_sq * point.direction_sq + 0 * point.quadratic


def _quadratic(point: Point) -> Array:
    return point.quadratic


def _lipschitz_bound(point: Point) -> Any:
    return point.x_max_sq**0.5 / 2 + 0 * point.gradient_norm


def _proof_variance(claim: str) -> Certificate:
    proof = Proof(claim)
    at = probabilities(proof)
    y = groups(proof)
    p, q, v, form = at.p, at.q, at.variance, y.quadratic(at)
    plus, minus = (y.mr + y.mw) ** 2, (y.mr - y.mw) ** 2
    above = 4 * y.room + 2 * plus + (q + 3 * p) * minus + 3 * y.sr + 5 * y.sw
    below = 4 * y.room + 2 * plus + (p + 3 * q) * minus + 5 * y.sr + 3 * y.sw
    proof.nonnegative(4 * v * y.bound - form, v * above, "4 V X^2 |y|^2 - y^T Hess J y >= 0")
    proof.nonnegative(4 * v * y.bound + form, v * below, "4 V X^2 |y|^2 + y^T Hess J y >= 0")
    return proof.done("|y^T Hess J y| <= 4 X^2 V |y|^2 for all y, all theta and all K")


def _proof_global(claim: str) -> Certificate:
    proof = Proof(claim)
    at = probabilities(proof)
    y = groups(proof)
    p, q, v, form = at.p, at.q, at.variance, y.quadratic(at)
    half = sp.Rational(1, 2)
    plus, minus = half * (y.mr + y.mw) ** 2, (y.mr - y.mw) ** 2
    # 1/2 - V (q - p) = (p^3 + 5 p^2 q + p q^2 + q^3) / 2 because p + q = 1; the other sign swaps p and q.
    above = half * (p**3 + 5 * p**2 * q + p * q**2 + q**3)
    below = half * (p**3 + p**2 * q + 5 * p * q**2 + q**3)
    less = p**2 + p * q + q**2
    proof.equal(1 - v, less, "1 - V in terms that are visibly positive")
    proof.nonnegative(
        y.bound - form,
        y.room + plus + above * minus + less * y.sr + (1 + v) * y.sw,
        "X^2 |y|^2 - y^T Hess J y >= 0",
    )
    proof.nonnegative(
        y.bound + form,
        y.room + plus + below * minus + (1 + v) * y.sr + less * y.sw,
        "X^2 |y|^2 + y^T Hess J y >= 0",
    )
    return proof.done("|y^T Hess J y| <= X^2 |y|^2 for all y, all theta and all K")


def _proof_lipschitz() -> Certificate:
    proof = Proof("P-L32")
    p, q = probabilities(proof)
    x_sq = proof.symbol("X2", "positive", "||X_i||^2")
    slack = proof.symbol("g", "nonnegative", "2 V^2 ||X_i||^2 - ||grad J_i||^2, X-SEVERAL-LIPSCHITZ")
    grad_sq = proof.symbol("G", "nonnegative", "||grad J_i||^2")
    proof.relation(grad_sq, 2 * (p * q) ** 2 * x_sq - slack, "||grad J|| <= sqrt(2) V ||X||")
    terms = x_sq * (sp.Rational(1, 4) * (p**2 - q**2) ** 2 + p**3 * q + p * q**3) + slack
    proof.nonnegative(x_sq / 4 - grad_sq, terms, "X^2 / 4 - ||grad J||^2 >= 0")
    return proof.done("||grad J|| <= X / 2 for all theta and all K")


_PAPER = (
    Claim(
        id="P-L31-VAR",
        source="paper",
        place="Lemma 3.1, eq. (7)",
        title="the reward variance bounds the curvature",
        statement=r"\|\nabla^2 J_i(\theta)\| \le 4 X_{\max}^2\, V_i(\theta)",
        scope="point",
        relation="<=",
        left=_quadratic,
        right=_variance_bound,
        assumptions=(UNIQUE_ANSWER,),
        proof=partial(_proof_variance, "P-L31-VAR"),
        witness=partial(symmetric_pair, 1e-9),
        remark="Checked as |y^T Hess y| <= 4 X_max^2 V |y|^2 for every direction y, which is the same statement.",
    ),
    Claim(
        id="P-L31-GLOBAL",
        source="paper",
        place="Lemma 3.1, eq. (8)",
        title="global smoothness",
        statement=r"\|\nabla^2 J_i(\theta)\| \le X_{\max}^2",
        scope="point",
        relation="<=",
        left=_quadratic,
        right=_global_bound,
        assumptions=(UNIQUE_ANSWER,),
        proof=partial(_proof_global, "P-L31-GLOBAL"),
        witness=partial(symmetric_pair, 0.5 + 3**0.5 / 6),
    ),
    Claim(
        id="P-L32",
        source="paper",
        place="Lemma 3.2",
        title="Lipschitz constant",
        statement=r"\|\nabla J_i(\theta)\| \le \tfrac12 X_{\max}",
        scope="point",
        relation="<=",
        left=lambda point: point.gradient_norm,
        right=_lipschitz_bound,
        assumptions=(UNIQUE_ANSWER,),
        proof=_proof_lipschitz,
        witness=partial(symmetric_pair, 0.5),
    ),
)


def _as_told(claim: Claim, name: str, place: str, proof: Callable[[str], Certificate]) -> Claim:
    """The same statement in the talk."""
    return replace(claim, id=name, source="talk", place=place, proof=partial(proof, name))


_TALK = (
    _as_told(_PAPER[0], "S-SMOOTH-LOCAL", "Theorem (Local Smoothness Bound)", _proof_variance),
    _as_told(_PAPER[1], "S-SMOOTH-GLOBAL", "Corollary (Global Smoothness)", _proof_global),
)
CLAIMS = _PAPER + _TALK
