"""Appendix D, display by display: orthogonal prompts, eqs. (17) to (22) and the steps between them."""

from __future__ import annotations

from typing import Any

import numpy as np

from theory.assumptions import BOUNDED_STD, ORTHOGONAL, UNIQUE_ANSWER
from theory.claim import Claim, Link
from theory.claims import _orthogonal_proofs as proofs
from theory.claims._steps import entries, expanded_update, feature_norms, norm, of_others, other_outputs, own
from theory.points import Point
from theory.policy import Array
from theory.rules import GRPO, REINFORCE, Rule

__all__ = ["CLAIMS", "own_taylor", "quadratic_in_eta"]


def _pairs(point: Point) -> Any:
    return zip(*np.triu_indices(len(point.answers), k=1), strict=True)


def _products(point: Point) -> Array:
    g = point.state.gradient
    return np.array([np.sum(g[i] * g[j]) for i, j in _pairs(point)])


def _through_features(point: Point, factor: int = 1) -> Array:
    """``r_i^T H_i (X_i X_j^T) H_j r_j``, the matrix in the middle times a factor."""
    hr, x = entries(point.state), point.features
    return np.array([np.sum(hr[i] * ((factor * (x[i] @ x[j].T)) @ hr[j])) for i, j in _pairs(point)])


def _moved_along(step: Any, moves: Array) -> Array:
    """``J_l(theta_{t-1} + move_i)``, ``(n, n)``."""
    return np.array([step.state_at(step.instance.theta + move).p for move in moves])


def _by_equation_10(step: Any) -> Array:
    gradients = np.sum(entries(step.state)[..., None] * step.features, axis=1)
    return _moved_along(step, step.eta * gradients)


def _before(step: Any) -> Array:
    return np.broadcast_to(step.state.p, (step.n, step.n))


def own_taylor(step: Any, curvature: Any) -> Array:
    """``<theta_t - theta_{t-1}, grad J_l> - curvature ||theta_t - theta_{t-1}||^2`` of the drawn prompt."""
    return own(step.slopes) - curvature * step.move_sq


def quadratic_in_eta(step: Any) -> Array:
    """``(eta - X_max^2 / 2 eta^2) ||grad J_l||^2``."""
    return (step.eta - step.x_max_sq / 2 * (step.eta * step.eta)) * step.grad_sq


def _half(step: Any) -> Array:
    return step.grad_sq / (2 * step.x_max_sq)


def _grpo(step: Any, scale: Array) -> Array:
    return 3 * step.grad_sq / (16 * step.x_max_sq * scale)


def _bracket_bound(step: Any) -> Array:
    sizes, state, others = feature_norms(step), step.state, other_outputs(step)
    rest = np.sum(sizes * state.policy * others, axis=1)
    bracket = step.std * np.sum(sizes * ~others, axis=1) + (state.p / state.q) ** 0.5 * rest
    return bracket / (2 * step.x_max_sq)


def _radius_as_printed(step: Any) -> Array:
    return 2 * step.std * step.x_max_sq**0.5 / (2 * step.x_max_sq)


def _claim(number: str, rule: Rule | None, title: str, statement: str, **fields: Any) -> Claim:
    divisor = 2 if rule is GRPO else 1
    return Claim(
        id=f"P-STEP-{number}",
        source="paper",
        place=fields.pop("place", f"App. D, eq. ({number})"),
        title=title,
        statement=statement,
        scope="step" if rule else "point",
        assumptions=(UNIQUE_ANSWER, ORTHOGONAL, *fields.pop("more", ())),
        rule=rule,
        step_size=(lambda constants: 1 / (divisor * constants.x_max_sq)) if rule else None,
        **fields,
    )


_V = r"\pi^*_{\theta_{t-1}}(1-\pi^*_{\theta_{t-1}})"
_G = r"\|\nabla J_l(\theta_{t-1})\|^2"
_STEP = r"\theta_t-\theta_{t-1}"
_GAIN = r"J_l(\theta_t) - J_l(\theta_{t-1})"
_BRACKET = (
    rf"\sqrt{{{_V}}}\,x_{{l,a_l}} - \sqrt{{\frac{{\pi^*_{{\theta_{{t-1}}}}}}{{1-\pi^*_{{\theta_{{t-1}}}}}}}}"
    r"\sum_{j\ne a_l}[\pi_{\theta_{t-1}}]_j\,x_{l,j}"
)
_NORMS = _BRACKET.replace(" - ", " + ").replace(r"x_{l,a_l}", r"\|x_{l,a_l}\|").replace(r"x_{l,j}", r"\|x_{l,j}\|")

_LEMMA = (
    _claim(
        "17",
        None,
        "orthogonal prompts have orthogonal gradients",
        r"\nabla J_i(\theta)^\top \nabla J_j(\theta) = 0",
        place="Lemma D.1, eq. (17)",
        relation="==",
        left=_products,
        right=lambda point: 0 * _products(point),
        proof=proofs.proof_17,
    ),
    _claim(
        "D1",
        None,
        "the product of two gradients",
        r"\nabla J_i^\top \nabla J_j = r_i^\top H_i X_i X_j^\top H_j r_j = r_i^\top H_i\, 0\, H_j r_j = 0",
        place="App. D.1, proof of Lemma D.1",
        chain=(
            Link("(10) inserted", "==", _products, _through_features),
            Link("Assumption 2", "==", _through_features, lambda point: _through_features(point, 0)),
            Link("zero matrix", "==", lambda point: _through_features(point, 0), lambda point: 0 * _products(point)),
        ),
        proof=proofs.proof_product,
    ),
)

_REINFORCE = (
    _claim(
        "18",
        REINFORCE,
        "a prompt that is not drawn does not move",
        r"J_l(\theta_t) = J_l(\theta_{t-1} + \eta\nabla J_i(\theta_{t-1})) = J_l(\theta_{t-1}) \quad (i_t \ne l)",
        chain=(
            Link("the update", "==", lambda s: of_others(s.after.p), lambda s: of_others(_by_equation_10(s))),
            Link("nothing moves", "==", lambda s: of_others(_by_equation_10(s)), lambda s: of_others(_before(s))),
        ),
        proof=proofs.proof_18,
        misprint=True,
        remark=(
            'Printed as J_j "for any i_t != l"; read with j = l. The proof sketch of Theorems 3.1 and 3.2 has it, and '
            "the ball of the drawn prompt, for theta_t and theta_{t+1}: the prompt of that step is i_{t+1}, not i_t."
        ),
    ),
    _claim(
        "19",
        REINFORCE,
        "REINFORCE, gain of the drawn prompt",
        rf"{_GAIN} \ge \langle{_STEP},\nabla J_l(\theta_{{t-1}})\rangle - \frac{{X_{{\max}}^2}}2\|{_STEP}\|^2 "
        rf"= (\eta-\frac{{X_{{\max}}^2}}2\eta^2){_G} = \frac1{{2X_{{\max}}^2}}{_G}",
        chain=(
            Link("weak convexity", ">=", lambda s: own(s.gain), lambda s: own_taylor(s, s.x_max_sq / 2)),
            Link("the update", "==", lambda s: own_taylor(s, s.x_max_sq / 2), quadratic_in_eta),
            Link("the step size", "==", quadratic_in_eta, _half),
        ),
        proof=proofs.proof_19,
        misprint=True,
        remark='The reason is printed as a broken reference ("??"); it is eq. (8).',
    ),
    _claim(
        "20",
        REINFORCE,
        "REINFORCE, expected gain",
        rf"\mathbb E[J_l(\theta_t)] - \mathbb E[J_l(\theta_{{t-1}})] \ge \frac1{{2nX_{{\max}}^2}}{_G}",
        relation=">=",
        left=lambda s: np.sum(s.gain, axis=0) / s.n,
        right=lambda s: _half(s) / s.n,
        proof=proofs.proof_20,
        misprint=True,
        remark="The right side is printed without E: E is read as the mean over i_t, given theta_{t-1}.",
    ),
)

_UPDATE = (
    _claim(
        "21",
        GRPO,
        "GRPO, a prompt that is not drawn does not move",
        r"J_l(\theta_t) = J_l(\theta_{t-1}) \ \text{ if } i_t\ne l, \qquad J_l(\theta_t) \ \text{ if } i_t = l",
        chain=(
            Link("another is drawn", "==", lambda s: of_others(s.after.p), lambda s: of_others(_before(s))),
            Link(
                "it is drawn",
                "==",
                lambda s: own(s.after.p),
                lambda s: own(_moved_along(s, s.move)),
            ),
        ),
        proof=proofs.proof_21,
        remark="The second case says J_l(theta_t) = J_l(theta_t); it is checked with theta_t from the rule.",
    ),
    _claim(
        "D3-UPDATE",
        GRPO,
        "the GRPO update, expanded",
        rf"\theta_t = \theta_{{t-1}} + \eta\Big({_BRACKET}\Big)",
        place="App. D.3, after eq. (21)",
        relation="==",
        left=lambda s: s.move,
        right=lambda s: s.eta * expanded_update(s),
        proof=proofs.proof_update,
    ),
    _claim(
        "D3-BALL",
        GRPO,
        "the step stays in the ball",
        rf"\Big\|\eta\Big({_BRACKET}\Big)\Big\| = \frac1{{2X_{{\max}}^2}}\Big\|{_BRACKET}\Big\| "
        rf"\le \frac1{{2X_{{\max}}^2}}\Big({_NORMS}\Big) "
        rf"\le \frac1{{2X_{{\max}}^2}}(2\sqrt{{{_V}}}X_{{\max}}) = \frac1{{X_{{\max}}}}\sqrt{{{_V}}}",
        place="App. D.3, before eq. (22)",
        chain=(
            Link(
                "the step size",
                "==",
                lambda s: norm(s.eta * expanded_update(s)),
                lambda s: norm(expanded_update(s)) / (2 * s.x_max_sq),
            ),
            Link(
                "triangle inequality",
                "<=",
                lambda s: norm(expanded_update(s)) / (2 * s.x_max_sq),
                _bracket_bound,
            ),
            Link("rows of X_l", "<=", _bracket_bound, _radius_as_printed),
            Link("X_max cancels", "==", _radius_as_printed, lambda s: s.std / s.x_max_sq**0.5),
        ),
        proof=proofs.proof_ball,
    ),
    _claim(
        "22",
        GRPO,
        "GRPO, gain of the drawn prompt",
        rf"{_GAIN} \ge \langle{_STEP},\nabla J_l(\theta_{{t-1}})\rangle - \tfrac54X_{{\max}}^2\sqrt{{{_V}}}\,"
        rf"\|{_STEP}\|^2 = \frac{{3\,{_G}}}{{16X_{{\max}}^2\sqrt{{{_V}}}}} \ge "
        rf"\frac{{3\,{_G}}}{{16X_{{\max}}^2C_{{l,t-1}}}}",
        more=(BOUNDED_STD,),
        chain=(
            Link("Lemma 3.3", ">=", lambda s: own(s.gain), lambda s: own_taylor(s, s.x_max_sq * s.std * 5 / 4)),
            Link("the update", "==", lambda s: own_taylor(s, s.x_max_sq * s.std * 5 / 4), lambda s: _grpo(s, s.std)),
            Link("Assumption 3", ">=", lambda s: _grpo(s, s.std), lambda s: _grpo(s, s.std_bound)),
        ),
        proof=proofs.proof_22,
        misprint=True,
        remark=(
            "The second line prints pi_theta for pi_{theta_{t-1}}. C is the tightest that Assumption 3 allows. "
            "J_l(theta_{t-1}) is subtracted on all sides."
        ),
    ),
)
CLAIMS = _LEMMA + _REINFORCE + _UPDATE
