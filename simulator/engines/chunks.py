"""Many replicas in chunks: so that progress moves and temporary arrays stay small."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from simulator.engines.ensemble import Ensemble, joined
from simulator.engines.lanes import GROUPED, in_groups, multiplications
from simulator.engines.plan import Plan

__all__ = ["CHUNKS", "in_chunks"]

# Multiplications of a chunk for each core: about a second.
_WORK = 1 << 31
# Two columns of the wider kind; a smaller chunk leaves vectors idle and may need a kernel of its own.
_LEAST = 64
# Bytes of the temporary arrays of a chunk on a torch device.
_TEMPORARY = 1 << 31
# Steps whose random numbers the torch engine holds at once.
_BLOCK = 64

Engine = Callable[..., Ensemble]


def _for_lanes(plan: Plan, options: dict[str, Any], cores: int) -> int:
    wanted = _WORK // (multiplications(plan) * int(plan.times[-1]))
    # Replicas in groups share what they read: in fewer the chunk would be done sooner, and all of them later.
    least = GROUPED if in_groups(plan.layout) else _LEAST
    threads = options.get("threads") or cores
    return max(wanted // least, 1) * least * threads


def _for_torch(plan: Plan, options: dict[str, Any], cores: int) -> int:
    n, outputs, _ = plan.problem.features.shape
    batch, group = plan.draws.batch, plan.sampling.group
    samples = batch * group * (3 * outputs + 8 * plan.sampling.attempts)
    numbers = 8 * n * (outputs - 1) + 6 * plan.layout.length + 2 * _BLOCK * batch + samples
    return max(_TEMPORARY // (8 * numbers), 1)


def _for_reference(plan: Plan, options: dict[str, Any], cores: int) -> int:
    return 1


# Replicas at once by engine, from the plan, the engine's options and the number of cores.
CHUNKS: dict[str, Callable[[Plan, dict[str, Any], int], int]] = {
    "lanes": _for_lanes,
    "torch": _for_torch,
    "reference": _for_reference,
}


def in_chunks(
    run: Engine, plan: Plan, size: int, options: dict[str, Any], progress: Callable[[int], None] = lambda done: None
) -> Ensemble:
    """The runs of a plan, ``size`` replicas at a time.

    Args:
        run: an engine.
        plan: of all replicas.
        size: replicas of a chunk, above 0. What ``lanes`` and ``reference`` compute does not depend on it, bit for bit;
            torch multiplies matrices, whose rounding depends on their number of rows.
        options: of the engine.
        progress: called with the number of replicas that are done after each chunk.
    """
    parts = []
    for rows in _slices(len(plan.replicas), size):
        part = replace(plan, replicas=plan.replicas[rows], eta=plan.eta[rows], theta0=plan.theta0[rows])
        parts.append(run(part, **options))
        progress(rows.stop)
    return parts[0] if len(parts) == 1 else joined(parts)


def _slices(count: int, size: int) -> Iterator[slice]:
    """Consecutive slices of ``size``; a last one of less than half of it joins the one before."""
    starts = list(range(0, count, size))
    if len(starts) > 1 and 2 * (count - starts[-1]) < size:
        starts.pop()
    for start, stop in zip(starts, [*starts[1:], count], strict=True):
        yield slice(start, stop)
