"""What a claim about a point may look at: the policy at theta, a direction, and a ball around theta.

Both contexts run on floats and on balls. ``jets`` come from the definition of softmax by power series, the rest from
``theory.policy``; equality claims set one against the other.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from theory.exact import as_balls, is_exact, largest, maximum, softmax_jet, spectral_norm_sq
from theory.instances import Instance
from theory.policy import Array, PolicyState, evaluate

__all__ = ["Ball", "Point"]


class Point:
    """The policy of n prompts at one theta, and one direction y.

    Every property with one value per prompt has shape ``(n,)``.
    """

    def __init__(self, instance: Instance) -> None:
        """Take the arrays; everything else is computed when asked for."""
        self.instance = instance
        self.features = instance.features
        self.answers = instance.answers
        self.direction = instance.direction

    @cached_property
    def state(self) -> PolicyState:
        """The policy at theta."""
        return self.state_at(self.instance.theta)

    def state_at(self, theta: Array, features: Array | None = None) -> PolicyState:
        """The policy at another theta; with ``features`` in place of its own, the same ones in another arithmetic."""
        return evaluate(self.features if features is None else features, self.answers, theta)

    @cached_property
    def rewards(self) -> Array:
        """Reward vectors ``r_i``: 1 for right outputs, 0 for wrong ones, ``(n, K)`` integers."""
        rewards = np.zeros(self.features.shape[:2], dtype=np.int64)
        rewards[np.arange(len(self.answers)), self.answers] = 1
        return rewards

    @cached_property
    def x_sq(self) -> Array:
        """``||X_i||^2`` (spectral), shape ``(n,)``."""
        norms = [spectral_norm_sq(x) for x in self.features]
        return np.array(norms, dtype=object if is_exact(self.features) else np.float64)

    @cached_property
    def x_max_sq(self) -> Any:
        """``X_max^2 = max_i ||X_i||^2``."""
        return largest(self.x_sq)

    @property
    def direction_sq(self) -> Any:
        """``||y||^2``."""
        return np.sum(self.direction * self.direction)

    @property
    def slope(self) -> Array:
        """``u_a - m``, the slope of the log-odds along y, shape ``(n,)``."""
        return self.state.gap @ self.direction

    @property
    def gradient_norm(self) -> Array:
        """``||grad J_i||``."""
        return self.state.gradient_norm

    @property
    def quadratic(self) -> Array:
        """``|y^T Hess J_i y|``."""
        return np.abs(self.state.hessian_form(self.direction))

    @cached_property
    def jets(self) -> Array:
        """``J_i``, ``grad J_i . y`` and ``y^T Hess J_i y`` from the definition of softmax: ball array ``(3, n)``."""
        features, theta, y = self.features, self.instance.theta, self.direction
        if not is_exact(features):
            features, theta, y = as_balls(features), as_balls(theta), as_balls(y)
        jets = np.empty((3, len(features)), dtype=object)
        for i, x in enumerate(features):
            jets[:, i] = softmax_jet(list(x @ theta), list(x @ y), int(self.answers[i]))
        return jets


class Ball(Point):
    """A point theta and, for each prompt, a second point in the ball of radius ``sqrt(V_i) / X_max`` around it."""

    @cached_property
    def displaced(self) -> list[PolicyState]:
        """The policy of prompt i at ``theta + sqrt(V_i) / X_max * v``, ``||v|| <= 1``; one state per prompt."""
        v = self.instance.displacement
        v = v / maximum(np.sum(v * v) ** 0.5, 1 if not is_exact(v) else as_balls(1)[()])
        radius = self.state.variance**0.5 / self.x_max_sq**0.5
        return [self._at(i, self.instance.theta + radius[i] * v) for i in range(len(self.answers))]

    def _at(self, i: int, theta: Array) -> PolicyState:
        """The policy of prompt i at a theta of its own."""
        return evaluate(self.features[i : i + 1], self.answers[i : i + 1], theta)

    @property
    def displaced_quadratic(self) -> Array:
        """``|y^T Hess J_i(theta') y|`` at the displaced points, shape ``(n,)``."""
        return np.array([abs(state.hessian_form(self.direction)[0]) for state in self.displaced])
