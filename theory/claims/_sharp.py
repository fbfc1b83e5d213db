"""The proofs of X-SHARP: the best constants of the smoothness lemmas."""

from __future__ import annotations

from fractions import Fraction

import sympy as sp

from theory.certificates import Certificate, Proof
from theory.claims._setting import Direction, Probabilities, direction, groups, probabilities

__all__ = ["BALL", "ball_proof", "curvature_proof", "global_proof", "lipschitz_proof", "variance_proof"]

# An upper bound on the best constant of P-L33; instances with 0.587 exist.
BALL = Fraction(3, 5)


def curvature_slacks(proof: Proof) -> tuple[Probabilities, Direction, sp.Symbol]:
    """Declare one prompt and one direction, and the slack of ``Var_w(u) <= (1/2) sum of u_j^2`` over wrong outputs."""
    at = probabilities(proof)
    y = direction(proof)
    spread = proof.symbol("g_v", "nonnegative", "(1/2) sum over wrong j of u_j^2, minus s2: Popoviciu's inequality")
    g_w = sp.Symbol("g_w", nonnegative=True)
    proof.relation(2 * spread, y.m**2 - y.s2 + g_w, "sum over wrong j of u_j^2 = m^2 + s2 + g_w")
    proof.fact("y^T Hess J y = V [(1 - 2p)(u_a - m)^2 - s2]: X-IDENTITY. X_max >= ||X_i||.")
    proof.fact("Popoviciu: a variance is at most (max - min)^2 / 4 <= (sum of squares) / 2.")
    return at, y, spread


def attained(proof: Proof, at: Probabilities) -> None:
    """K = 2 with features 1 and -1: ``X^2 = 2``, and the form is ``-4 V b`` for ``y = 1``."""
    b = at.p - at.q
    proof.fact("Attained by K = 2, d = 1, features 1 and -1: u_a = 1, m = -1, s2 = 0, X^2 = 2.")
    proof.equal(-at.variance * (at.q - at.p) * 4, 2 * at.variance * 2 * b, "there -y^T Hess J y = 2 b V X^2 |y|^2")


def curvature_proof() -> Certificate:
    proof = Proof("X-SHARP-CURVATURE")
    at, y, spread = curvature_slacks(proof)
    v, half, square = at.variance, sp.Rational(1, 2), (y.u_a - y.m) ** 2
    g_op, g_w = sp.Symbol("g_op", nonnegative=True), sp.Symbol("g_w", nonnegative=True)
    proof.equal(
        y.quadratic(at), -v * ((at.p - at.q) * square + y.s2), "y^T Hess J y = -V [b (u_a - m)^2 + s2], b = p - q"
    )
    e = proof.symbol("e", "nonnegative", "case p <= 1/2: -b")
    proof.nonnegative(
        v * half * y.bound - v * (y.s2 - e * square),
        v * (half * (y.u_a**2 + g_op) + spread + e * square),
        "p <= 1/2: V/2 X^2 |y|^2 + y^T Hess J y >= 0",
    )
    proof.nonnegative(
        v * 2 * e * y.bound - v * (e * square - y.s2),
        v * (e * (y.u_a + y.m) ** 2 + 2 * e * (y.s2 + g_w + g_op) + y.s2),
        "p <= 1/2: 2 (1 - 2p) V X^2 |y|^2 - y^T Hess J y >= 0; for p >= 1/2 the form is not positive",
    )
    b = proof.symbol("b", "nonnegative", "case 1/2 <= p <= 3/4: b")
    k = proof.symbol("k", "nonnegative", "case 1/2 <= p <= 3/4: 1 - 2b")
    proof.relation(k, 1 - 2 * b, "p <= 3/4")
    middle = half * (y.u_a + 2 * b * y.m) ** 2 + b * k * y.m**2 + 2 * b * g_w + k * spread + (half + b) * g_op
    proof.nonnegative(
        v * (half + b) * y.bound - v * (b * square + y.s2),
        v * middle,
        "1/2 <= p <= 3/4: V (1/2 + b) X^2 |y|^2 + y^T Hess J y >= 0",
    )
    c = proof.symbol("b3", "nonnegative", "case p >= 3/4: b")
    large = proof.symbol("l", "nonnegative", "case p >= 3/4: 2b - 1")
    proof.relation(large, 2 * c - 1, "p >= 3/4")
    proof.nonnegative(
        v * 2 * c * y.bound - v * (c * square + y.s2),
        v * (c * (y.u_a + y.m) ** 2 + large * y.s2 + 2 * c * (g_w + g_op)),
        "p >= 3/4: 2 b V X^2 |y|^2 + y^T Hess J y >= 0",
    )
    attained(proof, at)
    return proof.done(
        "the two one-sided bounds hold for all y, theta and K; for K = 2, features 1 and -1, with equality"
    )


def variance_proof() -> Certificate:
    proof = Proof("X-SHARP-VAR")
    at = probabilities(proof)
    y = groups(proof)
    p, q, v, form = at.p, at.q, at.variance, y.quadratic(at)
    slack, minus = 2 * y.room + (y.mr + y.mw) ** 2, (y.mr - y.mw) ** 2
    proof.nonnegative(
        2 * v * y.bound - form, v * (slack + 2 * p * minus + y.sr + 3 * y.sw), "2 V X^2 |y|^2 - form >= 0"
    )
    proof.nonnegative(
        2 * v * y.bound + form, v * (slack + 2 * q * minus + 3 * y.sr + y.sw), "2 V X^2 |y|^2 + form >= 0"
    )
    proof.fact("Approached by K = 2, d = 1, features 1 and -1 (X^2 = 2, mr = 1, mw = -1, sw = 0) as p tends to 0.")
    proof.equal(v * (q - p) * 4, 2 * v * 2 * (1 - 2 * p), "there the form is (1 - 2p) times 2 V X^2 |y|^2")
    return proof.done("|y^T Hess J y| <= 2 V X^2 |y|^2 for all y, theta and K, and no smaller constant will do")


def global_proof() -> Certificate:
    proof = Proof("X-SHARP-GLOBAL")
    r = proof.symbol("r", "positive", "square root of 3")
    v = proof.symbol("V", "positive", "p q")
    b = proof.symbol("b", "nonnegative", "|2p - 1|")
    proof.relation(r**2, sp.Integer(3), "r = sqrt(3), so 1 / (3 sqrt 3) = r / 9")
    proof.relation(b**2, 1 - 4 * v, "(1 - 2p)^2 = 1 - 4V")
    proof.fact("|y^T Hess J y| <= V max(1/2, 1/2 + b, 2b) X^2 |y|^2: both sides of X-SEVERAL-CURVATURE.")
    square = 16 * (v - sp.Rational(1, 6)) ** 2 * (v + sp.Rational(1, 12))
    proof.nonnegative(r / 9 - 2 * v * b, square / (r / 9 + 2 * v * b), "1 / (3 sqrt 3) - 2 V b >= 0")
    room = proof.symbol("d", "nonnegative", "1 - b")
    proof.relation(room, 1 - b, "b <= 1")
    near, cut = sp.Rational(17316, 10000), sp.Rational(13, 30)
    proof.nonnegative(r - near, (3 - near**2) / (r + near), "sqrt(3) >= 1.7316")
    gap = near / 9 - (1 - b**2) * (sp.Rational(1, 2) + b) / 4
    tangent = (b - cut) ** 2 * (b + sp.Rational(41, 30)) / 4
    rest = sp.expand(gap - tangent)
    slope, constant = -rest.coeff(b, 1), rest.coeff(b, 0)
    proof.nonnegative(gap, tangent + (constant - slope) + slope * room, "1.7316/9 - V (1/2 + b) >= 0, V = (1 - b^2)/4")
    proof.fact("V/2 <= 1/8 < 1 / (3 sqrt 3).")
    proof.fact(
        "Attained at V = 1/6 (p = 1/2 +- sqrt(3)/6) by K = 2, features 1 and -1, where the form is 2 V b X^2 |y|^2."
    )
    return proof.done(
        "|y^T Hess J y| <= X^2 |y|^2 / (3 sqrt 3) for all y, theta and K, and no smaller constant will do"
    )


def lipschitz_proof() -> Certificate:
    proof = Proof("X-SHARP-LIPSCHITZ")
    p, q = probabilities(proof)
    x_sq = proof.symbol("X2", "positive", "||X_i||^2")
    slack = proof.symbol("g", "nonnegative", "2 V^2 ||X_i||^2 - ||grad J_i||^2, X-SEVERAL-LIPSCHITZ")
    grad_sq = proof.symbol("G", "nonnegative", "||grad J_i||^2")
    proof.relation(grad_sq, 2 * (p * q) ** 2 * x_sq - slack, "||grad J|| <= sqrt(2) V ||X||")
    proof.nonnegative(2 * (p * q) ** 2 * x_sq - grad_sq, slack, "||grad J||^2 <= 2 V^2 X^2")
    quarter = (p - q) ** 2 / 4 * (sp.Rational(1, 4) + p * q)
    proof.nonnegative(x_sq / 8 - 2 * (p * q) ** 2 * x_sq, 2 * x_sq * quarter, "2 V^2 X^2 <= X^2 / 8")
    proof.fact("Attained at p = 1/2 by K = 2, d = 1, features 1 and -1: the gradient is 2 V = 1/2, and X = sqrt(2).")
    proof.equal(sp.Rational(1, 2) ** 2, sp.Integer(2) / 8, "there ||grad J||^2 = X^2 / 8")
    return proof.done(
        "||grad J|| <= sqrt(2) V X <= X / (2 sqrt 2) for all theta and K, and no smaller constant will do"
    )


def ball_proof() -> Certificate:
    proof = Proof("X-SHARP-BALL")
    x, s = sp.symbols("x s", real=True)
    root = x / (1 + x**2)
    moved = sp.exp(sp.sqrt(2) * root * s)
    odds = x**2 * moved
    # V(theta') / sqrt(V(theta)), and 2p' - 1, with x^2 the odds at theta and s the relative move of the log-odds.
    ratio, bias = x * moved * (1 + x**2) / (1 + odds) ** 2, (odds - 1) / (1 + odds)
    proof.fact(
        "||grad log(p/q)|| <= sqrt(2) X (X-SEVERAL-LIPSCHITZ), so on the ball the log-odds move by at most sqrt(2 V)."
    )
    proof.fact("At theta' the curvature is at most V' max(1/2 + |b'|, 2|b'|) X^2, b' = 2p' - 1: X-SEVERAL-CURVATURE.")
    proof.fact("Swapping p and q leaves both unchanged, so p <= 1/2, that is odds x^2 with 0 <= x <= 1, is enough.")
    box = {x: (0, 1), s: (-1, 1)}
    half, limit = sp.Rational(1, 2), sp.Rational(BALL.numerator, BALL.denominator)
    for factor, text in (
        (2 * bias, "2 b'"),
        (-2 * bias, "-2 b'"),
        (half + bias, "1/2 + b'"),
        (half - bias, "1/2 - b'"),
    ):
        proof.bound(ratio * factor, box, limit, f"V' ({text}) / sqrt(V) <= {limit}")
    return proof.done("on the ball of P-L33 the curvature is at most (3/5) X^2 sqrt(V), for all theta and K")
