"""The reference engine: the readable definition of a run, which every fast engine must reproduce."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from simulator.directional import Along, StepRule
from simulator.problems import Problem, check_step
from simulator.records import Record, snapshot_times, stable_difference
from simulator.sampled import SampledRule, sample_words, sampled_move
from simulator.schedules import GIVEN, UNIFORM, Schedule, get_schedule
from theory.errors import expected
from theory.exact import is_exact
from theory.interaction import States
from theory.policy import Array, PolicyState, evaluate
from theory.rules import Rule

__all__ = ["prompt_draws", "simulate", "update_direction"]


def update_direction(rule: Rule, state: PolicyState | States) -> Array:
    """``weight(p, q) grad J_i`` of every prompt, in the shape of ``state.gap``: ``(..., n, d)``; floats or balls.

    Finite also where ``V = p q`` underflows and the weight is infinite: a rule that ascends the log-odds gets there.
    """
    p, q = state.p, state.q
    if not is_exact(p):
        p, q = np.maximum(p, 1e-300), np.maximum(q, 1e-300)
    return np.asarray((rule.weight(p, q) * p * q)[..., None] * state.gap)


def prompt_draws(
    problem: Problem, schedule: Schedule | str, steps: int, seed: int = 0, replica: int = 0
) -> tuple[str, npt.NDArray[np.int64]]:
    """Name of the schedule that a run follows, and its prompts ``(T, B)``; a problem's own order wins.

    Raises:
        InputError: no such schedule, it does not fit the problem, or the problem's order is too short.
    """
    chosen = get_schedule(schedule) if isinstance(schedule, str) else schedule
    if problem.order is None:
        return chosen.name, chosen.draws(problem.n, steps, seed, replica)
    if len(problem.order) < steps:
        raise expected("steps", steps, f"at most {len(problem.order)}, the length of the problem's order", "lower it")
    return GIVEN, problem.order[:steps, None]


def simulate(
    problem: Problem,
    rule: Rule | SampledRule,
    eta: float | StepRule,
    steps: int,
    *,
    schedule: Schedule | str = UNIFORM,
    seed: int = 0,
    replica: int = 0,
    record: str = "log",
    progress: Callable[[int], None] = lambda t: None,
    visit: Callable[[Array], None] = lambda theta: None,
) -> Record:
    """Run ``theta <- theta + (eta / B) sum_b u_b(theta)``, the sum being over the B prompts that the schedule names.

    ``u_b`` is ``weight(p_b, q_b) grad J_b`` for an exact rule, and what :func:`simulator.sampled.sampled_move` draws
    for a sampled one. All updates of a step start from the same theta.

    Args:
        problem: the bandit; its ``order``, if any, takes the place of the schedule and must hold ``steps`` draws.
        rule: the update rule.
        eta: step size, above 0; or a rule that gives each drawn prompt its own, see ``simulator.directional``. The
            record then has their median as ``eta`` and all of them, ``(T,)`` (means over the B), as ``step_eta``.
        steps: number of updates T.
        schedule: which prompts move at each step, or its name.
        seed: names the prompt order and the samples, together with ``replica``.
        replica: independent repetition with the same seed.
        record: ``log``, ``full`` or ``ends``, see :func:`simulator.records.snapshot_times`.
        progress: called with t after each step.
        visit: called with theta before each step.

    Raises:
        InputError: eta or steps out of range, a schedule that does not fit, or the problem's order is too short.
    """
    check_step(1.0 if isinstance(eta, StepRule) else eta, steps)
    name, draws = prompt_draws(problem, schedule, steps, seed, replica)
    batch = draws.shape[1]
    times = snapshot_times(steps, record)
    wanted = set(times.tolist())
    theta = problem.theta0
    snapshots = [(problem.at(theta), theta)]
    measured, taken = np.empty((3, steps)), np.empty(steps)
    for step, drawn in enumerate(draws):
        visit(theta)
        features, answers = problem.features[drawn], problem.answers[drawn]
        before = evaluate(features, answers, theta)
        if isinstance(rule, SampledRule):
            updates = sampled_move(rule, before, sample_words(rule, batch, step, seed, replica))
        else:
            updates = update_direction(rule, before)
        if isinstance(eta, StepRule):
            sizes = eta.sizes(Along.of(before))
            taken[step] = sizes.mean()
            theta = theta + np.sum(sizes[:, None] * updates, axis=0) / batch
        else:
            theta = theta + eta / batch * np.sum(updates, axis=0)
        after = evaluate(features, answers, theta)
        gains = stable_difference(before.p, before.q, after.p, after.q)
        measured[:, step] = gains.mean(), before.grad_sq.mean(), (before.variance**0.5).mean()
        if step + 1 in wanted:
            snapshots.append((problem.at(theta), theta))
        progress(step + 1)
    order = draws[:, 0] if batch == 1 else draws
    if isinstance(eta, StepRule):
        median, extra = float(np.median(taken)), {"step_eta": taken}
        return _record(problem, rule.name, median, name, order, times, snapshots, measured, extra)
    return _record(problem, rule.name, eta, name, order, times, snapshots, measured, {})


def _record(
    problem: Problem,
    rule: str,
    eta: float,
    schedule: str,
    order: npt.NDArray[np.int64],
    times: npt.NDArray[np.int64],
    snapshots: list[tuple[PolicyState, Any]],
    measured: Array,
    extra: dict[str, Array],
) -> Record:
    states = [state for state, _ in snapshots]
    return Record(
        origin="simulator",
        problem=problem.name,
        rule=rule,
        eta=float(eta),
        x_max_sq=problem.x_max_sq,
        order=order,
        t=times,
        J=np.array([s.p for s in states]),
        q=np.array([s.q for s in states]),
        grad_sq=np.array([s.grad_sq for s in states]),
        theta=np.array([theta for _, theta in snapshots]),
        step_gain=measured[0],
        step_grad_sq=measured[1],
        step_std=measured[2],
        schedule=schedule,
        extra=extra,
    )
