"""The constants of the sources, evaluated on a record: C(T), M, R1, R2, X_max and the orthogonality defect.

What is about the problem alone comes from :func:`geometry`; what is about a run from :func:`run_constants`; what the
theorems promise for it from ``simulator.run_bounds``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simulator.interacting import node_states
from simulator.problems import Problem
from simulator.records import Record
from theory.cosines import cosine_statistics, gradient_cosines, orthogonality_defect
from theory.exact import spectral_norm_sq
from theory.interaction import Constants, measure_constants

__all__ = [
    "ORTHOGONAL_UP_TO",
    "cumulative_share",
    "geometry",
    "is_complete",
    "mean_factor",
    "run_constants",
]

# Recorded states that M, R1 and R2 are measured on, at most; evenly spread over the record, both ends included.
MOST_STATES = 200
# Entries of the largest array that this takes.
MOST_ENTRIES = 50_000_000
# Features whose defect is below this are orthogonal up to rounding.
ORTHOGONAL_UP_TO = 1e-12


def geometry(problem: Problem) -> dict[str, float | None]:
    """X_max^2 (also after centring each prompt), the orthogonality defect, and gradient cosines at the start."""
    centred = problem.features - problem.features.mean(axis=1, keepdims=True)
    return {
        "orthogonality_defect": orthogonality_defect(problem.features),
        "x_max_sq": problem.x_max_sq,
        "x_max_sq_centred": max(float(np.linalg.norm(x, 2) ** 2) for x in centred),
        **cosine_statistics(gradient_cosines(problem.at(problem.theta0).gradient)),
    }


def is_complete(record: Record) -> bool:
    """Whether the record holds every state, t = 0..T."""
    return len(record.t) == len(record.order) + 1


def mean_factor(record: Record) -> float:
    """``C(T) = 8/(3 n T) sum_i sum_{t<T} sqrt(V_i(theta_t))`` with C the standard deviation itself.

    Exact where every state is recorded, or all prompts move at every step. Otherwise it is ``8/(3 T) sum_t`` of the
    drawn prompts' standard deviation, an unbiased estimate where prompts are drawn uniformly at random.
    """
    std = record.std[:-1] if is_complete(record) else record.step_std
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

    exact = is_complete(record) or record.schedule == "all"
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
