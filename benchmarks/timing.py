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
# T at most: beyond it the slowest peers would take minutes, and no peer gets faster.
_LONGEST_RUN = 1 << 14


@dataclass(frozen=True)
class Budget:
    """What a cell may cost.

    Attributes:
        call: seconds of a call of the fastest peer, about.
        peer: seconds of each peer's calls, after which only the others go on.
        longest: seconds of a call that is worth waiting for.
        steps: T at least, so that what a call costs at its begin and end counts as little as in a run of a user.
        calls: of a peer, at most; two are made in any case.
    """

    call: float
    peer: float
    longest: float
    steps: int
    calls: int = 15


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
    """T whose call takes about ``budget.call``, the same for all peers of a cell; and the first call less a later."""
    steps = 8
    first, _ = _seconds(prepare(steps))
    taken = _seconds(prepare(steps))[0]
    compile_s = first - taken
    while taken < budget.call / 2 and steps < _LONGEST_RUN:
        steps = int(steps * min(max(budget.call / taken, 2.0), 64.0))
        taken = _seconds(prepare(steps))[0]
    return min(max(steps, budget.steps), _LONGEST_RUN), compile_s


@dataclass
class _Entry:
    run: Run
    compile_s: float
    error: float
    best: float
    spent: float
    calls: int = 1

    def goes_on(self, budget: Budget) -> bool:
        """Whether another call is wanted."""
        return self.calls < 2 or (self.spent < budget.peer and self.calls < budget.calls)

    def call(self) -> None:
        """Time one more call."""
        seconds, _ = _seconds(self.run)
        self.best, self.spent, self.calls = min(self.best, seconds), self.spent + seconds, self.calls + 1


def _prepared(run: Run, case: Case, steps: int, replicas: int) -> _Entry:
    """Called for the first time, and held against the engine."""
    first, result = _seconds(run)
    again = _seconds(run)[0]
    error = max(disagreement(case, result, steps, replica) for replica in {0, replicas - 1})
    return _Entry(run, first - again, error, again, again)


def time_peers(
    case: Case, names: Sequence[str], replicas: int, threads: int, budget: Budget, per_step: dict[str, float]
) -> dict[str, Timed]:
    """Least time over rounds in which every peer has its turn, all with the same number of steps.

    Args:
        case: problem, space, step size.
        names: of the peers; the first one decides T.
        replicas: R.
        threads: that each may use.
        budget: of time.
        per_step: seconds of a step of R replicas that a peer is known to need; who needs too long is left out.
    """
    entries: dict[str, _Entry] = {}
    timed: dict[str, Timed] = {}
    module, variant = load(names[0])
    steps, compile_s = _fit_steps(lambda steps: module.prepare(case, steps, replicas, threads, variant), budget)
    for name in names:
        if (seconds := per_step.get(name, 0.0) * steps) > budget.longest:
            timed[name] = Timed(None, note=f"skipped: a call would take {seconds:.0f} s")
            continue
        try:
            module, variant = load(name)
            entries[name] = _prepared(module.prepare(case, steps, replicas, threads, variant), case, steps, replicas)
        except ImportError as failure:
            timed[name] = Timed(None, note=str(failure))
    if names[0] in entries:
        entries[names[0]].compile_s += compile_s
    while waiting := [entry for entry in entries.values() if entry.goes_on(budget)]:
        for entry in waiting:
            entry.call()
    for name, entry in entries.items():
        ns = entry.best / steps / replicas * 1e9
        timed[name] = Timed(ns, steps, entry.calls, entry.compile_s, entry.error)
    return {name: timed[name] for name in names}
