"""What a sweep will cost, before it runs: counted where possible, else measured on a few of its own runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.records import snapshot_times
from simulator.sweeps.execute import execute
from simulator.sweeps.pack import pack
from simulator.sweeps.plan import Plan, Task

__all__ = ["Estimate", "estimate"]

_SAMPLES = 8
# Longer runs are measured by their beginning.
_SAMPLED_STEPS = 200
# Numbers, id and the like of a row as it lies compressed in a file, beside its 8 bytes per snapshot.
_ROW_BYTES = 90


@dataclass(frozen=True)
class Estimate:
    """Cost of tasks.

    Attributes:
        runs: number of runs.
        tasks: number of tasks, and so of files.
        bytes: of their files, about.
        seconds: of one worker, about.
        samples: how many runs were measured, by their first steps.
    """

    runs: int
    tasks: int
    bytes: int
    seconds: float
    samples: int


def estimate(plan: Plan, tasks: Sequence[Task]) -> Estimate:
    """Cost of some tasks of a plan, from runs evenly spaced among theirs."""
    indices = np.concatenate([np.arange(task.start, task.stop) for task in tasks]) if tasks else np.arange(0)
    if not len(indices):
        return Estimate(0, 0, 0, 0.0, 0)
    chosen = indices[np.linspace(0, len(indices) - 1, min(_SAMPLES, len(indices))).astype(int)]
    runs = [plan.runs(int(index), int(index) + 1)[0] for index in chosen]
    # The first run also loads what the others find loaded.
    execute({**runs[0], "steps": 1})
    seconds = float(np.mean([_seconds(run) for run in runs]))
    size = float(np.mean([_ROW_BYTES + 8 * _snapshots(run) for run in runs]))
    empty = len(
        pack(tasks[0].id, plan.engine, [{"run_id": plan.ids[0], **runs[0], **execute({**runs[0], "steps": 1})}])
    )
    return Estimate(
        len(indices), len(tasks), int(len(tasks) * empty + len(indices) * size), len(indices) * seconds, len(runs)
    )


def _seconds(run: dict[str, Any]) -> float:
    """Time of a run: what its problem and a step cost, and what a further step costs."""
    first = _timed({**run, "steps": 1})
    steps = min(run["steps"], _SAMPLED_STEPS)
    if steps == 1:
        return first
    again = _timed({**run, "steps": steps})
    # The problem of the first measurement was kept for the second.
    return first + again * (run["steps"] - 1) / steps


def _timed(run: dict[str, Any]) -> float:
    start = time.perf_counter()
    execute(run)
    return time.perf_counter() - start


def _snapshots(run: dict[str, Any]) -> int:
    return run["steps"] + 1 if run["record"] == "full" else len(snapshot_times(run["steps"], "log"))
