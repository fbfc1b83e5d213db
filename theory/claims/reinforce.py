"""P-T31: the convergence theorem of REINFORCE on orthogonal prompts, as printed and as its proof delivers it."""

from __future__ import annotations

from typing import Any

from theory.assumptions import ORTHOGONAL, UNIQUE_ANSWER
from theory.certificates import Certificate, Proof
from theory.claim import Claim
from theory.claims._runs import descent_proof, gain, min_proof, reinforce_bound, running_min, steps_column, sum_proof
from theory.policy import Array
from theory.rules import REINFORCE

__all__ = ["CLAIMS"]


def _descent(run: Any) -> Array:
    return run.grad_sq[:-1] / (2 * run.n * run.x_max_sq)


def _proof_descent() -> Certificate:
    proof = Proof("P-T31-DESCENT-FIXED")
    descent_proof(proof, coefficient=(1, 2), curvature=(1, 1), step=(1, 1), normalised=False)
    return proof.done("E J_i(theta_t) - E J_i(theta_{t-1}) >= E ||grad J_i(theta_{t-1})||^2 / (2 n X^2)")


def _proof_sum() -> Certificate:
    proof = Proof("P-T31-SUM")
    sum_proof(proof, (1, 2), one_step="P-T31-DESCENT-FIXED", weighted=False)
    return proof.done("the sum over t < T of E ||grad J_i(theta_t)||^2 is at most 2 n (1 - p0) X^2, for every T")


def _proof_min() -> Certificate:
    proof = Proof("P-T31-MIN")
    min_proof(proof, (1, 2), one_step="P-T31-DESCENT-FIXED", weighted=False)
    return proof.done("min over t < T of E ||grad J_i(theta_t)||^2 is at most 2 n (1 - p0) X^2 / T, for every T")


def _claim(part: str, **fields: Any) -> Claim:
    return Claim(
        id=f"P-T31-{part}",
        source="paper",
        scope="expectation",
        assumptions=(UNIQUE_ANSWER, ORTHOGONAL),
        rule=REINFORCE,
        step_size=REINFORCE.step_size,
        **fields,
    )


CLAIMS = (
    _claim(
        "DESCENT",
        place="Theorem 3.1",
        title="REINFORCE, one step, as printed",
        statement=(
            r"\mathbb E[J_i(\theta_t)] - \mathbb E[J_i(\theta_{t-1})] \le "
            r"-\frac{1}{2nX_{\max}^2}\,\mathbb E\|\nabla J_i(\theta_{t-1})\|^2"
        ),
        relation="<=",
        left=gain,
        right=lambda run: -_descent(run),
        fixed_by="P-T31-DESCENT-FIXED",
        remark="J is maximised, so the printed inequality has both its direction and its sign reversed.",
    ),
    _claim(
        "DESCENT-FIXED",
        place="Theorem 3.1, eq. (20)",
        title="REINFORCE, one step, repaired",
        statement=(
            r"\mathbb E[J_i(\theta_t)] - \mathbb E[J_i(\theta_{t-1})] \ge "
            r"\frac{1}{2nX_{\max}^2}\,\mathbb E\|\nabla J_i(\theta_{t-1})\|^2"
        ),
        relation=">=",
        left=gain,
        right=_descent,
        proof=_proof_descent,
    ),
    _claim(
        "SUM",
        place="Theorem 3.1",
        title="REINFORCE, cumulative bound",
        statement=r"\sum_{t=0}^{T-1}\mathbb E\|\nabla J_i(\theta_t)\|^2 \le 2n\,(1-\pi^*_{\theta_0}(i))\,X_{\max}^2",
        relation="<=",
        left=lambda run: run.grad_sq[:-1].cumsum(axis=0),
        right=reinforce_bound,
        proof=_proof_sum,
    ),
    _claim(
        "MIN",
        place="App. D.2, end",
        title="REINFORCE, rate 1/T",
        statement=r"\min_{t<T}\mathbb E\|\nabla J_i(\theta_t)\|^2 \le \frac{2n(1-\pi^*_{\theta_0}(i))X_{\max}^2}{T}",
        relation="<=",
        left=lambda run: running_min(run.grad_sq[:-1]),
        right=lambda run: reinforce_bound(run) / steps_column(run),
        proof=_proof_min,
    ),
)
