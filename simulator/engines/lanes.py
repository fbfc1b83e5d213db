"""The fast CPU engine: replicas side by side in vector registers, explicit SIMD, one thread per block of columns."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from simulator.engines.advantage_tables import sampling_of
from simulator.engines.ensemble import Ensemble
from simulator.engines.kernel import Bandit, Draws, Outputs, compile_run
from simulator.engines.layout import Layout, Space, lay_out
from simulator.problems import Problem, check_step
from simulator.records import snapshot_times
from simulator.reference import prompt_draws
from simulator.sampled import SampledRule
from simulator.schedules import UNIFORM, Schedule, get_schedule
from theory.errors import expected
from theory.rules import Rule

__all__ = ["WIDTHS", "run_lanes"]

Floats = npt.NDArray[np.float64]
# Replicas of a column. The wider one hides latencies better and needs enough replicas to fill it.
WIDTHS = (16, 32)


def run_lanes(
    problem: Problem,
    rule: Rule | SampledRule,
    eta: npt.ArrayLike,
    steps: int,
    *,
    replicas: int | range = 1,
    seed: int = 0,
    schedule: Schedule | str = UNIFORM,
    theta0: npt.ArrayLike | None = None,
    record: str = "log",
    keep_theta: bool = False,
    space: Space = "auto",
    threads: int | None = None,
) -> Ensemble:
    """Run many replicas of ``simulator.reference.simulate``; results do not depend on ``threads``.

    Args:
        problem: the bandit; its ``order``, if any, takes the place of the schedule.
        rule: exact or sampled.
        eta: step size, a number or ``(R,)``.
        steps: T.
        replicas: how many (numbered from 0), or their numbers.
        seed: of all runs.
        schedule: which prompts move at each step, or its name.
        theta0: starts ``(d,)`` or ``(R, d)``; the problem's own if None.
        record: ``log`` or ``full``.
        keep_theta: record theta at the snapshots.
        space: see :class:`simulator.engines.layout.Layout`.
        threads: all cores if None.

    Raises:
        InputError: what ``simulate`` refuses, or arrays of the wrong shape.
    """
    numbers = range(replicas) if isinstance(replicas, int) else replicas
    if len(numbers) < 1:
        raise expected("replicas", len(numbers), "at least 1", "ask for one or more")
    etas, starts = _per_replica("eta", eta, (len(numbers),)), problem.theta0 if theta0 is None else theta0
    check_step(float(etas.min()), steps)
    check_step(float(etas.max()), steps)
    starts = _per_replica("theta0", starts, (len(numbers), problem.d))
    chosen = get_schedule(schedule) if isinstance(schedule, str) else schedule
    name, draws = _draws(problem, chosen, steps, seed)
    layout = lay_out(problem, "features" if keep_theta else space)
    times = snapshot_times(steps, record)
    width = WIDTHS[0] if len(numbers) <= WIDTHS[0] else WIDTHS[1]
    columns = _Columns(problem.n, layout, width, len(numbers), times, keep_theta)
    sampling = sampling_of(rule, draws.batch)
    exact = rule.name if isinstance(rule, Rule) else None
    run = compile_run(width, problem.outputs - 1, layout.dimension, layout.length, layout.factors.shape[1], exact)
    bandit = Bandit(layout.differences.ravel(), layout.factors.ravel(), layout.steps.ravel())
    scaled = columns.spread(etas[:, None] / draws.batch / layout.scale**2)
    states = columns.spread(layout.start(starts))

    def one(column: int) -> None:
        first = numbers[0] + column * width
        run(problem.n, bandit, states[column], scaled[column], draws, sampling, first, times, columns.outputs(column))

    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        list(pool.map(one, range(columns.count)))
    return Ensemble(
        problem=problem.name,
        rule=rule.name,
        schedule=name,
        engine="lanes",
        eta=etas,
        x_max_sq=problem.x_max_sq,
        seed=seed,
        replicas=np.array(numbers, dtype=np.int64),
        t=times,
        **columns.collect(layout.scale),
    )


def _per_replica(name: str, values: Any, shape: tuple[int, ...]) -> Floats:
    try:
        return np.ascontiguousarray(np.broadcast_to(np.asarray(values, dtype=np.float64), shape))
    except (TypeError, ValueError):
        wanted = f"numbers of a shape that broadcasts to {shape}"
        raise expected(f"shape of {name}", np.shape(values), wanted, "give one for all replicas, or one each") from None


def _draws(problem: Problem, schedule: Schedule, steps: int, seed: int) -> tuple[str, Draws]:
    """Name of the schedule that is followed, and where the compiled run finds the prompts."""
    random = problem.order is None and schedule.kind in ("uniform", "minibatch")
    if random:
        return schedule.name, Draws(np.uint64(seed), schedule.batch(problem.n), True, np.empty((0, 0), np.int64))
    name, given = prompt_draws(problem, schedule, steps, seed)
    return name, Draws(np.uint64(seed), given.shape[1], False, given)


class _Columns:
    """Replicas dealt out to columns of ``width``, the last one padded with further replicas that nobody asked for."""

    def __init__(self, n: int, layout: Layout, width: int, replicas: int, times: Any, keep_state: bool) -> None:
        self.n, self.length, self.width, self.replicas = n, layout.length, width, replicas
        self.count = -(-replicas // width)
        snapshots = len(times)
        self.values = {
            name: np.empty((self.count, snapshots, n * width)) for name in ("p", "q", "grad_sq", "sum_p", "sum_grad_sq")
        }
        self.states = np.empty((self.count, snapshots if keep_state else 0, layout.length * width))

    def spread(self, values: Floats) -> Floats:
        """``(R, m)`` -> ``(columns, m * width)``, the lanes innermost; padding repeats the last replica."""
        padding = np.repeat(values[-1:], self.count * self.width - self.replicas, axis=0)
        lanes = np.concatenate([values, padding]).reshape(self.count, self.width, -1)
        return np.ascontiguousarray(lanes.transpose(0, 2, 1)).reshape(self.count, -1)

    def outputs(self, column: int) -> Outputs:
        """Where the column writes."""
        return Outputs(*(self.values[name][column] for name in self.values), self.states[column])

    def collect(self, scale: float) -> dict[str, Floats]:
        """The arrays of an :class:`Ensemble`, of the unscaled features."""
        p, q, grad_sq, sum_p, sum_g = (self._runs(values, self.n) for values in self.values.values())
        return {
            "J": p,
            "q": q,
            "grad_sq": grad_sq / scale**2,
            "sum_J": sum_p,
            "sum_grad_sq": sum_g / scale**2,
            "theta": self._runs(self.states, self.length) * scale,
        }

    def _runs(self, values: Floats, rows: int) -> Floats:
        """``(columns, S, rows * width)`` -> ``(R, S, rows)``."""
        split = values.reshape(self.count, values.shape[1], rows, self.width).transpose(0, 3, 1, 2)
        return split.reshape(self.count * self.width, values.shape[1], rows)[: self.replicas]
