r"""X-COMPARE: when is GRPO's bound better, once both algorithms use their best constants and step sizes?

With eta = 3 sqrt(3) / X^2 the rate of REINFORCE is (2 / (3 sqrt 3)) n (1 - p0) X^2 / T, and with eta = 2 / X^2 that of
GRPO is the same with the mean of C in place of 2 / (3 sqrt 3) = 0.3849: X-SHARP-REINFORCE-MIN and X-SHARP-GRPO-MIN. The
printed theorems give 3/8 = 0.375: both constants were loose, by nearly the same factor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from theory.assumptions import BOUNDED_STD, ORTHOGONAL, UNIQUE_ANSWER
from theory.certificates import Certificate, Proof
from theory.claim import Claim
from theory.claims._runs import steps_column
from theory.policy import Array
from theory.rules import GRPO

__all__ = ["CLAIMS", "THRESHOLD", "flow_mean_std"]

# Below this mean standard deviation GRPO's best bound is the better one.
THRESHOLD = 2 / 27**0.5


def flow_mean_std(p0: Any, p1: Any) -> Array:
    r"""Mean of ``sqrt(V)`` over the time in which GRPO's gradient flow takes a prompt with K = 2 outputs from p0 to p1.

    With the log-odds ``L`` the flow is ``dL/dt = ||gap||^2 sqrt(V)`` with a constant gap, so time is the integral of
    ``dL / sqrt(V)``, and the integral of ``sqrt(V)`` over time is that of ``dL``:

        mean = (L1 - L0) / (4 (sinh(L1 / 2) - sinh(L0 / 2))),        sqrt(V) = 1 / (2 cosh(L / 2)).

    Args:
        p0, p1: success probabilities in (0, 1), ``p0 != p1``; arrays that broadcast.
    """
    start, end = (np.log(p) - np.log1p(-np.asarray(p, dtype=np.float64)) for p in (p0, p1))
    return np.asarray((end - start) / (4 * (np.sinh(end / 2) - np.sinh(start / 2))))


def _threshold(run: Any) -> Any:
    """``2 / (3 sqrt 3)`` in the arithmetic of the run."""
    return 2 / (run.x_max_sq * 0 + 27) ** 0.5


def _means(run: Any) -> Array:
    return np.asarray(run.std_bound[:-1].cumsum(axis=0) / steps_column(run))


def _advantage(run: Any) -> Array:
    """Mean over prompts of (REINFORCE's bound - GRPO's bound), in units of ``n X^2``."""
    return np.asarray((run.q[0] * (_threshold(run) - _means(run))).mean(axis=1))


def _margin(run: Any) -> Array:
    """``2 / (3 sqrt 3)`` minus the mean of C over prompts, weighted with 1 - p0."""
    return np.asarray(_threshold(run) - (run.q[0] * _means(run)).sum(axis=1) / run.q[0].sum())


def _proof() -> Certificate:
    proof = Proof("X-COMPARE")
    threshold = proof.symbol("k", "positive", "2 / (3 sqrt 3)")
    n = proof.symbol("n", "positive", "number of prompts")
    total = proof.symbol("Q", "positive", "sum over prompts of 1 - p0_i")
    mixed = proof.symbol("M", "nonnegative", "sum over prompts of (1 - p0_i) times the mean of C_{i,t}")
    v = proof.symbol("V", "positive", "p q")
    proof.fact(
        "In units of n X^2 / T the bounds are k (1 - p0) for REINFORCE and (1 - p0) times the mean of C for GRPO."
    )
    proof.equal(
        (threshold * total - mixed) / n,
        total / n * (threshold - mixed / total),
        "the difference of the mean bounds is a positive multiple of 2 / (3 sqrt 3) - (weighted mean of C)",
    )
    proof.equal(27 * v - 4, 27 * (v - sp.Rational(4, 27)), "sqrt(V) < 2 / (3 sqrt 3) exactly where V < 4/27")
    return proof.done("GRPO's mean bound is the better one exactly when the weighted mean of C is below 2 / (3 sqrt 3)")


CLAIMS = (
    Claim(
        id="X-COMPARE",
        source="whynorm",
        place="after Theorem 3.2, with the best constants",
        title="GRPO's best bound is better iff the mean of C is below 0.385",
        statement=(
            r"\overline{B}_{\mathrm{GRPO}} < \overline{B}_{\mathrm{REINFORCE}} \iff "
            r"\frac{\sum_i (1-\pi^*_{\theta_0}(i))\,\frac1T\sum_{t<T} C_{i,t}}{\sum_i (1-\pi^*_{\theta_0}(i))}"
            r" < \frac{2}{3\sqrt3} \approx 0.385"
        ),
        scope="expectation",
        relation="iff",
        left=_advantage,
        right=_margin,
        assumptions=(UNIQUE_ANSWER, ORTHOGONAL, BOUNDED_STD),
        rule=GRPO,
        step_size=lambda x_max_sq: 2 / x_max_sq,
        proof=_proof,
        remark=(
            "C is the tightest sequence along GRPO's own run. A prompt that stays where p (1 - p) < 4/27, that is p "
            "below 0.181 or above 0.819, favours GRPO; near p = 1/2 the bound of REINFORCE is better by 23%."
        ),
    ),
)
