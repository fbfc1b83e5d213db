"""Constants of the problem families that are known in closed form: each a formula and the function that computes it.

M is the least that Assumption 4 allows at a state: 0 where every M will do, inf where none does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulator.problems import Problem
from theory.exact import spectral_norm_sq
from theory.policy import Array, PolicyState

__all__ = ["ANY", "DECOY", "NONE", "Form", "constant", "drift_classes", "drift_signs", "shared_skill_bound"]

Ints = npt.NDArray[np.int64]

# Length of the decoy's own feature in the family ``drifting``.
DECOY = 2.0


@dataclass(frozen=True)
class Form:
    """A constant in closed form.

    Attributes:
        formula: as text; ``rho`` is the family's strength.
        value: from the problem (two prompts or more), a state of it, and rho.
    """

    formula: str
    value: Callable[[Problem, PolicyState, float], float]


def constant(formula: str, value: float) -> Form:
    """A number that depends on nothing."""
    return Form(formula, lambda problem, state, rho: value)


ANY, NONE = constant("any", 0.0), constant("none", float("inf"))


def _largest(values: Array) -> float:
    """Over all pairs i != j of ``(n, n)``."""
    return float(values[~np.eye(len(values), dtype=bool)].max())


def _ratio(state: PolicyState) -> Array:
    """``V_j / V_i``, ``(n, n)``."""
    return state.variance[None, :] / state.variance[:, None]


def _frobenius(problem: Problem) -> Array:
    return np.sqrt(np.sum(problem.features**2, axis=(1, 2)))


def shared_skill_bound(problem: Problem, state: PolicyState, strength: float) -> float:
    r"""The least M of Assumption 4 at one state of a ``shared-skill`` problem.

    There ``grad J_i . grad J_j = V_i V_j rho^2`` and ``||X_i grad J_j||^2 = V_j^2 rho^4``, hence
    ``M = max_{i != j} (V_j / V_i) rho^2 / ||X_i||^2``: at most 1 for prompts of equal variance, and it grows with R2^2.

    Args:
        problem: of the family, n >= 2.
        state: the policy of its prompts.
        strength: rho.
    """
    sizes = np.array([float(spectral_norm_sq(x)) for x in problem.features])
    return _largest(_ratio(state) / sizes[:, None]) * strength**2


SKILL_M = Form("max (V_j / V_i) rho^2 / ||X_i||^2 over i != j", shared_skill_bound)
SKILL_DEFECT = Form(
    "max rho^2 / (||X_i||_F ||X_j||_F) over i != j",
    lambda problem, state, rho: _largest(rho**2 / np.outer(_frobenius(problem), _frobenius(problem))),
)
CONFLICT_X = Form("1 + rho^2", lambda problem, state, rho: 1 + rho**2)
CONFLICT_DEFECT = Form(
    "rho^2 / ((n - 1) (K + rho^2))",
    lambda problem, state, rho: rho**2 / ((problem.n - 1) * (problem.outputs + rho**2)),
)


def drift_classes(outputs: int, answer: int) -> tuple[int, Ints, Ints]:
    """The decoy, the early and the late wrong outputs of a prompt of the family ``drifting``; K >= 4."""
    wrong = (answer + np.arange(1, outputs)) % outputs
    early = (outputs - 1) // 2
    return int(wrong[0]), wrong[1 : 1 + early], wrong[1 + early :]


def drift_signs(n: int) -> Array:
    """The sign of each prompt's late direction, ``(n,)``: -1 for every fourth, starting with the second."""
    return np.where(np.arange(n) % 4 == 1, -1.0, 1.0)


def _drift_counts(problem: Problem) -> tuple[int, int]:
    """E and L, the numbers of early and late outputs."""
    _, early, late = drift_classes(problem.outputs, 0)
    return len(early), len(late)


def _drift_x(problem: Problem, state: PolicyState, rho: float) -> float:
    return max(DECOY**2, 1 + rho**2 * _drift_counts(problem)[0])


def _drift_defect(problem: Problem, state: PolicyState, rho: float) -> float:
    early, late = _drift_counts(problem)
    return float(rho**2 * np.hypot(early, late) / (1 + DECOY**2 + (early + late) * (1 + rho**2)))


def _drift_m(problem: Problem, state: PolicyState, rho: float) -> float:
    early, late = _drift_counts(problem)
    rows = list(zip(state.odds.wrong, problem.answers, strict=True))
    e, l = (np.array([w[drift_classes(len(w), int(a))[part]].sum() for w, a in rows]) for part in (1, 2))
    signs = drift_signs(problem.n)
    inner = np.outer(e, e) + np.outer(signs * l, signs * l)
    if (inner[~np.eye(problem.n, dtype=bool)] <= 0).any():
        return float("inf")
    projection = early * e**2 + late * l**2
    return _largest(_ratio(state) * projection[None, :] / inner) * rho**2 / _drift_x(problem, state, rho)


DRIFT_X = Form("max(4, 1 + rho^2 E), E early outputs", _drift_x)
DRIFT_DEFECT = Form("rho^2 sqrt(E^2 + L^2) / (5 + (E + L) (1 + rho^2)), L late outputs", _drift_defect)
DRIFT_M = Form(
    "max (V_j / V_i) rho^2 (E e_j^2 + L l_j^2) / (X_max^2 (e_i e_j + s_i s_j l_i l_j)) over i != j", _drift_m
)
