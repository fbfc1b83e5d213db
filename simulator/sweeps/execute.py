"""What a sweep runs: the one place that knows an engine. A run in, a row of results out, and nothing else counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from simulator.options import build_problem
from simulator.problems import Problem
from simulator.records import Record
from simulator.reference import simulate
from simulator.sampled import get_any_rule
from simulator.schedules import get_schedule
from simulator.step_sizes import choose_step
from theory.errors import InputError

__all__ = ["ENGINE_VERSION", "RESULTS", "THRESHOLDS", "execute", "execute_many"]

# Part of every run's id: raise it whenever any result may change, even in its last digit. It names a directory.
ENGINE_VERSION = "reference-1"

# Mean success probabilities whose first snapshot is kept.
THRESHOLDS = {"steps_to_50": 0.5, "steps_to_90": 0.9, "steps_to_99": 0.99}

# Columns of a row beside the run's keys; a list holds one number per snapshot.
RESULTS: dict[str, Any] = {
    "status": str,
    "error": str,
    "step_size": float,
    "x_max_sq": float,
    "mean_J_start": float,
    "mean_J_end": float,
    **dict.fromkeys(THRESHOLDS, int),
    "descending_steps": int,
    "gain_over_bound_min": float,
    "t": list[int],
    "mean_J": list[float],
}


def execute(run: Mapping[str, Any]) -> dict[str, Any]:
    """The row of one run.

    Args:
        run: value of every key of :class:`simulator.sweeps.runspec.RunSpec`, canonical.

    Returns:
        A value or None for every column of :data:`RESULTS`. ``status`` is ``ok``, ``diverged`` (a probability is no
        number at the end: the step size is too large), or ``refused`` (``error`` says why; all else is None).
    """
    row: dict[str, Any] = dict.fromkeys(RESULTS)
    try:
        with np.errstate(all="ignore"):
            problem = _problem(*(run[key] for key in ("family", "n", "k", "d", "p0", "seed", "strength")))
            rule, schedule = get_any_rule(run["rule"]), get_schedule(run["schedule"])
            eta = choose_step(run["eta"], problem, rule, schedule, run["steps"], run["seed"])
            options = {key: run[key] for key in ("seed", "replica", "record")}
            return row | _results(simulate(problem, rule, eta, run["steps"], schedule=schedule, **options))
    except InputError as error:
        return row | {"status": "refused", "error": str(error)}


def execute_many(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of many runs, in order; the same as one by one."""
    return [execute(run) for run in runs]


@lru_cache(maxsize=1)
def _problem(family: str, n: int, k: int, d: int, p0: str, seed: int, strength: float | None) -> Problem:
    """Replicas come one after the other and share their problem."""
    return build_problem(family, n, k, d, p0, seed, strength)


def _results(record: Record) -> dict[str, Any]:
    summary = record.summary()
    mean = record.J.mean(axis=1)
    finite = bool(np.isfinite(mean[-1]))
    row = {key: summary.get(key) for key in ("x_max_sq", "mean_J_start", "descending_steps", "gain_over_bound_min")}
    row |= {"status": "ok" if finite else "diverged", "step_size": record.eta}
    row["mean_J_end"] = float(mean[-1]) if finite else None
    for name, threshold in THRESHOLDS.items():
        reached = np.flatnonzero(mean >= threshold)
        row[name] = int(record.t[reached[0]]) if len(reached) else None
    least = row["gain_over_bound_min"]
    row["gain_over_bound_min"] = least if least is not None and np.isfinite(least) else None
    row["t"] = record.t.tolist()
    row["mean_J"] = [value if np.isfinite(value) else None for value in mean.tolist()]
    return row
