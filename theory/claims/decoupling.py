"""P-LD1 and S-ORTHO: orthogonal representations decouple prompts; orthogonal gradients at a point do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from theory.assumptions import GRADIENT_ORTHOGONAL, ORTHOGONAL, UNIQUE_ANSWER, Assumption
from theory.certificates import Certificate, Proof
from theory.claim import Claim
from theory.points import Point
from theory.policy import Array
from theory.rules import GRPO

__all__ = ["CLAIMS"]


def _products(point: Point) -> Array:
    """``grad J_i . grad J_j`` for all i < j, from the two gradients."""
    rows, columns = np.triu_indices(len(point.answers), k=1)
    gradients = point.state.gradient
    return np.sum(gradients[rows] * gradients[columns], axis=1)


def _proof() -> Certificate:
    proof = Proof("P-LD1")
    h = proof.symbol("h", "real", "[H_i r_i]_k [H_j r_j]_l, the coefficient of one pair of outputs")
    x = proof.symbol("x", "real", "x_{i,k} . x_{j,l}, one entry of X_i X_j^T")
    proof.fact("grad J_i = X_i^T H_i r_i (P-EQ10), so the product is a double sum over pairs of outputs.")
    proof.fact("Assumption 2: every entry of X_i X_j^T is 0.")
    proof.moments(h * x, {x: sp.Integer(0)}, sp.Integer(0), "each term of the double sum vanishes")
    return proof.done("X_i X_j^T = 0 implies grad J_i . grad J_j = 0")


def _others_gain(step: Any) -> Array:
    """What prompts gain when another is drawn, all pairs."""
    return step.gain[step.others]


def _decoupled() -> Certificate:
    proof = Proof("S-ORTHO-FIXED")
    h = proof.symbol("h", "real", "eta times the coefficient of x_{i,j} in the update of the drawn prompt i")
    x = proof.symbol("x", "real", "x_{l,k} . x_{i,j}, one entry of X_l X_i^T")
    proof.fact(
        "The update is X_i^T h with h a multiple of H_i r_i (P-EQ10), so output k of prompt l changes its logit by a "
        "sum over the outputs of i."
    )
    proof.fact("Assumption 2 of the paper: every entry of X_l X_i^T is 0. J_l is a function of the logits of prompt l.")
    proof.moments(h * x, {x: sp.Integer(0)}, sp.Integer(0), "no logit of another prompt moves")
    return proof.done("an update on prompt i leaves every other prompt where it is")


def _told(name: str, orthogonality: Assumption, **fields: Any) -> Claim:
    return Claim(
        id=name,
        source="talk",
        place="Assumption 2 (Gradient Orthogonality)",
        scope="step",
        relation="==",
        left=_others_gain,
        right=lambda step: 0 * _others_gain(step),
        assumptions=(UNIQUE_ANSWER, orthogonality),
        rule=GRPO,
        step_size=lambda constants: 1 / (2 * constants.x_max_sq),
        **fields,
    )


# Let y_k be the wrong features of prompt i less its right one, z_l those of prompt j. grad J_i . grad J_j is a positive
# multiple of the sum over k, l of e^{(y_k + z_l) . theta} y_k . z_l: 0 for all theta iff the products that share an
# exponent sum to 0. K = 2 has one product. K = 3: where y_1 = y_2 or z_1 = z_2, equal exponents mean equal products. If
# not, exponents coincide in one pair at most, say y_1 + z_2 = y_2 + z_1, so e = y_1 - y_2 = z_1 - z_2. Then y_1 . z_1 =
# y_2 . z_2 = 0 and y_1 . z_2 + y_2 . z_1 = 0, but that sum is y_1 . z_1 + y_2 . z_2 - |e|^2: so e = 0. Hence every
# y_k . z_l is 0, and a step of i, a combination of the y_k, moves no log-odds of j. From K = 4 on let the y be a (K - 2
# times) and a + e, the z be b and b + e (K - 2 times): three exponents, whose conditions have solutions in the plane.
_TALK = (
    _told(
        "S-ORTHO",
        GRADIENT_ORTHOGONAL,
        title="orthogonal gradients decouple the prompts, as told",
        statement=(
            r"\nabla J_i(\theta_{t-1})^\top \nabla J_l(\theta_{t-1}) = 0 \ \Rightarrow\ "
            r"J_l(\theta_t) = J_l(\theta_{t-1}) \ \text{ when } i \text{ is updated}"
        ),
        fixed_by="S-ORTHO-FIXED",
        remark=(
            "Orthogonal gradients only make the first-order change vanish. Stated at the parameters of the step; in "
            "the kept counterexample (K = 5) they are orthogonal at every theta, so the talk's assumption, read so, "
            "does not help. Orthogonality at every theta is enough for K = 2 and K = 3, and for no K from 4 on."
        ),
    ),
    _told(
        "S-ORTHO-FIXED",
        ORTHOGONAL,
        title="orthogonal features decouple the prompts",
        statement=(
            r"X_i X_l^\top = 0 \ \Rightarrow\ J_l(\theta_t) = J_l(\theta_{t-1}) \ \text{ when } i \text{ is updated}"
        ),
        proof=_decoupled,
        remark="With the paper's Assumption 2 in place of the talk's.",
    ),
)
CLAIMS = (
    Claim(
        id="P-LD1",
        source="paper",
        place="Lemma D.1, eq. (17)",
        title="orthogonal prompts have orthogonal gradients",
        statement=r"X_i X_j^\top = 0 \ \Rightarrow\ \nabla J_i(\theta)^\top \nabla J_j(\theta) = 0",
        scope="point",
        relation="==",
        left=_products,
        right=lambda point: 0 * _products(point),
        assumptions=(UNIQUE_ANSWER, ORTHOGONAL),
        proof=_proof,
    ),
    *_TALK,
)
