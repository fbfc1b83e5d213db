r"""X-POWER: the family ``theta <- theta + eta V^(-alpha) grad J``, one theorem for every alpha in [0, 1].

With ``eta = 4^(-alpha) / X_max^2`` (that is ``1 / X^2`` of Theorem 3.1 at alpha = 0, ``1 / (2 X^2)`` of Theorem 3.2 at
alpha = 1/2) one step gains at least ``2/3 eta ||grad J||^2 / V^alpha``. The proof goes through the log-odds
``L = log(p / q)``: L is concave with curvature at most ``X^2``, and ``p' - p >= V (1 - e^(-dL))``.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import sympy as sp

from theory.assumptions import BOUNDED_STD, ORTHOGONAL, UNIQUE_ANSWER
from theory.certificates import Certificate, Proof
from theory.claim import Claim, Link
from theory.claims._runs import UNDRAWN, gain, min_proof, running_min, steps_column
from theory.claims._setting import groups, probabilities
from theory.exact import is_exact, softmax_jet
from theory.points import Point
from theory.policy import Array
from theory.rules import power

__all__ = ["ALPHAS", "CLAIMS", "power_step"]

# Quarters are exact as floats, so the exponents mean the same on floats and on balls.
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
# Logits are rounded at about 1e-15; relative gains below this say nothing about the rule.
LOST = 1e-8


def power_step(alpha: float, x_max_sq: Any) -> Any:
    """``eta = 4^(-alpha) / X_max^2``; an enclosure if ``x_max_sq`` is a ball."""
    return (0 * x_max_sq + 4) ** -alpha / x_max_sq


def _weighted(run: Any) -> Array:
    """``E[||grad J_i||^2 / V_i^alpha]`` at t = 0..T-1, ``(T, n)``."""
    return np.asarray(run.weighted_grad_sq[:-1])


def _gain(run: Any) -> Array:
    """``E J_i(theta_t) - E J_i(theta_{t-1})``; on floats NaN where the step is lost in the rounding of theta."""
    change = gain(run)
    if is_exact(change):
        return change
    return np.where(np.abs(change) > LOST * np.minimum(run.J[:-1], run.q[:-1]), change, np.nan)


def _descent(run: Any) -> Array:
    return _weighted(run) * run.eta * 2 / (3 * run.n)


def _bound(run: Any) -> Array:
    """``3 n (1 - p0) / (2 eta)`` for every T, ``(T, n)``."""
    return 3 * run.n * run.q[0] / (2 * run.eta) + 0 * run.grad_sq[:-1]


def _rate(run: Any, alpha: float) -> Array:
    steps = steps_column(run)
    return _bound(run) * (run.std_bound[:-1] ** (2 * alpha)).cumsum(axis=0) / (steps * steps)


def _log_odds_steps(proof: Proof) -> None:
    """One step: first-order gain of the log-odds minus curvature, then from log-odds to probability."""
    p, q = probabilities(proof)
    y = groups(proof)
    proof.fact("L = log(p/q) has grad L . y = mr - mw, and d/ds mr = sr, d/ds mw = sw: y^T Hess L y = sr - sw.")
    least = y.mr**2 + 2 * y.sr + y.mw**2 + y.room
    proof.nonnegative(y.bound + (y.sr - y.sw), least, "-y^T Hess L y <= X^2 |y|^2")
    proof.nonnegative(1 - 4 * p * q, (p - q) ** 2, "4 V <= 1")
    t = proof.symbol("t", "positive", "eta X^2 V^(1 - alpha) = (4 V)^(1 - alpha) / 4")
    less = proof.symbol("e1", "nonnegative", "1/4 - t, as 4 V <= 1 and alpha <= 1")
    gap = proof.symbol("b", "nonnegative", "|grad L|^2 / X^2")
    room = proof.symbol("e2", "nonnegative", "2 - |grad L|^2 / X^2, as grad J = V grad L: X-SEVERAL-LIPSCHITZ")
    proof.relation(t, sp.Rational(1, 4) - less, "the step size")
    proof.relation(gap, 2 - room, "||grad L|| <= sqrt(2) X_max")
    proof.fact("Taylor for L along the step y = eta V^(1 - alpha) grad L: dL >= D = t b - t^2 b / 2.")
    rise, shrunk = t * gap * (1 - t / 2), 1 - t / 2
    third, half = sp.Rational(2, 3), sp.Rational(1, 2)
    in_less = sp.Rational(13, 768) + sp.Rational(67, 64) * less + sp.Rational(13, 16) * less**2 + less**3 / 4
    terms = t * gap * (in_less + half * room * t * shrunk**2)
    proof.nonnegative(rise - half * rise**2 - third * t * gap, terms, "D - D^2 / 2 >= (2/3) t b")
    shrink = proof.symbol("E", "positive", "exp(-dL)")
    lost = proof.symbol("f", "nonnegative", "1 - exp(-dL)")
    proof.relation(shrink, 1 - lost, "dL >= D >= 0")
    change = p * q * lost / (p + q * shrink)
    proof.equal(p / (p + q * shrink) - p, change, "p' - p, as p' / q' = (p / q) exp(dL)")
    proof.nonnegative(change - p * q * lost, p * q**2 * lost**2 / (p + q * shrink), "p' - p >= V (1 - exp(-dL))")
    proof.fact("1 - exp(-x) grows with x and is at least x - x^2 / 2 for x >= 0, so p' - p >= V (D - D^2 / 2).")
    proof.fact("V t b = eta V^(2 - alpha) |grad L|^2 = eta ||grad J||^2 / V^alpha, as grad J = V grad L.")


def _proof(name: str, alpha: float) -> Certificate:
    proof = Proof(name)
    _log_odds_steps(proof)
    proof.fact(UNDRAWN)
    meaning = "C_{i,t}^(2 alpha) >= V^alpha: Assumption 3" if alpha else "the number 1, as alpha = 0"
    proof.fact(f"Below, a = (2/3) 4^(-alpha) / n, and C_t stands for {meaning}.")
    min_proof(proof, None, one_step="shown above", weighted=True)
    return proof.done("the one-step gain, its sum, and the rate with the mean of C^(2 alpha), for every T")


def _claim(alpha: float) -> Claim:
    name = f"X-POWER-{round(100 * alpha)}"
    exponent = {0.0: "0", 0.25: "1/4", 0.5: "1/2", 0.75: "3/4", 1.0: "1"}[alpha]
    return Claim(
        id=name,
        source="whynorm",
        place=f"power family, alpha = {exponent}",
        title=f"step eta V^(-alpha) grad J with alpha = {exponent}: gain, sum and rate",
        statement=(
            rf"\alpha={exponent},\ \eta=\frac{{1}}{{4^\alpha X_{{\max}}^2}}: \quad "
            r"\mathbb E[J_i(\theta_t)]-\mathbb E[J_i(\theta_{t-1})] \ge "
            r"\frac{2\eta}{3n}\,\mathbb E\frac{\|\nabla J_i(\theta_{t-1})\|^2}{V_i^\alpha}, \quad "
            r"\sum_{t<T}\mathbb E\frac{\|\nabla J_i(\theta_t)\|^2}{V_i^\alpha} \le \frac{3n(1-p_0)}{2\eta}, \quad "
            r"\min_{t<T}\mathbb E\|\nabla J_i(\theta_t)\|^2 \le \frac{3n(1-p_0)}{2\eta T}"
            r"\cdot\frac1T\sum_{t<T}C_{i,t}^{2\alpha}"
        ),
        scope="expectation",
        chain=(
            Link("one step", ">=", _gain, _descent),
            Link("sum", "<=", lambda run: _weighted(run).cumsum(axis=0), _bound),
            Link("rate", "<=", lambda run: running_min(run.grad_sq[:-1]), partial(_rate, alpha=alpha)),
        ),
        assumptions=(UNIQUE_ANSWER, ORTHOGONAL, BOUNDED_STD),
        rule=power(alpha),
        step_size=partial(power_step, alpha),
        proof=partial(_proof, name, alpha),
        remark={
            0.0: "Theorem 3.1's step and one-step bound with 2/3 in place of 1/2.",
            0.5: "Theorem 3.2's step; its one-step bound has 3/16 where this has 1/3, with V where it has C^2.",
            1.0: "Gradient ascent on the log-odds.",
        }.get(alpha, "Between the named rules.")
        + " As C <= 1/2, the rate is at most 3 n (1 - p0) X^2 / (2 T) for every alpha.",
    )


def _velocity(point: Point, alpha: float) -> Array:
    """``dJ/dt`` along ``theta' = V^(-alpha) grad J = V^(1 - alpha) gap``, from the definition of softmax: ``(n,)``."""
    state, theta = point.state, point.instance.theta
    rise = [
        sum(softmax_jet(list(x @ theta), list(x @ gap), int(a))[1] for a in np.flatnonzero(rewards))
        for x, gap, rewards in zip(point.features, state.gap, point.rewards, strict=True)
    ]
    return np.array(rise, dtype=object) * state.variance ** (1 - alpha)


def _flow(point: Point, alpha: float) -> Array:
    return point.state.variance ** (2 - alpha) * np.sum(point.state.gap * point.state.gap, axis=1)


def _flow_proof() -> Certificate:
    proof = Proof("X-POWER-FLOW")
    p, q = probabilities(proof)
    a = proof.symbol("c", "positive", "sqrt(p)")
    b = proof.symbol("d", "positive", "sqrt(q)")
    log_odds = proof.symbol("L", "real", "log(p / q)")
    proof.relation(p, a**2, "c = sqrt(p)")
    proof.relation(q, b**2, "d = sqrt(q)")
    gap_sq = proof.symbol("g", "nonnegative", "|grad L|^2")
    speed = proof.symbol("v", "positive", "V^(1 - alpha)")
    proof.fact("theta' = V^(-alpha) grad J = V^(1 - alpha) grad L, and grad J = V grad L: X-SEVERAL-IDENTITY.")
    proof.equal(p * q * speed * gap_sq, (p * q) * (speed * gap_sq), "J' = V L' with L' = V^(1 - alpha) |grad L|^2")
    proof.derive({log_odds: sp.Integer(1), p: p * q, q: -p * q, a: a * q / 2, b: -b * p / 2})
    proof.derivative(2 * log_odds + p / q - q / p, 1 / (p * q), "alpha = 0: the time, as a function of L")
    proof.derivative(2 * (a / b - b / a), 1 / (a * b), "alpha = 1/2")
    proof.derivative(log_odds, sp.Integer(1), "alpha = 1")
    return proof.done(
        "J' = V^(2 - alpha) |grad L|^2; the time times |grad L|^2, if constant, is int dL / V^(1 - alpha)"
    )


def _guarantee(point: Point, alpha: float) -> Array:
    """``(2/3) eta ||grad J||^2 / V^alpha`` with ``eta = 4^(-alpha) / X_max^2``, ``(n,)``."""
    state = point.state
    return (4 * state.variance) ** -alpha * state.grad_sq * 2 / (3 * point.x_max_sq)


def _best_proof() -> Certificate:
    proof = Proof("X-POWER-BEST")
    p, q = probabilities(proof)
    proof.nonnegative(1 - 4 * p * q, (p - q) ** 2, "4 V <= 1, with equality at p = 1/2 only")
    proof.fact("x^(-alpha) does not decrease in alpha where 0 < x <= 1.")
    return proof.done("(4 V)^(-alpha) ||grad J||^2 does not decrease in alpha; all alpha agree at p = 1/2")


_POINTS = (
    Claim(
        id="X-POWER-FLOW",
        source="whynorm",
        place="power family, flow",
        title="speed of the gradient flow for every alpha",
        statement=(
            r"\dot\theta = V^{-\alpha}\nabla J:\quad \dot p = V^{2-\alpha}\|g\|^2, \quad "
            r"\frac{d}{dt}\log\frac pq = V^{1-\alpha}\|g\|^2, \quad g=\nabla\log\frac pq"
        ),
        scope="point",
        chain=tuple(
            Link(f"alpha = {alpha:g}", "==", partial(_velocity, alpha=alpha), partial(_flow, alpha=alpha))
            for alpha in ALPHAS
        ),
        assumptions=(UNIQUE_ANSWER,),
        proof=_flow_proof,
        remark=(
            "Where |g| is constant (two outputs), the time from p0 to p1 is int dp / (V^(2 - alpha) |g|^2): in closed "
            "form 2 log(p/q) + p/q - q/p, 2 sqrt(p/q) - 2 sqrt(q/p) and log(p/q) for alpha = 0, 1/2 and 1."
        ),
    ),
    Claim(
        id="X-POWER-BEST",
        source="whynorm",
        place="power family, comparison",
        title="the guarantee grows with alpha, at every state",
        statement=(
            r"\alpha \le \beta: \quad \frac{\eta_\alpha\|\nabla J_i\|^2}{V_i^\alpha} \le "
            r"\frac{\eta_\beta\|\nabla J_i\|^2}{V_i^\beta}, \quad \eta_\alpha = \frac{1}{4^\alpha X_{\max}^2}"
        ),
        scope="point",
        chain=tuple(
            Link(f"{low:g} to {high:g}", "<=", partial(_guarantee, alpha=low), partial(_guarantee, alpha=high))
            for low, high in pairwise(ALPHAS)
        ),
        assumptions=(UNIQUE_ANSWER,),
        proof=_best_proof,
        remark=(
            "With exact p the log-odds are the best thing to ascend, equally good only at p = 1/2. With a group of G "
            "outputs no rule can use more than w_G <= sqrt(G - 1) of it: X-GROUP-BOUND."
        ),
    ),
)
CLAIMS = (*map(_claim, ALPHAS), *_POINTS)
