"""From a specification to tasks: all runs as columns, their ids, and which of them share a task and a file.

Packing depends on the specification alone, so that files hold the same bytes whoever computes them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from simulator.options import build_problem
from simulator.schedules import get_schedule
from simulator.sweeps.execute import ENGINE_VERSION
from simulator.sweeps.runspec import DEFAULTS, ID_LENGTH, KEYS, check_together
from simulator.sweeps.spec import Sweep
from theory.errors import InputError

__all__ = ["Plan", "Task", "make_plan", "task_id"]

# A task is to take about a second: short enough to lose little with a worker, long enough for its file to cost nothing.
PACK_STEPS = 2_000_000
PACK_RUNS = 1000
# Steps count as so many more where they take longer: a slow engine, every state recorded, more than so many features.
_SLOWER = {"engine": {"lanes": 1.0, "reference": 40.0}, "record": {"full": 5.0}}
_FEATURES = 1024
# What a compiled run depends on. A process takes seconds for each that it meets: runs that share it stay together.
_COMPILED = ("engine", "rule", "schedule", "family", "n", "k", "d")
# A small sweep is cut into at least about so many tasks, so that there is work for several processes.
_LEAST_TASKS = 16
# Problems of at most this many features are built before anything runs, to see whether they can be.
_PROBED_FEATURES, _PROBED_PROBLEMS = 20_000, 50

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """Runs ``start`` to ``stop - 1`` of the plan, which one worker computes and one file holds.

    ``work`` is in steps of a small problem by the lanes engine.
    """

    id: str
    start: int
    stop: int
    work: int

    @property
    def runs(self) -> int:
        """Number of runs."""
        return self.stop - self.start


@dataclass(frozen=True)
class Plan:
    """All runs of a sweep, each once.

    Attributes:
        values: distinct values of each key.
        codes: which of them each run has, ``(runs,)`` per key.
        duplicates: how many runs were written twice in the specification and are run once.
        pack: most runs in a task, or None.
        engine: version of the engine that the ids are for.
    """

    values: dict[str, list[Any]]
    codes: dict[str, Codes]
    ids: list[str]
    duplicates: int
    pack: int | None
    engine: str = ENGINE_VERSION

    def __len__(self) -> int:
        """Number of runs."""
        return len(self.ids)

    def runs(self, start: int, stop: int) -> list[dict[str, Any]]:
        """The runs as dictionaries of plain values."""
        columns = [[self.values[key][code] for code in self.codes[key][start:stop].tolist()] for key in KEYS]
        return [dict(zip(KEYS, row, strict=True)) for row in zip(*columns, strict=True)]

    @cached_property
    def tasks(self) -> list[Task]:
        """Runs in order, cut where a task has enough work."""
        costs = self._costs()
        most = self.pack or PACK_RUNS
        enough = np.inf if self.pack else min(PACK_STEPS, float(costs.sum()) / _LEAST_TASKS)
        tasks, start, work = [], 0, 0.0
        for index, cost in enumerate(costs.tolist()):
            full = index - start >= most or work + cost > enough
            if full and index > start:
                tasks.append(Task(task_id(self.ids[start:index]), start, index, int(work)))
                start, work = index, 0.0
            work += cost
        return [*tasks, Task(task_id(self.ids[start:]), start, len(self), int(work))]

    @property
    def work(self) -> int:
        """Of all tasks."""
        return sum(task.work for task in self.tasks)

    def compiled(self, indices: Codes) -> int:
        """How many different runs have to be compiled for some runs, but for the number of replicas beside them."""
        if "lanes" not in self.values["engine"]:
            return 0
        fast = self.codes["engine"][indices] == self.values["engine"].index("lanes")
        return len(self.kinds(_COMPILED, indices[fast])[0])

    def kinds(self, keys: Sequence[str], indices: Codes) -> tuple[Codes, Codes]:
        """Of some runs the first with each combination of some keys, and which combination each of them has."""
        first, kind = _combine(keys, self.values, {key: column[indices] for key, column in self.codes.items()})
        return indices[first], kind

    def _costs(self) -> npt.NDArray[np.float64]:
        """Work of each run."""
        steps, n, k, d = (np.array(self.values[key], np.float64)[self.codes[key]] for key in ("steps", "n", "k", "d"))
        costs = steps * np.maximum(n * k * d / _FEATURES, 1.0)
        for key, factors in _SLOWER.items():
            costs = costs * np.array([factors.get(value, 1.0) for value in self.values[key]])[self.codes[key]]
        return costs


def task_id(ids: Sequence[str]) -> str:
    """Hash of the ids of a task's runs, in order."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:ID_LENGTH]


def make_plan(sweep: Sweep, engine: str = ENGINE_VERSION) -> Plan:
    """Expand a specification.

    Values were validated one by one; here only combinations are looked at, each distinct one once.

    Raises:
        InputError: a combination that cannot be run, such as too few features for a problem of the family.
    """
    values, codes = _expand(sweep)
    for key in DEFAULTS:
        _fill(key, values, codes)
    for rule, eta, schedule in _distinct(("rule", "eta", "schedule"), values, codes):
        check_together(rule, eta, schedule, sweep.place)
    _probe(values, codes, sweep.place)
    ids = _ids(values, codes, engine)
    if len(set(ids)) == len(ids):
        return Plan(values, codes, ids, 0, sweep.pack, engine)
    first = np.array(sorted({run: i for i, run in reversed(list(enumerate(ids)))}.values()))
    kept = {key: column[first] for key, column in codes.items()}
    return Plan(values, kept, [ids[i] for i in first], len(ids) - len(first), sweep.pack, engine)


def _expand(sweep: Sweep) -> tuple[dict[str, list[Any]], dict[str, Codes]]:
    """Distinct values of every key, and their codes, ``(runs,)``; in the order of :func:`_by_compilation`."""
    values: dict[str, list[Any]] = {key: [value] for key, value in sweep.shared.items()}
    codes = {key: np.zeros(sweep.size, dtype=np.int64) for key in KEYS}
    outer, inner = 1, sweep.size
    for points in _by_compilation(sweep):
        inner //= len(points)
        for key in sorted({key for point in points for key in point}):
            column = [point.get(key, sweep.shared[key]) for point in points]
            values[key] = list(dict.fromkeys(column))
            index = {value: code for code, value in enumerate(values[key])}
            local = np.array([index[value] for value in column])
            codes[key] = np.tile(np.repeat(local, inner), outer)
        outer *= len(points)
    return values, codes


def _by_compilation(sweep: Sweep) -> list[Sequence[Mapping[str, Any]]]:
    """The points of every axis, the last of which is to vary fastest: what needs a compiled run of its own is slowest.

    For the rest, axes and points come as they were written.
    """
    outer, inner = list[Sequence[Mapping[str, Any]]](), list[Sequence[Mapping[str, Any]]]()
    for axis in sweep.axes:
        kinds: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
        for point in axis.points:
            kinds.setdefault(tuple(point.get(key, sweep.shared[key]) for key in _COMPILED), []).append(point)
        (outer if len(kinds) > 1 else inner).append([point for alike in kinds.values() for point in alike])
    return [*outer, *inner]


def _combine(keys: Sequence[str], values: dict[str, list[Any]], codes: dict[str, Codes]) -> tuple[Codes, Codes]:
    """First run of every distinct combination of some keys, and which combination each run has."""
    number = np.zeros(len(codes["n"]), dtype=np.int64)
    for key in keys:
        if len(values[key]) > 1:
            # Renumbered at each key, so that the numbers stay below the number of runs times that of the values.
            number = np.unique(number * len(values[key]) + codes[key], return_inverse=True)[1]
    first, inverse = np.unique(number, return_index=True, return_inverse=True)[1:]
    return first, inverse


def _distinct(keys: Sequence[str], values: dict[str, list[Any]], codes: dict[str, Codes]) -> Iterator[tuple[Any, ...]]:
    """Distinct combinations of the values of some keys."""
    for run in _combine(keys, values, codes)[0].tolist():
        yield tuple(values[key][codes[key][run]] for key in keys)


def _fill(key: str, values: dict[str, list[Any]], codes: dict[str, Codes]) -> None:
    """Write out a key where it was left out."""
    if None not in values[key]:
        return
    shape = ("family", "n", "k", key)
    combination = _combine(shape, values, codes)[1]
    filled = [DEFAULTS[key](*others) if given is None else given for *others, given in _distinct(shape, values, codes)]
    values[key] = list(dict.fromkeys(filled))
    index = {value: code for code, value in enumerate(values[key])}
    codes[key] = np.array([index[value] for value in filled])[combination]


def _probe(values: dict[str, list[Any]], codes: dict[str, Codes], place: str) -> None:
    """Build a few small problems of different shapes, so that a slip in the specification shows before the work."""
    probed = 0
    shape = ("family", "n", "k", "d", "strength", "schedule")
    for family, n, k, d, strength, schedule in _distinct(shape, values, codes):
        if n * k * d <= _PROBED_FEATURES and probed < _PROBED_PROBLEMS:
            probed += 1
            try:
                get_schedule(schedule).batch(n)
                build_problem(family, n, k, d, values["p0"][0], 0, strength)
            except InputError as error:
                raise InputError(f"{family} with n = {n}, k = {k}, d = {d} {place}: {error}") from None


def _ids(values: dict[str, list[Any]], codes: dict[str, Codes], engine: str) -> list[str]:
    """:func:`simulator.sweeps.runspec.run_id` of every run, put together from pieces that are spelled once."""
    columns: list[list[str]] = []
    text, comma = f"{engine}\n{{", ""
    for key in sorted(KEYS):
        pieces = [f'{text}{comma}"{key}":{json.dumps(value, allow_nan=False)}' for value in values[key]]
        text, comma = "", ","
        if len(pieces) == 1:
            text = pieces[0]
        else:
            columns.append([pieces[code] for code in codes[key].tolist()])
    rows = zip(*columns, strict=True) if columns else [()] * len(codes["n"])
    return [hashlib.sha256(f"{''.join(row)}{text}}}".encode()).hexdigest()[:ID_LENGTH] for row in rows]
