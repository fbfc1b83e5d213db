"""Step sizes by name: the theorem's own, the best constant one, or a number."""

from __future__ import annotations

import numpy as np

from simulator.sampled import SampledRule
from simulator.schedules import UNIFORM, Schedule
from theory.errors import expected
from theory.rules import GRPO, Rule

__all__ = ["FORMS", "resolve_step"]

FORMS = {
    "theorem": "the step size of the rule's own theorem: 1/X^2 for reinforce, 1/(2 X^2) for grpo",
    "best": "the largest that whynorm proves to work on orthogonal prompts: 3 sqrt(3)/X^2 and 2/X^2",
    "NUMBER": "a number above 0",
}


def resolve_step(text: str, rule: Rule | SampledRule, x_max_sq: float, schedule: Schedule = UNIFORM) -> float:
    """The step size that a text names, see ``FORMS``.

    ``theorem`` is ``rule.step_size``, whatever the schedule: the talk divides the same number by the prompts that move,
    as every run does. ``best`` is that of the claims X-SHARP-REINFORCE-* and X-SHARP-GRPO-*: one prompt a step.

    Args:
        text: of the form.
        rule: the rule.
        x_max_sq: ``X_max^2`` of the problem.
        schedule: of the run.

    Raises:
        InputError: no such form, no theorem covers the rule, or all features are zero.
    """
    if text not in ("theorem", "best"):
        return _number(text)
    if x_max_sq <= 0:
        raise expected("X_max^2", x_max_sq, "a number above 0 to derive the step size from", "pass other features")
    if isinstance(rule, SampledRule):
        own = GRPO.step_size(x_max_sq)  # type: ignore[misc]
        remedy = f"pass --eta, e.g. {own:.3g}, that of exact grpo"
        raise expected("eta", text, f"a step size, as the theorems are about exact rules, not {rule.name}", remedy)
    if text == "theorem":
        if rule.step_size is None:
            wanted = f"a step size, as no theorem of the sources covers {rule.name}"
            raise expected("eta", text, wanted, "pass --eta NUMBER")
        return float(rule.step_size(x_max_sq))
    if schedule.kind in ("all", "minibatch"):
        raise expected(
            "eta", text, f"theorem or a number with schedule {schedule.name}", "best moves one prompt a step"
        )
    return _best(rule, x_max_sq)


def _best(rule: Rule, x_max_sq: float) -> float:
    # Claims bring sympy along, which no other step size needs.
    from theory.claims import rates

    for claim in rates.CLAIMS:
        if claim.rule is rule and claim.step_size is not None:
            return float(claim.step_size(x_max_sq))
    raise expected("eta", "best", f"theorem or a number for {rule.name}", "best is known for reinforce and grpo")


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise expected("eta", text, f"one of {', '.join(FORMS)}", "pass --eta NUMBER, or leave it out") from None
    if not (np.isfinite(value) and value > 0):
        raise expected("eta", value, "a finite number above 0", "omit it for the theorem's own step size")
    return value
