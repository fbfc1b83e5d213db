r"""Two prompts in conflict over many steps: expectations enclosed rigorously where there are too many orders to follow.

Both prompts have the outputs 1 and -1, and each wants the other one. All that moves is one number theta, by s(theta)
or -s(theta) with equal odds, ``s = 2 eta weight V``; V and the gradients' norm are the same for both prompts. So
``E f(theta_t) = u_t(theta_0)`` with ``u_0 = f`` and ``u_k(theta) = (u_{k-1}(theta + s) + u_{k-1}(theta - s)) / 2``.
Here u is enclosed on every cell of a grid that the walk cannot leave: by ball arithmetic in the cells, then by the
least and the largest value over all the cells that a step may lead to, rounded outwards.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import flint
import numpy as np
import numpy.typing as npt

from simulator.interacting import node_states
from theory.exact import as_balls, as_floats
from theory.instances import Instance
from theory.interaction import Constants, States
from theory.policy import Array
from theory.rules import Rule

__all__ = ["ConflictRun", "conflict", "conflict_steps"]

Floats = npt.NDArray[np.float64]
# Cells per unit of theta, a power of 2 so that no index is rounded.
CELLS = 512
# R1 and R2 that hold for two equal numbers, each known to lie in the same cell.
RATIO = 1.05


def conflict(p0: float, steps: int) -> Instance:
    """The two prompts, with success probability p0 of the first one at the start."""
    features = np.tile([[[1.0], [-1.0]]], (2, 1, 1))
    theta = np.array([(np.log(p0) - np.log1p(-p0)) / 2])
    return Instance(features, np.array([0, 1]), theta, np.ones(1), np.zeros(1), steps)


def conflict_steps(rule: Rule, step_size: Callable[[Any], Any]) -> int:
    """Enough steps for the walk to use up the bounds of cumulative claims: it could go 20 units of theta."""
    eta = step_size(Constants(2.0, 1.0, RATIO, RATIO))
    return max(1, int(20 / _longest(rule, eta)))


def _longest(rule: Rule, eta: Any) -> float:
    """The step at p = 1/2, which is the longest one of every rule up to GRPO's, and a little more."""
    return float(2 * eta * rule.weight(0.5, 0.5) / 4) * (1 + 16 / CELLS)


class ConflictRun:
    """What claims about runs look at, for an instance of :func:`conflict`; every entry encloses the true value.

    Attributes:
        features, answers, n, x_sq, x_max_sq: of the problem.
        constants: M = 1, and R1 and R2 with which Assumption 5 holds at every theta.
        eta: step size.
        q: ``1 - J_i`` at the start, ``(1, n)``.
    """

    def __init__(self, instance: Instance, rule: Rule, step_size: Callable[[Any], Any]) -> None:
        """Lay the grid.

        Raises:
            ValueError: not two prompts in conflict.
        """
        self.features, self.answers = instance.features, instance.answers
        if not (as_floats(self.features) == conflict(0.5, 1).features).all() or list(self.answers) != [0, 1]:
            raise ValueError("only for the two prompts of `conflict`")
        self.n, self.rule, self._instance = 2, rule, instance
        self.x_sq = as_balls(np.full(2, 2.0))
        self.x_max_sq = self.x_sq[0]
        self.constants = Constants(self.x_max_sq, 1.0, RATIO, RATIO)
        self.eta = step_size(self.constants)
        self.q = node_states(self.features, self.answers, instance.theta[None, :]).q

    @cached_property
    def _first(self) -> int:
        """Number of the leftmost cell."""
        start = abs(float(as_floats(self._instance.theta)[0]))
        return -int(np.ceil((start + self._instance.steps * _longest(self.rule, self.eta)) * CELLS)) - 2

    @cached_property
    def visited(self) -> States:
        """The policy on every cell: wherever the walk goes, these enclose it."""
        numbers = range(self._first, -self._first)
        cells = [flint.arb(k).union(flint.arb(k + 1)) / CELLS for k in numbers]
        return node_states(self.features, self.answers, np.array(cells, dtype=object)[:, None])

    @cached_property
    def _targets(self) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """First and last cell that a step to the right, and one to the left, may lead to from each cell."""
        states = self.visited
        p, q = states.p[:, 0], states.q[:, 0]
        step = 2 * self.eta * self.rule.weight(p, q) * p * q
        if not (_outwards(step, 1) <= _longest(self.rule, self.eta)).all():
            raise ValueError(f"the walk of {self.rule.name} might leave the grid")
        cells = np.arange(self._first, -self._first)
        # A step of length s from the cell [a, b] ends in [a + least s, b + largest s].
        least, most = (np.floor(_outwards(step, side) * CELLS).astype(np.int64) for side in (-1, 1))
        last = len(cells) - 1
        moves = [(least, most + 1), (-most - 1, -least)]
        own = np.arange(len(cells))
        return [(np.clip(own + low, 0, last), np.clip(own + high, 0, last)) for low, high in moves]

    @cached_property
    def grad_sq(self) -> Array:
        """``E ||grad J_i(theta_t)||^2``, ``(T + 1, n)``."""
        values = self.visited.grad_sq[:, 0]
        low, high = _outwards(values, -1), _outwards(values, 1)
        start = int(np.floor(float(as_floats(self._instance.theta)[0]) * CELLS)) - self._first
        rows = []
        for _ in range(self._instance.steps + 1):
            rows.append([flint.arb(float(low[start])).union(flint.arb(float(high[start])))] * 2)
            low, high = self._backwards(low, np.minimum, -1), self._backwards(high, np.maximum, 1)
        return np.array(rows, dtype=object)

    def _backwards(self, values: Floats, worse: Callable[..., Floats], side: int) -> Floats:
        ends = []
        for first, last in self._targets:
            found = values[first]
            for offset in range(1, int((last - first).max()) + 1):
                found = worse(found, values[np.minimum(first + offset, last)])
            ends.append(found)
        return np.nextafter((ends[0] + ends[1]) / 2, side * np.inf)

    @cached_property
    def std_sup(self) -> Array:
        """Largest ``sqrt(V_i(theta_t))`` over all orders: at least the root of the mean of V^2, at most 1/2."""
        least = np.array([[entry.lower() for entry in row] for row in self.grad_sq / 4]) ** 0.25
        return np.array([[entry.union(flint.arb(0.5)) for entry in row] for row in least])

    @property
    def std_bound(self) -> Array:
        """``C_{i,t}``: the tightest sequence that Assumption 3 allows."""
        return self.std_sup


def _outwards(values: Array, side: int) -> Floats:
    """Floats that are certainly below (side -1) or above (side 1) what the balls enclose."""
    ends = np.array([float(value.lower() if side < 0 else value.upper()) for value in values])
    return np.nextafter(ends, side * np.inf)
