"""Appendix C.2, display by display: the Lipschitz constant."""

from __future__ import annotations

import numpy as np

from theory.assumptions import UNIQUE_ANSWER
from theory.claim import Claim, Link
from theory.claims._ball_proofs import proof_gradient, proof_lipschitz
from theory.claims._steps import feature_norms, other_outputs, output_slopes
from theory.points import Point
from theory.policy import Array

__all__ = ["CLAIMS"]


def _gradient_expanded(point: Point) -> Array:
    u, state, others = output_slopes(point), point.state, other_outputs(point)
    rest = np.sum(u * state.policy * others, axis=1)
    return np.sum(u * ~others, axis=1) * state.q * state.p - rest * state.p


def _feature_by_feature(point: Point) -> Array:
    sizes, state, others = feature_norms(point), point.state, other_outputs(point)
    rest = np.sum(sizes * state.policy * others, axis=1)
    return np.sum(sizes * ~others, axis=1) * state.q * state.p + rest * state.p


def _operator_norm(point: Point) -> Array:
    state, x = point.state, point.x_sq**0.5
    rest = np.sum(x[:, None] * state.policy * other_outputs(point), axis=1)
    return np.asarray(x * state.q * state.p + rest * state.p)


_A = r"\pi^*_\theta(1-\pi^*_\theta)"

CLAIMS = (
    Claim(
        id="P-STEP-C2-GRADIENT",
        source="paper",
        place="App. C.2, first display",
        title="the gradient, expanded",
        scope="point",
        assumptions=(UNIQUE_ANSWER,),
        statement=rf"\nabla J_i(\theta) = {_A}\,x_{{a_i}} - \sum_{{j\ne a_i}} \pi_\theta(i)_j\,\pi^*_\theta\,x_j",
        proof=proof_gradient,
        relation="==",
        left=lambda point: point.jets[1],
        right=_gradient_expanded,
        misprint=True,
        remark="Printed with rows x^T on the right against a column on the left, and with theta_t for theta.",
    ),
    Claim(
        id="P-STEP-C2",
        source="paper",
        place="App. C.2, second display",
        title="the Lipschitz constant",
        scope="point",
        assumptions=(UNIQUE_ANSWER,),
        statement=rf"\|\nabla J_i\| \le \|x_{{a_i}}\|{_A} + \sum_{{j\ne a_i}}\|x_j\|\pi_j\pi^* "
        rf"\le \|X_i\|{_A} + \sum_{{j\ne a_i}}\|X_i\|\pi_j\pi^* = 2\|X_i\|{_A} \le \tfrac12 X_{{\max}}",
        proof=proof_lipschitz,
        chain=(
            Link("triangle inequality", "<=", lambda point: point.gradient_norm, _feature_by_feature),
            Link("rows of X_i", "<=", _feature_by_feature, _operator_norm),
            Link("they sum to 1 - p", "==", _operator_norm, lambda p: 2 * p.x_sq**0.5 * p.state.q * p.state.p),
            Link(
                "p (1 - p) at most 1/4",
                "<=",
                lambda p: 2 * p.x_sq**0.5 * p.state.q * p.state.p,
                lambda p: p.x_max_sq**0.5 / 2 + 0 * p.state.p,
            ),
        ),
        misprint=True,
        remark="The third line as printed has theta_t for theta.",
    ),
)
