"""One step of an algorithm, for every prompt that it may draw: what the displayed steps of the proofs are about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from simulator.interacting import node_states
from simulator.records import change_of_success
from simulator.reference import update_direction
from theory.exact import as_balls, as_floats, is_exact, segment_variance, taylor_remainder
from theory.instances import Instance
from theory.interaction import NAMES, Constants, States, measure_constants
from theory.points import Point
from theory.policy import Array
from theory.rules import Rule

__all__ = ["Step"]


class Step(Point):
    """theta_{t-1} and, for each prompt i that may be drawn, theta_t.

    Arrays with two prompt axes have the drawn prompt first, the observed one second: ``[i, l]``.

    Attributes:
        n: number of prompts.
        rule: the update rule.
        constants: the least M, R1 and R2 at theta_{t-1} (floats) that the instance allows; ``step_size`` may depend on
            them.
        eta: step size.
    """

    def __init__(
        self, instance: Instance, rule: Rule, step_size: Callable[[Any], Any], names: tuple[str, ...] = NAMES
    ) -> None:
        """Take theta_{t-1}; ``step_size`` gives eta from the constants of these names (others: the least there are)."""
        super().__init__(instance)
        self.n, self.rule = len(self.answers), rule
        x_sq = as_floats(self.x_sq)
        measured = measure_constants(self.before.map(as_floats), x_sq, float(x_sq.max()))
        # M, R1 and R2 enter as the exact numbers that were chosen; X_max^2 as its enclosure.
        least = Constants(self.x_max_sq, *instance.least_constants)
        self.constants = replace(least, **{n: max(getattr(measured, n), getattr(least, n)) for n in names})
        self.eta = step_size(self.constants)

    @cached_property
    def before(self) -> States:
        """The policy at theta_{t-1}; one row."""
        return node_states(self.features, self.answers, self.instance.theta[None, :])

    @cached_property
    def move(self) -> Array:
        """``theta_t - theta_{t-1}`` if prompt i is drawn, ``(n, d)``."""
        return self.eta * update_direction(self.rule, self.state)

    @cached_property
    def after(self) -> States:
        """The policy at theta_t; one row per drawn prompt."""
        return node_states(self.features, self.answers, self.instance.theta + self.move)

    @property
    def visited(self) -> States:
        """The states that the assumptions are measured on: theta_{t-1}."""
        return self.before

    @cached_property
    def gain(self) -> Array:
        """``J_l(theta_t) - J_l(theta_{t-1})``, ``(n, n)``."""
        u = self.by_output(self.move)
        margins = u - u[:, np.arange(self.n), self.answers][..., None]
        before = self.state.p, self.state.q
        return change_of_success(self.state.odds.wrong, margins, before, (self.after.p, self.after.q))

    @property
    def grad_sq(self) -> Array:
        """``||grad J_l(theta_{t-1})||^2``, ``(n,)``."""
        return self.state.grad_sq

    @cached_property
    def std(self) -> Array:
        """``sqrt(V_l(theta_{t-1}))``, ``(n,)``; also the tightest C_{l,t-1}."""
        return self.state.variance**0.5

    @property
    def std_sup(self) -> Array:
        """As ``std``: at t - 1 there is one state."""
        return self.std

    @property
    def std_bound(self) -> Array:
        """``C_{l,t-1}``: the tightest that Assumption 3 allows."""
        return self.std

    @property
    def slopes(self) -> Array:
        """``<theta_t - theta_{t-1}, grad J_l(theta_{t-1})>``, ``(n, n)``."""
        return self.move @ self.state.gradient.T

    @property
    def move_sq(self) -> Array:
        """``||theta_t - theta_{t-1}||^2`` if prompt i is drawn, ``(n,)``."""
        return np.sum(self.move * self.move, axis=1)

    @property
    def others(self) -> Array:
        """Which entries ``[i, l]`` have l different from i."""
        return ~np.eye(self.n, dtype=bool)

    def projected(self, moves: Array) -> Array:
        """``||X_l move_i||^2``, ``(n, n)``, for moves ``(n, d)``."""
        u = self.by_output(moves)
        return np.sum(u * u, axis=2)

    def by_output(self, moves: Array) -> Array:
        """``X_l move_i``, ``(n, n, K)``, for moves ``(n, d)``."""
        return np.asarray((moves @ self.features.transpose(0, 2, 1)).transpose(1, 0, 2))

    @cached_property
    def remainders(self) -> Array:
        """``int_0^1 (1 - s) y^T Hess J_l(theta_{t-1} + s y) y ds`` for the move y of prompt i: balls ``(n, n)``."""
        return self._along(lambda z, u, right: sum(taylor_remainder(z, u, answer) for answer in right))

    @cached_property
    def midway_variance(self) -> Array:
        """``V_l(theta')`` at some theta' between theta_{t-1} and theta_t if prompt i is drawn: balls ``(n, n)``.

        It is ``2 int_0^1 (1 - s) V_l ds``, the mean with the weights of Taylor's remainder.
        """
        return self._along(segment_variance)

    def _along(self, functional: Callable[..., Any]) -> Array:
        features, theta, move = self.features, self.instance.theta, self.move
        if not is_exact(features):
            features, theta, move = as_balls(features), as_balls(theta), as_balls(move)
        result = np.empty((self.n, self.n), dtype=object)
        for i, y in enumerate(move):
            for index, x in enumerate(features):
                right = [int(j) for j in np.flatnonzero(self.rewards[index])]
                result[i, index] = functional(list(x @ theta), list(x @ y), right)
        return result
