r"""The log-linear softmax policy: probabilities, gradient and Hessian of every prompt's success probability.

All formulas are those of the two identities (``X-IDENTITY``): with the log-odds ``L = z_a - logsumexp_{j != a} z_j``,
the distribution ``w`` over the wrong outputs and ``gap = x_a - sum_j w_j x_j``,

    grad J = V gap,        y^T Hess J y = V [ (q - p) (gap . y)^2 - Var_w(X y) ],        V = p q.

Nothing is ever formed as ``1 - p``, so p and q keep full relative accuracy from 1e-300 to 1 - 1e-300.
The same text runs on float64 arrays and on object arrays of balls (``flint.arb``): see ``theory.exact``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Odds", "PolicyState", "change_of_success", "evaluate", "logistic", "odds", "stable_difference"]

Array = npt.NDArray[Any]


def logistic(x: Array) -> tuple[Array, Array]:
    """``(1 / (1 + exp(-x)), 1 / (1 + exp(x)))`` with full relative accuracy in both; any shape."""
    if x.dtype == object:
        # Balls neither overflow nor round, and a branch on an undecided sign would be unsound.
        return 1 / (1 + np.exp(-x)), 1 / (1 + np.exp(x))
    e = np.exp(-np.abs(x))
    large, small = 1 / (1 + e), e / (1 + e)
    positive = x >= 0
    return np.where(positive, large, small), np.where(positive, small, large)


@dataclass(frozen=True)
class Odds:
    """Success and failure of n prompts with K outputs each.

    Attributes:
        log_odds: ``log(p / q)``, shape ``(n,)``.
        p: success probability, shape ``(n,)``.
        q: failure probability, summed from the wrong outputs, shape ``(n,)``.
        wrong: distribution ``w`` over the wrong outputs, 0 at the right one, shape ``(n, K)``.
    """

    log_odds: Array
    p: Array
    q: Array
    wrong: Array


def odds(logits: Array, answers: Array) -> Odds:
    """Success probabilities from logits.

    Args:
        logits: shape ``(n, K)``, K >= 2.
        answers: index of the right output of each prompt, shape ``(n,)``.
    """
    rows = np.arange(len(answers))
    margins = logits - logits[rows, answers][:, None]
    top, weights = _wrong_balls(margins, answers) if margins.dtype == object else _wrong(margins, rows, answers)
    total = np.add.reduce(weights, axis=1)
    log_odds = -(top + np.log(total))
    p, q = logistic(log_odds)
    return Odds(log_odds, p, q, weights / total[:, None])


def _wrong(margins: Array, rows: Array, answers: Array) -> tuple[Array, Array]:
    """Largest margin of a wrong output, and the weights of the wrong outputs relative to it, 0 for the right one."""
    margins[rows, answers] = -np.inf
    top = np.maximum.reduce(margins, axis=1)
    return top, np.exp(margins - top[:, None])


def _wrong_balls(margins: Array, answers: Array) -> tuple[Array, Array]:
    """The same in balls, which have no infinity to spare for the right output."""
    is_wrong = np.ones(margins.shape, dtype=bool)
    is_wrong[np.arange(len(answers)), answers] = False
    # The right output gets the margin of some wrong one: it cannot be the maximum, and it is masked out below.
    filled = np.where(is_wrong, margins, np.concatenate((margins[:, -1:], margins[:, :-1]), axis=1))
    top = np.max(filled, axis=1)
    return top, np.exp(filled - top[:, None]) * is_wrong


def stable_difference(p0: Any, q0: Any, p1: Any, q1: Any) -> Any:
    """``p1 - p0`` without cancellation at p -> 1, where ``q0 - q1`` carries the digits."""
    return np.where(np.asarray(p0) > 0.5, q0 - q1, p1 - p0)


def change_of_success(wrong: Array, margins: Array, before: tuple[Array, Array], after: tuple[Array, Array]) -> Array:
    """``p1 - p0`` of a softmax whose logits move, without cancellation; floats or balls.

    ``p1 q0 - p0 q1 = -p1 q0 (E_w exp(margin) - 1)``, as ``q1 / p1 = q0 / p0 E_w exp(margin)``.

    Args:
        wrong: distribution over the wrong outputs before the move, 0 at the right one, ``(..., K)``.
        margins: change of ``z_j - z_a``, ``(..., K)``.
        before: p0 and q0.
        after: p1 and q1.
    """
    (p0, q0), (p1, q1) = before, after
    with np.errstate(over="ignore", invalid="ignore"):
        growth = np.sum(wrong * np.expm1(margins), axis=-1)
        change = -p1 * q0 * growth
        if change.dtype == object:
            return np.asarray(change)
        # A large move cancels nothing, and its exponential may overflow.
        return np.where(np.abs(growth) < 0.5, change, stable_difference(p0, q0, p1, q1))


@dataclass(frozen=True)
class PolicyState:
    """The policy of n prompts at one parameter vector.

    Attributes:
        features: ``(n, K, d)``.
        answers: ``(n,)``.
        odds: probabilities at theta.
    """

    features: Array
    answers: Array
    odds: Odds

    @property
    def p(self) -> Array:
        """Success probabilities ``J_i``, shape ``(n,)``."""
        return self.odds.p

    @property
    def q(self) -> Array:
        """Failure probabilities ``1 - J_i``, shape ``(n,)``."""
        return self.odds.q

    @property
    def variance(self) -> Array:
        """Bernoulli reward variance ``V_i = p_i q_i`` in (0, 1/4], shape ``(n,)``."""
        return self.p * self.q

    @property
    def is_right(self) -> npt.NDArray[np.bool_]:
        """Which outputs have reward 1, shape ``(n, K)``."""
        return np.arange(self.features.shape[1]) == self.answers[:, None]

    @cached_property
    def policy(self) -> Array:
        """Probability of every output, shape ``(n, K)``."""
        pi = self.q[:, None] * self.odds.wrong
        pi[np.arange(len(self.answers)), self.answers] = self.p
        return pi

    @cached_property
    def gap(self) -> Array:
        """``x_{i,a} - sum_j w_j x_{i,j}``, the gradient of ``log(p / q)``, shape ``(n, d)``."""
        right = self.features[np.arange(len(self.answers)), self.answers]
        return right - (self.odds.wrong[:, None, :] @ self.features)[:, 0, :]

    @cached_property
    def gradient(self) -> Array:
        """``grad J_i = V_i gap_i``, shape ``(n, d)``."""
        return self.variance[:, None] * self.gap

    @cached_property
    def gradient_norm(self) -> Array:
        """``||grad J_i|| = V_i ||gap_i||``, shape ``(n,)``; unlike ``grad_sq`` it does not underflow at V = 1e-300."""
        return self.variance * np.add.reduce(self.gap * self.gap, axis=1) ** 0.5

    @cached_property
    def grad_sq(self) -> Array:
        """``||grad J_i||^2``, shape ``(n,)``."""
        return self.variance * self.variance * np.add.reduce(self.gap * self.gap, axis=1)

    def hessian_vector(self, y: Array) -> Array:
        """``Hess J_i y`` for one direction ``y`` of shape ``(d,)``; returns ``(n, d)``."""
        u = self.features @ y
        mean = np.sum(self.odds.wrong * u, axis=1)
        first = ((self.q - self.p) * (self.gap @ y))[:, None] * self.gap
        spread = (self.odds.wrong * (u - mean[:, None]))[:, None, :] @ self.features
        # sum_j w_j (u_j - m) = 0, so centring the features again would change nothing but rounding.
        return self.variance[:, None] * (first - spread[:, 0, :])

    def hessian_form(self, y: Array) -> Array:
        """``y^T Hess J_i y``, shape ``(n,)``, by the second identity (no cancellation between the two terms' sums)."""
        u = self.features @ y
        mean = np.sum(self.odds.wrong * u, axis=1)
        # Products, not powers: the square of a ball around 0 is NaN in flint.
        centred, slope = u - mean[:, None], self.gap @ y
        spread = np.sum(self.odds.wrong * (centred * centred), axis=1)
        return self.variance * ((self.q - self.p) * (slope * slope) - spread)


def evaluate(features: Array, answers: Array, theta: Array) -> PolicyState:
    """The policy ``pi(i) = softmax(X_i theta)`` at ``theta``.

    Args:
        features: ``(n, K, d)``.
        answers: ``(n,)`` integers in ``[0, K)``.
        theta: ``(d,)``, or ``(n, d)`` to give each prompt a parameter vector of its own.
    """
    return PolicyState(features, answers, odds((features @ theta[..., None])[..., 0], answers))
