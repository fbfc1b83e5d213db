"""P-LD1: orthogonal representations decouple the prompts' gradients."""

from __future__ import annotations

import numpy as np
import sympy as sp

from theory.assumptions import ORTHOGONAL, UNIQUE_ANSWER
from theory.certificates import Certificate, Proof
from theory.claim import Claim
from theory.points import Point
from theory.policy import Array

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
)
