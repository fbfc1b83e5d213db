"""Appendix E.2, display by display: one step of GRPO where prompts interact, eqs. (29) to (31)."""

from __future__ import annotations

from typing import Any

import numpy as np

from theory.assumptions import BOUNDED_STD, INTERACTION, SCALE, UNIQUE_ANSWER
from theory.claim import Claim, Link, Scope
from theory.claims import _relaxed_proofs as proofs
from theory.claims import _relaxed_sides as sides
from theory.claims._steps import of_others, own
from theory.claims.relaxed import grpo_factor, grpo_step
from theory.claims.steps_d import own_taylor
from theory.claims.steps_e_reinforce import ALONE, POINTWISE, SIGN, TIME
from theory.policy import Array
from theory.rules import GRPO

__all__ = ["CLAIMS", "display"]


def _lemma_33(step: Any) -> Array:
    return own_taylor(step, step.x_max_sq * step.std * 5 / 4)


def _promise(step: Any, scale: Array) -> Array:
    return 3 * step.grad_sq / (16 * grpo_factor(step.constants) * step.x_max_sq * scale)


def _counted_twice(step: Any) -> Array:
    """The change of J_l that eq. (30) as printed leaves to the second-order term, in absolute value."""
    return np.abs(sides.gain(step) - of_others(step.eta / step.std[:, None] * step.slopes))


def _most_curvature(step: Any) -> Array:
    return of_others(step.projected(step.move)) / 2


def _five_quarters(step: Any) -> Array:
    return np.asarray(0 * step.gain + step.std * 5 / 4)


def _last(step: Any) -> Array:
    return sides.assumption_4(step) - sides.curvature_term(step, _five_quarters)


def _displays_of_31(inner: Any, sign: int) -> tuple[Link, ...]:
    second = sides.through_lemma_17(inner, _five_quarters)
    return (
        Link("Lemma 17 in (30)", "==", sides.remaining, sides.lemma_17(sign)),
        Link("Lemma 3.3", ">=", sides.gain, second),
        Link("Assumption 4", ">=", second, _last),
        Link("the step size, Assumption 5", ">=", _last, lambda step: 0 * sides.gain(step)),
    )


def _displays_of_29(second: str) -> tuple[Link, ...]:
    return (
        Link("Lemma 3.3", ">=", lambda s: own(s.gain), _lemma_33),
        Link("the step size", "==" if second == "=" else ">=", _lemma_33, lambda s: _promise(s, s.std)),
        Link("Assumption 3", ">=", lambda s: _promise(s, s.std), lambda s: _promise(s, s.std_bound)),
    )


def display(number: str, title: str, statement: str, scope: Scope = "step", **fields: Any) -> Claim:
    """A numbered display of Appendix E.2 as a claim."""
    return Claim(
        id=f"P-STEP-{number}",
        source="paper",
        place=f"App. E.2, eq. ({number.removesuffix('-FIXED')})",
        title=title,
        statement=statement,
        scope=scope,
        assumptions=(UNIQUE_ANSWER, BOUNDED_STD, INTERACTION, SCALE),
        rule=GRPO,
        step_size=grpo_step,
        **fields,
    )


_G = r"\|\nabla J_l(\theta_{t-1})\|^2"
_GI = r"\nabla J_i(\theta_{t-1})"
_GL = r"\nabla J_l(\theta_{t-1})"
_GAIN = r"J_l(\theta_t) - J_l(\theta_{t-1})"
_MOVE = r"\theta_t-\theta_{t-1}"
_STD = r"\sqrt{V_l(\theta_{t-1})}"
_PACE = r"\frac{\eta}{\sqrt{V_i(\theta_{t-1})}}"
_SQUARE = r"V_i(\theta_{t-1})"
_R = r"\max(R_1,\tfrac{5M}8)R_2"
_P = rf"\|X_l{_GI}\|^2"
_HR = r"(H(\pi_{\theta'}(l))r_l)^\top"


def _statement_29(second: str) -> str:
    return (
        rf"{_GAIN} \ge \langle{_MOVE},{_GL}\rangle - \tfrac54X_{{\max}}^2{_STD}\,\|{_MOVE}\|^2 "
        rf"{second} \frac{{3\,{_G}}}{{16{_R}X_{{\max}}^2{_STD}}} \ge "
        rf"\frac{{3\,{_G}}}{{16{_R}X_{{\max}}^2C_{{l,t-1}}}}"
    )


def _statement_30(direction: str) -> str:
    return (
        rf"{_GAIN} = {_PACE}\langle {direction},{_GL}\rangle "
        rf"+ \frac{{\eta^2}}{{2{_SQUARE}}}\,{_GI}^\top\nabla^2 J_l(\theta')\,{_GI}"
    )


def _statement_31(time: str, sign: str) -> str:
    inner = rf"{_PACE}\langle\nabla J_l(\theta_{{{time}}}),\nabla J_i(\theta_{{{time}}})\rangle"
    lost = rf"\frac{{5{_STD}\eta^2}}{{4{_SQUARE}}}{_P}"
    return (
        rf"{_GAIN} = {_PACE}\langle{_GL},{_GI}\rangle "
        rf"+ \frac{{\eta^2}}{{2{_SQUARE}}}{_HR}(X_l{_GI}\odot X_l{_GI}) "
        rf"{sign} \frac{{\eta^2}}{{{_SQUARE}}}{_HR}(X_l{_GI})(\pi_{{\theta'}}^\top X_l{_GI}) "
        rf"\ge {inner} - {lost} "
        rf"\ge \frac{{\eta{_P}}}{{M\sqrt{{{_SQUARE}}}\|X_l\|^2}} - {lost} \ge 0"
    )


CLAIMS = (
    display(
        "29",
        "GRPO with interaction, gain of the drawn prompt, as printed",
        _statement_29("="),
        chain=_displays_of_29("="),
        fixed_by="P-STEP-29-FIXED",
        remark=(
            "Line 2 is an equality only where max(R1, 5M/8) R2 = 1, as in (22); with the smaller step that a larger "
            "constant gives, the left side is larger. It also prints pi_theta for pi_{theta_{t-1}}, as (22) does."
        ),
    ),
    display(
        "29-FIXED",
        "GRPO with interaction, gain of the drawn prompt, repaired",
        _statement_29(r"\ge"),
        chain=_displays_of_29(">="),
        proof=proofs.proof_29,
        remark="With >= in line 2. The last line's C is the tightest that Assumption 3 allows.",
    ),
    display(
        "30",
        "Taylor expansion, another prompt drawn, as printed",
        _statement_30(_MOVE),
        relation="<=",
        left=_counted_twice,
        right=_most_curvature,
        fixed_by="P-STEP-30-FIXED",
        remark=(
            "theta_t - theta_{t-1} already holds the factor eta / sqrt(V). Whatever theta' is, the second-order term "
            "is at most ||X_l (theta_t - theta_{t-1})||^2 / 2 (eq. (16) with V <= 1/4): checked is that the rest of "
            "the equation leaves no more than that to it."
        ),
    ),
    display(
        "30-FIXED",
        "Taylor expansion, another prompt drawn, repaired",
        _statement_30(_GI),
        relation="==",
        left=sides.gain,
        right=sides.taylor,
        proof=proofs.proof_30,
        remark=(
            "Checked with the remainder in its integral form, which is the stated one at some theta' of the segment "
            "by the mean value theorem."
        ),
    ),
    display(
        "31",
        "GRPO, another prompt drawn, as printed",
        _statement_31("t", "+"),
        chain=_displays_of_31(sides.inner_after, 1),
        fixed_by="P-STEP-31-FIXED",
        remark=f"{SIGN} {TIME} {ALONE.format('of line 2')} {POINTWISE}",
    ),
    display(
        "31-FIXED",
        "GRPO, another prompt drawn, repaired",
        _statement_31("t-1", "-"),
        chain=_displays_of_31(sides.inner_before, -1),
        proof=proofs.proof_31,
        remark=POINTWISE,
    ),
)
