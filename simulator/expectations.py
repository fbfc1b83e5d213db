"""Exact expectations over the random prompt order, for orthogonal prompts (``X-ORDER``).

With ``X_i X_j^T = 0`` a prompt moves only when it is drawn, so after t steps it stands at the k-th iterate of its own
deterministic path, k ~ Binomial(t, 1/n), and ``E f(theta_t) = sum_k P(k) f(k-th iterate)``: no Monte Carlo. The text
runs on floats and on balls, so a violation found here can be rechecked rigorously.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from simulator.problems import Problem, check_step
from simulator.records import change_of_success
from simulator.reference import update_direction
from theory.cosines import orthogonality_defect
from theory.errors import expected
from theory.exact import is_exact, maximum
from theory.instances import Instance
from theory.points import Point
from theory.policy import Array, PolicyState, evaluate
from theory.rules import Rule

__all__ = ["ExpectedRun", "PromptPaths", "expectation", "expected_run", "prompt_paths"]


@dataclass(frozen=True)
class PromptPaths:
    """Deterministic path of every prompt when it is drawn again and again; arrays ``(T + 1, n)``, k = 0..T.

    ``gain`` is ``p_{k+1} - p_k``, ``(T, n)``, formed without cancellation.
    """

    p: Array
    q: Array
    grad_sq: Array
    gain: Array

    @property
    def std(self) -> Array:
        """``sqrt(V)`` along the paths."""
        return (self.p * self.q) ** 0.5


def prompt_paths(features: Array, answers: Array, theta0: Array, rule: Rule, eta: Any, steps: int) -> PromptPaths:
    """Run all prompts side by side, each on a parameter vector of its own.

    Args:
        features: ``(n, K, d)``.
        answers: ``(n,)``.
        theta0: ``(d,)``.
        rule: the update rule.
        eta: step size (float or ball).
        steps: T.
    """
    theta = np.repeat(theta0[None, :], len(answers), axis=0)
    states, moves = [evaluate(features, answers, theta)], []
    for _ in range(steps):
        moves.append(eta * update_direction(rule, states[-1]))
        theta = theta + moves[-1]
        states.append(evaluate(features, answers, theta))
    p, q, wrong, gap = (np.array([getattr(part, name) for part in parts]) for parts, name in _parts(states))
    variance = p * q
    u = (features @ np.array(moves, dtype=p.dtype).reshape(steps, *theta.shape)[..., None])[..., 0]
    margins = u - u[:, np.arange(len(answers)), answers][..., None]
    gains = change_of_success(wrong[:-1], margins, (p[:-1], q[:-1]), (p[1:], q[1:]))
    return PromptPaths(p, q, variance * variance * np.sum(gap * gap, axis=2), gains)


def _parts(states: list[PolicyState]) -> Iterator[tuple[list[Any], str]]:
    """What a path is made of, by the object that holds it."""
    odds = [state.odds for state in states]
    yield from ((odds, "p"), (odds, "q"), (odds, "wrong"), (states, "gap"))


class ExpectedRun:
    """Expectations over the prompt order at t = 0..T, and all that claims about runs look at.

    Attributes:
        features, answers: of the problem.
        x_max_sq: ``X_max^2``.
        eta: step size.
        n: number of prompts.
        rule: the update rule.
        J, q, grad_sq, std_mean: expectations, ``(T + 1, n)``.
        gain: ``E J_i(theta_t) - E J_i(theta_{t-1})``, ``(T, n)``.
        std_sup: largest ``sqrt(V_i(theta_t))`` over all prompt orders, ``(T + 1, n)``.
        std_bound: the sequence ``C_{i,t}`` of Assumption 3; the tightest one allowed, which is ``std_sup``.
    """

    def __init__(self, instance: Instance, rule: Rule, step_size: Callable[[Any], Any]) -> None:
        """Run every prompt's own path; ``step_size`` gives eta from ``X_max^2``."""
        point = Point(instance)
        self.features, self.answers = instance.features, instance.answers
        self.n, self.rule = len(self.answers), rule
        self.x_max_sq = point.x_max_sq
        self.eta = step_size(self.x_max_sq)
        self.paths = self._run(instance)

    def _run(self, instance: Instance) -> PromptPaths:
        return prompt_paths(self.features, self.answers, instance.theta, self.rule, self.eta, instance.steps)

    @cached_property
    def _means(self) -> tuple[Array, Array, Array, Array, Array]:
        paths = self.paths
        columns = [paths.p, paths.q, paths.grad_sq, paths.std]
        padded = np.concatenate([paths.gain, 0 * paths.p[:1]])
        p, q, grad_sq, std, gain = binomial_means([*columns, padded], self.n)
        return p, q, grad_sq, std, gain[:-1] / self.n

    @property
    def J(self) -> Array:
        """``E J_i(theta_t)``."""
        return self._means[0]

    @property
    def q(self) -> Array:
        """``E [1 - J_i(theta_t)]``."""
        return self._means[1]

    @property
    def grad_sq(self) -> Array:
        """``E ||grad J_i(theta_t)||^2``."""
        return self._means[2]

    @property
    def std_mean(self) -> Array:
        """``E sqrt(V_i(theta_t))``."""
        return self._means[3]

    @property
    def gain(self) -> Array:
        """``E J_i(theta_t) - E J_i(theta_{t-1})``, formed without cancellation."""
        return self._means[4]

    @cached_property
    def std_sup(self) -> Array:
        """Largest ``sqrt(V_i(theta_t))`` that any prompt order reaches: any number k <= t of draws if n > 1."""
        std = self.paths.std
        if self.n == 1:
            return std
        rows = [std[0]]
        for row in std[1:]:
            rows.append(maximum(rows[-1], row))
        return np.array(rows, dtype=std.dtype)

    @cached_property
    def weighted_grad_sq(self) -> Array:
        """``E[weight(p, q) ||grad J_i(theta_t)||^2]``, first-order gain per unit of step size; ``(T + 1, n)``."""
        paths = self.paths
        return binomial_means([paths.grad_sq * self.rule.weight(paths.p, paths.q)], self.n)[0]

    @property
    def std_bound(self) -> Array:
        """``C_{i,t}``: the tightest sequence that Assumption 3 allows."""
        return self.std_sup


def binomial_means(columns: list[Array], n: int) -> list[Array]:
    """``sum_k Binomial(t, 1/n)(k) column[k]`` for every t, for each column of shape ``(T + 1, m)``."""
    if n == 1:
        return columns
    exact = is_exact(columns[0])
    stacked = np.concatenate(columns, axis=1)
    steps = len(stacked) - 1
    chance = stacked[0, 0] * 0 + 1
    row = np.full(steps + 1, chance * 0, dtype=stacked.dtype)
    row[0] = chance
    means = np.empty_like(stacked)
    for t in range(steps + 1):
        means[t] = row[: t + 1] @ stacked[: t + 1]
        if t < steps:
            drawn = row[: t + 1] / n
            row[: t + 1] = row[: t + 1] * (n - 1) / n if exact else row[: t + 1] - drawn
            row[1 : t + 2] = row[1 : t + 2] + drawn
    width = columns[0].shape[1]
    return [means[:, i * width : (i + 1) * width] for i in range(len(columns))]


def expected_run(instance: Instance, rule: Rule, step_size: Callable[[Any], Any]) -> ExpectedRun:
    """The context of claims about runs; orthogonality is measured by the claim, not required here."""
    return ExpectedRun(instance, rule, step_size)


def expectation(problem: Problem, rule: Rule, eta: float, steps: int) -> ExpectedRun:
    """Exact expectations over the random prompt order of an orthogonal problem.

    Raises:
        InputError: the prompts are not orthogonal (then a prompt also moves when another is drawn), or bad eta/steps.
    """
    check_step(eta, steps)
    defect = orthogonality_defect(problem.features)
    if problem.n > 1 and defect >= 1e-12:
        raise expected("orthogonality defect", defect, "0: X_i X_j^T = 0", "average simulated runs over seeds instead")
    zeros = np.zeros(problem.d)
    instance = Instance(problem.features, problem.answers, problem.theta0, zeros, zeros, steps)
    return ExpectedRun(instance, rule, lambda x_max_sq: eta)
