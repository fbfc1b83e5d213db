r"""X-SCALES: what Assumption 4 alone says of two prompts whose scales V differ: their gradients hardly overlap.

It bounds ``X_i grad J_k`` by the inner product of the two gradients, and that product is at most
``sqrt(2) V_i ||X_i grad J_k||``. So with one M for both orders of a pair, the product is small as soon as either V is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from theory.assumptions import INTERACTION, UNIQUE_ANSWER
from theory.certificates import Certificate, Proof
from theory.claim import Claim, Link
from theory.claims._steps import of_others, root, smaller
from theory.claims.relaxed import reinforce_step
from theory.instances import Instance
from theory.policy import Array
from theory.rules import REINFORCE

__all__ = ["CLAIMS"]


# Sides are `[k, i]` over pairs of different prompts: X_i is applied to the gradient of k, as in Assumption 4.
def _inner(step: Any) -> Array:
    """``grad J_i . grad J_k``."""
    return of_others(step.state.gradient @ step.state.gradient.T)


def _reach(step: Any) -> Array:
    """``||X_i grad J_k||``."""
    return of_others(step.projected(step.state.gradient) ** 0.5)


def _through_reach(step: Any) -> Array:
    """``sqrt(2) V_i ||X_i grad J_k||``."""
    scale = step.state.variance + np.zeros((step.n, 1), dtype=int)
    return root(2, _reach(step)) * of_others(scale) * _reach(step)


def _most_reach(step: Any) -> Array:
    """``sqrt(2) M ||X_i||^2 V_i``."""
    scale = step.x_sq * step.state.variance + np.zeros((step.n, 1), dtype=int)
    return root(2, _reach(step)) * step.constants.M * of_others(scale)


def _most_inner(step: Any) -> Array:
    """``2 M min(||X_i||^2 V_i^2, ||X_k||^2 V_k^2)``."""
    scale = step.x_sq * step.state.variance**2 + np.zeros((step.n, 1), dtype=int)
    return 2 * step.constants.M * of_others(smaller(scale, scale.T))


def _proof() -> Certificate:
    proof = Proof("X-SCALES")
    v = proof.symbol("V", "positive", "V_i(theta)")
    x_sq = proof.symbol("x2", "positive", "||X_i||^2")
    m = proof.symbol("M", "positive", "of Assumption 4")
    reach = proof.symbol("z", "nonnegative", "||X_i grad J_k||")
    g_v = proof.symbol("g_v", "nonnegative", "1 - sum of v_j^2")
    g_w = proof.symbol("g_w", "nonnegative", "1 - sum of w_j^2")
    inner = proof.symbol("I", "real", "grad J_i . grad J_k")
    cauchy = proof.symbol("k", "nonnegative", "||v - w||^2 z^2 - ((v - w) . X_i grad J_k)^2, Cauchy-Schwarz")
    slack = proof.symbol("s", "nonnegative", "||X_i||^2 M grad J_i . grad J_k - z^2, Assumption 4")
    proof.fact("grad J_i = V_i X_i^T (v - w), v and w the policy on its right and wrong outputs: X-SEVERAL-IDENTITY.")
    proof.fact("v and w live on different outputs, so ||v - w||^2 = sum v_j^2 + sum w_j^2.")
    proof.relation(inner**2, v**2 * ((2 - g_v - g_w) * reach**2 - cauchy), "the product is V_i (v - w) . X_i grad J_k")
    proof.relation(m * x_sq * inner, reach**2 + slack, "Assumption 4")
    along = v**2 * ((g_v + g_w) * reach**2 + cauchy)
    proof.nonnegative(2 * v**2 * reach**2 - inner**2, along, "|grad J_i . grad J_k| <= sqrt(2) V_i z")
    proof.nonnegative(inner, (reach**2 + slack) / (m * x_sq), "the product is not negative")
    some = proof.symbol(
        "J", "positive", "case grad J_i . grad J_k > 0: its value; where it is 0, so is z, and all holds"
    )
    proof.relation(some, inner, "case grad J_i . grad J_k > 0")
    room = (along + 2 * v**2 * slack) / some
    proof.nonnegative(2 * m * x_sq * v**2 - some, room, "the product is at most 2 M ||X_i||^2 V_i^2")
    proof.nonnegative(
        2 * m**2 * x_sq**2 * v**2 - reach**2, m * x_sq * room + slack, "z is at most sqrt(2) M ||X_i||^2 V_i"
    )
    proof.fact("Assumption 4 is about both orders of a pair: the same with i and k exchanged bounds the same product.")
    return proof.done("0 <= grad J_i . grad J_k <= 2 M min(||X_i||^2 V_i^2, ||X_k||^2 V_k^2), through ||X_i grad J_k||")


def _attained() -> Instance:
    """Two prompts along one line, ``V_2 / V_1 = 5.9``; here M = V_2 / (2 V_1) is the least one."""
    features = np.array([[[1.0], [-1.0]], [[0.5], [-0.5]]])
    return Instance(features, np.array([0, 0]), np.array([2.0]), np.ones(1), np.zeros(1))


CLAIMS = (
    Claim(
        id="X-SCALES",
        source="whynorm",
        place="Assumption 4",
        title="with interaction, two gradients overlap by no more than the square of the smaller scale",
        statement=(
            r"0 \le \nabla J_i^\top\nabla J_k \le \sqrt2\,V_i\,\|X_i\nabla J_k\|, \quad "
            r"\|X_i\nabla J_k\| \le \sqrt2\,M\|X_i\|^2 V_i, \quad "
            r"\nabla J_i^\top\nabla J_k \le 2M\min(\|X_i\|^2V_i^2, \|X_k\|^2V_k^2), "
            r"\quad i \ne k, \text{ at every } \theta"
        ),
        scope="step",
        chain=(
            Link("no conflict", ">=", _inner, lambda step: 0 * _inner(step)),
            Link("Cauchy-Schwarz", "<=", _inner, _through_reach),
            Link("Assumption 4", "<=", _reach, _most_reach),
            Link("both orders of the pair", "<=", _inner, _most_inner),
        ),
        assumptions=(UNIQUE_ANSWER, INTERACTION),
        rule=REINFORCE,
        step_size=reinforce_step,
        proof=_proof,
        witness=_attained,
        remark=(
            "It speaks of one theta; the step plays no part, so it holds along any run of any rule. Over the "
            "gradients' norms it bounds their cosine: with K = 2 outputs, l the distance between the features of a "
            "prompt's two, and s the prompt with the smaller V, by 2 M ||X_s||^2 V_s / (l_i l_k V), V the larger one."
            " So beside an open prompt one that is all but solved, or all but hopeless, is nearly orthogonal to it; "
            "or else M is large, and the steps of Theorems 3.3 and 3.4 small. Attained by two prompts with features 1"
            " and -1, and 1/2 and -1/2."
        ),
    ),
)
