"""The fast CPU engine: replicas side by side in vector registers, explicit SIMD, one thread per block of columns."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from simulator.engines.arrays import Shape
from simulator.engines.columns import Columns
from simulator.engines.ensemble import Ensemble, ensemble_of
from simulator.engines.kernel import compile_run
from simulator.engines.plan import Plan

__all__ = ["WIDTHS", "lanes"]

# Replicas of a column. The wider one hides latencies better and needs enough replicas to fill it.
WIDTHS = (16, 32)
# Bytes of the rows that steps combine, beyond which replicas are grouped by prompt; and columns in a group at most.
BEYOND_CACHE, AT_ONCE = 1 << 20, 32
# Columns that otherwise go through a step together: while one waits for its sums the next one computes.
TOGETHER = 4


def lanes(plan: Plan, threads: int | None = None) -> Ensemble:
    """The runs of a plan; logits within 690 of the right output's are exact, beyond they count as 690."""
    problem, layout = plan.problem, plan.layout
    width, across = _lanes(problem.n, len(plan.replicas))
    if across:
        layout = layout.side_by_side(width)
    side = 1 if across else width
    columns = Columns(problem.n, layout, side, len(plan.replicas), len(plan.times), plan.keep_theta)
    shape = Shape(width, across, problem.outputs - 1, layout.dimension, layout.length, layout.factors.shape[1])
    workers = min(threads or os.cpu_count() or 1, columns.count)
    one_drawn = not across and plan.draws.batch == 1
    grouped = not across and columns.count > 1 and layout.steps.nbytes > BEYOND_CACHE
    run, bandit = compile_run(shape, plan.exact, grouped, one_drawn), layout.compiled()
    eta, start = columns.spread(plan.scaled_eta[:, None]), columns.spread(layout.start(plan.theta0))
    together = min(-(-columns.count // workers), AT_ONCE) if grouped else TOGETHER
    outputs, first = columns.outputs(), plan.replicas[0]

    def part(ends: tuple[int, int]) -> None:
        run(problem.n, bandit, start, eta, plan.draws, plan.sampling, first, plan.times, outputs, *ends, together)

    _side_by_side(part, columns.count, workers, 1 if grouped else 4)
    return ensemble_of(plan, "lanes", **columns.collect(layout.scale))


def _side_by_side(part: Callable[[tuple[int, int]], None], count: int, threads: int, pieces: int) -> None:
    """Deal out ``range(count)``, in ``pieces`` parts for each thread, so that one that is held up delays little."""
    if threads == 1:
        part((0, count))
        return
    parts = min(count, pieces * threads)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(part, pairwise(count * k // parts for k in range(parts + 1))))


def _lanes(n: int, replicas: int) -> tuple[int, bool]:
    """Width of a column, and whether its lanes are prompts: a few replicas would leave most lanes idle."""
    beside = next((size for size in (4, 8) if n <= size), WIDTHS[0])
    one_by_one = replicas * -(-n // beside) * beside
    width = WIDTHS[0] if replicas <= WIDTHS[0] else WIDTHS[1]
    side_by_side = -(-replicas // width) * width * n
    return (beside, True) if 2 * one_by_one < side_by_side else (width, False)
