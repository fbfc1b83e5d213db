"""Runs in which every prompt moves at every step with step size eta / n: the talk's algorithms.

All updates of a step start from the same parameters. The run is deterministic, so there is nothing to average.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from simulator.records import change_of_success
from simulator.reference import update_direction
from theory.instances import Instance
from theory.points import Point
from theory.policy import Array, PolicyState, evaluate
from theory.rules import Rule

__all__ = ["JointRun"]


class JointRun:
    """``theta <- theta + (eta / n) sum_i weight(p_i, q_i) grad J_i(theta)`` for t = 1..T.

    Attributes:
        features, answers: of the problem.
        x_max_sq: ``X_max^2``.
        eta: step size, before division by n.
        n: number of prompts.
    """

    def __init__(self, instance: Instance, rule: Rule, step_size: Callable[[Any], Any]) -> None:
        """Take the start; ``step_size`` gives eta from ``X_max^2``."""
        self.features, self.answers = instance.features, instance.answers
        self.n = len(self.answers)
        self.x_max_sq = Point(instance).x_max_sq
        self.eta = step_size(self.x_max_sq)
        self._start, self._rule, self._steps = instance.theta, rule, instance.steps

    @cached_property
    def _path(self) -> tuple[list[PolicyState], list[Array]]:
        theta = self._start
        states, moves = [evaluate(self.features, self.answers, theta)], []
        for _ in range(self._steps):
            moves.append(self.eta / self.n * np.sum(update_direction(self._rule, states[-1]), axis=0))
            theta = theta + moves[-1]
            states.append(evaluate(self.features, self.answers, theta))
        return states, moves

    @property
    def states(self) -> list[PolicyState]:
        """The policy at t = 0..T."""
        return self._path[0]

    def _rows(self, name: str) -> Array:
        return np.array([getattr(state, name) for state in self.states])

    @cached_property
    def J(self) -> Array:
        """``J_i(theta_t)``, ``(T + 1, n)``."""
        return self._rows("p")

    @cached_property
    def q(self) -> Array:
        """``1 - J_i(theta_t)``, ``(T + 1, n)``."""
        return self._rows("q")

    @cached_property
    def grad_sq(self) -> Array:
        """``||grad J_i(theta_t)||^2``, ``(T + 1, n)``."""
        variance, gap = self.J * self.q, self._rows("gap")
        return np.asarray(variance * variance * np.sum(gap * gap, axis=2))

    @cached_property
    def std_sup(self) -> Array:
        """``sqrt(V_i(theta_t))``, ``(T + 1, n)``."""
        return (self.J * self.q) ** 0.5

    @property
    def std_bound(self) -> Array:
        """``C_i(t)``: the value ``sqrt(V_i(theta_t))``, which both the paper's and the talk's condition allow."""
        return self.std_sup

    @cached_property
    def gain(self) -> Array:
        """``J_i(theta_t) - J_i(theta_{t-1})``, ``(T, n)``, formed without cancellation."""
        states, moves = self._path
        n, outputs, d = self.features.shape
        u = (np.array(moves) @ self.features.reshape(n * outputs, d).T).reshape(-1, n, outputs)
        margins = u - u[:, np.arange(n), self.answers][..., None]
        wrong = np.array([state.odds.wrong for state in states[:-1]])
        return change_of_success(wrong, margins, (self.J[:-1], self.q[:-1]), (self.J[1:], self.q[1:]))
