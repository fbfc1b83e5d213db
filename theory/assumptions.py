"""The assumptions of the sources, each measured on the very data a claim is checked on.

A claim checked where one of its assumptions fails is vacuous there, and counted as such, never as support.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from theory.cosines import gradient_cosines, orthogonality_defect
from theory.exact import as_floats, is_exact
from theory.policy import Array

__all__ = [
    "BOUNDED_STD",
    "GRADIENT_ORTHOGONAL",
    "INTERACTION",
    "ORTHOGONAL",
    "SCALE",
    "UNIQUE_ANSWER",
    "Assumption",
    "Measurement",
    "unique_answers",
]


@dataclass(frozen=True)
class Measurement:
    """Value of an assumption's statistic on some data, and whether the assumption holds there.

    ``holds`` is None where ball arithmetic cannot tell; on floats it is never None.
    """

    value: float
    holds: bool | None


@dataclass(frozen=True)
class Assumption:
    """A named hypothesis with a way to measure it.

    Attributes:
        id: short key.
        statement: LaTeX.
        statistic: what ``value`` of a measurement means.
        measure: from a claim's context to a measurement.
    """

    id: str
    statement: str
    statistic: str
    measure: Callable[[Any], Measurement]


def unique_answers(rewards: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which prompts have exactly one output with reward 1 and reward 0 elsewhere (Assumption 1).

    Args:
        rewards: ``(n, K)``.
    """
    table = np.asarray(rewards)
    return np.asarray(((table == 1).sum(axis=1) == 1) & np.isin(table, (0, 1)).all(axis=1))


def _measure_unique(context: Any) -> Measurement:
    # A bandit names one right output per prompt, so that this holds by construction: it can only fail for rewards that
    # come from elsewhere, which unique_answers measures.
    n, outputs = context.features.shape[:2]
    rewards = np.zeros((n, outputs))
    rewards[np.arange(n), context.answers] = 1.0
    share = float(unique_answers(rewards).mean())
    return Measurement(share, share == 1.0)


def _measure_orthogonal(context: Any) -> Measurement:
    defect = orthogonality_defect(context.features)
    if not is_exact(context.features):
        # Rounding of float features is allowed for; a counterexample is rechecked on balls, where it is not.
        return Measurement(defect, defect < 1e-12)
    x = context.features
    entries = [e for i in range(len(x)) for j in range(i) for e in (x[i] @ x[j].T).flat]
    return Measurement(defect, _certain(entries, lambda e: e == 0, lambda e: e != 0))


def _measure_bounded_std(context: Any) -> Measurement:
    sup, bound = context.std_sup, context.std_bound
    excess = as_floats(sup - bound)
    if not is_exact(sup):
        holds = bool((excess <= 1e-12).all() and (bound > 0).all() and (bound <= 0.5 + 1e-12).all())
        return Measurement(float(excess.max()), holds)
    # sqrt(p q) <= 1/2 is arithmetic: where C is the supremum itself, only its sign is left to check.
    pairs = list(zip(sup.flat, bound.flat, strict=True))
    allowed = _certain(
        pairs,
        lambda pair: pair[1] > 0 and (pair[0] is pair[1] or (pair[0] <= pair[1] and 2 * pair[1] <= 1)),
        lambda pair: pair[1] <= 0 or pair[0] > pair[1] or 2 * pair[1] > 1,
    )
    return Measurement(float(excess.max()), allowed)


def _overlapping(rows: Array) -> list[tuple[int, int]]:
    """Pairs of rows that share a coordinate in which neither is exactly 0; all other products vanish exactly."""
    support = np.array([[entry != 0 or not entry.is_exact() for entry in row] for row in rows], dtype=np.int64)
    shared = np.tril(support @ support.T, k=-1)
    return [(int(i), int(j)) for i, j in np.argwhere(shared)]


def _certain(items: list[Any], holds: Callable[[Any], Any], fails: Callable[[Any], Any]) -> bool | None:
    """True if all certainly hold, False if one certainly fails, None otherwise."""
    if any(fails(item) for item in items):
        return False
    return True if all(holds(item) for item in items) else None


def _measure_gradient_orthogonal(context: Any) -> Measurement:
    states = getattr(context, "states", None) or [context.state]
    cosines = [gradient_cosines(as_floats(state.gap)) for state in states]
    largest = max((float(np.nanmax(np.abs(c))) for c in cosines if np.isfinite(c).any()), default=0.0)
    if not is_exact(states[0].gap):
        return Measurement(largest, largest < 1e-9)
    products = [np.sum(s.gap[i] * s.gap[j]) for s in states for i, j in _overlapping(s.gap)]
    return Measurement(largest, _certain(products, lambda e: e == 0, lambda e: e != 0))


def _measure_interaction(context: Any) -> Measurement:
    constants = context.constants
    if constants is None or not np.isfinite(constants.M):
        return Measurement(float("inf"), False)
    states, pairs = context.visited, ~np.eye(context.n, dtype=bool)
    ratio = states.variance[:, None, :] / states.variance[:, :, None]
    left = (constants.M * states.inner)[:, pairs].ravel()
    right = (ratio * states.projection_sq / context.x_sq[:, None])[:, pairs].ravel()
    return Measurement(constants.M, _all_at_most(right, left))


def _measure_scale(context: Any) -> Measurement:
    constants = context.constants
    if constants is None or not np.isfinite([constants.R1, constants.R2]).all():
        return Measurement(float("inf"), False)
    if min(constants.R1, constants.R2) < 1:
        return Measurement(max(constants.R1, constants.R2), False)
    states = context.visited
    grads, variances = states.grad_sq, states.variance
    pairs = ~np.eye(context.n, dtype=bool)
    sides = [(grads, constants.R1**2 * grads), (variances, constants.R2**2 * variances)]
    answers = [_all_at_most(*_each_pair(small, large, pairs)) for small, large in sides]
    holds = False if False in answers else (None if None in answers else True)
    return Measurement(max(constants.R1, constants.R2), holds)


def _each_pair(first: Array, second: Array, pairs: Array) -> tuple[Array, Array]:
    """``first[:, i]`` and ``second[:, j]`` of all chosen pairs (i, j) of prompts, flattened."""
    rows, columns = np.nonzero(pairs)
    return first[:, rows].ravel(), second[:, columns].ravel()


def _all_at_most(left: Array, right: Array) -> bool | None:
    """Whether every entry of ``left`` is at most that of ``right``; None where balls cannot tell."""
    if not is_exact(left) and not is_exact(right):
        return bool((left <= right).all())
    pairs = list(zip(left, right, strict=True))
    return _certain(pairs, lambda pair: pair[0] <= pair[1], lambda pair: pair[0] > pair[1])


UNIQUE_ANSWER = Assumption(
    "A1",
    r"\text{each prompt has exactly one output with reward } 1",
    "share of prompts with exactly one right output",
    _measure_unique,
)
ORTHOGONAL = Assumption(
    "A2",
    r"X_i X_j^\top = 0 \ \text{ for all } i \ne j",
    "largest relative size of X_i X_j^T",
    _measure_orthogonal,
)
GRADIENT_ORTHOGONAL = Assumption(
    "A2-talk",
    r"\nabla J_i(\theta_t)^\top \nabla J_j(\theta_t) = 0 \ \text{ for all } i \ne j \text{ and all } t",
    "largest |cosine| between gradients of two prompts",
    _measure_gradient_orthogonal,
)
BOUNDED_STD = Assumption(
    "A3",
    r"\sqrt{V_i(\theta_t)} \le C_{i,t} \le \tfrac12 \ \text{ on every realisation}",
    "largest excess of sqrt(V) over C",
    _measure_bounded_std,
)
INTERACTION = Assumption(
    "A4",
    r"M \nabla J_i(\theta_t)^\top \nabla J_j(\theta_t) \ge \|X_i \nabla J_j(\theta_t)\|^2 / \|X_i\|^2 "
    r"\ \text{ for all } i \ne j \text{ and all } t",
    "the M that the step size was chosen by, inf if there is none",
    _measure_interaction,
)
SCALE = Assumption(
    "A5",
    r"\|\nabla J_i(\theta_t)\| \le R_1 \|\nabla J_j(\theta_t)\|, \ \sqrt{V_i(\theta_t)} \le R_2 \sqrt{V_j(\theta_t)} "
    r"\ \text{ for all } i \ne j \text{ and all } t, \ R_1, R_2 \ge 1",
    "the larger of the R1 and R2 that the step size was chosen by, inf if there are none",
    _measure_scale,
)
