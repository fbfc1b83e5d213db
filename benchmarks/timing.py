"""Timings of all peers of one cell, interleaved, each held against the engine in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.peers import Case, Result, load
from simulator.engines.run import simulate_many
from simulator.reference import simulate
from theory.rules import GRPO

__all__ = ["Budget", "Timed", "disagreement", "time_peers"]

Run = Callable[[], Result]


@dataclass(frozen=True)
class Budget:
    """Seconds: of one call (about), of all rounds of a cell, and of the longest call that is worth waiting for."""

    call: float
    cell: float
    longest: float


@dataclass(frozen=True)
class Timed:
    """One peer in one cell.

    Attributes:
        ns: of a replica-step; None where it did not run.
        steps: T of a call.
        calls: that were timed.
        compile_s: first call less a later one.
        error: largest relative difference from the engine, over J, ``||grad J||^2`` and their sums.
        note: why it did not run.
    """

    ns: float | None
    steps: int = 0
    calls: int = 0
    compile_s: float = 0.0
    error: float = 0.0
    note: str = ""


def disagreement(case: Case, result: Result, steps: int, replica: int, reference: bool = False) -> float:
    """Largest relative difference of a replica from the engine's run (or the reference's) in the same order."""
    problem, scale = case.problem.with_order(result.order(replica)), case.layout.scale**2
    if reference:
        slow = simulate(problem, GRPO, case.eta, steps, record="full")
        expected = slow.J[-1], slow.grad_sq[-1], slow.J.sum(axis=0), slow.grad_sq.sum(axis=0)
    else:
        fast = simulate_many(problem, GRPO, case.eta, steps, space=case.layout, engine_options={"threads": 1})
        expected = fast.J[0, -1], fast.grad_sq[0, -1], fast.sum_J[0].sum(axis=0), fast.sum_grad_sq[0].sum(axis=0)
    found = result.J, result.grad_sq / scale, result.sum_J, result.sum_grad_sq / scale
    return max(float(np.max(np.abs(a[replica] / b - 1))) for a, b in zip(found, expected, strict=True))


def _seconds(run: Run) -> tuple[float, Result]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def _fit_steps(prepare: Callable[[int], Run], budget: Budget) -> tuple[int, float]:
    """T whose call takes about ``budget.call``, and the seconds that compiling took."""
    steps, start = 8, time.perf_counter()
    run = prepare(steps)
    run()
    first = time.perf_counter() - start
    taken = _seconds(run)[0]
    compile_s = first - taken
    while taken < budget.call / 2 and steps < 1 << 20:
        steps = int(steps * min(max(budget.call / taken, 2.0), 64.0))
        run = prepare(steps)
        run()
        taken = _seconds(run)[0]
    return steps, compile_s


@dataclass
class _Entry:
    run: Run
    steps: int
    compile_s: float
    error: float
    best: float = np.inf
    calls: int = 0


def time_peers(case: Case, names: Sequence[str], replicas: int, threads: int, budget: Budget) -> dict[str, Timed]:
    """Least time over rounds in which every peer has its turn.

    Args:
        case: problem, space, step size.
        names: of the peers.
        replicas: R.
        threads: that each may use.
        budget: of time.
    """
    entries: dict[str, _Entry] = {}
    timed: dict[str, Timed] = {}
    for name in names:
        try:
            module, variant = load(name)
            prepare = lambda steps, m=module, v=variant: m.prepare(case, steps, replicas, threads, v)  # noqa: E731
            steps, compile_s = _fit_steps(prepare, budget)
            run = prepare(steps)
            result = run()
            error = max(disagreement(case, result, steps, replica) for replica in {0, replicas - 1})
        except ImportError as failure:
            timed[name] = Timed(None, note=str(failure))
        else:
            entries[name] = _Entry(run, steps, compile_s, error)
    started = time.perf_counter()
    while time.perf_counter() - started < budget.cell or any(entry.calls < 2 for entry in entries.values()):
        for entry in entries.values():
            seconds, _ = _seconds(entry.run)
            entry.best, entry.calls = min(entry.best, seconds), entry.calls + 1
    for name, entry in entries.items():
        ns = entry.best / entry.steps / replicas * 1e9
        timed[name] = Timed(ns, entry.steps, entry.calls, entry.compile_s, entry.error)
    return {name: timed[name] for name in names}
