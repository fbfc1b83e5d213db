"""The constants of the sources, evaluated on a record: C(T), M, R1, R2, X_max, the orthogonality defect, bounds.

What is about the problem alone comes from :func:`geometry`; what is about a run from :func:`run_constants`; what the
theorems promise for it from :func:`bounds`.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from simulator.interacting import node_states
from simulator.problems import Problem
from simulator.records import Record
from theory.assumptions import cosine_statistics, gradient_cosines, orthogonality_defect
from theory.exact import spectral_norm_sq
from theory.instances import Instance
from theory.interaction import Constants, measure_constants

__all__ = ["bounds", "cumulative_share", "evaluate_record", "geometry", "mean_factor", "run_constants"]

# Recorded states that M, R1 and R2 are measured on, at most; evenly spread over the record, both ends included.
MOST_STATES = 200
# Entries of the largest array that this takes.
MOST_ENTRIES = 50_000_000
# Steps up to which expectations over prompt orders are computed; they cost T^2.
MOST_STEPS = 5000
# Features whose defect is below this are orthogonal up to rounding.
ORTHOGONAL_UP_TO = 1e-12
_THEOREM_PARTS = re.compile(r"^(?!P-STEP).*(-(DESCENT|SUM|MIN)(-FIXED)?|X-POWER-\d+)$")


def geometry(problem: Problem) -> dict[str, float | None]:
    """X_max^2 (also after centring each prompt), the orthogonality defect, and gradient cosines at the start."""
    centred = problem.features - problem.features.mean(axis=1, keepdims=True)
    return {
        "orthogonality_defect": orthogonality_defect(problem.features),
        "x_max_sq": problem.x_max_sq,
        "x_max_sq_centred": max(float(np.linalg.norm(x, 2) ** 2) for x in centred),
        **cosine_statistics(gradient_cosines(problem.at(problem.theta0).gradient)),
    }


def _complete(record: Record) -> bool:
    return len(record.t) == len(record.order) + 1


def mean_factor(record: Record) -> float:
    """``C(T) = 8/(3 n T) sum_i sum_{t<T} sqrt(V_i(theta_t))`` with C the standard deviation itself.

    Exact where every state is recorded, or all prompts move at every step. Otherwise it is ``8/(3 T) sum_t`` of the
    drawn prompts' standard deviation, an unbiased estimate where prompts are drawn uniformly at random.
    """
    std = record.std[:-1] if _complete(record) else record.step_std
    return float(8 / 3 * std.mean())


def cumulative_share(record: Record) -> float:
    """``sum_{t<T} ||grad J_i||^2`` over ``2 n (1 - p0) X_max^2`` (Theorem 3.1), for the prompt where it is largest.

    For records that hold every state.
    """
    sums = record.grad_sq[:-1].sum(axis=0)
    return float((sums / (2 * record.J.shape[1] * record.q[0] * record.x_max_sq)).max())


def _interaction(record: Record, problem: Problem) -> tuple[Constants, int] | None:
    """The least M, R1 and R2 on recorded states, and how many these are; None if the arrays would be too large."""
    n, outputs, d = problem.features.shape
    if n * n * max(d, outputs) > MOST_ENTRIES:
        return None
    chosen = np.unique(np.linspace(0, len(record.t) - 1, min(len(record.t), MOST_STATES)).round().astype(int))
    x_sq = np.array([float(spectral_norm_sq(x)) for x in problem.features])
    found = []
    with np.errstate(all="ignore"):
        for theta in record.theta[chosen]:
            state = node_states(problem.features, problem.answers, theta[None, :])
            found.append(measure_constants(state, x_sq, float(x_sq.max())))
    most = {name: max(getattr(each, name) for each in found) for name in ("M", "R1", "R2")}
    return Constants(problem.x_max_sq, **most), len(chosen)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def run_constants(record: Record, problem: Problem) -> dict[str, Any]:
    """C(T), M, R1, R2 and the step sizes of Theorems 3.1 to 3.4 that follow from them; plain data.

    Args:
        record: of a run on the problem.
        problem: the bandit.

    Returns:
        ``C(T)`` and what it is from (``all states`` or ``drawn prompts``); ``C_max``, the largest standard deviation
        of a recorded state; ``M``, ``R1``, ``R2``, each the least that the recorded states allow (M counts from 1 on)
        or None if there is none, and on how many ``states`` (0 if the problem is too large); ``holds`` by assumption;
        ``step_sizes`` by theorem, None where the constants are.
    """
    from theory.claims.relaxed import grpo_step, reinforce_step
    from theory.rules import GRPO, REINFORCE

    exact = _complete(record) or record.schedule == "all"
    measured = _interaction(record, problem)
    constants, states = measured or (Constants(problem.x_max_sq, np.nan, np.nan, np.nan), 0)
    orthogonal = orthogonality_defect(problem.features) < ORTHOGONAL_UP_TO
    steps = {
        "3.1": REINFORCE.step_size(problem.x_max_sq) if problem.x_max_sq > 0 else np.inf,  # type: ignore[misc]
        "3.2": GRPO.step_size(problem.x_max_sq) if problem.x_max_sq > 0 else np.inf,  # type: ignore[misc]
        "3.3": reinforce_step(constants) if np.isfinite(constants.M) and problem.x_max_sq > 0 else np.inf,
        "3.4": np.inf,
    }
    if np.isfinite([constants.M, constants.R1, constants.R2]).all() and problem.x_max_sq > 0:
        steps["3.4"] = grpo_step(constants)
    return {
        "C(T)": mean_factor(record),
        "C(T)_from": "all states" if exact else "drawn prompts",
        "C_max": float(record.std.max()),
        **{name: _finite(getattr(constants, name)) for name in ("M", "R1", "R2")},
        "states": states,
        "holds": {
            "A1": True,
            "A2": orthogonal,
            "A3": True,
            "A4": bool(np.isfinite(constants.M)) if states else None,
            "A5": bool(np.isfinite([constants.R1, constants.R2]).all()) if states else None,
        },
        "step_sizes": {theorem: _finite(float(eta)) for theorem, eta in steps.items()},
    }


def _silence(record: Record, problem: Problem, orthogonal: bool) -> str | None:
    """Why no theorem about whole runs speaks of this one; None if some may."""
    if record.schedule not in ("uniform", "all"):
        return f"the theorems draw prompts uniformly, or take all; this run is {record.schedule}"
    if not orthogonal:
        return "prompts interact: Theorems 3.3 and 3.4 are about means over all orders (whynorm verify --claim P-T34)"
    if len(record.order) > MOST_STEPS:
        return f"more than {MOST_STEPS} steps: expectations over prompt orders cost T^2"
    return None


def bounds(record: Record, problem: Problem) -> tuple[list[dict[str, Any]], str | None]:
    """The claims that cover the run (rule, schedule, step size, orthogonal prompts), each with both of its sides.

    Expectations are those over all prompt orders, exactly; with all prompts a step the run itself.

    Returns:
        For each claim its id, title, ``largest_ratio`` of its sides over prompts and prefixes (at most 1 where it
        holds), and for a single inequality ``left`` and ``right`` at T for the prompt where they are closest; and, if
        there is no such claim, why.
    """
    orthogonal = orthogonality_defect(problem.features) < ORTHOGONAL_UP_TO
    reason = _silence(record, problem, orthogonal)
    if reason is not None:
        return [], reason
    from simulator.checks import build_context
    from theory.claims import load_registry
    from theory.judge import compare

    scope = "joint" if record.schedule == "all" else "expectation"
    covering = [
        claim
        for claim in load_registry()
        if claim.scope == scope
        and claim.rule is not None
        and claim.rule.name == record.rule
        and claim.fixed_by is None
        and _THEOREM_PARTS.search(claim.id)
        and claim.step_size is not None
        and problem.x_max_sq > 0
        and np.isclose(float(claim.step_size(problem.x_max_sq)), record.eta, rtol=1e-12, atol=0.0)
    ]
    if not covering:
        return [], f"no theorem is about {record.rule} with step size {record.eta:.6g}"
    zeros = np.zeros(problem.d)
    instance = Instance(problem.features, problem.answers, problem.theta0, zeros, zeros, len(record.order))
    found = []
    with np.errstate(all="ignore"):
        # The claims have one rule and, up to rounding, one step size, so they share their context.
        context = build_context(covering[0], instance)
        for claim in covering:
            row: dict[str, Any] = {"claim": claim.id, "title": claim.title}
            row["largest_ratio"] = _finite(compare(claim, context).worst)
            if claim.relation != "chain":
                left, right = np.asarray(claim.left(context))[-1], np.asarray(claim.right(context))[-1]
                ratio = right / left if claim.relation == ">=" else left / right
                if np.isfinite(ratio).any():
                    worst = int(np.nanargmax(ratio))
                    row |= {"prompt": worst, "left": _finite(left[worst]), "right": _finite(right[worst])}
            found.append(row)
    return found, None


def evaluate_record(record: Record, problem: Problem) -> dict[str, Any]:
    """All of it, ready for JSON: :func:`geometry`, :func:`run_constants`, and ``bounds`` with ``bounds_missing``."""
    found, missing = bounds(record, problem)
    return {**geometry(problem), **run_constants(record, problem), "bounds": found, "bounds_missing": missing}
