r"""X-DIRECTIONAL: curvature along one direction y is a matter of how far the outputs lie apart along it.

With ``u_j = x_j . y``, ``R(y) = max_j u_j - min_j u_j`` over all outputs and ``R_w(y)`` over the wrong ones:

    -y^T Hess J y <= V k(p) R(y)^2,    y^T Hess J y <= V max(0, 1 - 2p) R(y)^2,    -y^T Hess log(p/q) y <= R_w(y)^2 / 4,

each with the best possible factor. ``R(y)^2 <= 2 X_max^2 ||y||^2``, and on a language model it is far smaller: a step
along the gradient may be as much larger than the theorems'. ``simulator.directional`` takes such steps.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from theory.assumptions import UNIQUE_ANSWER
from theory.claim import Claim, Link
from theory.claims._directional_proofs import (
    curvature_proof,
    global_proof,
    grpo_proof,
    odds_proof,
    range_proof,
    reinforce_proof,
    var_proof,
)
from theory.claims._setting import root_27, symmetric_pair
from theory.directional import output_range, wrong_range
from theory.exact import maximum
from theory.instances import Instance
from theory.points import Point
from theory.policy import Array, change_of_success, evaluate

__all__ = ["CLAIMS"]


def _range_sq(point: Point) -> Array:
    """``R(y)^2``, ``(n,)``."""
    span = output_range(point.features @ point.direction)
    return np.asarray(span * span)


def _form(point: Point) -> Array:
    return point.state.hessian_form(point.direction)


def _downward(point: Point) -> Array:
    """``V k(p) R^2`` with ``k = x - c x^2``, ``c = min(1, 2q)``, ``x = 1 / max(1, 2c)``."""
    q = point.state.q
    c = 1 - maximum(1 - 2 * q, 0 * q)
    x = 1 / maximum(2 * c, 0 * c + 1)
    return np.asarray(point.state.variance * _range_sq(point) * (x - c * x * x))


def _upward(point: Point) -> Array:
    b = point.state.q - point.state.p
    return np.asarray(point.state.variance * _range_sq(point) * maximum(b, 0 * b))


def _margins(point: Point, moves: Array) -> Array:
    """Change of ``z_j - z_a`` of every prompt along its own move, ``(n, K)``, for moves ``(n, d)``."""
    u = (point.features @ moves[:, :, None])[:, :, 0]
    return np.asarray(u - u[np.arange(len(u)), point.answers][:, None])


def _odds_gain(point: Point) -> Array:
    """``L(theta + y) - L(theta) = -log E_w exp(u_j - u_a)``."""
    n = len(point.answers)
    margins = _margins(point, np.tile(point.direction, (n, 1)))
    return np.asarray(-np.log1p(np.sum(point.state.odds.wrong * np.expm1(margins), axis=1)))


def _odds_bound(point: Point) -> Array:
    span = wrong_range(point.features @ point.direction, point.answers)
    return np.asarray(point.slope - span * span / 8)


def _unit_range_sq(point: Point) -> Array:
    """``R(grad L)^2 / ||grad L||^2``, 1 where the gradient vanishes, ``(n,)``."""
    gap = point.state.gap
    span = output_range((point.features @ gap[:, :, None])[:, :, 0])
    size = np.sum(gap * gap, axis=1)
    return np.asarray(_ratio(span * span, size))


def _ratio(first: Array, second: Array) -> Array:
    """``first / second``, 1 where the second is exactly 0."""
    zero = np.array([bool(value == 0) for value in second])
    return np.where(zero, 0 * first + 1, first / np.where(zero, 0 * second + 1, second))


def _gain(point: Point, alpha: int) -> Array:
    """Gain of ``eta grad J / V^(alpha/2)``; ``alpha`` 0: eta = 6 sqrt(3) / R^2, 1: eta = 4 / R^2."""
    state = point.state
    root = state.variance**0.5
    length = 4 * root if alpha else 2 * root_27(point.state.p) * state.variance
    moves = (length / _unit_range_sq(point))[:, None] * state.gap
    after = evaluate(point.features, point.answers, point.instance.theta + moves)
    return change_of_success(state.odds.wrong, _margins(point, moves), (state.p, state.q), (after.p, after.q))


def _guaranteed(point: Point, alpha: int) -> Array:
    base = point.state.grad_sq / _unit_range_sq(point)
    return np.asarray(2 * base / point.state.variance**0.5 if alpha else root_27(point.state.p) * base)


def _two_wrong() -> Instance:
    """Right output at 0, wrong ones at +-1/1024, all logits equal: X-DIRECTIONAL-ODDS nearly attained."""
    features = np.array([[[0.0], [2.0**-10], [-(2.0**-10)]]])
    return Instance(features, np.array([0]), np.zeros(1), np.ones(1), np.zeros(1))


def _claim(part: str, **fields: Any) -> Claim:
    return Claim(id=f"X-DIRECTIONAL-{part}", source="whynorm", scope="point", assumptions=(UNIQUE_ANSWER,), **fields)


_R = r"R_i(y)=\max_j x_{i,j}^\top y-\min_j x_{i,j}^\top y"
_UNIT = r"\hat R=R_i(\nabla J_i)/\|\nabla J_i\|"

CLAIMS = (
    _claim(
        "CURVATURE",
        place="curvature along a direction",
        title="by the range of the outputs along the direction, each side exactly",
        statement=(
            r"-y^\top\nabla^2 J_i\,y \le V\kappa(p)R_i(y)^2, \quad y^\top\nabla^2 J_i\,y \le V\max(0,1-2p)R_i(y)^2, "
            rf"\quad {_R}, \quad \kappa = \tfrac14,\ \tfrac1{{8(1-p)}},\ 2p-1 "
            r"\ \text{ for } p \le \tfrac12,\ \tfrac12 \le p \le \tfrac34,\ p \ge \tfrac34"
        ),
        chain=(Link("downward", "<=", lambda point: -_form(point), _downward), Link("upward", "<=", _form, _upward)),
        proof=curvature_proof,
        witness=partial(symmetric_pair, 0.9),
        remark="What X-SHARP-CURVATURE becomes if one looks along one direction only.",
    ),
    _claim(
        "VAR",
        place="curvature along a direction",
        title="curvature along y at most V R(y)^2, and no less",
        statement=rf"|y^\top\nabla^2 J_i\,y| \le V_i\,R_i(y)^2, \quad {_R}",
        relation="<=",
        left=lambda point: point.quadratic,
        right=lambda point: point.state.variance * _range_sq(point),
        proof=var_proof,
        witness=partial(symmetric_pair, 1e-9),
    ),
    _claim(
        "GLOBAL",
        place="curvature along a direction",
        title="curvature along y at most R(y)^2 / (6 sqrt 3), and no less",
        statement=rf"|y^\top\nabla^2 J_i\,y| \le \tfrac{{1}}{{6\sqrt3}} R_i(y)^2, \quad {_R}",
        relation="<=",
        left=lambda point: point.quadratic,
        right=lambda point: _range_sq(point) / (2 * root_27(point.state.p)),
        proof=global_proof,
        witness=partial(symmetric_pair, 0.5 + 3**0.5 / 6),
    ),
    _claim(
        "RANGE",
        place="range against spectral norm",
        title="R(y)^2 is at most 2 X^2 |y|^2, and no less",
        statement=rf"R_i(y)^2 \le 2X_{{\max}}^2\|y\|^2, \quad {_R}",
        relation="<=",
        left=_range_sq,
        right=lambda point: 2 * point.x_max_sq * point.direction_sq + 0 * point.state.p,
        proof=range_proof,
        witness=partial(symmetric_pair, 0.5),
        remark="So no directional step is smaller than the step of X-SHARP-REINFORCE or X-SHARP-GRPO.",
    ),
    _claim(
        "ODDS",
        place="log-odds along a direction",
        title="a step of any length changes the log-odds by at least its slope minus R_w(y)^2 / 8",
        statement=(
            r"L_i(\theta+y) - L_i(\theta) \ge y^\top\nabla L_i(\theta) - \tfrac18 R^w_i(y)^2, \quad L=\log\tfrac pq, "
            r"\quad R^w_i(y)=\max_{j\ne a_i} x_{i,j}^\top y-\min_{j\ne a_i} x_{i,j}^\top y"
        ),
        relation=">=",
        left=_odds_gain,
        right=_odds_bound,
        proof=odds_proof,
        witness=_two_wrong,
        remark=(
            "Hence J_i does not fall along y = s grad J_i as long as s R_w^2 <= 8 |grad J_i|^2 / V_i, R_w along"
            " grad J_i: with two outputs, at any step size. Hoeffding's lemma; the 8 is its 8."
        ),
    ),
    _claim(
        "REINFORCE",
        place="one directional step",
        title="REINFORCE with step size 6 sqrt(3) / R^2",
        statement=(
            rf"\eta=\frac{{6\sqrt3}}{{\hat R^2}},\ {_UNIT}: \quad "
            r"J_i(\theta+\eta\nabla J_i)-J_i(\theta) \ge 3\sqrt3\,\frac{\|\nabla J_i\|^2}{\hat R^2}"
        ),
        relation=">=",
        left=partial(_gain, alpha=0),
        right=partial(_guaranteed, alpha=0),
        proof=reinforce_proof,
        remark="X-SHARP-REINFORCE-DESCENT for the prompt that is drawn, with R^2 / 2 in place of X^2.",
    ),
    _claim(
        "GRPO",
        place="one directional step",
        title="GRPO with step size 4 / R^2",
        statement=(
            rf"\eta=\frac{{4}}{{\hat R^2}},\ {_UNIT}: \quad "
            r"J_i\Bigl(\theta+\eta\frac{\nabla J_i}{\sqrt{V_i}}\Bigr)-J_i(\theta) \ge "
            r"\frac{2\|\nabla J_i\|^2}{\hat R^2\sqrt{V_i}}"
        ),
        relation=">=",
        left=partial(_gain, alpha=1),
        right=partial(_guaranteed, alpha=1),
        proof=grpo_proof,
        remark="X-SHARP-GRPO-DESCENT for the prompt that is drawn, with R^2 / 2 in place of X^2.",
    ),
)
