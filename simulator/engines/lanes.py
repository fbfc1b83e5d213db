"""The fast CPU engine: replicas side by side in vector registers, explicit SIMD, one thread per block of columns."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from simulator.engines.advantage_tables import sampling_of
from simulator.engines.arrays import Draws
from simulator.engines.columns import Columns
from simulator.engines.ensemble import Ensemble
from simulator.engines.kernel import Shape, compile_run
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
    space: Space | Layout = "auto",
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
        record: ``log``, ``full`` or ``ends``.
        keep_theta: record theta at the snapshots.
        space: see :class:`simulator.engines.layout.Layout`; what ``lay_out`` made of the problem saves doing it again.
        threads: all cores if None.

    Raises:
        InputError: what ``simulate`` refuses, or arrays of the wrong shape.
    """
    numbers = range(replicas) if isinstance(replicas, int) else replicas
    if len(numbers) < 1 or numbers.step != 1:
        raise expected("replicas", numbers, "a number above 0, or a range without gaps", "e.g. 16 or range(16, 32)")
    etas, starts = _per_replica("eta", eta, (len(numbers),)), problem.theta0 if theta0 is None else theta0
    check_step(float(etas.min()), steps)
    check_step(float(etas.max()), steps)
    starts = _per_replica("theta0", starts, (len(numbers), problem.d))
    chosen = get_schedule(schedule) if isinstance(schedule, str) else schedule
    name, draws = _draws(problem, chosen, steps, seed)
    layout = space if isinstance(space, Layout) else lay_out(problem, "features" if keep_theta else space)
    if keep_theta and layout.space != "features":
        raise expected("space", layout.space, "features where theta is kept", "lay the problem out in feature space")
    times = snapshot_times(steps, record)
    width, across = _lanes(problem.n, len(numbers))
    if across:
        layout = layout.side_by_side(width)
    columns = Columns(problem.n, layout, 1 if across else width, len(numbers), len(times), keep_theta)
    sampling = sampling_of(rule, draws.batch)
    exact = rule.name if isinstance(rule, Rule) else None
    shape = Shape(width, across, problem.outputs - 1, layout.dimension, layout.length, layout.factors.shape[1])
    run, bandit = compile_run(shape, exact), layout.compiled()
    scaled = columns.spread(etas[:, None] / draws.batch / layout.scale**2)
    states = columns.spread(layout.start(starts))

    def part(ends: tuple[int, int]) -> None:
        run(problem.n, bandit, states, scaled, draws, sampling, numbers[0], times, columns.outputs(), *ends)

    _side_by_side(part, columns.count, threads or os.cpu_count() or 1)
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


def _side_by_side(part: Callable[[tuple[int, int]], None], count: int, threads: int) -> None:
    """Deal out ``range(count)``, in a few parts for each thread, so that a thread that is held up delays little."""
    pieces = min(count, 4 * threads) if threads > 1 else 1
    ends = [count * k // pieces for k in range(pieces + 1)]
    if pieces == 1:
        part((0, count))
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(part, pairwise(ends)))


def _lanes(n: int, replicas: int) -> tuple[int, bool]:
    """Width of a column, and whether its lanes are prompts: a few replicas would leave most lanes idle."""
    beside = next((size for size in (4, 8) if n <= size), WIDTHS[0])
    one_by_one = replicas * -(-n // beside) * beside
    width = WIDTHS[0] if replicas <= WIDTHS[0] else WIDTHS[1]
    side_by_side = -(-replicas // width) * width * n
    return (beside, True) if 2 * one_by_one < side_by_side else (width, False)


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
