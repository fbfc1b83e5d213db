"""P-EQ5, P-EQ10, P-EQ11, P-EQ12: the update rules of the paper, each set against the definition of the policy."""

from __future__ import annotations

from typing import Any

import numpy as np

from theory.assumptions import UNIQUE_ANSWER
from theory.claim import Claim, Link
from theory.claims import _update_proofs as proofs
from theory.claims._steps import other_outputs, output_slopes
from theory.points import Point
from theory.policy import Array
from theory.rules import GRPO, REINFORCE, Rule

__all__ = ["CLAIMS"]


def _rows(point: Point) -> tuple[Array, Array]:
    """Logit slopes ``u`` of shape ``(n, K)``, and which outputs j are not a."""
    return output_slopes(point), other_outputs(point)


def _by_definition(rule: Rule) -> Any:
    """``weight * grad J_i . y``, with the gradient from the definition of softmax."""

    def left(point: Point) -> Array:
        return rule.weight(point.state.p, point.state.q) * point.jets[1]

    return left


def _policy_gradient(point: Point) -> Array:
    """``E_o[A(o) grad ln pi(o)] . y`` with the exact advantage of GRPO."""
    u, pi = point.features @ point.direction, point.state.policy
    p, q = point.state.p[:, None], point.state.q[:, None]
    score = u - np.sum(pi * u, axis=1)[:, None]
    return np.sum(pi * GRPO.advantage(point.rewards, p, q) * score, axis=1)


def _rewards_alone(point: Point) -> Array:
    """``E_o[r(o) grad ln pi(o)] . y / sqrt(V)``."""
    u, pi = point.features @ point.direction, point.state.policy
    score = u - np.sum(pi * u, axis=1)[:, None]
    return np.asarray(GRPO.weight(point.state.p, point.state.q) * np.sum(pi * point.rewards * score, axis=1))


def _equation_10(point: Point) -> Array:
    u, pi, reward = point.features @ point.direction, point.state.policy, point.rewards
    covariance_times_reward = pi * reward - pi * np.sum(pi * reward, axis=1)[:, None]
    return np.sum(u * covariance_times_reward, axis=1)


def _expanded(right_factor: Any, wrong_factor: Any) -> Any:
    """``c_a u_a - c_w sum_{j != a} pi_j u_j``, the shape of equations (11) and (12)."""

    def right(point: Point) -> Array:
        u, others = _rows(point)
        p, q = point.state.p, point.state.q
        u_a = u[np.arange(len(u)), point.answers]
        rest = np.sum(point.state.policy * u * others, axis=1)
        return right_factor(p, q) * u_a - wrong_factor(p, q) * rest

    return right


def _equation(left: Any, right: Any) -> dict[str, Any]:
    return {"relation": "==", "left": left, "right": right}


def _claim(
    number: str, title: str, statement: str, sides: dict[str, Any], proof: Any, remark: str = "", misprint: bool = False
) -> Claim:
    return Claim(
        id=f"P-EQ{number}",
        source="paper",
        place=f"eq. ({number})",
        title=title,
        statement=statement,
        scope="point",
        **sides,
        assumptions=(UNIQUE_ANSWER,),
        proof=proof,
        remark=remark,
        misprint=misprint,
    )


def _variance(p: Any, q: Any) -> Any:
    return p * q


def _only_p(p: Any, q: Any) -> Any:
    return p


def _std(p: Any, q: Any) -> Any:
    return (p * q) ** 0.5


def _odds_root(p: Any, q: Any) -> Any:
    return (p / q) ** 0.5


def _short_update(point: Point) -> Array:
    """``p q x_a . y``, the talk's "Update form"."""
    u, _ = _rows(point)
    return point.state.variance * u[np.arange(len(u)), point.answers]


def _gap_update(point: Point) -> Array:
    """``p q (x_a - sum_{j != a} pi_j / q x_j) . y``."""
    u, others = _rows(point)
    mean = np.sum(point.state.policy * u * others, axis=1) / point.state.q
    return point.state.variance * (u[np.arange(len(u)), point.answers] - mean)


_PAPER = (
    _claim(
        "5",
        "GRPO is REINFORCE over the standard deviation",
        r"\nabla J^i_{\mathrm{GRPO}} = \mathbb E_o[A_i(o)\nabla\ln\pi_\theta(o)] "
        r"= \mathbb E_o[r_i(o)\nabla\ln\pi_\theta(o)] / \sqrt{V_i} = \nabla J_i / \sqrt{V_i}",
        {
            "chain": (
                Link("the baseline", "==", _policy_gradient, _rewards_alone),
                Link("policy gradient theorem", "==", _rewards_alone, _by_definition(GRPO)),
            )
        },
        proofs.proof_5,
    ),
    _claim(
        "10",
        "gradient of the log-linear policy",
        r"\nabla J_i = X_i^\top\big(\mathrm{diag}(\pi)-\pi\pi^\top\big)\, r_i",
        _equation(_by_definition(REINFORCE), _equation_10),
        proofs.proof_10,
    ),
    _claim(
        "11",
        "the REINFORCE update, expanded",
        r"\nabla J_i = p(1-p)\,x_{i,a} - p \sum_{j\ne a} \pi_j x_{i,j}",
        _equation(_by_definition(REINFORCE), _expanded(_variance, _only_p)),
        lambda: proofs.proof_expanded("P-EQ11", REINFORCE, _variance, _only_p),
        "Printed with a parenthesis missing after the first (1 - pi); read as p (1 - p) x_a. Algorithms 1 and 2, whose "
        "updates are (11) and (12), return theta_{T-1} as the final policy; their last step leads to theta_T.",
        misprint=True,
    ),
    _claim(
        "12",
        "the GRPO update, expanded",
        r"\frac{\nabla J_i}{\sqrt{V}} = \sqrt{p(1-p)}\,x_{i,a} - \sqrt{\tfrac{p}{1-p}} \sum_{j\ne a} \pi_j x_{i,j}",
        _equation(_by_definition(GRPO), _expanded(_std, _odds_root)),
        lambda: proofs.proof_expanded("P-EQ12", GRPO, _std, _odds_root),
    ),
)


def _told(name: str, title: str, statement: str, **fields: Any) -> Claim:
    return Claim(
        id=f"S-UPDATE-{name}",
        source="talk",
        title=title,
        statement=statement,
        scope="point",
        relation="==",
        assumptions=(UNIQUE_ANSWER,),
        **fields,
    )


_FACTOR = "Printed with step size eta, where the talk's algorithm has eta/N: read as eta/N."
_TALK = (
    _told(
        "SHORT",
        "the talk's short update form, as printed",
        r"\nabla J_i = p(1-p)\,x_{i,a}",
        place="Update form",
        left=_by_definition(REINFORCE),
        right=_short_update,
        fixed_by="S-UPDATE-SHORT-FIXED",
        remark=f"The wrong outputs' features are missing; the talk's own expanded update has them. {_FACTOR}",
    ),
    _told(
        "SHORT-FIXED",
        "the short update form, repaired",
        r"\nabla J_i = p(1-p)\,\Big(x_{i,a} - \sum_{j\ne a} \tfrac{\pi_j}{1-p}\, x_{i,j}\Big)",
        place="Update form",
        left=_by_definition(REINFORCE),
        right=_gap_update,
        proof=proofs.proof_gap,
        remark=_FACTOR,
    ),
    _told(
        "REINFORCE",
        "the REINFORCE update, expanded",
        _PAPER[2].statement,
        place="REINFORCE update",
        left=_PAPER[2].left,
        right=_PAPER[2].right,
        proof=lambda: proofs.proof_expanded("S-UPDATE-REINFORCE", REINFORCE, _variance, _only_p),
        remark=_FACTOR,
        misprint=True,
    ),
    _told(
        "GRPO",
        "the GRPO update, expanded",
        _PAPER[3].statement,
        place="GRPO update",
        left=_PAPER[3].left,
        right=_PAPER[3].right,
        proof=lambda: proofs.proof_expanded("S-UPDATE-GRPO", GRPO, _std, _odds_root),
        remark=_FACTOR,
        misprint=True,
    ),
)
CLAIMS = _PAPER + _TALK
