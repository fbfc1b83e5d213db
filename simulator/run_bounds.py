"""The claims about whole runs that cover a record, each with both of its sides."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np

from simulator.constants import ORTHOGONAL_UP_TO, geometry, is_complete, run_constants
from simulator.problems import Problem
from simulator.records import Record
from theory.claim import Claim
from theory.cosines import orthogonality_defect
from theory.instances import Instance
from theory.interaction import Constants

__all__ = ["MOST_STEPS", "bounds", "evaluate_record", "not_covered", "orthogonal_claims"]

# Steps up to which expectations over prompt orders are computed; they cost T^2.
MOST_STEPS = 5000
# A step size is a theorem's own, or below it, up to this.
SAME = 1e-12
_ORTHOGONAL = re.compile(r"^(?!P-STEP).*(-(DESCENT|SUM|MIN)(-FIXED|-MEAN)?|X-GRPO-LATE|X-POWER-\d+)$")
_RELAXED = re.compile(r"^P-T3[34]-(SUM|MIN)(-FIXED)?$")

Rows = list[dict[str, Any]]


def bounds(record: Record, problem: Problem, constants: dict[str, Any] | None = None) -> tuple[Rows, str | None]:
    """The claims that cover the run by its rule, schedule and step size, each with both of its sides.

    On orthogonal prompts, expectations are those over all prompt orders, exactly; with all prompts a step, they are the
    run itself. On prompts that interact, Theorems 3.3 and 3.4 are set beside this one order, of which they say nothing
    by itself: they bound the mean over orders, if their assumptions hold on all of them as they do on this one.

    Args:
        record: of a run on the problem.
        problem: the bandit.
        constants: :func:`simulator.constants.run_constants` of both, if at hand.

    Returns:
        For each claim its id and title, what it is held against (``of``: ``mean over orders``, ``this run`` or
        ``this order``), ``largest_ratio`` of its sides over prompts and prefixes, and for a single inequality ``left``
        and ``right`` at T for the prompt where they are closest; and, if there is no such claim, why.
    """
    if (missing := not_covered(record.schedule, problem)) is not None:
        return [], missing
    if "step_eta" in record.extra:
        return [], "the step size changes with the state: X-DIRECTIONAL-* bound each step, not their sum"
    if orthogonality_defect(problem.features) < ORTHOGONAL_UP_TO:
        return _orthogonal_bounds(record, problem)
    return _relaxed_bounds(record, problem, constants or run_constants(record, problem))


def not_covered(schedule: str, problem: Problem) -> str | None:
    """Why no theorem is about any run of the problem with that schedule; None if some may be."""
    if schedule not in ("uniform", "all"):
        return f"the theorems draw prompts uniformly, or take all; this run is {schedule}"
    return "all features are 0" if problem.x_max_sq <= 0 else None


def _claims_on(rule: str, ids: re.Pattern[str], scope: str) -> list[Claim]:
    """Claims that hold, of the scope, about the rule of that name."""
    from theory.claims import load_registry

    return [
        claim
        for claim in load_registry()
        if claim.scope == scope
        and claim.rule is not None
        and claim.rule.name == rule
        and claim.fixed_by is None
        and ids.search(claim.id)
    ]


def _row(claim: Claim, context: Any, of: str) -> dict[str, Any]:
    from theory.judge import compare

    row: dict[str, Any] = {"claim": claim.id, "title": claim.title, "of": of}
    row["largest_ratio"] = _finite(compare(claim, context).worst)
    if claim.relation != "chain":
        left, right = np.asarray(claim.left(context))[-1], np.asarray(claim.right(context))[-1]
        ratio = right / left if claim.relation == ">=" else left / right
        if np.isfinite(ratio).any():
            worst = int(np.nanargmax(ratio))
            row |= {"prompt": worst, "left": _finite(left[worst]), "right": _finite(right[worst])}
    return row


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _orthogonal_bounds(record: Record, problem: Problem) -> tuple[Rows, str | None]:
    steps, joint = len(record.order), record.schedule == "all"
    covering, context, missing = orthogonal_claims(record.rule, record.schedule, record.eta, steps, problem)
    with np.errstate(all="ignore"):
        return [_row(claim, context, "this run" if joint else "mean over orders") for claim in covering], missing


def orthogonal_claims(
    rule: str, schedule: str, eta: float, steps: int, problem: Problem
) -> tuple[list[Claim], Any, str | None]:
    """Claims that cover runs on orthogonal prompts.

    Args:
        rule: name.
        schedule: ``uniform`` or ``all``.
        eta: step size.
        steps: T.
        problem: a bandit whose prompts are orthogonal.

    Returns:
        The claims, the context that they all look at (:class:`simulator.expectations.ExpectedRun`, or
        :class:`simulator.joint.JointRun` where all prompts share a step), and if there are none, why.
    """
    if steps > MOST_STEPS:
        return [], None, f"more than {MOST_STEPS} steps: expectations over prompt orders cost T^2"
    from simulator.checks import build_context

    covering = [
        claim
        for claim in _claims_on(rule, _ORTHOGONAL, "joint" if schedule == "all" else "expectation")
        if claim.step_size is not None
        and np.isclose(float(claim.step_size(problem.x_max_sq)), eta, rtol=SAME, atol=0.0)
    ]
    if not covering:
        return [], None, f"no theorem is about {rule} with step size {eta:.6g}"
    zeros = np.zeros(problem.d)
    instance = Instance(problem.features, problem.answers, problem.theta0, zeros, zeros, steps)
    with np.errstate(all="ignore"):
        # The claims have one rule and, up to rounding, one step size, so they share their context.
        context = build_context(covering[0], instance)
        return [claim for claim in covering if _speaks(claim, context)], context, None


def _speaks(claim: Claim, context: Any) -> bool:
    """Whether the claim says something of this run: some are about several prompts only."""
    return claim.relation == "chain" or np.asarray(claim.left(context)).size > 0


def _relaxed_bounds(record: Record, problem: Problem, constants: dict[str, Any]) -> tuple[Rows, str | None]:
    theorem = {"reinforce": "3.3", "grpo": "3.4"}.get(record.rule)
    if theorem is None or record.schedule != "uniform":
        return [], f"prompts interact, and no theorem is about {record.rule} with schedule {record.schedule} on these"
    most = constants["step_sizes"][theorem]
    if most is None:
        return [], f"prompts interact, and the assumptions of Theorem {theorem} fail on this run"
    if record.eta > most * (1 + SAME):
        return [], f"prompts interact: Theorem {theorem} asks for a step size of at most {most:.4g}; try --eta relaxed"
    if not is_complete(record):
        return [], f"Theorem {theorem} is about sums over all states; ask for --record full"
    # Larger constants are always allowed: those at which the theorem's step size is the run's.
    r1, r2 = constants["R1"] or 1.0, constants["R2"] or 1.0
    scale = 1 / (record.eta * problem.x_max_sq)
    m = 2 * scale if record.rule == "reinforce" else 8 / 5 * (scale / 2) / r2
    context = SimpleNamespace(
        n=problem.n,
        q=record.q,
        grad_sq=record.grad_sq,
        std_bound=record.std,
        x_max_sq=problem.x_max_sq,
        constants=Constants(problem.x_max_sq, m, r1, r2),
    )
    with np.errstate(all="ignore"):
        return [_row(claim, context, "this order") for claim in _claims_on(record.rule, _RELAXED, "interacting")], None


def evaluate_record(record: Record, problem: Problem) -> dict[str, Any]:
    """:func:`geometry`, :func:`run_constants`, ``bounds`` and why there are none (``bounds_missing``), for JSON."""
    constants = run_constants(record, problem)
    found, missing = bounds(record, problem, constants)
    return {**geometry(problem), **constants, "bounds": found, "bounds_missing": missing}
