r"""How prompts act on one another: the constants M, R1 and R2 of Assumptions 4 and 5, measured on policy states.

With ``grad J = V gap``, Assumption 4 asks of every pair of prompts

    M >= (V_j / V_i) ||X_i gap_j||^2 / (||X_i||^2 gap_i . gap_j),

which no M satisfies where ``gap_i . gap_j <= 0`` but ``X_i gap_j != 0``. Only ratios of V enter, so nothing underflows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from theory.policy import Array

__all__ = [
    "Constants",
    "States",
    "consistent_constants",
    "measure_constants",
    "orders_that_fit",
    "pair_constants",
]

# Chosen constants exceed the measured ones by this factor, so that balls can confirm the assumption with them.
MARGIN = 1 + 1e-9
NAMES = ("M", "R1", "R2")
UNIT = (1.0, 1.0, 1.0)
# Rounds of choosing constants, running with them, and measuring again.
ROUNDS = 12


@dataclass(frozen=True)
class Constants:
    """What the step sizes of Theorems 3.3 and 3.4 depend on.

    Attributes:
        x_max_sq: ``X_max^2``.
        M: of Assumption 4, positive (what is measured is at least 1); inf if there is none.
        R1: of Assumption 5, at least 1, bounds ratios of gradient norms.
        R2: of Assumption 5, at least 1, bounds ratios of standard deviations.
    """

    x_max_sq: Any
    M: float = 1.0
    R1: float = 1.0
    R2: float = 1.0


@dataclass(frozen=True)
class States:
    """The policy at N parameter vectors at once.

    Attributes:
        p, q: ``(N, n)``.
        gap: ``(N, n, d)``.
        projection_sq: ``||X_i gap_j||^2`` in entry ``[:, i, j]``, ``(N, n, n)``.
        wrong: distribution over each prompt's wrong outputs, ``(N, n, K)``.
    """

    p: Array
    q: Array
    gap: Array
    projection_sq: Array
    wrong: Array

    def map(self, change: Callable[[Array], Array]) -> States:
        """Every array changed in the same way: rows picked, or converted to floats."""
        return States(*(change(getattr(self, each.name)) for each in fields(self)))

    @classmethod
    def joined(cls, levels: Sequence[States]) -> States:
        """The states of all levels as one."""
        return cls(*(np.concatenate([getattr(level, each.name) for level in levels]) for each in fields(cls)))

    @property
    def variance(self) -> Array:
        """``V_i``, ``(N, n)``."""
        return self.p * self.q

    @property
    def inner(self) -> Array:
        """``gap_i . gap_j``, ``(N, n, n)``."""
        return np.sum(self.gap[:, :, None, :] * self.gap[:, None, :, :], axis=3)

    @property
    def gradient(self) -> Array:
        """``grad J_i``, ``(N, n, d)``."""
        return self.variance[..., None] * self.gap

    @property
    def grad_sq(self) -> Array:
        """``||grad J_i||^2``, ``(N, n)``."""
        return self.variance * self.variance * np.sum(self.gap * self.gap, axis=2)


def measure_constants(states: States, x_sq: Array, x_max_sq: float) -> Constants:
    """The least constants that Assumptions 4 and 5 hold with on all the states; floats.

    Args:
        states: N states.
        x_sq: ``||X_i||^2``, ``(n,)``.
        x_max_sq: their maximum.

    Returns:
        Each a little more than what was measured, rounded up to 24 bits; M is at least 1 (a larger constant is always
        allowed, and one below 1 changes no step size), and inf if no constant works.
    """
    n = states.p.shape[1]
    if n == 1:
        return Constants(x_max_sq)
    ratio = states.variance[:, None, :] / states.variance[:, :, None]
    pairs = ~np.eye(n, dtype=bool)
    inner, projection = states.inner[:, pairs], (ratio * states.projection_sq / x_sq[:, None])[:, pairs]
    needed = pair_constants(inner, projection)
    gradients = _spread(np.sqrt(states.grad_sq)).max()
    deviations = np.sqrt(_spread(states.variance).max())
    worst = [float(np.nan_to_num(v, nan=np.inf, posinf=np.inf)) for v in (needed.max(), gradients, deviations)]
    return Constants(x_max_sq, *(_rounded_up(max(1.0, value) * MARGIN) for value in worst))


def pair_constants(inner: Array, projection: Array) -> Array:
    """The least M of Assumption 4 for each ordered pair of prompts; floats.

    Args:
        inner: ``grad J_i . grad J_j``, any shape.
        projection: ``||X_i grad J_j||^2 / ||X_i||^2``, of the same shape.

    Returns:
        ``projection / inner`` where both are positive, 0 where the projection is 0, and inf where no M exists: the
        right side of the assumption is positive and the left side, at an inner product that is not, never is.
    """
    with np.errstate(over="ignore"):
        least = np.divide(projection, inner, out=np.full(inner.shape, np.inf), where=inner > 0)
    return np.where(projection > 0, least, 0.0)


def _spread(values: Array) -> Array:
    """Largest over smallest along the last axis, inf if the smallest is 0: R1 of gradient norms, R2 of deviations."""
    with np.errstate(all="ignore"):
        return np.nan_to_num(values.max(axis=-1) / values.min(axis=-1), nan=np.inf, posinf=np.inf)


def _rounded_up(value: float) -> float:
    """To 24 bits: so that machines whose last digits differ choose the same constants."""
    if not np.isfinite(value):
        return value
    mantissa, exponent = np.frexp(value)
    return float(np.ldexp(np.ceil(mantissa * 2**24) / 2**24, exponent))


def consistent_constants(
    run: Callable[[Constants], States],
    x_sq: Array,
    x_max_sq: float,
    names: tuple[str, ...] = NAMES,
    least: tuple[float, ...] = UNIT,
) -> Constants | None:
    """Constants with which the run that they themselves set the step size of satisfies the assumptions.

    The step size depends on M, R1 and R2, these depend on the run, and the run on the step size. Start from the
    least constants; run; where the run needs larger ones, take those and run again. The first run that needs no larger
    ones satisfies the assumptions with the constants that its step size was computed from, which is what the theorems
    ask for. If it needs less than it was given, less is tried in turn; the constants come out small, not always least.

    Args:
        run: from constants to the states of the run that they lead to.
        x_sq: ``||X_i||^2``, ``(n,)``.
        x_max_sq: their maximum.
        names: the constants to choose; the others stay at their least values.
        least: values of M, R1 and R2 that are not gone below.

    Returns:
        None if a run meets a pair of prompts for which no M exists, or if no round was consistent.
    """
    lowest = constants = Constants(x_max_sq, *least)
    consistent = None
    for _ in range(ROUNDS):
        found = measure_constants(run(constants), x_sq, x_max_sq)
        measured = {name: max(getattr(found, name), getattr(lowest, name)) for name in names}
        if not np.isfinite(list(measured.values())).all():
            return None
        if all(value <= getattr(constants, name) for name, value in measured.items()):
            consistent = constants
            if all(value == getattr(constants, name) for name, value in measured.items()):
                break
            constants = replace(lowest, **measured)
        elif consistent is not None:
            break
        else:
            largest = {name: max(value, getattr(constants, name)) for name, value in measured.items()}
            constants = replace(lowest, **largest)
    return consistent


def orders_that_fit(n: int, nodes: int) -> int:
    """The largest T for which the tree of prompt orders, ``1 + n + ... + n^T``, has at most that many nodes."""
    steps, level, total = 0, 1, 1
    while total + level * n <= nodes:
        level *= n
        total += level
        steps += 1
    return steps
