"""What a sweep will cost, before it runs: counted where possible, else measured on a few of its own runs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from simulator.records import snapshot_times
from simulator.sweeps.execute import REFUSED_BY, execute, execute_many, refusal
from simulator.sweeps.pack import pack
from simulator.sweeps.plan import Codes, Plan, Task

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
        refused: how many runs are too large to be run, by error: they take no time, and their rows say why.
        refused_samples: of the runs that were measured, those that were refused for another reason.
    """

    runs: int
    tasks: int
    bytes: int
    seconds: float
    samples: int
    compiled: int
    compile_seconds: float
    refused: dict[str, int] = field(default_factory=dict)
    refused_samples: dict[str, int] = field(default_factory=dict)

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
    refused, able = _too_large(plan, indices)
    # The first run also loads what the others find loaded.
    first = plan.runs(int(indices[0]), int(indices[0]) + 1)[0]
    row = {"run_id": plan.ids[0], **first, **execute({**first, "steps": 1, "engine": "reference"})}
    found = _measured(plan, indices[able], stops[able])
    runs = int(able.sum())
    # A refused run is a row without snapshots.
    rows = len(indices) * _ROW_BYTES + 8 * runs * float(np.mean([each.snapshots for each in found] or [0.0]))
    return Estimate(
        runs=len(indices),
        tasks=len(tasks),
        bytes=int(len(tasks) * len(pack(tasks[0].id, plan.engine, [row])) + rows),
        seconds=runs * float(np.mean([each.seconds / each.runs for each in found] or [0.0])),
        samples=sum(each.runs for each in found),
        compiled=plan.compiled(indices[able]),
        compile_seconds=max((each.compiling for each in found if each.compiling > 0), default=0.0),
        refused=refused,
        refused_samples=dict(sum((each.refused for each in found), Counter[str]())),
    )


def _too_large(plan: Plan, indices: Codes) -> tuple[dict[str, int], npt.NDArray[np.bool_]]:
    """How many runs have each error of :func:`refusal`, and which have none, ``(runs,)``."""
    first, kind = plan.kinds(REFUSED_BY, indices)
    errors = [refusal(plan.runs(run, run + 1)[0]) for run in first.tolist()]
    counts = Counter[str]()
    for error, runs in zip(errors, np.bincount(kind).tolist(), strict=True):
        if error is not None:
            counts[error] += runs
    return dict(counts), np.array([error is None for error in errors])[kind]


@dataclass(frozen=True)
class _Measured:
    """Runs that were measured together: their number, time, time of compilation, mean snapshots, and errors."""

    runs: int
    seconds: float
    compiling: float
    snapshots: float
    refused: Counter[str]


def _measured(plan: Plan, indices: Codes, stops: Codes) -> list[_Measured]:
    """Measurements at places evenly spaced among some runs, each with what follows it in its task."""
    places = np.linspace(0, len(indices) - 1, min(_SAMPLES, len(indices))).astype(int)
    measured = list[_Measured]()
    begin = time.perf_counter()
    for start, stop in zip(indices[places].tolist(), stops[places].tolist(), strict=True):
        if not measured or time.perf_counter() - begin < _PATIENCE:
            runs = _alike(plan.runs(start, min(stop, start + max(_TOGETHER.values()))))
            measured.append(_measure(runs))
    return measured


def _alike(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first runs as far as one measurement of them all makes sense."""
    first = runs[0]
    alike = [run for run in runs if all(run[key] == first[key] for key in ("engine", "steps", "record"))]
    return [run for run in alike if refusal(run) is None][: _TOGETHER[first["engine"]]]


def _measure(runs: list[dict[str, Any]]) -> _Measured:
    """Time of runs: what their problems and a step cost, and what the further steps cost; and time of compilation."""
    (cold, rows), (warm, _) = _timed(runs, 1), _timed(runs, 1)
    if runs[0]["engine"] == "reference":
        # A problem that was built is kept where it was the last one.
        warm = cold
    steps = min(runs[0]["steps"], _STEPS[runs[0]["engine"]])
    further = max(_timed(runs, steps)[0] - warm, 0.0) / (steps - 1) if steps > 1 else 0.0
    return _Measured(
        runs=len(runs),
        seconds=warm + further * (runs[0]["steps"] - 1),
        compiling=cold - warm,
        snapshots=float(np.mean([_snapshots(run) for run in runs])),
        refused=Counter(row["error"] for row in rows if row["status"] == "refused"),
    )


def _timed(runs: list[dict[str, Any]], steps: int) -> tuple[float, list[dict[str, Any]]]:
    start = time.perf_counter()
    rows = execute_many([{**run, "steps": steps} for run in runs])
    return time.perf_counter() - start, rows


def _snapshots(run: dict[str, Any]) -> int:
    return run["steps"] + 1 if run["record"] == "full" else len(snapshot_times(run["steps"], "log"))
