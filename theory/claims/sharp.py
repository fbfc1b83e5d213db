r"""X-SHARP: the best constants in the smoothness lemmas, each with a proof and the instances that attain it.

All come from one lemma about a single prompt, X-SHARP-CURVATURE: with ``b = 2p - 1``,

    -y^T Hess J y <= V max(1/2, 1/2 + b, 2b) X^2 ||y||^2    and    y^T Hess J y <= V max(0, -2b) X^2 ||y||^2.

The instance that attains them has K = 2 outputs with features 1 and -1: there X^2 = 2 and y^T Hess J y = -4 V b y^2.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import sympy as sp

from theory.assumptions import UNIQUE_ANSWER
from theory.certificates import Certificate, Proof
from theory.claim import Claim, Link
from theory.claims._setting import Direction, Probabilities, direction, probabilities, symmetric_pair
from theory.exact import maximum
from theory.points import Ball, Point
from theory.policy import Array

__all__ = ["BALL", "CLAIMS", "attained", "curvature_slacks"]

# An upper bound on the best constant of P-L33; instances with 0.587 exist.
BALL = Fraction(3, 5)


def _at_least_zero(values: Array) -> Array:
    return np.asarray(maximum(values, 0 * values))


def _bias(point: Point) -> Array:
    """``2p - 1``."""
    return np.asarray(point.state.p - point.state.q)


def _form(point: Point) -> Array:
    return point.state.hessian_form(point.direction)


def _scale(point: Point) -> Array:
    return point.x_max_sq * point.state.variance * point.direction_sq


def _downward(point: Point) -> Array:
    """``V max(1/2, 1/2 + b, 2b) X^2 ||y||^2``."""
    b = _bias(point)
    return np.asarray(_scale(point) * maximum(_at_least_zero(b) + 0.5, 2 * b))


def _upward(point: Point) -> Array:
    return _scale(point) * _at_least_zero(-2 * _bias(point))


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


def _curvature_proof() -> Certificate:
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


def _variance_proof() -> Certificate:
    proof = Proof("X-SHARP-VAR")
    at = probabilities(proof)
    y = direction(proof)
    p, q, v = at.p, at.q, at.variance
    g_op, g_w = sp.Symbol("g_op", nonnegative=True), sp.Symbol("g_w", nonnegative=True)
    proof.fact("y^T Hess J y = V [(1 - 2p)(u_a - m)^2 - s2]: X-IDENTITY. X_max >= ||X_i||.")
    form, plus, minus = y.quadratic(at), (y.u_a + y.m) ** 2, (y.u_a - y.m) ** 2
    slack = 2 * (g_op + g_w) + plus
    proof.nonnegative(2 * v * y.bound - form, v * (slack + 2 * p * minus + 3 * y.s2), "2 V X^2 |y|^2 - form >= 0")
    proof.nonnegative(2 * v * y.bound + form, v * (slack + 2 * q * minus + y.s2), "2 V X^2 |y|^2 + form >= 0")
    proof.fact("Approached by K = 2, d = 1, features 1 and -1 (X^2 = 2, u_a = 1, m = -1, s2 = 0) as p tends to 0.")
    proof.equal(v * (q - p) * 4, 2 * v * 2 * (1 - 2 * p), "there the form is (1 - 2p) times 2 V X^2 |y|^2")
    return proof.done("|y^T Hess J y| <= 2 V X^2 |y|^2 for all y, theta and K, and no smaller constant will do")


def _global_proof() -> Certificate:
    proof = Proof("X-SHARP-GLOBAL")
    r = proof.symbol("r", "positive", "square root of 3")
    v = proof.symbol("V", "positive", "p q")
    b = proof.symbol("b", "nonnegative", "|2p - 1|")
    proof.relation(r**2, sp.Integer(3), "r = sqrt(3), so 1 / (3 sqrt 3) = r / 9")
    proof.relation(b**2, 1 - 4 * v, "(1 - 2p)^2 = 1 - 4V")
    proof.fact(
        "|y^T Hess J y| <= V max(1/2, 1/2 + b, 2b) X^2 |y|^2 for p >= 1/2, V max(1/2, 2b) below: X-SHARP-CURVATURE."
    )
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


def _lipschitz_proof() -> Certificate:
    proof = Proof("X-SHARP-LIPSCHITZ")
    p, q = probabilities(proof)
    x_sq = proof.symbol("X2", "positive", "||X_i||^2")
    g_op = proof.symbol("g_op", "nonnegative", "||X_i||^2 ||e_a - w||^2 - ||X_i^T (e_a - w)||^2")
    g_w = proof.symbol("g_w", "nonnegative", "1 - sum of w_j^2")
    grad_sq = proof.symbol("G", "nonnegative", "||grad J_i||^2")
    proof.fact("grad J = V X_i^T (e_a - w): X-IDENTITY. ||X_i^T|| = ||X_i||. A probability vector has sum w_j^2 <= 1.")
    proof.relation(grad_sq, (p * q) ** 2 * (x_sq * (2 - g_w) - g_op), "||e_a - w||^2 = 1 + sum of w_j^2")
    proof.nonnegative(
        2 * (p * q) ** 2 * x_sq - grad_sq, (p * q) ** 2 * (x_sq * g_w + g_op), "||grad J||^2 <= 2 V^2 X^2"
    )
    quarter = (p - q) ** 2 / 4 * (sp.Rational(1, 4) + p * q)
    proof.nonnegative(x_sq / 8 - 2 * (p * q) ** 2 * x_sq, 2 * x_sq * quarter, "2 V^2 X^2 <= X^2 / 8")
    proof.fact("Attained at p = 1/2 by K = 2, d = 1, features 1 and -1: the gradient is 2 V = 1/2, and X = sqrt(2).")
    proof.equal(sp.Rational(1, 2) ** 2, sp.Integer(2) / 8, "there ||grad J||^2 = X^2 / 8")
    return proof.done(
        "||grad J|| <= sqrt(2) V X <= X / (2 sqrt 2) for all theta and K, and no smaller constant will do"
    )


def _ball_proof() -> Certificate:
    proof = Proof("X-SHARP-BALL")
    x, s = sp.symbols("x s", real=True)
    root = x / (1 + x**2)
    moved = sp.exp(sp.sqrt(2) * root * s)
    odds = x**2 * moved
    # V(theta') / sqrt(V(theta)), and 2p' - 1, with x^2 the odds at theta and s the relative move of the log-odds.
    ratio, bias = x * moved * (1 + x**2) / (1 + odds) ** 2, (odds - 1) / (1 + odds)
    proof.fact(
        "||grad log(p/q)|| <= sqrt(2) X (X-SHARP-LIPSCHITZ), so on the ball the log-odds move by at most sqrt(2 V)."
    )
    proof.fact("At theta' the curvature is at most V' max(1/2 + |b'|, 2|b'|) X^2, b' = 2p' - 1: X-SHARP-CURVATURE.")
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


_SIZE = r"X_{\max}^2\|y\|^2"


def _claim(part: str, **fields: Any) -> Claim:
    return Claim(id=f"X-SHARP-{part}", source="whynorm", assumptions=(UNIQUE_ANSWER,), **fields)


def _root_three(point: Point) -> Any:
    """``1 / (3 sqrt 3)``, in the arithmetic of the point."""
    return (point.state.p * 0 + 27) ** -0.5


_POINT = (
    _claim(
        "CURVATURE",
        place="sharper form of Lemma 3.1",
        title="the curvature of a prompt, each side exactly",
        statement=(
            r"-y^\top\nabla^2 J_i\,y \le V\max(\tfrac12,\tfrac12+b,2b)\,"
            + _SIZE
            + r", \quad y^\top\nabla^2 J_i\,y \le V\max(0,-2b)\,"
            + _SIZE
            + r", \quad b=2p-1"
        ),
        scope="point",
        chain=(
            Link("downward", "<=", lambda point: -_form(point), _downward),
            Link("upward", "<=", _form, _upward),
        ),
        proof=_curvature_proof,
        witness=partial(symmetric_pair, 0.9),
        remark="Upward curvature helps an ascent step, so only the first bound limits step sizes.",
    ),
    _claim(
        "VAR",
        place="best constant of Lemma 3.1, eq. (7)",
        title="curvature at most 2 V X^2, and no less",
        statement=r"\|\nabla^2 J_i(\theta)\| \le 2 X_{\max}^2\, V_i(\theta)",
        scope="point",
        relation="<=",
        left=lambda point: point.quadratic,
        right=lambda point: 2 * _scale(point),
        proof=_variance_proof,
        witness=partial(symmetric_pair, 1e-9),
        remark="Approached by K = 2 with features 1 and -1 as p tends to 0: the printed 4 can be halved, no more.",
    ),
    _claim(
        "GLOBAL",
        place="best constant of Lemma 3.1, eq. (8)",
        title="curvature at most X^2 / (3 sqrt 3), and no less",
        statement=r"\|\nabla^2 J_i(\theta)\| \le \tfrac{1}{3\sqrt3} X_{\max}^2",
        scope="point",
        relation="<=",
        left=lambda point: point.quadratic,
        right=lambda point: point.x_max_sq * point.direction_sq * _root_three(point),
        proof=_global_proof,
        witness=partial(symmetric_pair, 0.5 + 3**0.5 / 6),
        remark="Attained at V = 1/6 by K = 2 with features 1 and -1; the printed 1 is 5.2 times too large.",
    ),
    _claim(
        "LIPSCHITZ",
        place="best constant of Lemma 3.2",
        title="slope at most X / (2 sqrt 2), and no less",
        statement=r"\|\nabla J_i(\theta)\| \le \sqrt2\,V_i(\theta)\,X_{\max} \le \tfrac{1}{2\sqrt2} X_{\max}",
        scope="point",
        chain=(
            Link(
                "sqrt(2) V X",
                "<=",
                lambda point: point.gradient_norm,
                lambda point: (2 * point.x_max_sq) ** 0.5 * point.state.variance,
            ),
            Link(
                "V <= 1/4",
                "<=",
                lambda point: (2 * point.x_max_sq) ** 0.5 * point.state.variance,
                lambda point: (point.x_max_sq / 8) ** 0.5 + 0 * point.state.variance,
            ),
        ),
        proof=_lipschitz_proof,
        witness=partial(symmetric_pair, 0.5),
        remark="Attained at p = 1/2 by K = 2 with features 1 and -1.",
    ),
)


def _displaced_bound(ball: Ball) -> Array:
    return ball.x_max_sq * ball.state.variance**0.5 * ball.direction_sq * BALL.numerator / BALL.denominator


_BALL = _claim(
    "BALL",
    place="best constant of Lemma 3.3",
    title="curvature on the ball at most (3/5) X^2 sqrt(V)",
    statement=(
        r"\|\nabla^2 J_i(\theta')\| \le \tfrac35 X_{\max}^2\sqrt{V_i(\theta)}\ \text{ whenever }\ "
        r"\|\theta'-\theta\| \le \sqrt{V_i(\theta)}/X_{\max}"
    ),
    scope="ball",
    relation="<=",
    left=lambda ball: ball.displaced_quadratic,
    right=_displaced_bound,
    proof=_ball_proof,
    witness=partial(symmetric_pair, 0.102566, displacement=1.0),
    remark=(
        "The best constant has no closed form. It is the largest 2 V' |1 - 2p'| / sqrt(V) with log-odds sqrt(2V) apart,"
        " 0.5873 at p = 0.103 for K = 2 with features 1 and -1; the printed 5/2 is 4.3 times too large."
    ),
)
CLAIMS = (*_POINT, _BALL)
