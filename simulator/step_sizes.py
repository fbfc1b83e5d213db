"""Step sizes by name: the theorem's own, the best constant one, or a number."""

from __future__ import annotations

import numpy as np

from simulator.directional import STATE_FORMS
from simulator.problems import Problem
from simulator.sampled import SampledRule
from simulator.schedules import UNIFORM, Schedule
from theory.errors import expected
from theory.exact import spectral_norm_sq
from theory.interaction import NAMES, Constants, States, consistent_constants
from theory.rules import GRPO, REINFORCE, Rule

__all__ = ["FORMS", "choose_step", "relaxed_step", "resolve_step"]

FORMS = {
    "theorem": "the step size of the rule's own theorem: 1/X^2 for reinforce, 1/(2 X^2) for grpo",
    "best": "the largest that whynorm proves to work on orthogonal prompts: 3 sqrt(3)/X^2 and 2/X^2",
    "relaxed": "Theorem 3.3's or 3.4's, for prompts that interact, with constants M, R1, R2 that the run itself meets",
    "NUMBER": "a number above 0",
}


def resolve_step(text: str, rule: Rule | SampledRule, x_max_sq: float, schedule: Schedule = UNIFORM) -> float:
    """The step size that a text names, see ``FORMS``; ``relaxed`` needs more: :func:`choose_step`.

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
    _check_scale(x_max_sq)
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


def _check_scale(x_max_sq: float) -> None:
    if x_max_sq <= 0:
        raise expected("X_max^2", x_max_sq, "a number above 0 to derive the step size from", "pass other features")


def choose_step(
    text: str, problem: Problem, rule: Rule | SampledRule, schedule: Schedule, steps: int, seed: int
) -> float:
    """As :func:`resolve_step`, and ``relaxed``, for which the run itself is needed: :func:`relaxed_step`."""
    if text == "relaxed":
        return relaxed_step(problem, rule, schedule, steps, seed)
    return resolve_step(text, rule, problem.x_max_sq, schedule)


def relaxed_step(problem: Problem, rule: Rule | SampledRule, schedule: Schedule, steps: int, seed: int) -> float:
    """The step size of Theorem 3.3 (reinforce) or 3.4 (grpo), with constants that the run it leads to meets itself.

    The constants are measured on the recorded states (about 20 a decade) of the run of this seed: runs are made with
    ever better constants until one needs no larger ones than its step size was computed from.

    Raises:
        InputError: another rule, or a run meets prompts for which Assumption 4 or 5 has no constants.
    """
    from simulator.interacting import node_states
    from simulator.reference import simulate
    from theory.claims.relaxed import grpo_step, reinforce_step

    _check_scale(problem.x_max_sq)
    if rule not in (REINFORCE, GRPO):
        raise expected("eta", "relaxed", f"a number for {rule.name}", "Theorems 3.3 and 3.4 are on reinforce and grpo")
    step, names = (reinforce_step, ("M",)) if rule is REINFORCE else (grpo_step, NAMES)

    def visited(constants: Constants) -> States:
        record = simulate(problem, rule, float(step(constants)), steps, schedule=schedule, seed=seed)
        return States.joined([node_states(problem.features, problem.answers, row[None, :]) for row in record.theta])

    x_sq = np.array([float(spectral_norm_sq(x)) for x in problem.features])
    with np.errstate(all="ignore"):
        found = consistent_constants(visited, x_sq, problem.x_max_sq, names)
    if found is None:
        raise expected("eta", "relaxed", "a run on which Assumptions 4 and 5 hold", "pass --eta NUMBER")
    return float(step(found))


def _best(rule: Rule, x_max_sq: float) -> float:
    # Claims bring sympy along, which no other step size needs.
    from theory.claims import rates

    for claim in rates.CLAIMS:
        if claim.rule is rule and claim.step_size is not None:
            return float(claim.step_size(x_max_sq))
    raise expected("eta", "best", f"theorem or a number for {rule.name}", "best is known for reinforce and grpo")


def _number(text: str) -> float:
    if text in STATE_FORMS:
        remedy = f"a single run takes it: `whynorm simulate --eta {text}`"
        raise expected("eta", text, "a step size that does not change with the state", remedy)
    try:
        value = float(text)
    except ValueError:
        raise expected("eta", text, f"one of {', '.join(FORMS)}", "pass --eta NUMBER, or leave it out") from None
    if not (np.isfinite(value) and value > 0):
        raise expected("eta", value, "a finite number above 0", "omit it for the theorem's own step size")
    return value
