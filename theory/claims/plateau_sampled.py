r"""X-PLATEAU-SAMPLED: the plateau of a sampled run, whatever its noise.

``E[q'/p']`` after one step with a fresh group of G outputs is at least ``q/p - sqrt(G-1) eta |g|^2 q^2``: the noise of
sampling cannot buy an escape that the expected update does not have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flint
import numpy as np

from theory.advantages import PRESETS
from theory.assumptions import UNIQUE_ANSWER
from theory.certificates import Certificate, Proof
from theory.claim import Claim
from theory.claims._setting import probabilities
from theory.exact import as_balls, precision
from theory.groups import Group
from theory.judge import EXACT_BITS
from theory.policy import Array

__all__ = ["CLAIMS"]


def _wide(side: Callable[[Group], Array]) -> Callable[[Group], Array]:
    """The side with many digits: for a hard prompt the change of q/p is 1e-70 of q/p."""

    def evaluated(group: Group) -> Array:
        with precision(max(flint.ctx.prec, EXACT_BITS)):
            return side(group)

    return evaluated


def _eta(group: Group) -> Any:
    """GRPO's step size ``1 / (2 X_max^2)``."""
    return as_balls(1.0)[()] / (2 * group.x_max_sq)


def _change(group: Group) -> Array:
    state = group.exact_state
    return np.asarray(state.q / state.p - group.failure_odds_after(PRESETS["paper"], _eta(group)))


def _bound(group: Group) -> Array:
    state = group.exact_state
    most = as_balls(float(group.enumerated - 1))[()] ** 0.5
    return np.asarray(most * _eta(group) * np.sum(state.gap * state.gap, axis=1) * state.q * state.q)


def _proof() -> Certificate:
    proof = Proof("X-PLATEAU-SAMPLED")
    p, q = probabilities(proof)
    eta = proof.symbol("eta", "positive", "step size")
    gap = proof.symbol("g", "nonnegative", "|grad L|^2")
    weight = proof.symbol("w", "nonnegative", "w_G(p)")
    over = proof.symbol("h", "nonnegative", "sqrt(G - 1) - w_G(p), X-GROUP-BOUND")
    most = proof.symbol("m", "positive", "sqrt(G - 1)")
    proof.relation(most, weight + over, "w_G <= sqrt(G - 1)")
    proof.fact("Assumption 1: y^T Hess L y = -s2 (X-IDENTITY), so L is concave and L(theta + y) <= L + grad L . y.")
    proof.fact("exp(-z) >= 1 - z for every real z.")
    proof.fact("With q/p = exp(-L): q'/p' >= (q/p) (1 - grad L . y) for the step y of any group that is drawn.")
    proof.equal(
        q / p * eta * weight * p * q * gap, eta * weight * q**2 * gap, "mean over groups, X-GROUP: E y = eta w V g"
    )
    proof.nonnegative(
        eta * most * gap * q**2 - q / p * eta * weight * (p * q) * gap,
        eta * gap * q**2 * over,
        "at most, by the ceiling",
    )
    proof.nonnegative(1 - q**2, p * (1 + q), "q^2 <= 1")
    proof.fact("Given theta_t the next group is fresh; take expectations and sum over t < T, with |grad L|^2 <= 2 X^2.")
    return proof.done("E[q_T/p_T] >= q_0/p_0 - 2 sqrt(G - 1) eta X^2 T, for every K and T and any eta > 0")


CLAIMS = (
    Claim(
        id="X-PLATEAU-SAMPLED",
        source="whynorm",
        place="plateau, sampled groups",
        title="sampled groups: the noise does not shorten the plateau",
        statement=(
            r"\frac{q_t}{p_t}-\mathbb E\Big[\frac{q_{t+1}}{p_{t+1}}\Big|\theta_t\Big] \le "
            r"\sqrt{G-1}\,\eta\,\|g_t\|^2 q_t^2, \qquad \mathbb E\frac{q_T}{p_T} \ge "
            r"\frac{q_0}{p_0}-2\sqrt{G-1}\,\eta X_{\max}^2 T"
        ),
        scope="group",
        relation="<=",
        left=_wide(_change),
        right=_wide(_bound),
        assumptions=(UNIQUE_ANSWER,),
        proof=_proof,
        remark=(
            "Checked as the one-step inequality over all draws, with eta = 1 / (2 X^2); the sum over T is the second "
            "display. The mean of q/p is at most 1 no sooner than after (q0/p0 - 1) / (2 sqrt(G-1) eta X^2) steps."
        ),
    ),
)
