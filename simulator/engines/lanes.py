"""The fast CPU engine: replicas side by side in vector registers, explicit SIMD, one thread per block of columns."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from simulator.engines.arrays import Shape
from simulator.engines.columns import Columns
from simulator.engines.ensemble import Ensemble, ensemble_of
from simulator.engines.kernel import compile_run, state_size
from simulator.engines.layout import Layout, aligned_zeros
from simulator.engines.plan import Plan

__all__ = ["GROUPED", "WIDTHS", "in_groups", "lanes", "multiplications"]

# Replicas of a column. A wider one hides latencies better and needs enough replicas to fill it; where it would leave
# threads without a column of their own, columns are as narrow as they may be.
NARROW, WIDTHS = 8, (16, 32)
# Bytes of matrices that stay in the first cache of a core together with the state.
FIRST_CACHE = 1 << 15
# Bytes of the rows that steps combine, beyond which replicas are grouped by prompt; and columns in a group at most.
BEYOND_CACHE, AT_ONCE = 1 << 20, 64
# Replicas that share the rows of a prompt's steps, where they do.
GROUPED = AT_ONCE * WIDTHS[1]
# Multiplications of a run too short to be interrupted: a thread of its own would cost more.
_UNINTERRUPTED = 1 << 29
# What drawing one sampled output costs, in multiplications.
_SAMPLE = 100
# Columns that otherwise go through a step together: while one waits for its sums the next one computes.
TOGETHER = 4


def lanes(plan: Plan, threads: int | None = None) -> Ensemble:
    """The runs of a plan; logits within 690 of the right output's are exact, beyond they count as 690."""
    problem, layout = plan.problem, plan.layout
    threads = threads or os.cpu_count() or 1
    width, across = _lanes(layout, len(plan.replicas), threads)
    if across:
        layout = layout.side_by_side(width)
    side = 1 if across else width
    columns = Columns(problem.n, layout, side, len(plan.replicas), len(plan.times), plan.keep_theta)
    shape = Shape(width, across, problem.outputs - 1, layout.dimension, layout.length, layout.factors.shape[1])
    workers = min(threads, columns.count)
    one_drawn = not across and plan.draws.batch == 1
    grouped = not across and in_groups(layout)
    run, bandit = compile_run(shape, plan.exact, grouped, one_drawn), layout.compiled
    eta, start = columns.spread(plan.scaled_eta[:, None]), layout.start(_apart(plan.theta0))
    together = min(-(-columns.count // workers), AT_ONCE) if grouped else TOGETHER
    outputs, first, stop = columns.outputs, plan.replicas[0], np.zeros(1, np.int64)

    def part(ends: tuple[int, int]) -> None:
        states = aligned_zeros(min(together, ends[1] - ends[0]) * state_size(shape))
        run(
            problem.n, bandit, start, eta, plan.draws, plan.sampling, first, plan.times, outputs, *ends, together, stop,
            states,
        )  # fmt: skip

    pieces = 1 if grouped else 4
    if workers == 1 and multiplications(plan) * len(plan.replicas) * int(plan.times[-1]) < _UNINTERRUPTED:
        part((0, columns.count))
    else:
        _side_by_side(part, columns.count, workers, pieces, stop)
    return ensemble_of(plan, "lanes", **columns.collect(layout.scale))


def _apart(theta0: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Starts ``(R, d)``, or ``(1, d)`` where all are the same: to write out many takes as long as some steps."""
    return theta0[:1] if (theta0 == theta0[:1]).all() else theta0


def in_groups(layout: Layout) -> bool:
    """Whether the rows that steps combine are worth reading once for all replicas that drew the same prompt."""
    return layout.steps.nbytes > BEYOND_CACHE


def multiplications(plan: Plan) -> int:
    """Of a step of one replica, about."""
    n, outputs, d = plan.problem.features.shape
    entries, group = n * (outputs - 1), plan.sampling.group
    margins = entries if plan.layout.space == "gram" else entries * d
    samples = group * plan.sampling.attempts * _SAMPLE
    return margins + plan.draws.batch * ((outputs - 1) * plan.layout.length + samples)


def _side_by_side(
    part: Callable[[tuple[int, int]], None], count: int, threads: int, pieces: int, stop: npt.NDArray[np.int64]
) -> None:
    """Deal out ``range(count)``, in ``pieces`` parts for each thread, so that one that is held up delays little.

    An interrupt reaches the thread that waits here, compiled code never: ``stop`` tells the others.
    """
    parts = min(count, pieces * threads)
    with ThreadPoolExecutor(threads) as pool:
        try:
            list(pool.map(part, pairwise(count * k // parts for k in range(parts + 1))))
        except BaseException:
            stop[0] = 1
            raise


def _lanes(layout: Layout, replicas: int, threads: int) -> tuple[int, bool]:
    """Width of a column, and whether its lanes are prompts: a few replicas would leave most lanes idle.

    Where that leaves threads without a column, columns are narrower.
    """
    n = len(layout.factors)
    # Of matrices that exceed the first cache more is found there the less a vector of prompts reads at once.
    widest = WIDTHS[0] if layout.differences.nbytes + layout.factors.nbytes <= FIRST_CACHE else NARROW
    beside = next((size for size in (4, 8) if n <= size), widest)
    one_by_one = replicas * -(-n // beside) * beside
    width = WIDTHS[0] if replicas <= WIDTHS[0] else WIDTHS[1]
    side_by_side = -(-replicas // width) * width * n
    if 2 * one_by_one < side_by_side:
        return beside, True
    while width > NARROW and replicas > NARROW and -(-replicas // width) < threads:
        width //= 2
    return width, False
