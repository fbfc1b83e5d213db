"""What every engine is asked for: many runs of one rule on one problem, checked and prepared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from simulator.engines.advantage_tables import sampling_of
from simulator.engines.arrays import Draws, Sampling
from simulator.engines.layout import Layout, Space, lay_out
from simulator.problems import Problem, check_step
from simulator.random import philox
from simulator.records import snapshot_times
from simulator.reference import prompt_draws
from simulator.sampled import SampledRule
from simulator.schedules import UNIFORM, Schedule, get_schedule
from theory.errors import expected
from theory.rules import Rule

__all__ = ["Plan", "check_records", "make_plan"]

Floats = npt.NDArray[np.float64]

# Bytes of all that the runs of a plan record: 4 GiB. At its end a run needs up to twice that.
LARGEST_RECORD = 1 << 32


@dataclass(frozen=True)
class Plan:
    """Runs to do.

    Attributes:
        problem: the bandit.
        rule: exact or sampled.
        schedule: its name.
        seed: of all runs.
        replicas: their numbers, consecutive.
        eta: step sizes, ``(R,)``.
        theta0: starts, ``(R, d)``.
        times: of the snapshots, ``(S,)``.
        draws: where the prompts come from.
        sampling: how a sampled rule moves.
        layout: the problem, prepared.
        keep_theta: whether theta is recorded at the snapshots.
    """

    problem: Problem
    rule: Rule | SampledRule
    schedule: str
    seed: int
    replicas: range
    eta: Floats
    theta0: Floats
    times: npt.NDArray[np.int64]
    draws: Draws
    sampling: Sampling
    layout: Layout
    keep_theta: bool

    @property
    def scaled_eta(self) -> Floats:
        """``eta / B`` for the scaled features of the layout, ``(R,)``."""
        return np.asarray(self.eta / self.draws.batch / self.layout.scale**2)

    @property
    def exact(self) -> Rule | None:
        """An exact rule, None for a sampled one."""
        return self.rule if isinstance(self.rule, Rule) else None


def make_plan(
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
) -> Plan:
    """Check what is asked for and prepare it.

    Args:
        problem: the bandit; its ``order``, if any, takes the place of the schedule.
        rule: exact or sampled.
        eta: step size, a number or ``(R,)``.
        steps: T.
        replicas: how many (numbered from 0), or their numbers, consecutive.
        seed: of all runs.
        schedule: which prompts move at each step, or its name.
        theta0: starts ``(d,)`` or ``(R, d)``; the problem's own if None.
        record: ``log``, ``full`` or ``ends``, see :func:`simulator.records.snapshot_times`.
        keep_theta: record theta at the snapshots; then the run is in feature space.
        space: see :class:`simulator.engines.layout.Layout`; what ``lay_out`` made of the problem saves doing it again.

    Raises:
        InputError: what ``simulator.reference.simulate`` refuses, arrays of the wrong shape, no replica, theta
            asked for in Gram space, or records above 4 GiB.
    """
    numbers = _numbers(replicas)
    check_step(1.0, steps)
    check_records(problem.n, problem.d, steps, record, replicas=len(numbers), keep_theta=keep_theta)
    etas = _per_replica("eta", eta, (len(numbers),))
    for value in (etas.min(), etas.max()):
        check_step(float(value), steps)
    layout = space if isinstance(space, Layout) else lay_out(problem, _space(space, keep_theta))
    if keep_theta and layout.space == "gram":
        raise expected("space", "gram", "features or auto where theta is recorded", "Gram space has no theta")
    philox(seed)
    chosen = get_schedule(schedule) if isinstance(schedule, str) else schedule
    name, draws = _draws(problem, chosen, steps, seed)
    return Plan(
        problem=problem,
        rule=rule,
        schedule=name,
        seed=seed,
        replicas=numbers,
        eta=etas,
        theta0=_per_replica("theta0", problem.theta0 if theta0 is None else theta0, (len(numbers), problem.d)),
        times=snapshot_times(steps, record),
        draws=draws,
        sampling=sampling_of(rule, draws.batch),
        layout=layout,
        keep_theta=keep_theta,
    )


def _space(space: Space, keep_theta: bool) -> Space:
    return "features" if keep_theta and space == "auto" else space


def _numbers(replicas: Any) -> range:
    """The replicas' numbers."""
    numbers = replicas if isinstance(replicas, range) else range(replicas) if _is_integer(replicas) else range(0)
    if not numbers or numbers.step != 1 or numbers.start < 0 or numbers.stop > 2**63:
        raise expected("replicas", replicas, "a number above 0, or a range without gaps", "e.g. 16 or range(16, 32)")
    return numbers


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def check_records(n: int, d: int, steps: int, record: str, *, replicas: int = 1, keep_theta: bool = False) -> None:
    """Raise InputError if what is recorded exceeds ``LARGEST_RECORD``, before any of it is allocated."""
    snapshots = steps + 1 if record == "full" else len(snapshot_times(steps, record))
    numbers = 5 * snapshots * n + (2 + snapshots * keep_theta) * d
    if (size := 8 * numbers * replicas) > LARGEST_RECORD:
        wanted = f"at most {LARGEST_RECORD} bytes ({replicas} replicas with {snapshots} snapshots of {n} prompts)"
        remedy = "ask for fewer replicas at a time, fewer steps, record=log, or no theta"
        raise expected("size of the records", size, wanted, remedy)


def _per_replica(name: str, values: Any, shape: tuple[int, ...]) -> Floats:
    try:
        array = np.ascontiguousarray(np.broadcast_to(np.asarray(values, dtype=np.float64), shape))
    except (TypeError, ValueError):
        wanted = f"numbers of a shape that broadcasts to {shape}"
        raise expected(f"shape of {name}", np.shape(values), wanted, "give one for all replicas, or one each") from None
    if not np.isfinite(array).all():
        raise expected(name, "not finite", "finite numbers", "remove NaN and infinity")
    return array


def _draws(problem: Problem, schedule: Schedule, steps: int, seed: int) -> tuple[str, Draws]:
    """Name of the schedule that is followed, and where the compiled run finds the prompts."""
    random = problem.order is None and schedule.kind in ("uniform", "minibatch")
    if random:
        return schedule.name, Draws(np.uint64(seed), schedule.batch(problem.n), True, np.empty((0, 0), np.int64))
    name, given = prompt_draws(problem, schedule, steps, seed)
    return name, Draws(np.uint64(seed), given.shape[1], False, given)
