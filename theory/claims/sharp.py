r"""X-SHARP: the best constants in the smoothness lemmas, each with a proof and the instances that attain it.

All come from one lemma about a single prompt, X-SHARP-CURVATURE: with ``b = 2p - 1``,

    -y^T Hess J y <= V max(1/2, 1/2 + b, 2b) X^2 ||y||^2    and    y^T Hess J y <= V max(0, -2b) X^2 ||y||^2.

The instance that attains them has K = 2 outputs with features 1 and -1: there X^2 = 2 and y^T Hess J y = -4 V b y^2.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from theory.assumptions import UNIQUE_ANSWER
from theory.claim import Claim, Link
from theory.claims._setting import root_27, symmetric_pair
from theory.claims._sharp import BALL, ball_proof, curvature_proof, global_proof, lipschitz_proof, variance_proof
from theory.exact import maximum
from theory.points import Ball, Point
from theory.policy import Array

__all__ = ["CLAIMS"]


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


_SIZE = r"X_{\max}^2\|y\|^2"


def _claim(part: str, **fields: Any) -> Claim:
    return Claim(id=f"X-SHARP-{part}", source="whynorm", assumptions=(UNIQUE_ANSWER,), **fields)


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
        proof=curvature_proof,
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
        proof=variance_proof,
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
        right=lambda point: point.x_max_sq * point.direction_sq / root_27(point.state.p),
        proof=global_proof,
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
        proof=lipschitz_proof,
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
    proof=ball_proof,
    witness=partial(symmetric_pair, 0.102566, displacement=1.0),
    remark=(
        "The best constant has no closed form. It is the largest 2 V' |1 - 2p'| / sqrt(V) with log-odds sqrt(2V) apart,"
        " 0.5873 at p = 0.103 for K = 2 with features 1 and -1; the printed 5/2 is 4.3 times too large."
    ),
)
CLAIMS = (*_POINT, _BALL)
