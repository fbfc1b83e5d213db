"""P-T33 and P-T34: prompts that act on one another, under Assumptions 4 and 5.

The step sizes depend on M, R1 and R2, which depend on the run, which depends on the step size: the context chooses
constants that are consistent with the run they lead to (``theory.interaction``). The source's M is any positive number;
as none below 1 changes a step size or a bound here, at least 1 is taken. Where prompts are orthogonal, or there is one,
any M is allowed and the theorems become those of section 3.3.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from theory.assumptions import BOUNDED_STD, INTERACTION, SCALE, UNIQUE_ANSWER
from theory.certificates import Certificate, Proof
from theory.claim import Claim, Link
from theory.claims._interaction import grpo_descent_proof, reinforce_descent_proof
from theory.claims._relaxed_steps import appendix_factor, grpo_factor, grpo_step, reinforce_factor, reinforce_step
from theory.claims._runs import gain, mean_factor, min_proof, running_max, running_min, steps_column, sum_proof
from theory.policy import Array
from theory.rules import GRPO, REINFORCE, Rule

__all__ = ["CLAIMS", "appendix_factor", "grpo_factor", "grpo_step", "reinforce_factor", "reinforce_step"]


def _descent(run: Any, rule: Rule, factor: Any, late: bool = False) -> Array:
    scale = run.n * factor(run.constants) * run.x_max_sq
    if rule is REINFORCE:
        return run.grad_sq[:-1] / (2 * scale)
    return 3 * run.grad_sq[:-1] / (16 * scale * (run.std_bound[1:] if late else run.std_bound[:-1]))


def _bound(run: Any, factor: Any) -> Array:
    """``2 n factor (1 - p0) X_max^2`` for every T, ``(T, n)``."""
    return 2 * run.n * factor(run.constants) * run.q[0] * run.x_max_sq + 0 * run.grad_sq[:-1]


def _sum_left(run: Any) -> Array:
    return run.grad_sq[:-1].cumsum(axis=0)


def _min_left(run: Any) -> Array:
    return running_min(run.grad_sq[:-1])


def _grpo_min(run: Any, factor: Any) -> Array:
    return _bound(run, factor) * mean_factor(run) / steps_column(run)


def _certificate(name: str, rule: Rule, part: str) -> Certificate:
    proof = Proof(name)
    if part == "DESCENT":
        (grpo_descent_proof if rule is GRPO else reinforce_descent_proof)(proof)
        return proof.done("the expected gain of every prompt is at least the stated bound")
    one_step = f"{name[:5]}-DESCENT-FIXED"
    (sum_proof if part == "SUM" else min_proof)(proof, None, one_step=one_step, weighted=rule is GRPO)
    proof.fact("a = 1 / (2 n max(1, M/2)) for REINFORCE, 3 / (16 n max(R1, 5M/8) R2) for GRPO, both positive.")
    return proof.done("the stated bound, for every T")


def _claim(number: str, part: str, rule: Rule, **fields: Any) -> Claim:
    more = (INTERACTION,) if rule is REINFORCE else (BOUNDED_STD, INTERACTION, SCALE)
    fields["remark"] = f"{fields.get('remark', '')} {_CHOICE}".strip()
    return Claim(
        id=f"P-{number}-{part}",
        source="paper",
        scope="interacting",
        assumptions=(UNIQUE_ANSWER, *more),
        rule=rule,
        step_size=reinforce_step if rule is REINFORCE else grpo_step,
        **fields,
    )


_CHOICE = "The constants are such that the run whose step size they set satisfies the assumptions with them."
_CHANGE = r"\mathbb E[J_i(\theta_t)] - \mathbb E[J_i(\theta_{t-1})]"
_GRADIENT = r"\mathbb E\|\nabla J_i(\theta_{t-1})\|^2"
_SUM = r"\sum_{t=0}^{T-1}\mathbb E\|\nabla J_i(\theta_t)\|^2"
_MIN = r"\min_{t<T}\mathbb E\|\nabla J_i(\theta_t)\|^2"
_M = r"\max(1,\tfrac M2)"
_R = r"\max(R_1,\tfrac{5M}8)R_2"
_A = r"\max(R_1R_2,\tfrac M2)"
_ROOM = r"(1-\pi^*_{\theta_0}(i))X_{\max}^2"
_MEAN = r"\cdot\frac{8}{3T}\sum_{t=0}^{T-1}C_{i,t}"
_SIGN = "J is maximised, so the printed inequality has both its direction and its sign reversed."

_REINFORCE = (
    _claim(
        "T33",
        "DESCENT",
        REINFORCE,
        place="Theorem 3.3",
        title="REINFORCE with interaction, one step, as printed",
        statement=rf"{_CHANGE} \le -\frac{{{_GRADIENT}}}{{2n{_M}X_{{\max}}^2}}",
        relation="<=",
        left=gain,
        right=lambda run: -_descent(run, REINFORCE, reinforce_factor),
        fixed_by="P-T33-DESCENT-FIXED",
        remark=_SIGN,
    ),
    _claim(
        "T33",
        "DESCENT-FIXED",
        REINFORCE,
        place="Theorem 3.3, eq. (28)",
        title="REINFORCE with interaction, one step, repaired",
        statement=rf"{_CHANGE} \ge \frac{{{_GRADIENT}}}{{2n{_M}X_{{\max}}^2}}",
        relation=">=",
        left=gain,
        right=lambda run: _descent(run, REINFORCE, reinforce_factor),
        proof=partial(_certificate, "P-T33-DESCENT-FIXED", REINFORCE, "DESCENT"),
    ),
    _claim(
        "T33",
        "SUM",
        REINFORCE,
        place="Theorem 3.3",
        title="REINFORCE with interaction, cumulative bound",
        statement=rf"{_SUM} \le 2n{_M}{_ROOM}",
        relation="<=",
        left=_sum_left,
        right=lambda run: _bound(run, reinforce_factor),
        proof=partial(_certificate, "P-T33-SUM", REINFORCE, "SUM"),
    ),
    _claim(
        "T33",
        "MIN",
        REINFORCE,
        place="App. E.1, end",
        title="REINFORCE with interaction, rate 1/T",
        statement=rf"{_MIN} \le \frac{{2n{_M}{_ROOM}}}{{T}}",
        relation="<=",
        left=_min_left,
        right=lambda run: _bound(run, reinforce_factor) / steps_column(run),
        proof=partial(_certificate, "P-T33-MIN", REINFORCE, "MIN"),
    ),
)

_GRPO = (
    _claim(
        "T34",
        "DESCENT",
        GRPO,
        place="Theorem 3.4",
        title="GRPO with interaction, one step, as printed",
        statement=rf"{_CHANGE} \le -\frac{{3\,{_GRADIENT}}}{{16n{_R}X_{{\max}}^2C_{{i,t}}}}",
        relation="<=",
        left=gain,
        right=lambda run: -_descent(run, GRPO, grpo_factor, late=True),
        fixed_by="P-T34-DESCENT-FIXED",
        remark=(
            f"{_SIGN} C is at t, in the proof at t - 1: mended, both hold (X-GRPO-LATE-INTERACTING). Table 2 lists a "
            "single R, a lower bound of standard deviations; Assumption 5 has R1 and R2, upper bounds of ratios."
        ),
    ),
    _claim(
        "T34",
        "DESCENT-FIXED",
        GRPO,
        place="Theorem 3.4, eqs. (29), (31)",
        title="GRPO with interaction, one step, repaired",
        statement=rf"{_CHANGE} \ge \frac{{3\,{_GRADIENT}}}{{16n{_R}X_{{\max}}^2C_{{i,t-1}}}}",
        relation=">=",
        left=gain,
        right=lambda run: _descent(run, GRPO, grpo_factor),
        proof=partial(_certificate, "P-T34-DESCENT-FIXED", GRPO, "DESCENT"),
    ),
    _claim(
        "T34",
        "SUM",
        GRPO,
        place="Theorem 3.4",
        title="GRPO with interaction, cumulative bound, as printed",
        statement=rf"{_SUM} \le 2n{_R}{_ROOM}{_MEAN}",
        relation="<=",
        left=_sum_left,
        right=lambda run: _bound(run, grpo_factor) * mean_factor(run),
        fixed_by="P-T34-SUM-FIXED",
        remark=(
            "As in Theorem 3.2: the mean of C_t can come out for the minimum, not for the sum. But here it fails with "
            "any number of prompts: n identical ones are one prompt drawn at every step, with M = R1 = R2 = 1. Their "
            "sum is the same for every n, and with features 1 and -1 the mean of C tends to 0 as T grows."
        ),
    ),
    _claim(
        "T34",
        "SUM-FIXED",
        GRPO,
        place="Theorem 3.4",
        title="GRPO with interaction, cumulative bound, repaired",
        statement=rf"{_SUM} \le 2n{_R}{_ROOM}\cdot\tfrac83\max_{{t<T}}C_{{i,t}}",
        relation="<=",
        left=_sum_left,
        right=lambda run: _bound(run, grpo_factor) * running_max(run.std_bound[:-1]) * 8 / 3,
        remark=(
            "It needs R1 and R2 to be at least 1, as the rate does. That they bound ratios between prompts it does not "
            "need in the cases of X-UNSCALED; else that is open."
        ),
        proof=partial(_certificate, "P-T34-SUM-FIXED", GRPO, "SUM"),
    ),
    _claim(
        "T34",
        "MIN",
        GRPO,
        place="App. E.2, end, with the theorem's constant",
        title="GRPO with interaction, rate",
        statement=rf"{_MIN} \le \frac{{2n{_R}{_ROOM}}}{{T}}{_MEAN}",
        relation="<=",
        left=_min_left,
        right=lambda run: _grpo_min(run, grpo_factor),
        proof=partial(_certificate, "P-T34-MIN", GRPO, "MIN"),
    ),
)


def _both(factor: Any) -> tuple[Link, ...]:
    return (
        Link("eq. (32), one step", ">=", gain, lambda run: _descent(run, GRPO, factor)),
        Link("last display of E.2, rate", "<=", _min_left, lambda run: _grpo_min(run, factor)),
    )


def _statement(factor: str) -> str:
    return (
        rf"{_CHANGE} \ge \frac{{3\,{_GRADIENT}}}{{16n{factor}X_{{\max}}^2C_{{i,t-1}}}}, \qquad "
        rf"{_MIN} \le \frac{{2n{factor}{_ROOM}}}{{T}}{_MEAN}"
    )


def _appendix_certificate() -> Certificate:
    proof = Proof("P-T34-APPENDIX-FIXED")
    grpo_descent_proof(proof)
    proof.fact("The rate follows by telescoping and Cauchy-Schwarz: P-T34-MIN.")
    return proof.done("both displays hold with the theorem's constant max(R1, 5M/8) R2")


_APPENDIX = (
    _claim(
        "T34",
        "APPENDIX",
        GRPO,
        place="App. E.2, eqs. (32), (33), last display",
        title="the appendix's constants, as printed",
        statement=_statement(_A),
        chain=_both(appendix_factor),
        fixed_by="P-T34-APPENDIX-FIXED",
        remark=(
            "With the theorem's step size, eq. (29) gives max(R1, 5M/8) R2; the appendix goes on with the smaller "
            "max(R1 R2, M/2). Both displays are false. The rate is seen to fail only with constants larger than need "
            "be, which satisfy the assumptions as well: M = 16, R1 = 1, R2 = 8 for one prompt with features 1 and -1."
        ),
    ),
    _claim(
        "T34",
        "APPENDIX-FIXED",
        GRPO,
        place="App. E.2, eqs. (32), (33), last display",
        title="the appendix with the theorem's constants",
        statement=_statement(_R),
        chain=_both(grpo_factor),
        proof=_appendix_certificate,
    ),
)
CLAIMS = _REINFORCE + _GRPO + _APPENDIX
