"""Trajectory checks: claims held against runs of the simulator.

Claims about points are checked at every state that a run visits, along a random direction and along the gradient of
the log-odds; claims about runs on exact expectations. The runs cover easy to hopeless prompts and one family on which
Assumption 2 fails, where such claims must come out vacuous.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from simulator.expectations import ExpectedRun
from simulator.families import make_problem, success_targets
from simulator.interacting import InteractingRun
from simulator.joint import JointRun
from simulator.problems import Problem
from simulator.random import DIRECTION_STREAM, generator
from simulator.reference import simulate
from simulator.steps import Step
from theory.claim import Claim
from theory.exact import precision
from theory.groups import Group
from theory.instances import Instance
from theory.judge import EXACT_BITS, compare, failed_assumptions, recheck
from theory.points import Ball, Point
from theory.rules import GRPO, REINFORCE
from theory.search import SearchResult
from theory.several import SeveralPoint

__all__ = ["build_context", "trajectory_check"]


_RUNS: dict[str, Callable[..., Any]] = {
    "step": Step,
    "expectation": ExpectedRun,
    "joint": JointRun,
    "interacting": InteractingRun,
}

# Contexts on the simulated runs; claims about the same things share them.
_CONTEXTS: dict[Any, Any] = {}


def build_context(claim: Claim, instance: Instance) -> Any:
    """The context of the claim's scope on an instance."""
    if claim.scope == "point":
        return Point(instance)
    if claim.scope == "ball":
        return Ball(instance)
    if claim.scope == "several":
        return SeveralPoint(instance)
    if claim.scope == "group":
        return Group(instance)
    if claim.rule is None or claim.step_size is None:
        raise ValueError(f"claim {claim.id} is about runs but names no rule and step size")
    return _RUNS[claim.scope](instance, claim.rule, claim.step_size)


@cache
def _problems() -> tuple[Problem, ...]:
    return (
        make_problem("orthogonal", 4, 6, p0=success_targets(4, 0.02, 0.9), seed=1),
        make_problem("tabular", 3, 4, p0=success_targets(3, 1e-4, 0.6), seed=2),
        make_problem("orthogonal", 1, 3, p0=0.3, seed=3),
        make_problem("tabular", 1, 2, p0=1e-3, seed=4),
        make_problem("gaussian", 3, 5, p0=success_targets(3, 0.05, 0.8), seed=5),
    )


def _instance(problem: Problem, theta: Any, direction: Any, displacement: Any, steps: int) -> Instance:
    return Instance(problem.features, problem.answers, theta, direction, displacement, steps)


@cache
def _visited() -> tuple[Instance, ...]:
    """States along runs of both rules on every problem, each with two directions."""
    found = []
    for index, problem in enumerate(_problems()):
        rng = generator(index, stream=DIRECTION_STREAM)
        for rule, scale in ((REINFORCE, 1.0), (GRPO, 0.5)):
            run = simulate(problem, rule, scale / problem.x_max_sq, 300, seed=index)
            for theta in run.theta[::3]:
                toward = problem.at(theta).gap[0]
                for direction in (toward, rng.standard_normal(problem.d)):
                    found.append(_instance(problem, theta, direction, toward / np.linalg.norm(toward), 1))
    return tuple(found)


@cache
def _interacting() -> tuple[Instance, ...]:
    """Runs short enough to follow every prompt order, and long ones of a single prompt."""
    found = []
    kinds = [("shared-skill", 2, 3, 8), ("shared-skill", 3, 3, 5), ("orthogonal", 2, 3, 7), ("gaussian", 3, 3, 4)]
    for name, n, outputs, steps in (*kinds, ("shared-skill", 2, 2, 7), ("shared-skill", 3, 2, 4)):
        for seed, (low, high) in enumerate(((0.3, 0.5), (0.02, 0.1), (0.05, 0.95))):
            problem = make_problem(name, n, outputs, p0=success_targets(n, low, high), seed=seed)
            found.append(_run_instance(problem, steps))
    found += [_run_instance(make_problem("tabular", 1, 3, p0=p0, seed=4), 200) for p0 in (1e-3, 0.3)]
    return tuple(found)


def _run_instance(problem: Problem, steps: int) -> Instance:
    zeros = np.zeros(problem.d)
    return _instance(problem, problem.theta0, zeros, zeros, steps)


def _instances(claim: Claim, steps: int) -> Iterator[Instance]:
    if claim.scope == "interacting":
        yield from _interacting()
    elif claim.scope == "group":
        # A direction plays no part; the group size takes its place.
        yield from (replace(instance, group=2 + i % 8) for i, instance in enumerate(_visited()[::2]))
    elif claim.rule is None:
        yield from _visited()
    elif claim.scope == "step":
        yield from _visited()[::6]
        yield from _interacting()
    else:
        yield from (_run_instance(problem, steps) for problem in _problems())


def _context(claim: Claim, instance: Instance, number: int, exact: bool) -> Any:
    """The context on the instance of that number; claims about the same things share it, and all it has computed."""
    key = (claim.scope, claim.rule, claim.step_size, number, instance.steps, exact)
    if key not in _CONTEXTS:
        _CONTEXTS[key] = build_context(claim, instance.exact() if exact else instance)
    return _CONTEXTS[key]


def trajectory_check(claim: Claim, steps: int = 300) -> SearchResult:
    """Hold the claim against simulated runs; floats only suspect a violation, balls confirm it.

    Args:
        claim: of any scope.
        steps: length T of the runs that claims about runs are checked on.
    """
    result = SearchResult()
    exact = claim.needs_balls
    for number, instance in enumerate(_instances(claim, steps)):
        result.instances += 1
        with np.errstate(all="ignore"), precision(EXACT_BITS if exact else 53):
            context = _context(claim, instance, number, exact)
            if failed_assumptions(claim, context):
                result.vacuous += 1
                continue
            comparison = compare(claim, context)
        if not len(comparison.left):
            result.vacuous += 1
            continue
        result.see(instance, comparison)
        if comparison.violated.any() and result.settle(recheck(claim, build_context, instance), comparison.worst):
            break
    result.locate(claim, build_context)
    return result
