r"""X-SHARP rates: what the best constants are worth, for both algorithms, on orthogonal prompts.

REINFORCE takes ``eta = 3 sqrt(3) / X^2``, the inverse of the best global curvature bound. GRPO takes ``eta = 2 / X^2``:
along its step the success probability only grows, and from ``p`` upwards the curvature that can hurt is at most
``(1/2) X^2 sqrt(V)``. X-COMPARE then asks again which bound is better.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import sympy as sp

from theory.assumptions import BOUNDED_STD, ORTHOGONAL, UNIQUE_ANSWER
from theory.certificates import Certificate, Proof
from theory.claim import Claim
from theory.claims._runs import UNDRAWN, gain, min_proof, running_max, running_min, steps_column, sum_proof
from theory.claims._setting import root_27
from theory.policy import Array
from theory.rules import GRPO, REINFORCE, Rule

__all__ = ["CLAIMS", "upward_curvature"]


def _reinforce_step(x_max_sq: Any) -> Any:
    return root_27(x_max_sq) / x_max_sq


def _grpo_step(x_max_sq: Any) -> Any:
    return 2 / x_max_sq


def _room(run: Any) -> Array:
    """``n (1 - p0) X^2`` for every T, ``(T, n)``."""
    return run.n * run.q[0] * run.x_max_sq + 0 * run.grad_sq[:-1]


def _mean_bound(run: Any) -> Array:
    """``(1/T) sum_{t<T} C_{i,t}`` for every prefix length."""
    return np.asarray(run.std_bound[:-1].cumsum(axis=0) / steps_column(run))


def _descent(run: Any, rule: Rule) -> Array:
    base = run.grad_sq[:-1] / (run.n * run.x_max_sq)
    return np.asarray(base / run.std_bound[:-1] if rule is GRPO else base * root_27(run.x_max_sq) / 2)


def _sum_bound(run: Any, rule: Rule) -> Array:
    if rule is GRPO:
        return np.asarray(_room(run) * running_max(run.std_bound[:-1]))
    return np.asarray(_room(run) * 2 / root_27(run.x_max_sq))


def _min_bound(run: Any, rule: Rule) -> Array:
    scale = _mean_bound(run) if rule is GRPO else 2 / root_27(run.x_max_sq)
    return np.asarray(_room(run) * scale / steps_column(run))


def _reinforce_proof() -> Certificate:
    proof = Proof("X-SHARP-REINFORCE-DESCENT")
    r = proof.symbol("r", "positive", "square root of 3")
    x_sq = proof.symbol("X2", "positive", "X_max^2")
    grad_sq = proof.symbol("G", "nonnegative", "||grad J_i(theta_{t-1})||^2")
    taylor = proof.symbol("s", "nonnegative", "slack of the Taylor bound")
    proof.relation(r**2, sp.Integer(3), "r = sqrt(3)")
    proof.fact("Taylor with Lagrange remainder along the step; the curvature bound X^2 / (3 sqrt 3) is X-SHARP-GLOBAL.")
    eta = 3 * r / x_sq
    value = eta * grad_sq - x_sq * r / 9 / 2 * eta**2 * grad_sq + taylor
    proof.nonnegative(value - 3 * r / 2 * grad_sq / x_sq, taylor, "gain of a prompt when it is drawn")
    proof.fact(UNDRAWN)
    return proof.done("E J_i(theta_t) - E J_i(theta_{t-1}) >= (3 sqrt(3) / 2) E ||grad J_i(theta_{t-1})||^2 / (n X^2)")


def upward_curvature(proof: Proof) -> None:
    """``V' max(1/2, 1/2 + b', 2b') <= sqrt(V) / 2``, b' = 2p' - 1, for p' >= p within 4 sqrt(V) of its log-odds."""
    c = proof.symbol("c", "positive", "case p >= 1/2: sqrt(V) at p")
    c2 = proof.symbol("c2", "positive", "case p >= 1/2: sqrt(V') at p'")
    less = proof.symbol("h", "nonnegative", "case p >= 1/2: c - c2, as V falls from 1/2 on")
    b = proof.symbol("b", "nonnegative", "case p >= 1/2: 2p' - 1")
    proof.relation(less, c - c2, "p' >= p >= 1/2")
    proof.relation(b**2, 1 - 4 * c2**2, "(2p' - 1)^2 = 1 - 4V'")
    half = sp.Rational(1, 2)
    # 1/2 - 2 b c2 = (1/2) (b - 2 c2)^2 because b^2 + 4 c2^2 = 1.
    proof.nonnegative(
        half * c - 2 * b * c2**2, half * less + half * c2 * (b - 2 * c2) ** 2, "p >= 1/2: 2 b' V' <= sqrt(V) / 2"
    )
    d = proof.symbol("d", "nonnegative", "case 1/2 <= p, p' <= 3/4: 1/2 - (2p' - 1)")
    b2 = proof.symbol("b2", "nonnegative", "case 1/2 <= p, p' <= 3/4: 2p' - 1")
    proof.relation(d, half - b2, "p' <= 3/4")
    # V' (1/2 + b)^2 <= 1/4, that is (1 - b^2)(1 + 2b)^2 <= 4, with 4 V' = 1 - b^2: so sqrt(V') (1/2 + b) <= 1/2.
    gap = 4 - (1 - b2**2) * (1 + 2 * b2) ** 2
    proof.nonnegative(gap, _positive_on_half(gap, b2, d), "p >= 1/2: (V' / sqrt(V)) (1/2 + b') <= 1/2")
    x, s = sp.symbols("x s", real=True)
    moved = sp.exp(4 * x / (1 + x**2) * s)
    odds = x**2 * moved
    ratio, bias = x * moved * (1 + x**2) / (1 + odds) ** 2, (odds - 1) / (1 + odds)
    for factor, text in ((half + 0 * x, "1/2"), (half + bias, "1/2 + b'"), (2 * bias, "2 b'")):
        proof.bound(ratio * factor, {x: (0, 1), s: (0, 1)}, half, f"p <= 1/2: V' ({text}) / sqrt(V) <= 1/2")


def _positive_on_half(gap: sp.Expr, b: sp.Symbol, d: sp.Symbol) -> sp.Expr:
    """A polynomial on 0 <= b <= 1/2 in the Bernstein basis of b and d = 1/2 - b, whose coefficients must be >= 0."""
    poly = sp.Poly(sp.expand(gap), b)
    degree = poly.degree()
    terms = sp.Integer(0)
    for k in range(degree + 1):
        # b^j = b^j (2 (b + d))^(degree - j), as 2 (b + d) = 1.
        coefficient = sum(
            poly.coeff_monomial(b**j) * 2 ** (degree - j) * sp.binomial(degree - j, k - j) for j in range(k + 1)
        )
        terms += coefficient * b**k * d ** (degree - k)
    return terms


def _grpo_proof() -> Certificate:
    proof = Proof("X-SHARP-GRPO-DESCENT")
    x_sq = proof.symbol("X2", "positive", "X_max^2")
    root = proof.symbol("v", "positive", "sqrt(V_i(theta_{t-1}))")
    slope = proof.symbol("g", "nonnegative", "2 V^2 X^2 - ||grad J_i||^2: X-SEVERAL-LIPSCHITZ")
    grad_sq = proof.symbol("G", "nonnegative", "||grad J_i(theta_{t-1})||^2")
    taylor = proof.symbol("r", "nonnegative", "slack of the Taylor bound")
    bound = proof.symbol("C", "positive", "C_{i,t-1}")
    over = proof.symbol("hC", "nonnegative", "C - sqrt(V), Assumption 3")
    proof.relation(slope, 2 * root**4 * x_sq - grad_sq, "||grad J||^2 <= 2 V^2 X^2")
    proof.relation(bound, root + over, "sqrt(V) <= C")
    eta = 2 / x_sq / root
    proof.nonnegative(
        16 * root**2 - 2 * x_sq * eta**2 * grad_sq,
        8 * slope / (root**2 * x_sq),
        "the step moves the log-odds by at most 4 sqrt(V), as their gradient is at most sqrt(2) X",
    )
    proof.fact(
        "Below, b' = 2p' - 1, and V' max(1/2, 1/2 + b', 2b') X^2 is X-SEVERAL-CURVATURE's downward bound at p' >= p."
    )
    upward_curvature(proof)
    proof.fact(
        "As long as J along the step has not fallen below its start, J(s) >= J(0) + (2s - s^2) G / (X^2 sqrt(V)) > J(0)"
        " for 0 < s <= 1 by Taylor, so it never falls below: the bound holds on the whole step."
    )
    value = eta * grad_sq - x_sq * root / 2 / 2 * eta**2 * grad_sq + taylor
    proof.nonnegative(value - grad_sq / (x_sq * root), taylor, "gain of a prompt when it is drawn")
    proof.nonnegative(grad_sq / root - grad_sq / bound, grad_sq * over / (root * bound), "C may replace sqrt(V)")
    proof.fact(UNDRAWN)
    return proof.done("E J_i(theta_t) - E J_i(theta_{t-1}) >= E ||grad J_i(theta_{t-1})||^2 / (n X^2 C_{i,t-1})")


def _telescoped(rule: Rule, part: str) -> Certificate:
    name = f"X-SHARP-{rule.name.upper()}"
    proof = Proof(f"{name}-{part}")
    (sum_proof if part == "SUM" else min_proof)(proof, None, one_step=f"{name}-DESCENT", weighted=rule is GRPO)
    proof.fact("a = 3 sqrt(3) / (2n) for REINFORCE, 1/n for GRPO, from the one-step claims.")
    return proof.done("the stated bound, for every T")


_CHANGE = r"\mathbb E[J_i(\theta_t)] - \mathbb E[J_i(\theta_{t-1})]"
_GRADIENT = r"\mathbb E\|\nabla J_i(\theta_{t-1})\|^2"
_SUM = r"\sum_{t<T}\mathbb E\|\nabla J_i(\theta_t)\|^2"
_MIN = r"\min_{t<T}\mathbb E\|\nabla J_i(\theta_t)\|^2"
_ROOM = r"n\,(1-\pi^*_{\theta_0}(i))\,X_{\max}^2"


def _claims(rule: Rule, step: Any, eta: str, told: dict[str, str], descent: Any) -> tuple[Claim, ...]:
    name = rule.name.upper()
    common: dict[str, Any] = {
        "source": "whynorm",
        "scope": "expectation",
        "rule": rule,
        "step_size": step,
        "assumptions": (UNIQUE_ANSWER, ORTHOGONAL, *((BOUNDED_STD,) if rule is GRPO else ())),
        "remark": f"Step size {eta}.",
    }
    return (
        Claim(
            id=f"X-SHARP-{name}-DESCENT",
            place="one step with the best constants",
            title=f"{name}, one step, step size {eta}",
            statement=told["DESCENT"],
            relation=">=",
            left=gain,
            right=partial(_descent, rule=rule),
            proof=descent,
            **common,
        ),
        Claim(
            id=f"X-SHARP-{name}-SUM",
            place="cumulative bound with the best constants",
            title=f"{name}, cumulative bound, step size {eta}",
            statement=told["SUM"],
            relation="<=",
            left=lambda run: run.grad_sq[:-1].cumsum(axis=0),
            right=partial(_sum_bound, rule=rule),
            proof=partial(_telescoped, rule, "SUM"),
            **common,
        ),
        Claim(
            id=f"X-SHARP-{name}-MIN",
            place="rate with the best constants",
            title=f"{name}, rate, step size {eta}",
            statement=told["MIN"],
            relation="<=",
            left=lambda run: running_min(run.grad_sq[:-1]),
            right=partial(_min_bound, rule=rule),
            proof=partial(_telescoped, rule, "MIN"),
            **common,
        ),
    )


_REINFORCE = _claims(
    REINFORCE,
    _reinforce_step,
    "3 sqrt(3) / X^2",
    {
        "DESCENT": rf"{_CHANGE} \ge \frac{{3\sqrt3}}{{2}}\cdot\frac{{{_GRADIENT}}}{{nX_{{\max}}^2}}",
        "SUM": rf"{_SUM} \le \frac{{2}}{{3\sqrt3}}\,{_ROOM}",
        "MIN": rf"{_MIN} \le \frac{{2}}{{3\sqrt3}}\cdot\frac{{{_ROOM}}}{{T}}",
    },
    _reinforce_proof,
)
_GRPO = _claims(
    GRPO,
    _grpo_step,
    "2 / X^2",
    {
        "DESCENT": rf"{_CHANGE} \ge \frac{{{_GRADIENT}}}{{nX_{{\max}}^2C_{{i,t-1}}}}",
        "SUM": rf"{_SUM} \le {_ROOM}\cdot\max_{{t<T}}C_{{i,t}}",
        "MIN": rf"{_MIN} \le \frac{{{_ROOM}}}{{T}}\cdot\frac1T\sum_{{t<T}}C_{{i,t}}",
    },
    _grpo_proof,
)
CLAIMS = _REINFORCE + _GRPO
