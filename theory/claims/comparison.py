"""P-T32-COMPARE: is GRPO's bound better than REINFORCE's exactly when C(T) < 1?"""

from __future__ import annotations

from typing import Any

from theory.assumptions import ORTHOGONAL, UNIQUE_ANSWER
from theory.certificates import Certificate, Proof
from theory.claim import Claim
from theory.claims._runs import steps_column
from theory.policy import Array
from theory.rules import GRPO

__all__ = ["CLAIMS"]


def _factors(run: Any) -> Array:
    """``C(i, T)`` with the mean of ``sqrt(V_i(theta_t))`` for C, as the paper estimates it; ``(T, n)``."""
    return run.std_mean[:-1].cumsum(axis=0) * 8 / (3 * steps_column(run))


def _advantage(run: Any) -> Array:
    """Average over prompts of (REINFORCE's bound - GRPO's bound), in units of ``2 n X^2``; positive: GRPO better."""
    return (run.q[0] * (1 - _factors(run))).mean(axis=1)


def _plain(run: Any) -> Array:
    return 1 - _factors(run).mean(axis=1)


def _weighted(run: Any) -> Array:
    return 1 - (run.q[0] * _factors(run)).sum(axis=1) / run.q[0].sum()


def _proof() -> Certificate:
    proof = Proof("P-T32-COMPARE-FIXED")
    n = proof.symbol("n", "positive", "number of prompts")
    total = proof.symbol("Q", "positive", "sum over prompts of 1 - p0_i")
    mixed = proof.symbol("M", "nonnegative", "sum over prompts of (1 - p0_i) C(i, T)")
    proof.fact("GRPO's bound is C(i, T) times REINFORCE's bound 2 n (1 - p0_i) X^2, for each prompt i.")
    proof.equal(
        (total - mixed) / n,
        total / n * (1 - mixed / total),
        "the difference of the mean bounds is a positive multiple of 1 - (weighted mean of C)",
    )
    return proof.done("the mean bound is better exactly when the (1 - p0)-weighted mean of C(i, T) is below 1")


def _claim(part: str, **fields: Any) -> Claim:
    return Claim(
        id=f"P-T32-COMPARE{part}",
        source="paper",
        place="after Theorem 3.2",
        scope="expectation",
        relation="iff",
        left=_advantage,
        assumptions=(UNIQUE_ANSWER, ORTHOGONAL),
        rule=GRPO,
        step_size=GRPO.step_size,
        **fields,
    )


CLAIMS = (
    _claim(
        "",
        title="GRPO's bound is better iff C(T) < 1, as printed",
        statement=(
            r"\overline{B}_{\mathrm{GRPO}} < \overline{B}_{\mathrm{REINFORCE}} \iff "
            r"C(T) = \frac1n\sum_i \frac{8}{3T}\sum_{t<T}\sqrt{V_i(\theta_t)} < 1"
        ),
        right=_plain,
        fixed_by="P-T32-COMPARE-FIXED",
        remark=(
            "Read for the bounds averaged over prompts. Each prompt's bound carries its own 1 - p0, so the average "
            "must be weighted. For a single prompt the statement holds (and says only C(i, T) < 1). The source has one "
            'direction, "provided that" C(T) < 1; the other is added here. The counterexample is one to the source\'s '
            "own: C(T) < 1, and GRPO's bound is the larger one. The text before it sums over i = 0..T-1 where t is "
            "meant, and the one after it calls C(T) the average standard deviation, though it has a factor 8/3."
        ),
    ),
    _claim(
        "-FIXED",
        title="GRPO's bound is better iff the weighted C(T) < 1",
        statement=(
            r"\overline{B}_{\mathrm{GRPO}} < \overline{B}_{\mathrm{REINFORCE}} \iff "
            r"\frac{\sum_i (1-\pi^*_{\theta_0}(i))\, C(i,T)}{\sum_i (1-\pi^*_{\theta_0}(i))} < 1"
        ),
        right=_weighted,
        proof=_proof,
        remark="With n = 1, or equal p0, this is the printed condition.",
    ),
)
