"""Many runs of one rule on one problem: what every fast engine returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from simulator.engines.plan import Plan

__all__ = ["Ensemble", "ensemble_of"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ensemble:
    """R independent runs on the same snapshot times.

    Attributes:
        problem: name.
        rule: name.
        schedule: name.
        engine: that computed it.
        eta: step sizes, ``(R,)``.
        x_max_sq: ``X_max^2``.
        seed: of all runs.
        replicas: numbers of the runs, which together with the seed name their random streams, ``(R,)``.
        t: snapshot times, ``(S,)``.
        J: success probabilities, ``(R, S, n)``.
        q: failure probabilities, ``(R, S, n)``.
        grad_sq: ``||grad J_i||^2``, ``(R, S, n)``.
        sum_J: sums of J over the times after the snapshot before, up to and with this one, ``(R, S, n)``.
        sum_grad_sq: the same of ``||grad J_i||^2``.
        theta: parameters at the snapshots, ``(R, S, d)``, or ``(R, 0, d)`` where they were not asked for.
    """

    problem: str
    rule: str
    schedule: str
    engine: str
    eta: Floats
    x_max_sq: float
    seed: int
    replicas: npt.NDArray[np.int64]
    t: npt.NDArray[np.int64]
    J: Floats
    q: Floats
    grad_sq: Floats
    sum_J: Floats
    sum_grad_sq: Floats
    theta: Floats

    @property
    def finite(self) -> npt.NDArray[np.bool_]:
        """Runs all of whose recorded numbers are finite, ``(R,)``."""
        return np.asarray(np.isfinite(self.J).all(axis=(1, 2)) & np.isfinite(self.grad_sq).all(axis=(1, 2)))

    def mean_over_steps(self, sums: Floats, last: Floats) -> Floats:
        """Averages over the times 0..T-1 before each step, as the theorems take them, ``(R, n)``.

        Args:
            sums: ``sum_J`` or ``sum_grad_sq``.
            last: the values that were summed, at the snapshots: ``J`` or ``grad_sq``.
        """
        return (sums.sum(axis=1) - last[:, -1]) / self.t[-1]


def ensemble_of(plan: Plan, engine: str, **arrays: Floats) -> Ensemble:
    """The ensemble of a plan from the arrays that an engine computed."""
    return Ensemble(
        problem=plan.problem.name,
        rule=plan.rule.name,
        schedule=plan.schedule,
        engine=engine,
        eta=plan.eta,
        x_max_sq=plan.problem.x_max_sq,
        seed=plan.seed,
        replicas=np.array(plan.replicas, dtype=np.int64),
        t=plan.times,
        **arrays,
    )
