"""X-SEVERAL: the identities and the smoothness lemmas without Assumption 1, that is with several right outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from theory.certificates import Certificate, Proof
from theory.claim import Claim, Link
from theory.claims._setting import groups, probabilities
from theory.exact import maximum
from theory.points import Point
from theory.policy import Array

__all__ = ["CLAIMS"]


def _identity_right(point: Point) -> Array:
    state = point.state
    return np.stack([state.variance * point.slope, state.hessian_form(point.direction)])


def _identity_proof() -> Certificate:
    proof = Proof("X-SEVERAL-IDENTITY")
    right = proof.symbol("E", "positive", "sum of exp(z_j) over the right outputs")
    wrong = proof.symbol("S", "positive", "sum of exp(z_j) over the wrong outputs")
    mr, mw = proof.symbol("mr", "real", "E_v u"), proof.symbol("mw", "real", "E_w u")
    sr, sw = proof.symbol("sr", "nonnegative", "Var_v(u)"), proof.symbol("sw", "nonnegative", "Var_w(u)")
    weight = proof.symbol("w", "positive", "weight of one output within its group, right or wrong")
    u = proof.symbol("u", "real", "x_j . y of that output")
    mean = proof.symbol("m", "real", "mean of u within that group")
    spread = proof.symbol("s2", "nonnegative", "variance of u within that group")
    size = proof.symbol("Z", "positive", "sum of exp(z_j) over that group")
    proof.fact("Along theta + s y each logit is z_j + s u_j, so d/ds exp(z_j) = u_j exp(z_j), for every j and every K.")
    moments = {weight * u: mean, weight * u**2: mean**2 + spread}
    proof.moments(size * weight * u, moments, size * mean, "d/ds Z = sum_j u_j exp(z_j) = Z m, in either group")
    proof.moments(weight * (u - mean) * u, moments, spread, "d/ds m = sum_j u_j w_j (u_j - m) = s2, in either group")
    proof.derive({right: mr * right, wrong: mw * wrong, mr: sr, mw: sw})
    success, failure = right / (right + wrong), wrong / (right + wrong)
    slope = success * failure * (mr - mw)
    proof.derivative(success, slope, "d/ds J = V (E_v u - E_w u)")
    curvature = success * failure * ((failure - success) * (mr - mw) ** 2 + sr - sw)
    proof.derivative(slope, curvature, "d2/ds2 J = V [(q - p)(E_v u - E_w u)^2 + Var_v(u) - Var_w(u)]")
    return proof.done("both identities hold for any number of right outputs, all y and all K")


def _variance_proof() -> Certificate:
    proof = Proof("X-SEVERAL-VAR")
    at = probabilities(proof)
    y = groups(proof)
    (p, q), (mr, mw, sr, sw, room), form, bound = at, y, y.quadratic(at), y.bound
    v, plus, minus = p * q, (mr + mw) ** 2, (mr - mw) ** 2
    proof.nonnegative(
        2 * v * bound - form, v * (2 * room + plus + 2 * p * minus + sr + 3 * sw), "2 V X^2 |y|^2 - form >= 0"
    )
    proof.nonnegative(
        2 * v * bound + form, v * (2 * room + plus + 2 * q * minus + 3 * sr + sw), "2 V X^2 |y|^2 + form >= 0"
    )
    proof.nonnegative(bound / 2 - 2 * v * bound, bound / 2 * (p - q) ** 2, "2 V <= 1/2: hence also eq. (8)")
    return proof.done("|y^T Hess J y| <= 2 V X^2 |y|^2 <= (1/2) X^2 |y|^2 for any number of right outputs")


def _curvature_proof() -> Certificate:
    proof = Proof("X-SEVERAL-CURVATURE")
    v = proof.symbol("V", "positive", "p q")
    m, o = proof.symbol("m", "real", "mean of u in one group"), proof.symbol("o", "real", "mean of u in the other")
    s, t = (
        proof.symbol(x, "nonnegative", f"variance of u in {w} group") for x, w in (("s", "one"), ("t", "the other"))
    )
    rest = proof.symbol("g", "nonnegative", "sum of u_j^2 over one group, minus m^2 + s: weights are at most 1")
    spread = proof.symbol("gv", "nonnegative", "half the sum of u_j^2 over one group, minus s: Popoviciu")
    room = proof.symbol("h", "nonnegative", "||X||^2 ||y||^2 - m^2 - s - g - o^2 - t")
    proof.relation(2 * spread, m**2 - s + rest, "Popoviciu: a variance is at most half the sum of squares")
    proof.fact(
        "By X-SEVERAL-IDENTITY the form is V [(q - p)(m - o)^2 + Var_v - Var_w]: its two signs exchange the groups."
    )
    proof.fact("One group is the wrong outputs and b = 2p - 1 (downward), or the right ones and b = 1 - 2p (upward).")
    bound, square, half = m**2 + s + rest + o**2 + t + room, (m - o) ** 2, sp.Rational(1, 2)
    e = proof.symbol("e", "nonnegative", "case b <= 0: -b")
    proof.nonnegative(
        v * half * bound - v * (s - t - e * square),
        v * (half * (o**2 + t + room) + spread + t + e * square),
        "b <= 0: at most V/2 X^2 |y|^2",
    )
    b, k = proof.symbol("b", "nonnegative", "case 0 <= b <= 1/2"), proof.symbol("k", "nonnegative", "then 1 - 2b")
    proof.relation(k, 1 - 2 * b, "b <= 1/2")
    middle = half * (o + 2 * b * m) ** 2 + b * k * m**2 + 2 * b * rest + k * spread + (half + b) * (t + room) + t
    proof.nonnegative(
        v * (half + b) * bound - v * (b * square + s - t), v * middle, "0 <= b <= 1/2: at most V (1/2 + b) X^2 |y|^2"
    )
    c, large = proof.symbol("b3", "nonnegative", "case b >= 1/2"), proof.symbol("l", "nonnegative", "then 2b - 1")
    proof.relation(large, 2 * c - 1, "b >= 1/2")
    proof.nonnegative(
        v * 2 * c * bound - v * (c * square + s - t),
        v * (c * (m + o) ** 2 + large * s + 2 * c * (rest + t + room) + t),
        "b >= 1/2: at most 2 b V X^2 |y|^2",
    )
    return proof.done("either one-sided bound of X-SHARP-CURVATURE's form holds for any number of right outputs")


def _lipschitz_proof() -> Certificate:
    proof = Proof("X-SEVERAL-LIPSCHITZ")
    p, q = proof.symbol("p", "positive", "success"), proof.symbol("q", "positive", "failure")
    proof.relation(p + q, sp.Integer(1), "the outputs' probabilities sum to 1")
    x_sq = proof.symbol("X2", "positive", "||X_i||^2")
    g_v = proof.symbol("g_v", "nonnegative", "1 - sum of v_j^2")
    g_w = proof.symbol("g_w", "nonnegative", "1 - sum of w_j^2")
    g_op = proof.symbol("g_op", "nonnegative", "||X_i||^2 ||v - w||^2 - ||X_i^T (v - w)||^2")
    grad_sq = proof.symbol("G", "nonnegative", "||grad J_i||^2")
    proof.fact("grad J = V X_i^T (v - w); v and w live on different outputs, so ||v - w||^2 = sum v_j^2 + sum w_j^2.")
    proof.relation(grad_sq, (p * q) ** 2 * (x_sq * (2 - g_v - g_w) - g_op), "X-SEVERAL-IDENTITY")
    terms = (p * q) ** 2 * (x_sq * (g_v + g_w) + g_op)
    proof.nonnegative(2 * (p * q) ** 2 * x_sq - grad_sq, terms, "||grad J||^2 <= 2 V^2 X^2")
    return proof.done("||grad J|| <= sqrt(2) V X for any number of right outputs")


def _claim(part: str, **fields: Any) -> Claim:
    return Claim(id=f"X-SEVERAL-{part}", source="whynorm", scope="several", **fields)


def _scale(point: Point, power: int) -> Array:
    return point.x_max_sq * point.state.variance**power * point.direction_sq


def _form(point: Point) -> Array:
    return point.state.hessian_form(point.direction)


def _factor(point: Point, sign: int) -> Array:
    """``max(1/2, 1/2 + b, 2b)`` with ``b = sign (2p - 1)``."""
    b = sign * (point.state.p - point.state.q)
    return np.asarray(maximum(maximum(b, 0 * b) + 0.5, 2 * b))


_REMARK = (
    "Checked with two right outputs per prompt. Assumption 1 is not needed for it, nor for what rests on it alone."
)
CLAIMS = (
    _claim(
        "IDENTITY",
        place="the two identities without Assumption 1",
        title="gradient and Hessian with several right outputs",
        statement=(
            r"\nabla J_i^\top y = V(\mathbb E_v u - \mathbb E_w u), \qquad y^\top \nabla^2 J_i\, y = "
            r"V\big[(1-2p)(\mathbb E_v u-\mathbb E_w u)^2 + \mathrm{Var}_v(u) - \mathrm{Var}_w(u)\big]"
        ),
        relation="==",
        left=lambda point: point.jets[1:],
        right=_identity_right,
        proof=_identity_proof,
        remark="v and w are the policy's distributions over the right and over the wrong outputs.",
    ),
    _claim(
        "VAR",
        place="Lemma 3.1 without Assumption 1",
        title="curvature at most 2 V X^2 with several right outputs",
        statement=r"\|\nabla^2 J_i(\theta)\| \le 2 X_{\max}^2\, V_i(\theta) \le \tfrac12 X_{\max}^2",
        chain=(
            Link("2 V X^2", "<=", lambda point: point.quadratic, lambda point: 2 * _scale(point, 1)),
            Link("V <= 1/4", "<=", lambda point: 2 * _scale(point, 1), lambda point: _scale(point, 0) / 2),
        ),
        proof=_variance_proof,
        remark=_REMARK,
    ),
    _claim(
        "CURVATURE",
        place="X-SHARP-CURVATURE without Assumption 1",
        title="each side of the curvature with several right outputs",
        statement=(
            r"\mp y^\top\nabla^2 J_i\,y \le V\max(\tfrac12,\tfrac12\pm b,\pm 2b)\,X_{\max}^2\|y\|^2, \quad b=2p-1"
        ),
        chain=(
            Link("downward", "<=", lambda point: -_form(point), lambda point: _scale(point, 1) * _factor(point, 1)),
            Link("upward", "<=", _form, lambda point: _scale(point, 1) * _factor(point, -1)),
        ),
        proof=_curvature_proof,
        remark=_REMARK,
    ),
    _claim(
        "LIPSCHITZ",
        place="Lemma 3.2 without Assumption 1",
        title="slope at most sqrt(2) V X with several right outputs",
        statement=r"\|\nabla J_i(\theta)\| \le \sqrt2\, V_i(\theta) X_{\max}",
        relation="<=",
        left=lambda point: point.gradient_norm,
        right=lambda point: (2 * point.x_max_sq) ** 0.5 * point.state.variance,
        proof=_lipschitz_proof,
        remark=_REMARK,
    ),
)
