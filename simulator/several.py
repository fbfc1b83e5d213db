"""Steps and runs of prompts with several right outputs: what claims are held against without Assumption 1.

Orthogonal prompts still move only when they are drawn (``S-ORTHO-FIXED`` does not use the assumption), so expectations
over the prompt order are those of ``simulator.expectations``, along paths of such prompts.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from simulator.expectations import ExpectedRun, PromptPaths
from simulator.records import stable_difference
from simulator.reference import update_direction
from simulator.steps import Step
from theory.instances import Instance
from theory.interaction import States
from theory.policy import Array
from theory.several import SeveralPoint, SeveralState

__all__ = ["SeveralRun", "SeveralStep"]


def _gain(before: SeveralState, u: Array, after: tuple[Array, Array]) -> Array:
    """``J(after) - J(before)`` where logits move by u, ``(n,)``; exact on balls, without cancellation on floats.

    ``p1 q0 - p0 q1 = -p1 q0 (E_w exp(u) / E_v exp(u) - 1)``, with u counted from that of one right output.
    """
    margins = u - u[np.arange(len(u)), before.answers][:, None]
    (p, q), (p_after, q_after) = (before.p, before.q), after
    with np.errstate(over="ignore", invalid="ignore"):
        growth = np.expm1(margins)
        right, wrong = np.sum(before.right * growth, axis=1), np.sum(before.odds.wrong * growth, axis=1)
        change = -p_after * q * (wrong - right) / (1 + right)
        if change.dtype == object:
            return np.asarray(change)
        small = np.maximum(np.abs(right), np.abs(wrong)) < 0.5
        return np.where(small, change, stable_difference(p, q, p_after, q_after))


class SeveralStep(Step, SeveralPoint):
    """As ``Step``, with the right outputs of ``theory.several.right_outputs``."""

    def _states(self, thetas: Array) -> States:
        rows = []
        for theta in thetas:
            state = self.state_at(theta)
            u = (self.features @ state.gap.T).transpose(0, 2, 1)
            rows.append((state.p, state.q, state.gap, np.sum(u * u, axis=2), state.odds.wrong))
        return States(*(np.array(part) for part in zip(*rows, strict=True)))

    @cached_property
    def before(self) -> States:
        """The policy at theta_{t-1}; one row."""
        return self._states(self.instance.theta[None, :])

    @cached_property
    def after(self) -> States:
        """The policy at theta_t; one row per drawn prompt."""
        return self._states(self.instance.theta + self.move)

    @cached_property
    def gain(self) -> Array:
        """``J_l(theta_t) - J_l(theta_{t-1})``, ``(n, n)``."""
        start = self.state_at(self.instance.theta)
        ends = zip(self.by_output(self.move), self.after.p, self.after.q, strict=True)
        return np.array([_gain(start, u, (p, q)) for u, p, q in ends])


class SeveralRun(ExpectedRun):
    """As ``ExpectedRun``, with the right outputs of ``theory.several.right_outputs``."""

    def _run(self, instance: Instance) -> PromptPaths:
        point = SeveralPoint(instance)
        theta = np.repeat(instance.theta[None, :], self.n, axis=0)
        states, gains = [point.state_at(theta)], []
        for _ in range(instance.steps):
            move = self.eta * update_direction(self.rule, states[-1])
            theta = theta + move
            states.append(point.state_at(theta))
            u = (self.features @ move[..., None])[..., 0]
            gains.append(_gain(states[-2], u, (states[-1].p, states[-1].q)))
        p, q, grad_sq = (np.array([getattr(state, name) for state in states]) for name in ("p", "q", "grad_sq"))
        return PromptPaths(p, q, grad_sq, np.array(gains))
