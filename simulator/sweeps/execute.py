"""What a sweep runs: the one place that knows the engines. Runs in, rows of results out, and nothing else counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from simulator.engines.plan import check_records
from simulator.engines.run import simulate_many
from simulator.options import build_problem, check_size
from simulator.problems import Problem
from simulator.records import snapshot_times
from simulator.reference import simulate
from simulator.sampled import get_any_rule
from simulator.schedules import get_schedule
from simulator.step_sizes import choose_step
from simulator.sweeps.runspec import KEYS
from theory.errors import InputError

__all__ = ["ENGINE_VERSION", "REFUSED_BY", "RESULTS", "THRESHOLDS", "execute", "execute_many", "refusal"]

# Part of every run's id: raise it whenever any result of any engine may change, even in its last digit, or a row says
# more. It names a directory.
ENGINE_VERSION = "engines-2"

# Mean success probabilities whose first snapshot is kept.
THRESHOLDS = {"steps_to_50": 0.5, "steps_to_90": 0.9, "steps_to_99": 0.99}
# What only a record of every step tells.
_OF_EVERY_STEP = ("descending_steps", "gain_over_bound_min")

# Columns of a row beside the run's keys; a list holds one number per snapshot.
RESULTS: dict[str, Any] = {
    "status": str,
    "error": str,
    "step_size": float,
    "x_max_sq": float,
    "mean_J_start": float,
    "mean_J_end": float,
    "mean_grad_sq": float,
    **dict.fromkeys(THRESHOLDS, int),
    "descending_steps": int,
    "gain_over_bound_min": float,
    "t": list[int],
    "mean_J": list[float],
}

Run = Mapping[str, Any]
Row = dict[str, Any]
Floats = npt.NDArray[np.float64]
# Bytes that the runs of one call record; what a run is refused for must not depend on the others.
_RECORDED = 1 << 28
# Runs that are equal in all other keys are one call of the lanes engine.
_SHARED = [key for key in KEYS if key not in ("replica", "eta")]


def execute(run: Run) -> Row:
    """The row of one run, see :func:`execute_many`."""
    return execute_many([run])[0]


def execute_many(runs: Sequence[Run]) -> list[Row]:
    """Rows of many runs, in order; the same bits as one by one.

    Args:
        runs: of each, the value of every key of :class:`simulator.sweeps.runspec.RunSpec`, canonical.

    Returns:
        A value or None for every column of :data:`RESULTS`. ``status`` is ``ok``, ``diverged`` (a probability is no
        number at the end: the step size is too large), or ``refused`` (``error`` says why; all else is None).
        ``mean_grad_sq`` is ``1/(T n) sum_{t<T} sum_i ||grad J_i(theta_t)||^2``.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, run in enumerate(runs):
        groups.setdefault(tuple(run[key] for key in _SHARED), []).append(index)
    rows: dict[int, Row] = {}
    for members in groups.values():
        with np.errstate(all="ignore"):
            rows.update(zip(members, _together([runs[index] for index in members]), strict=True))
    return [rows[index] for index in range(len(runs))]


def _together(runs: Sequence[Run]) -> list[Row]:
    """Rows of runs that differ in replica and step size alone."""
    shared, rows = runs[0], dict[int, Row]()
    try:
        problem = _problem(*(shared[key] for key in ("family", "n", "k", "d", "p0", "seed", "strength")))
        rule, schedule = get_any_rule(shared["rule"]), get_schedule(shared["schedule"])
    except InputError as error:
        return [_refused(str(error)) for _ in runs]
    ready: list[tuple[int, float]] = []
    for text in dict.fromkeys(run["eta"] for run in runs):
        members = [index for index, run in enumerate(runs) if run["eta"] == text]
        try:
            eta = choose_step(text, problem, rule, schedule, shared["steps"], shared["seed"])
        except InputError as error:
            rows.update((index, _refused(str(error))) for index in members)
        else:
            ready += [(index, eta) for index in members]
    call = {"steps": shared["steps"], "schedule": schedule, "seed": shared["seed"], "record": shared["record"]}
    parts = [[member] for member in ready] if shared["engine"] == "reference" else _parts(runs, ready)
    for part in parts:
        replicas, etas = [runs[index]["replica"] for index, _ in part], [eta for _, eta in part]
        try:
            results = _ENGINES[shared["engine"]](problem, rule, etas, replicas, call)
        except InputError as error:
            results = [_refused(str(error)) for _ in part]
        rows.update(zip((index for index, _ in part), results, strict=True))
    return [rows[index] for index in range(len(runs))]


# What :func:`refusal` depends on.
REFUSED_BY = ("n", "k", "d", "steps", "record", "engine")


def refusal(run: Run) -> str | None:
    """The error of a run that is too large, known before anything is built; None where only the run itself can tell."""
    try:
        check_size(run["n"], run["k"], run["d"])
        if run["engine"] == "lanes":
            check_records(run["n"], run["d"], run["steps"], run["record"])
    except InputError as error:
        return str(error)
    return None


def _refused(error: str) -> Row:
    return dict.fromkeys(RESULTS) | {"status": "refused", "error": error}


@lru_cache(maxsize=1)
def _problem(family: str, n: int, k: int, d: int, p0: str, seed: int, strength: float | None) -> Problem:
    """Rules and schedules come one after the other and share their problem."""
    return build_problem(family, n, k, d, p0, seed, strength)


def _parts(runs: Sequence[Run], ready: Sequence[tuple[int, float]]) -> Iterator[list[tuple[int, float]]]:
    """Calls of the lanes engine, which takes replicas without gaps, each once; its second run goes into another."""
    shared, seen = runs[0], Counter[int]()
    order = []
    for index, eta in ready:
        replica = runs[index]["replica"]
        order.append((seen[replica], replica, index, eta))
        seen[replica] += 1
    steps, record = shared["steps"], shared["record"]
    snapshots = steps + 1 if record == "full" else len(snapshot_times(steps, record))
    most = max(_RECORDED // (8 * (5 * snapshots * shared["n"] + 2 * shared["d"])), 1)
    part: list[tuple[int, float]] = []
    before: tuple[int, int] | None = None
    for turn, replica, index, eta in sorted(order):
        if part and ((turn, replica - 1) != before or len(part) == most):
            yield part
            part = []
        part.append((index, eta))
        before = turn, replica
    if part:
        yield part


def _by_lanes(
    problem: Problem, rule: Any, etas: list[float], replicas: list[int], call: Mapping[str, Any]
) -> list[Row]:
    numbers = range(replicas[0], replicas[-1] + 1)
    # One thread: there is a worker for every core.
    options: dict[str, Any] = {"engine": "lanes", "engine_options": {"threads": 1}}
    ensemble = simulate_many(problem, rule, np.array(etas), replicas=numbers, **options, **call)
    rows = []
    for row, eta in enumerate(etas):
        # Numpy adds what lies side by side in another order than what does not.
        success, last = (np.ascontiguousarray(values[row]) for values in (ensemble.J, ensemble.grad_sq))
        sums = np.ascontiguousarray(ensemble.sum_grad_sq[row]).sum(axis=0) - last[-1]
        summary = ensemble.record(row).summary() if call["record"] == "full" else {}
        rows.append(_row(eta, problem.x_max_sq, ensemble.t, success, sums, summary))
    return rows


def _by_reference(
    problem: Problem, rule: Any, etas: list[float], replicas: list[int], call: Mapping[str, Any]
) -> list[Row]:
    sums = np.zeros(problem.n)

    def visit(theta: Floats) -> None:
        sums[:] += problem.at(theta).grad_sq

    record = simulate(problem, rule, etas[0], replica=replicas[0], visit=visit, **call)
    return [_row(record.eta, record.x_max_sq, record.t, record.J, sums, record.summary())]


_ENGINES: dict[str, Callable[..., list[Row]]] = {"lanes": _by_lanes, "reference": _by_reference}


def _row(
    eta: float,
    x_max_sq: float,
    t: npt.NDArray[np.int64],
    success: Floats,
    grad_sq_sums: Floats,
    summary: Mapping[str, Any],
) -> Row:
    """Results of a run, from its snapshots and the sums of ``||grad J_i||^2`` over t < T."""
    mean = success.mean(axis=1)
    row = {key: summary.get(key) for key in _OF_EVERY_STEP}
    row |= {"status": "ok" if np.isfinite(mean[-1]) else "diverged", "error": None}
    row |= {"step_size": eta, "x_max_sq": x_max_sq, "mean_J_start": float(mean[0]), "mean_J_end": _finite(mean[-1])}
    row["mean_grad_sq"] = _finite((grad_sq_sums / t[-1]).mean())
    for name, threshold in THRESHOLDS.items():
        reached = np.flatnonzero(mean >= threshold)
        row[name] = int(t[reached[0]]) if len(reached) else None
    row["gain_over_bound_min"] = _finite(row["gain_over_bound_min"])
    row["t"] = t.tolist()
    row["mean_J"] = [_finite(value) for value in mean.tolist()]
    return row


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None
