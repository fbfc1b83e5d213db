"""Exact expectations over the random prompt order for prompts that act on one another: all orders, one by one.

Without orthogonality a prompt moves whichever one is drawn, and ``X-ORDER`` does not apply. After t steps there are n^t
equally likely parameter vectors; each is followed, so an expectation is a plain mean. That is for small n and T; for
longer runs, ``simulator.sampling`` estimates expectations with confidence intervals. Draws of identical prompts lead to
one and the same vector, which is followed once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import numpy as np

from simulator.expectations import ExpectedRun
from simulator.records import change_of_success
from simulator.reference import update_direction
from theory.errors import expected
from theory.exact import as_floats, is_exact, largest
from theory.instances import Instance
from theory.interaction import NAMES, Constants, States, consistent_constants, orders_that_fit
from theory.points import Point
from theory.policy import Array, evaluate
from theory.rules import Rule

__all__ = ["MAX_NODES", "InteractingRun", "LevelMeans", "gains", "node_states"]

# More parameter vectors than this are not followed.
MAX_NODES = 20_000


def node_states(features: Array, answers: Array, thetas: Array) -> States:
    """The policy of all prompts at each of N parameter vectors.

    Args:
        features: ``(n, K, d)``.
        answers: ``(n,)``.
        thetas: ``(N, d)``.
    """
    (n, outputs, d), nodes = features.shape, len(thetas)
    state = evaluate(np.tile(features, (nodes, 1, 1)), np.tile(answers, nodes), np.repeat(thetas, n, axis=0))
    gap = state.gap.reshape(nodes, n, d)
    u = (features.reshape(n * outputs, d) @ gap.reshape(nodes * n, d).T).reshape(n, outputs, nodes, n)
    projection = np.sum(u * u, axis=1).transpose(1, 0, 2)
    wrong = state.odds.wrong.reshape(nodes, n, outputs)
    return States(state.p.reshape(nodes, n), state.q.reshape(nodes, n), gap, projection, wrong)


def gains(features: Array, answers: Array, before: States, moves: Array, after: States) -> Array:
    """``J_l(theta + move) - J_l(theta)`` of every prompt, formed without cancellation.

    Args:
        features: ``(n, K, d)``.
        answers: ``(n,)``.
        before: states at N parameter vectors.
        moves: m of them for each, ``(N, m, d)``.
        after: the states they lead to, N m rows.

    Returns:
        Shape ``(N m, n)``.
    """
    n, outputs, d = features.shape
    u = (moves.reshape(-1, d) @ features.reshape(n * outputs, d).T).reshape(-1, n, outputs)
    margins = u - u[:, np.arange(n), answers][..., None]
    p, q, wrong = (np.repeat(values, moves.shape[1], axis=0) for values in (before.p, before.q, before.wrong))
    return change_of_success(wrong, margins, (p, q), (after.p, after.q))


class LevelMeans:
    """Means over the states of each level t = 0..T, and what claims about runs look at; floats or balls.

    A subclass provides ``n``, ``rule``, ``levels`` (the states at each t, all equally likely) and ``gain``.
    """

    n: int
    rule: Rule
    levels: list[States]

    @property
    def visited(self) -> States:
        """All states of all orders."""
        return States.joined(self.levels)

    def _mean(self, name: str) -> Array:
        rows = [getattr(level, name) for level in self.levels]
        return np.array([np.sum(row, axis=0) / len(row) for row in rows])

    @cached_property
    def J(self) -> Array:
        """``E J_i(theta_t)``, ``(T + 1, n)``."""
        return self._mean("p")

    @cached_property
    def q(self) -> Array:
        """``E [1 - J_i(theta_t)]``, ``(T + 1, n)``."""
        return self._mean("q")

    @cached_property
    def grad_sq(self) -> Array:
        """``E ||grad J_i(theta_t)||^2``, ``(T + 1, n)``."""
        return self._mean("grad_sq")

    @cached_property
    def weighted_grad_sq(self) -> Array:
        """``E [weight(p, q) ||grad J_i(theta_t)||^2]``, ``(T + 1, n)``."""
        rows = [self.rule.weight(level.p, level.q) * level.grad_sq for level in self.levels]
        return np.array([np.sum(row, axis=0) / len(row) for row in rows])

    @cached_property
    def total_grad_sq(self) -> Array:
        """``E ||grad J(theta_t)||^2`` with ``J = mean_i J_i``, ``(T + 1,)``."""
        means = [np.sum(level.gradient, axis=1) / self.n for level in self.levels]
        return np.array([np.sum(mean * mean) / len(mean) for mean in means])

    @cached_property
    def std_sup(self) -> Array:
        """Largest ``sqrt(V_i(theta_t))`` over all orders, ``(T + 1, n)``."""
        return np.array([largest(level.variance**0.5) for level in self.levels])

    @cached_property
    def std_mean(self) -> Array:
        """``E sqrt(V_i(theta_t))``, ``(T + 1, n)``."""
        return np.array([np.sum(level.variance**0.5, axis=0) / len(level.p) for level in self.levels])

    @property
    def std_bound(self) -> Array:
        """``C_{i,t}``: the tightest sequence that Assumption 3 allows."""
        return self.std_sup


def _draws(features: Array, answers: Array) -> tuple[list[int], list[int]]:
    """The draws that are followed, and which of these each prompt's draw is.

    Identical prompts have identical gradients: where each prompt comes equally often, one of each is followed, and
    these are as likely as one another. Else all are.

    Args:
        features: ``(n, K, d)``.
        answers: ``(n,)``.

    Returns:
        Numbers of m prompts, and for each of the n prompts its place among them.
    """
    followed: list[int] = []
    place: list[int] = []
    for i, answer in enumerate(answers):
        same = (k for k, j in enumerate(followed) if answer == answers[j] and (features[i] == features[j]).all())
        place.append(next(same, len(followed)))
        if place[-1] == len(followed):
            followed.append(i)
    if len(set(np.bincount(place))) > 1:
        return [*range(len(answers))], [*range(len(answers))]
    return followed, place


class InteractingRun(LevelMeans):
    """Expectations over the prompt order at t = 0..T; the same attributes as ``ExpectedRun``.

    The constants M, R1 and R2 are such that the run whose step size they set satisfies Assumptions 4 and 5
     (``theory.interaction.consistent_constants``); they are chosen in floats, and the assumptions are then
    measured with them in whatever arithmetic the run is in.

    Attributes:
        features, answers: of the problem.
        n: number of prompts.
        x_sq, x_max_sq: ``||X_i||^2`` and their maximum.
        constants: None if there are no consistent ones.
        eta: step size.
    """

    def __init__(
        self, instance: Instance, rule: Rule, step_size: Callable[[Any], Any], names: tuple[str, ...] = NAMES
    ) -> None:
        """Choose the constants of these names (the others stay at the instance's least) and take the start.

        Raises:
            InputError: more than ``MAX_NODES`` parameter vectors.
        """
        point = Point(instance)
        self.features, self.answers = instance.features, instance.answers
        self.n = len(self.answers)
        self._followed, self._place = _draws(self.features, self.answers)
        different = len(self._followed)
        if different > 1 and instance.steps > orders_that_fit(different, MAX_NODES):
            wanted = f"at most {orders_that_fit(different, MAX_NODES)} with {different} different prompts"
            raise expected("steps", instance.steps, wanted, "all orders are followed")
        self.x_sq, self.x_max_sq = point.x_sq, point.x_max_sq
        self._instance, self.rule, self._step_size = instance, rule, step_size
        self._run: tuple[Constants, list[States]] | None = None
        found = self._consistent(names)
        self.constants = found and Constants(self.x_max_sq, found.M, found.R1, found.R2)
        # Without consistent constants the claim is vacuous; the run is then made with the least ones, to be looked at.
        self.eta = step_size(self.constants or Constants(self.x_max_sq, *instance.least_constants))

    def _consistent(self, names: tuple[str, ...]) -> Constants | None:
        start = self._instance
        features, theta, x_sq = as_floats(start.features), as_floats(start.theta), as_floats(self.x_sq)

        def visited(constants: Constants) -> States:
            # Kept, as the constants that come out are mostly those of the last of these runs.
            self._run = constants, self._tree(features, theta, self._step_size(constants))
            return States.joined(self._run[1])

        with np.errstate(all="ignore"):
            return consistent_constants(visited, x_sq, float(x_sq.max()), names, start.least_constants)

    def _tree(self, features: Array, theta: Array, eta: Any) -> list[States]:
        thetas = theta[None, :]
        levels = [node_states(features, self.answers, thetas)]
        for _ in range(self._instance.steps):
            moves = eta * update_direction(self.rule, levels[-1])
            thetas = (thetas[:, None, :] + moves[:, self._followed]).reshape(-1, features.shape[2])
            levels.append(node_states(features, self.answers, thetas))
        return levels

    @cached_property
    def levels(self) -> list[States]:  # type: ignore[override]
        """The ``m^t`` states at t = 0..T, all equally likely; m = n unless prompts are identical."""
        if not is_exact(self.features) and self._run is not None and self._run[0] == self.constants:
            return self._run[1]
        return self._tree(self.features, self._instance.theta, self.eta)

    @cached_property
    def drawn_gain(self) -> list[Array]:
        """``J_l(theta_t) - J_l(theta_{t-1})`` for each of the ``m^(t-1)`` states, drawn prompt and prompt l.

        Shape ``(m^(t-1), n, n)`` for t = 1..T, formed without cancellation.
        """
        found, places = [], np.array(self._place)
        for before, reached in zip(self.levels, self.levels[1:], strict=False):
            moves = self.eta * update_direction(self.rule, before)
            first = np.arange(len(before.p))[:, None] * len(self._followed)
            after = reached.map(partial(np.take, indices=(first + places).ravel(), axis=0))
            change = gains(self.features, self.answers, before, moves, after)
            found.append(change.reshape(len(before.p), self.n, self.n))
        return found

    @cached_property
    def gain(self) -> Array:
        """``E J_i(theta_t) - E J_i(theta_{t-1})``, ``(T, n)``."""
        rows = [change.reshape(-1, self.n) for change in self.drawn_gain]
        return np.array([np.sum(row, axis=0) / len(row) for row in rows])

    @cached_property
    def mixture(self) -> ExpectedRun:
        """The same expectations by ``X-ORDER``; equal to these where prompts are orthogonal."""
        return ExpectedRun(self._instance, self.rule, lambda x_max_sq: self.eta)
