"""P-EQ5, P-EQ10, P-EQ11, P-EQ12: the update rules of the paper, each set against the definition of the policy."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from theory.assumptions import UNIQUE_ANSWER
from theory.certificates import Certificate, Proof
from theory.claim import Claim
from theory.claims._setting import probabilities
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


def _proof(claim: str, rule: Rule, right_factor: Any, wrong_factor: Any) -> Certificate:
    """``weight V (u_a - m)`` equals ``c_a u_a - c_w q m``, with p = sp^2 and q = sq^2 so that roots are symbols."""
    proof = Proof(claim)
    root_p = proof.symbol("sp", "positive", "square root of p")
    root_q = proof.symbol("sq", "positive", "square root of q")
    u_a = proof.symbol("u_a", "real", "x_a . y")
    m = proof.symbol("m", "real", "sum over wrong j of w_j u_j")
    w = proof.symbol("w", "positive", "w_j = pi_j / q")
    u = proof.symbol("u", "real", "x_j . y of one wrong output j")
    p, q = root_p**2, root_q**2
    proof.relation(p + q, sp.Integer(1), "the outputs' probabilities sum to 1")
    proof.fact("grad J . y = V (u_a - m): X-IDENTITY.")
    proof.moments(q * w * u, {w * u: m}, q * m, "sum over wrong j of pi_j u_j = q m")
    weight = sp.nsimplify(rule.weight(p, q), rational=True)
    update = weight * p * q * (u_a - m)
    expanded = sp.nsimplify(right_factor(p, q), rational=True) * u_a
    expanded -= sp.nsimplify(wrong_factor(p, q), rational=True) * q * m
    proof.equal(sp.simplify(update), sp.simplify(expanded), "the update, along every direction y")
    return proof.done(f"the {rule.name} update along y equals the expanded form, for all y and all K")


def _both_groups(proof: Proof) -> tuple[sp.Symbol, ...]:
    """Declare p, q, the means of u over right and wrong outputs, the weights in either group, and u of one output."""
    p, q = probabilities(proof)
    mr = proof.symbol("mr", "real", "sum over right j of v_j u_j")
    m = proof.symbol("m", "real", "sum over wrong j of w_j u_j")
    v = proof.symbol("v", "positive", "v_j = pi_j / p of one right output j")
    w = proof.symbol("w", "positive", "w_j = pi_j / q of one wrong output j")
    u = proof.symbol("u", "real", "x_j . y of that output, right or wrong")
    proof.fact("grad J . y = V (mr - m): X-SEVERAL-IDENTITY.")
    return p, q, mr, m, v, w, u


def _proof_5() -> Certificate:
    proof = Proof("P-EQ5")
    p, q, mr, m, v, w, u = _both_groups(proof)
    a = proof.symbol("W", "positive", "1 / sqrt(V), a constant under the stop-gradient")
    mean = p * mr + q * m
    proof.fact("grad ln pi_j . y = u_j - E_pi u.")
    right, wrong = {v: sp.Integer(1), v * u: mr}, {w: sp.Integer(1), w * u: m}
    proof.moments(p * v * (q * a) * (u - mean), right, p * q * a * (mr - mean), "the right outputs")
    proof.moments(q * w * (-p * a) * (u - mean), wrong, -q * p * a * (m - mean), "the wrong outputs")
    proof.equal(
        p * q * a * (mr - mean) - q * p * a * (m - mean),
        a * p * q * (mr - m),
        "E[A grad ln pi] = grad J / sqrt(V)",
    )
    return proof.done("E[A grad ln pi] . y = grad J . y / sqrt(V), for all y and all K")


def _proof_10() -> Certificate:
    proof = Proof("P-EQ10")
    p, q, mr, m, v, w, u = _both_groups(proof)
    proof.fact("[H r]_j = pi_j (r_j - pi^T r), and pi^T r = p; pi_j = p v_j for a right j and q w_j for a wrong one.")
    proof.moments(p * v * (1 - p) * u, {v * u: mr}, p * q * mr, "right outputs: sum_j [H r]_j u_j = p q mr")
    proof.moments(q * w * (0 - p) * u, {w * u: m}, -p * q * m, "wrong outputs: sum_j [H r]_j u_j = -p q m")
    proof.equal(p * q * mr - p * q * m, p * q * (mr - m), "(X y)^T H r = V (mr - m)")
    return proof.done("y^T X^T (diag(pi) - pi pi^T) r = grad J . y, for all y and all K")


def _claim(
    number: str, title: str, statement: str, left: Any, right: Any, proof: Any, remark: str = "", misprint: bool = False
) -> Claim:
    return Claim(
        id=f"P-EQ{number}",
        source="paper",
        place=f"eq. ({number})",
        title=title,
        statement=statement,
        scope="point",
        relation="==",
        left=left,
        right=right,
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


def _proof_gap() -> Certificate:
    proof = Proof("S-UPDATE-SHORT-FIXED")
    p, q = probabilities(proof)
    u_a = proof.symbol("u_a", "real", "x_a . y")
    m = proof.symbol("m", "real", "sum over wrong j of w_j u_j")
    proof.fact("grad J . y = V (u_a - m): X-IDENTITY, with x_bar_w . y = m.")
    proof.equal(p * q * u_a - p * q * m, p * q * (u_a - m), "the wrong outputs' mean feature is what is missing")
    return proof.done("the REINFORCE update is eta p q (x_a - x_bar_w), for all theta and all K")


_PAPER = (
    _claim(
        "5",
        "GRPO is REINFORCE over the standard deviation",
        r"\nabla J^i_{\mathrm{GRPO}} = \mathbb E_o[A_i(o)\nabla\ln\pi_\theta(o)] = \nabla J_i / \sqrt{V_i}",
        _policy_gradient,
        _by_definition(GRPO),
        _proof_5,
    ),
    _claim(
        "10",
        "gradient of the log-linear policy",
        r"\nabla J_i = X_i^\top\big(\mathrm{diag}(\pi)-\pi\pi^\top\big)\, r_i",
        _by_definition(REINFORCE),
        _equation_10,
        _proof_10,
    ),
    _claim(
        "11",
        "the REINFORCE update, expanded",
        r"\nabla J_i = p(1-p)\,x_{i,a} - p \sum_{j\ne a} \pi_j x_{i,j}",
        _by_definition(REINFORCE),
        _expanded(_variance, _only_p),
        lambda: _proof("P-EQ11", REINFORCE, _variance, _only_p),
        "Printed with a parenthesis missing after the first (1 - pi); read as p (1 - p) x_a.",
        misprint=True,
    ),
    _claim(
        "12",
        "the GRPO update, expanded",
        r"\frac{\nabla J_i}{\sqrt{V}} = \sqrt{p(1-p)}\,x_{i,a} - \sqrt{\tfrac{p}{1-p}} \sum_{j\ne a} \pi_j x_{i,j}",
        _by_definition(GRPO),
        _expanded(_std, _odds_root),
        lambda: _proof("P-EQ12", GRPO, _std, _odds_root),
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
        proof=_proof_gap,
        remark=_FACTOR,
    ),
    _told(
        "REINFORCE",
        "the REINFORCE update, expanded",
        _PAPER[2].statement,
        place="REINFORCE update",
        left=_PAPER[2].left,
        right=_PAPER[2].right,
        proof=lambda: _proof("S-UPDATE-REINFORCE", REINFORCE, _variance, _only_p),
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
        proof=lambda: _proof("S-UPDATE-GRPO", GRPO, _std, _odds_root),
        remark=_FACTOR,
        misprint=True,
    ),
)
CLAIMS = _PAPER + _TALK
