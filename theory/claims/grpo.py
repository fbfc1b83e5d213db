"""P-T32: the convergence theorem of GRPO on orthogonal prompts, as printed and as its proof delivers it.

The sequence C_{i,t} is free within Assumption 3; the run supplies the tightest one, ``sup sqrt(V_i(theta_t))`` over the
prompt orders.
"""

from __future__ import annotations

from typing import Any

from theory.assumptions import BOUNDED_STD, ORTHOGONAL, UNIQUE_ANSWER
from theory.certificates import Certificate, Proof
from theory.claim import Claim
from theory.claims._runs import (
    descent_proof,
    gain,
    mean_factor,
    min_proof,
    reinforce_bound,
    running_max,
    running_min,
    steps_column,
    sum_proof,
)
from theory.policy import Array
from theory.rules import GRPO

__all__ = ["CLAIMS"]


def _descent(run: Any, bound: Array) -> Array:
    return 3 * run.grad_sq[:-1] / (16 * run.n * run.x_max_sq * bound)


def _proof_descent() -> Certificate:
    proof = Proof("P-T32-DESCENT-FIXED")
    descent_proof(proof, coefficient=(3, 16), curvature=(5, 2), step=(1, 2), normalised=True)
    return proof.done("E J_i(theta_t) - E J_i(theta_{t-1}) >= 3 E ||grad J_i(theta_{t-1})||^2 / (16 n X^2 C_{i,t-1})")


def _proof_sum() -> Certificate:
    proof = Proof("P-T32-SUM-FIXED")
    sum_proof(proof, (3, 16), one_step="P-T32-DESCENT-FIXED", weighted=True)
    return proof.done("the sum of E ||grad J_i||^2 is at most 2 n (1 - p0) X^2 (8/3) max_t C_{i,t}, for every T")


def _proof_min() -> Certificate:
    proof = Proof("P-T32-MIN")
    min_proof(proof, (3, 16), one_step="P-T32-DESCENT-FIXED", weighted=True)
    return proof.done("the minimum of E ||grad J_i||^2 is at most 2 n (1 - p0) X^2 / T times C(i, T), for every T")


def _claim(part: str, **fields: Any) -> Claim:
    return Claim(
        id=f"P-T32-{part}",
        source="paper",
        scope="expectation",
        assumptions=(UNIQUE_ANSWER, ORTHOGONAL, BOUNDED_STD),
        rule=GRPO,
        step_size=GRPO.step_size,
        **fields,
    )


CLAIMS = (
    _claim(
        "DESCENT",
        place="Theorem 3.2",
        title="GRPO, one step, as printed",
        statement=(
            r"\mathbb E[J_i(\theta_t)] - \mathbb E[J_i(\theta_{t-1})] \le "
            r"-\frac{3\,\mathbb E\|\nabla J_i(\theta_{t-1})\|^2}{16nX_{\max}^2 C_{i,t}}"
        ),
        relation="<=",
        left=gain,
        right=lambda run: -_descent(run, run.std_bound[1:]),
        fixed_by="P-T32-DESCENT-FIXED",
        remark="Direction and sign are reversed. C is at t, in the proof at t - 1: mended, both hold (X-GRPO-LATE).",
    ),
    _claim(
        "DESCENT-FIXED",
        place="Theorem 3.2, eq. (23)",
        title="GRPO, one step, repaired",
        statement=(
            r"\mathbb E[J_i(\theta_t)] - \mathbb E[J_i(\theta_{t-1})] \ge "
            r"\frac{3\,\mathbb E\|\nabla J_i(\theta_{t-1})\|^2}{16nX_{\max}^2 C_{i,t-1}}"
        ),
        relation=">=",
        left=gain,
        right=lambda run: _descent(run, run.std_bound[:-1]),
        proof=_proof_descent,
    ),
    _claim(
        "SUM",
        place="Theorem 3.2",
        title="GRPO, cumulative bound, as printed",
        statement=(
            r"\sum_{t=0}^{T-1}\mathbb E\|\nabla J_i(\theta_t)\|^2 \le 2n(1-\pi^*_{\theta_0}(i))X_{\max}^2"
            r"\cdot \frac{8}{3T}\sum_{t=0}^{T-1} C_{i,t}"
        ),
        relation="<=",
        left=lambda run: run.grad_sq[:-1].cumsum(axis=0),
        right=lambda run: reinforce_bound(run) * mean_factor(run),
        fixed_by="P-T32-SUM-FIXED",
        remark=(
            "Eq. (24) bounds the sum of E||grad||^2 / C_t. The mean of C_t can only come out for the minimum "
            "(Cauchy-Schwarz), not for the sum: with one prompt, as T grows the mean tends to 0 while the sum does "
            "not. With two prompts or more it holds: a prompt may be drawn at every step or never, so the least C "
            "does not fall, and runs ahead of the expectation (X-GRPO-SUM-MEAN)."
        ),
    ),
    _claim(
        "SUM-FIXED",
        place="Theorem 3.2, from eq. (24)",
        title="GRPO, cumulative bound, repaired",
        statement=(
            r"\sum_{t=0}^{T-1}\mathbb E\|\nabla J_i(\theta_t)\|^2 \le 2n(1-\pi^*_{\theta_0}(i))X_{\max}^2"
            r"\cdot \tfrac83 \max_{t<T} C_{i,t}"
        ),
        relation="<=",
        left=lambda run: run.grad_sq[:-1].cumsum(axis=0),
        right=lambda run: reinforce_bound(run) * running_max(run.std_bound[:-1]) * 8 / 3,
        proof=_proof_sum,
        remark="The maximum of C_t takes the place of its mean.",
    ),
    _claim(
        "MIN",
        place="App. D.3, end",
        title="GRPO, rate",
        statement=(
            r"\min_{t<T}\mathbb E\|\nabla J_i(\theta_t)\|^2 \le \frac{2n(1-\pi^*_{\theta_0}(i))X_{\max}^2}{T}"
            r"\cdot\frac{8}{3T}\sum_{t=0}^{T-1} C_{i,t}"
        ),
        relation="<=",
        left=lambda run: running_min(run.grad_sq[:-1]),
        right=lambda run: reinforce_bound(run) * mean_factor(run) / steps_column(run),
        proof=_proof_min,
    ),
)
