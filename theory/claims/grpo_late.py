r"""X-GRPO-LATE: Theorems 3.2 and 3.4 in one step, with C at the step's end as printed; only sign and direction mended.

The proofs have C at the step's start. Its end will do as well: among the prompts that may be drawn is the observed one,
whose own step moves its log-odds by at most sqrt(V) <= 1/2, so C there is at least 3/4 of sqrt(V) at the start, and the
constant 3/16 has that to spare.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from theory.assumptions import BOUNDED_STD, INTERACTION, ORTHOGONAL, SCALE, UNIQUE_ANSWER
from theory.certificates import Certificate, Proof
from theory.claim import Claim
from theory.claims._runs import UNDRAWN, drawn_gain, gain
from theory.claims.relaxed import grpo_factor, grpo_step
from theory.policy import Array
from theory.rules import GRPO

__all__ = ["CLAIMS"]


def _own_step(proof: Proof, factor: sp.Expr) -> None:
    """What a drawn prompt gains, against C at the end of its step; ``factor`` is the f of ``eta = 1 / (2 f X^2)``."""
    least, x_sq, c, grad_sq = drawn_gain(proof, factor)
    _end_of_step(proof, c)
    late = proof.symbol("C", "positive", "C_{i,t}")
    over = proof.symbol("h", "nonnegative", "C - 3c/4, Assumption 3")
    proof.relation(late, 3 * c / 4 + over, "C is at least sqrt(V) after that step")
    shown = sp.Rational(5, 16) * grad_sq / (factor * x_sq * late)
    terms = grad_sq / (factor * x_sq * c * late) * (c / 160 + sp.Rational(17, 40) * over)
    proof.nonnegative(least - shown, terms, "C_{i,t} may replace sqrt(V), with 5/16, above the printed 3/16")


def _end_of_step(proof: Proof, c: sp.Symbol) -> None:
    """``sqrt(V)`` at the end of the prompt's own step."""
    proof.fact(
        "The log-odds move by at most sqrt(2) ||X y|| <= c along the step: their slope is a mean of right outputs' X y"
    )
    proof.fact("less a mean of wrong ones', X-SEVERAL-IDENTITY; and |d log V| <= |d log-odds|, c <= 1/2.")
    box = {c: (0, sp.Rational(1, 2))}
    proof.bound(sp.exp(c / 2), box, sp.Rational(4, 3), "so sqrt(V) at the end is at least c exp(-c/2) >= 3c/4")
    proof.fact("Prompt i is drawn with odds 1/n, whatever state it is in: C_{i,t} allows for that outcome.")


def _orthogonal() -> Certificate:
    proof = Proof("X-GRPO-LATE")
    _own_step(proof, sp.Integer(1))
    proof.fact(UNDRAWN)
    return proof.done("E J_i(theta_t) - E J_i(theta_{t-1}) >= 3 E ||grad J_i(theta_{t-1})||^2 / (16 n X^2 C_{i,t})")


def _interacting() -> Certificate:
    proof = Proof("X-GRPO-LATE-INTERACTING")
    over = proof.symbol("o", "nonnegative", "f - 1, f = max(R1, 5M/8) R2; R1, R2 >= 1 by Assumption 5")
    _own_step(proof, 1 + over)
    proof.fact("A prompt that is not drawn does not lose: P-STEP-31-FIXED. It is drawn with odds 1/n.")
    return proof.done("the expected gain of every prompt is at least 3 E ||grad J||^2 / (16 n f X^2 C_{i,t})")


def _late(run: Any, factor: Any) -> Array:
    """``3 E ||grad J_i(theta_{t-1})||^2 / (16 n f X^2 C_{i,t})``, ``(T, n)``."""
    return 3 * run.grad_sq[:-1] / (16 * run.n * factor * run.x_max_sq * run.std_bound[1:])


def _claim(part: str, factor: str, **fields: Any) -> Claim:
    return Claim(
        id=f"X-GRPO-LATE{part}",
        source="whynorm",
        statement=(
            r"\mathbb E[J_i(\theta_t)] - \mathbb E[J_i(\theta_{t-1})] \ge "
            rf"\frac{{3\,\mathbb E\|\nabla J_i(\theta_{{t-1}})\|^2}}{{16n{factor}X_{{\max}}^2 C_{{i,t}}}}"
        ),
        relation=">=",
        left=gain,
        rule=GRPO,
        **fields,
    )


CLAIMS = (
    _claim(
        "",
        "",
        place="Theorem 3.2 with its sign mended",
        title="GRPO, one step, with C at the step's end as printed",
        scope="expectation",
        right=lambda run: _late(run, 1),
        assumptions=(UNIQUE_ANSWER, ORTHOGONAL, BOUNDED_STD),
        step_size=GRPO.step_size,
        proof=_orthogonal,
        remark="Beside P-T32-DESCENT-FIXED, which has C at t - 1 as the paper's proof. 5/16 in place of 3/16 would do.",
    ),
    _claim(
        "-INTERACTING",
        r"\max(R_1,\tfrac{5M}8)R_2",
        place="Theorem 3.4 with its sign mended",
        title="GRPO with interaction, one step, with C at the step's end as printed",
        scope="interacting",
        right=lambda run: _late(run, grpo_factor(run.constants)),
        assumptions=(UNIQUE_ANSWER, BOUNDED_STD, INTERACTION, SCALE),
        step_size=grpo_step,
        proof=_interacting,
        remark="Beside P-T34-DESCENT-FIXED, which has C at t - 1 as the paper's proof.",
    ),
)
