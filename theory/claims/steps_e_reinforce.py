"""Appendix E.1, display by display: REINFORCE where prompts interact, eqs. (25) to (28)."""

from __future__ import annotations

from typing import Any

import numpy as np

from theory.assumptions import INTERACTION, UNIQUE_ANSWER
from theory.claim import Claim, Link
from theory.claims import _relaxed_proofs as proofs
from theory.claims import _relaxed_sides as sides
from theory.claims._steps import own
from theory.claims.relaxed import reinforce_factor, reinforce_step
from theory.claims.steps_d import own_taylor, quadratic_in_eta
from theory.policy import Array
from theory.rules import REINFORCE

__all__ = ["ALONE", "CLAIMS", "POINTWISE", "SEGMENT", "SIGN", "TIME"]


def _weak_convexity(step: Any) -> Array:
    return own_taylor(step, step.x_max_sq / 2)


def _promise(step: Any) -> Array:
    return step.grad_sq / (2 * reinforce_factor(step.constants) * step.x_max_sq)


def _quarter(step: Any) -> Array:
    return (0 * step.gain + 1) / 2


def _last(step: Any) -> Array:
    return sides.assumption_4(step) - sides.curvature_term(step, _quarter)


def _displays_of_27(inner: Any, sign: int) -> tuple[Link, ...]:
    second = sides.through_lemma_17(inner, sides.variance_somewhere)
    third = sides.through_lemma_17(inner, _quarter)
    return (
        Link("Lemma 17 in (26)", "==", sides.remaining, sides.lemma_17(sign)),
        Link("(16)", ">=", sides.gain, second),
        Link("V at most 1/4", ">=", second, third),
        Link("Assumption 4", ">=", third, _last),
        Link("the step size", ">=", _last, lambda step: 0 * sides.gain(step)),
    )


def _scale(run: Any) -> Any:
    return 2 * run.n * reinforce_factor(run.constants) * run.x_max_sq


def _claim(number: str, title: str, statement: str, **fields: Any) -> Claim:
    return Claim(
        id=f"P-STEP-{number}",
        source="paper",
        place=fields.pop("place", f"App. E.1, eq. ({number.removesuffix('-FIXED')})"),
        title=title,
        statement=statement,
        scope=fields.pop("scope", "step"),
        assumptions=(UNIQUE_ANSWER, INTERACTION),
        rule=REINFORCE,
        step_size=reinforce_step,
        **fields,
    )


_G = r"\|\nabla J_l(\theta_{t-1})\|^2"
_GI = r"\nabla J_i(\theta_{t-1})"
_GAIN = r"J_l(\theta_t) - J_l(\theta_{t-1})"
_MOVE = r"\theta_t-\theta_{t-1}"
_M = r"\max(1,\tfrac M2)"
_P = rf"\|X_l{_GI}\|^2"
_HR = r"(H(\pi_{\theta'}(l))r_l)^\top"


def _statement_27(time: str, sign: str) -> str:
    inner = rf"\eta\langle\nabla J_l(\theta_{{{time}}}),\nabla J_i(\theta_{{{time}}})\rangle"
    return (
        rf"{_GAIN} = \eta\langle\nabla J_l(\theta_{{t-1}}),{_GI}\rangle "
        rf"+ \tfrac12\eta^2{_HR}(X_l{_GI}\odot X_l{_GI}) {sign} \eta^2{_HR}(X_l{_GI})(\pi_{{\theta'}}^\top X_l{_GI}) "
        rf"\ge {inner} - 2\eta^2 V_l(\theta'){_P} \ge {inner} - \tfrac{{\eta^2}}2{_P} "
        rf"\ge \frac{{\eta{_P}}}{{M\|X_l\|^2}} - \tfrac{{\eta^2}}2{_P} \ge 0"
    )


POINTWISE = "Line 1 holds the two forms of the second-order term against each other at theta' = theta_{t-1}."
SEGMENT = (
    "V(theta') is its mean over the step with the weights of Taylor's remainder, which it attains at some theta' there."
)
SIGN = "The last term of line 1 has the wrong sign: Lemma 17 subtracts it."
TIME = "From line 2 on the gradients in the inner product are printed at theta_t; Taylor has them at theta_{t-1}."
# What a verdict shows is the first slip; tests/test_theory_claims_steps.py has either of them alone.
ALONE = (
    "Either slip alone is refuted: the sign in line 1, which is the counterexample; the time by the lower bound {} on "
    "the gain, with three prompts two of which share a feature (an instance of the tests: the search does not meet it)."
)
_SKETCH = (
    "The proof sketch of Theorems 3.3 and 3.4 has J_l(theta_{t+1}) >= J_l(theta_t) for i_t != l: the prompt that moves "
    "theta_t to theta_{t+1} is i_{t+1}."
)

CLAIMS = (
    _claim(
        "25",
        "REINFORCE with interaction, gain of the drawn prompt",
        rf"{_GAIN} \ge \langle{_MOVE},\nabla J_l(\theta_{{t-1}})\rangle - \frac{{X_{{\max}}^2}}2\|{_MOVE}\|^2 "
        rf"= (\eta-\frac{{X_{{\max}}^2}}2\eta^2){_G} \ge \frac1{{2{_M}X_{{\max}}^2}}{_G}",
        chain=(
            Link("weak convexity", ">=", lambda s: own(s.gain), _weak_convexity),
            Link("the update", "==", _weak_convexity, quadratic_in_eta),
            Link("the step size", ">=", quadratic_in_eta, _promise),
        ),
        proof=proofs.proof_25,
    ),
    _claim(
        "26",
        "Taylor expansion, another prompt drawn",
        rf"{_GAIN} = \langle{_MOVE},\nabla J_l(\theta_{{t-1}})\rangle "
        rf"+ \tfrac12\eta^2\,{_GI}^\top\nabla^2 J_l(\theta')\,{_GI}",
        relation="==",
        left=sides.gain,
        right=sides.taylor,
        proof=proofs.proof_26,
        remark=(
            "Checked with the remainder in its integral form, which is the printed one at some theta' of the segment "
            "by the mean value theorem."
        ),
    ),
    _claim(
        "27",
        "another prompt drawn, as printed",
        _statement_27("t", "+"),
        chain=_displays_of_27(sides.inner_after, 1),
        fixed_by="P-STEP-27-FIXED",
        remark=f"{SIGN} {TIME} {ALONE.format('of line 3')} {POINTWISE} {SEGMENT} {_SKETCH}",
    ),
    _claim(
        "27-FIXED",
        "another prompt drawn, repaired",
        _statement_27("t-1", "-"),
        chain=_displays_of_27(sides.inner_before, -1),
        proof=proofs.proof_27,
        remark=f"{POINTWISE} {SEGMENT}",
    ),
    _claim(
        "28",
        "REINFORCE with interaction, expected gain",
        rf"\mathbb E[J_l(\theta_t)] - \mathbb E[J_l(\theta_{{t-1}})] \ge \frac1{{2{_M}nX_{{\max}}^2}}{_G}",
        relation=">=",
        left=lambda s: np.sum(s.gain, axis=0) / s.n,
        right=lambda s: _promise(s) / s.n,
        proof=proofs.proof_28,
        misprint=True,
        remark="The right side is printed without E: E is read as the mean over i_t, given theta_{t-1}.",
    ),
    _claim(
        "E1-SUM",
        "REINFORCE with interaction, the gains summed",
        rf"\frac1{{2n{_M}X_{{\max}}^2}}\sum_{{t=0}}^{{T-1}}\mathbb E{_G} \le \mathbb E[J_l(\theta_T)] - J_l(\theta_0) "
        r"\le 1-\pi^*_{\theta_0}(l)",
        place="App. E.1, after eq. (28)",
        scope="interacting",
        chain=(
            Link(
                "(28) summed",
                "<=",
                lambda run: run.grad_sq[:-1].cumsum(axis=0) / _scale(run),
                lambda run: run.gain.cumsum(axis=0),
            ),
            Link(
                "a probability is at most 1",
                "<=",
                lambda run: run.gain.cumsum(axis=0),
                lambda run: run.q[0] + 0 * run.gain,
            ),
        ),
        proof=proofs.proof_sum,
        misprint=True,
        remark="The sum over t = 0..T-1 has the gradient at theta_{t-1}, an index of -1 at t = 0; read as theta_t.",
    ),
)
