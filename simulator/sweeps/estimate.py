"""What a sweep will cost, before it runs: counted where possible, else measured on a few of its own runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.records import snapshot_times
from simulator.sweeps.execute import execute, execute_many
from simulator.sweeps.pack import pack
from simulator.sweeps.plan import Plan, Task

__all__ = ["Estimate", "estimate"]

# Places of the plan where something is measured, and seconds after which no further one is.
_SAMPLES, _PATIENCE = 8, 15.0
# Runs that are measured together, as they will run, and steps of a longer run that are measured, by engine.
_TOGETHER = {"lanes": 64, "reference": 1}
_STEPS = {"lanes": 2000, "reference": 200}
# Numbers, id and the like of a row as it lies compressed in a file, beside its 8 bytes per snapshot.
_ROW_BYTES = 90


@dataclass(frozen=True)
class Estimate:
    """Cost of tasks.

    Attributes:
        runs: number of runs.
        tasks: number of tasks, and so of files.
        bytes: of their files, about.
        seconds: of one worker, about, without compilation.
        samples: how many runs were measured, by their first steps.
        compiled: how many kinds of runs have to be compiled; each worker compiles those that it meets.
        compile_seconds: of one of them, about.
    """

    runs: int
    tasks: int
    bytes: int
    seconds: float
    samples: int
    compiled: int
    compile_seconds: float

    def wall_seconds(self, workers: int) -> float:
        """Until so many workers are done, each with about its share of the runs and of what is compiled."""
        busy = min(workers, max(self.tasks, 1))
        return self.seconds / busy + self.compile_seconds * -(-self.compiled // busy)


def estimate(plan: Plan, tasks: Sequence[Task]) -> Estimate:
    """Cost of some tasks of a plan, from runs at places evenly spaced among theirs."""
    if not tasks:
        return Estimate(0, 0, 0, 0.0, 0, 0, 0.0)
    indices = np.concatenate([np.arange(task.start, task.stop) for task in tasks])
    stops = np.repeat([task.stop for task in tasks], [task.runs for task in tasks])
    places = np.linspace(0, len(indices) - 1, min(_SAMPLES, len(indices))).astype(int)
    # The first run also loads what the others find loaded.
    first = plan.runs(int(indices[0]), int(indices[0]) + 1)[0]
    row = {"run_id": plan.ids[0], **first, **execute({**first, "steps": 1, "engine": "reference"})}
    measured: list[tuple[int, float, float]] = []
    sizes: list[float] = []
    begin = time.perf_counter()
    for start, stop in zip(indices[places].tolist(), stops[places].tolist(), strict=True):
        if not measured or time.perf_counter() - begin < _PATIENCE:
            runs = _alike(plan.runs(start, min(stop, start + max(_TOGETHER.values()))))
            measured.append((len(runs), *_seconds(runs)))
            sizes.append(float(np.mean([_ROW_BYTES + 8 * _snapshots(run) for run in runs])))
    compiling = [seconds for _, _, seconds in measured if seconds > 0]
    return Estimate(
        runs=len(indices),
        tasks=len(tasks),
        bytes=int(len(tasks) * len(pack(tasks[0].id, plan.engine, [row])) + len(indices) * np.mean(sizes)),
        seconds=float(len(indices) * np.mean([seconds / count for count, seconds, _ in measured])),
        samples=sum(count for count, _, _ in measured),
        compiled=plan.compiled(indices),
        compile_seconds=max(compiling, default=0.0),
    )


def _alike(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first runs as far as one measurement of them all makes sense."""
    first = runs[0]
    same = [run for run in runs if all(run[key] == first[key] for key in ("engine", "steps", "record"))]
    return same[: _TOGETHER[first["engine"]]]


def _seconds(runs: list[dict[str, Any]]) -> tuple[float, float]:
    """Time of runs: what their problems and a step cost, and what the further steps cost; and time of compilation."""
    cold, warm = _timed(runs, 1), _timed(runs, 1)
    if runs[0]["engine"] == "reference":
        # A problem that was built is kept where it was the last one.
        warm = cold
    steps = min(runs[0]["steps"], _STEPS[runs[0]["engine"]])
    further = max(_timed(runs, steps) - warm, 0.0) / (steps - 1) if steps > 1 else 0.0
    return warm + further * (runs[0]["steps"] - 1), cold - warm


def _timed(runs: list[dict[str, Any]], steps: int) -> float:
    start = time.perf_counter()
    execute_many([{**run, "steps": steps} for run in runs])
    return time.perf_counter() - start


def _snapshots(run: dict[str, Any]) -> int:
    return run["steps"] + 1 if run["record"] == "full" else len(snapshot_times(run["steps"], "log"))
