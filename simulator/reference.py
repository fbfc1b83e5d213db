"""The reference engine: the readable definition of a run, which every fast engine must reproduce."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simulator.problems import Problem, check_step
from simulator.random import uniform_order
from simulator.records import Record, snapshot_times, stable_difference
from theory.errors import expected
from theory.exact import is_exact
from theory.interaction import States
from theory.policy import Array, PolicyState, evaluate
from theory.rules import Rule

__all__ = ["simulate", "update_direction"]


def update_direction(rule: Rule, state: PolicyState | States) -> Array:
    """``weight(p, q) grad J_i`` of every prompt, in the shape of ``state.gap``: ``(..., n, d)``; floats or balls.

    Finite also where ``V = p q`` underflows and the weight is infinite: a rule that ascends the log-odds gets there.
    """
    p, q = state.p, state.q
    if not is_exact(p):
        p, q = np.maximum(p, 1e-300), np.maximum(q, 1e-300)
    return np.asarray((rule.weight(p, q) * p * q)[..., None] * state.gap)


def simulate(
    problem: Problem,
    rule: Rule,
    eta: float,
    steps: int,
    *,
    seed: int = 0,
    replica: int = 0,
    record: str = "log",
    progress: Callable[[int], None] = lambda t: None,
) -> Record:
    """Run ``theta <- theta + eta * weight(p, q) * grad J_i(theta)`` with i drawn anew at each step.

    Args:
        problem: the bandit; its ``order``, if any, must hold at least ``steps`` draws.
        rule: the update rule.
        eta: step size, above 0.
        steps: number of updates T.
        seed: names the prompt order, together with ``replica``.
        replica: independent repetition with the same seed.
        record: ``log`` or ``full``, see :func:`simulator.records.snapshot_times`.
        progress: called with t after each step.

    Raises:
        InputError: eta or steps out of range, or the problem's order is too short.
    """
    check_step(eta, steps)
    order = _order(problem, steps, seed, replica)
    times = snapshot_times(steps, record)
    wanted = set(times.tolist())
    theta = problem.theta0
    snapshots = [(problem.at(theta), theta)]
    gains, grads, stds = np.empty(steps), np.empty(steps), np.empty(steps)
    for step, i in enumerate(order):
        features, answers = problem.features[i : i + 1], problem.answers[i : i + 1]
        before = evaluate(features, answers, theta)
        theta = theta + eta * update_direction(rule, before)[0]
        after = evaluate(features, answers, theta)
        gains[step] = stable_difference(before.p, before.q, after.p, after.q)[0]
        grads[step], stds[step] = before.grad_sq[0], before.variance[0] ** 0.5
        if step + 1 in wanted:
            snapshots.append((problem.at(theta), theta))
        progress(step + 1)
    states = [state for state, _ in snapshots]
    return Record(
        origin="simulator",
        problem=problem.name,
        rule=rule.name,
        eta=float(eta),
        x_max_sq=problem.x_max_sq,
        order=order,
        t=times,
        J=np.array([s.p for s in states]),
        q=np.array([s.q for s in states]),
        grad_sq=np.array([s.grad_sq for s in states]),
        theta=np.array([theta for _, theta in snapshots]),
        step_gain=gains,
        step_grad_sq=grads,
        step_std=stds,
    )


def _order(problem: Problem, steps: int, seed: int, replica: int) -> np.ndarray:
    if problem.order is None:
        return uniform_order(problem.n, steps, seed, replica)
    if len(problem.order) < steps:
        raise expected("steps", steps, f"at most {len(problem.order)}, the length of the problem's order", "lower it")
    return problem.order[:steps]
