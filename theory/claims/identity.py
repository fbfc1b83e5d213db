"""X-IDENTITY: the gradient and the Hessian of a prompt's success probability reduce to scalars, for every K."""

from __future__ import annotations

import numpy as np
import sympy as sp

from theory.assumptions import UNIQUE_ANSWER
from theory.certificates import Certificate, Proof
from theory.claim import Claim
from theory.points import Point
from theory.policy import Array

__all__ = ["CLAIMS"]


def _left(point: Point) -> Array:
    return point.jets[1:]


def _right(point: Point) -> Array:
    state = point.state
    return np.stack([state.variance * point.slope, state.hessian_form(point.direction)])


def _proof() -> Certificate:
    proof = Proof("X-IDENTITY")
    right = proof.symbol("E", "positive", "exp(z_a), unnormalised weight of the right output")
    total = proof.symbol("S", "positive", "sum of exp(z_j) over the wrong outputs")
    e = proof.symbol("e", "positive", "exp(z_j) of one wrong output j")
    u_a = proof.symbol("u_a", "real", "x_a . y")
    w = proof.symbol("w", "positive", "w_j = exp(z_j) / S")
    u = proof.symbol("u", "real", "x_j . y of one wrong output j")
    m = proof.symbol("m", "real", "sum over wrong j of w_j u_j")
    s2 = proof.symbol("s2", "nonnegative", "sum over wrong j of w_j u_j^2, minus m^2")
    proof.fact("Along theta + s y each logit is z_j + s u_j, so d/ds exp(z_j) = u_j exp(z_j), for every j and every K.")
    moments = {w * u: m, w * u**2: m**2 + s2}
    proof.moments(total * w * u, moments, total * m, "d/ds S = sum_j u_j exp(z_j) = S sum_j w_j u_j = S m")
    proof.derive({right: u_a * right, total: m * total, e: u * e})
    proof.derivative(e / total, e / total * (u - m), "d/ds w_j = w_j (u_j - m)")
    proof.moments(w * (u - m) * u, moments, s2, "d/ds m = sum_j u_j w_j (u_j - m) = s2")
    proof.derive({m: s2})
    success, failure = right / (right + total), total / (right + total)
    slope = success * failure * (u_a - m)
    proof.derivative(success, slope, "first identity: d/ds J = V (u_a - m)")
    curvature = success * failure * ((failure - success) * (u_a - m) ** 2 - s2)
    proof.derivative(slope, curvature, "second identity: d2/ds2 J = V [(q - p)(u_a - m)^2 - s2]")
    proof.equal(sp.Integer(1) - 2 * success, failure - success, "q - p = 1 - 2p")
    return proof.done("grad J . y = V (u_a - m) and y^T Hess J y = V [(1 - 2p)(u_a - m)^2 - s2] for all y and all K")


CLAIMS = (
    Claim(
        id="X-IDENTITY",
        source="whynorm",
        place="the two identities",
        title="gradient and Hessian in scalars",
        statement=(
            r"\nabla J_i^\top y = V\,(u_a - m), \qquad y^\top \nabla^2 J_i\, y = V\big[(1-2p)(u_a-m)^2 - s^2\big]"
        ),
        scope="point",
        relation="==",
        left=_left,
        right=_right,
        assumptions=(UNIQUE_ANSWER,),
        proof=_proof,
        remark="They turn statements about K outputs into statements about three numbers, valid for every K.",
    ),
)
