r"""Prompts with several right outputs: what becomes of the two identities without Assumption 1.

With ``v`` the distribution over the right outputs and ``w`` that over the wrong ones,

    grad J = V (E_v x - E_w x),        y^T Hess J y = V [ (q - p) (E_v u - E_w u)^2 + Var_v(u) - Var_w(u) ].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from theory.exact import as_balls, is_exact, softmax_jet
from theory.groups import Group
from theory.instances import Instance
from theory.points import Ball, Point
from theory.policy import Array, Odds, PolicyState, logistic

__all__ = ["OneAnswerFormulas", "SeveralBall", "SeveralGroup", "SeveralPoint", "SeveralState", "right_outputs"]


def right_outputs(instance: Instance) -> Array:
    """Which outputs count as right: the answer and the one after it, if that leaves a wrong one; ``(n, K)``."""
    n, outputs = instance.features.shape[:2]
    right = np.zeros((n, outputs), dtype=bool)
    rows = np.arange(n)
    right[rows, instance.answers] = True
    if outputs > 2:
        right[rows, (instance.answers + 1) % outputs] = True
    return right


@dataclass(frozen=True)
class SeveralState(PolicyState):
    """As ``PolicyState``; ``right`` is the distribution over the right outputs, those ``rewarded``; both ``(n, K)``."""

    right: Array
    rewarded: npt.NDArray[np.bool_]

    @property
    def is_right(self) -> npt.NDArray[np.bool_]:
        """Which outputs have reward 1, shape ``(n, K)``."""
        return self.rewarded

    @cached_property
    def policy(self) -> Array:
        """Probability of every output, ``(n, K)``."""
        return np.asarray(self.p[:, None] * self.right + self.q[:, None] * self.odds.wrong)

    @cached_property
    def gap(self) -> Array:
        """``E_v x - E_w x``, the gradient of the log-odds, ``(n, d)``."""
        return np.asarray(((self.right - self.odds.wrong)[:, None, :] @ self.features)[:, 0, :])

    def hessian_vector(self, y: Array) -> Array:
        """``Hess J_i y``, ``(n, d)``."""
        u = self.features @ y
        first = ((self.q - self.p) * (self.gap @ y))[:, None] * self.gap
        weights = _centred(self.right, u) - _centred(self.odds.wrong, u)
        return np.asarray(self.variance[:, None] * (first + (weights[:, None, :] @ self.features)[:, 0, :]))

    def hessian_form(self, y: Array) -> Array:
        """``y^T Hess J_i y``, ``(n,)``."""
        u, slope = self.features @ y, self.gap @ y
        spread = _variance(self.right, u) - _variance(self.odds.wrong, u)
        return np.asarray(self.variance * ((self.q - self.p) * (slope * slope) + spread))


def _variance(weights: Array, values: Array) -> Array:
    centred = values - np.sum(weights * values, axis=1)[:, None]
    return np.asarray(np.sum(weights * (centred * centred), axis=1))


def _centred(weights: Array, values: Array) -> Array:
    return np.asarray(weights * (values - np.sum(weights * values, axis=1)[:, None]))


def _evaluate(features: Array, answers: Array, right: Array, theta: Array) -> SeveralState:
    logits = (features @ theta[..., None])[..., 0]
    (log_right, v), (log_wrong, w) = (_group(logits, mask) for mask in (right, ~right))
    p, q = logistic(log_right - log_wrong)
    return SeveralState(features, answers, Odds(log_right - log_wrong, p, q, w), v, right)


def _group(logits: Array, mask: Array) -> tuple[Array, Array]:
    """``logsumexp`` over the outputs of the mask and their softmax, 0 elsewhere."""
    rows = np.arange(len(logits))
    some = logits[rows, np.argmax(mask, axis=1)]
    top = np.max(np.where(mask, logits, some[:, None]), axis=1)
    weights = np.exp(np.where(mask, logits, some[:, None]) - top[:, None]) * mask
    total = np.sum(weights, axis=1)
    return top + np.log(total), weights / total[:, None]


class SeveralPoint(Point):
    """As ``Point``, with the right outputs of :func:`right_outputs`."""

    @cached_property
    def rewards(self) -> Array:
        """1 for every right output, ``(n, K)`` integers."""
        return right_outputs(self.instance).astype(np.int64)

    def state_at(self, theta: Array, features: Array | None = None) -> SeveralState:
        """The policy at another theta."""
        features = self.features if features is None else features
        return _evaluate(features, self.answers, right_outputs(self.instance), theta)

    @cached_property
    def jets(self) -> Array:
        """``J_i``, ``grad J_i . y`` and ``y^T Hess J_i y`` from the definition of softmax: balls ``(3, n)``."""
        features, theta, y = self.features, self.instance.theta, self.direction
        if not is_exact(features):
            features, theta, y = as_balls(features), as_balls(theta), as_balls(y)
        jets = np.zeros((3, len(features)), dtype=object)
        for i, row in enumerate(right_outputs(self.instance)):
            z, u = list(features[i] @ theta), list(features[i] @ y)
            for answer in np.flatnonzero(row):
                jets[:, i] = jets[:, i] + np.array(softmax_jet(z, u, int(answer)), dtype=object)
        return jets


class OneAnswerFormulas(SeveralPoint):
    """Several right outputs, but the second identity as it reads for one: what X-IDENTITY says there."""

    @cached_property
    def state(self) -> SeveralState:
        """The policy at theta, with the curvature of ``PolicyState``."""
        full = self.state_at(self.instance.theta)
        return _OneAnswerState(full.features, full.answers, full.odds, full.right, full.rewarded)


class _OneAnswerState(SeveralState):
    def hessian_form(self, y: Array) -> Array:
        return PolicyState.hessian_form(self, y)


class SeveralGroup(Group, SeveralPoint):
    """As ``Group``, with the right outputs of :func:`right_outputs`."""


class SeveralBall(SeveralPoint, Ball):
    """As ``Ball``, with the right outputs of :func:`right_outputs`."""

    def _at(self, i: int, theta: Array) -> SeveralState:
        rows = slice(i, i + 1)
        return _evaluate(self.features[rows], self.answers[rows], right_outputs(self.instance)[rows], theta)
