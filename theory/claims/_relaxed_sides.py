"""The sides of Appendix E's displayed steps: one step, all pairs of a drawn prompt i and an observed prompt l.

Arrays ``[i, l]`` are restricted to pairs of different prompts. Gradients of the drawn prompt are not normalised here:
the displays carry the rule's factor ``1 / sqrt(V_i)`` separately.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from theory.claims._steps import entries, of_others
from theory.policy import Array
from theory.rules import GRPO

__all__ = [
    "assumption_4",
    "curvature_term",
    "gain",
    "inner_after",
    "inner_before",
    "lemma_17",
    "remaining",
    "taylor",
    "through_lemma_17",
    "variance_somewhere",
]


def _pace(step: Any) -> Array:
    """``eta``, over ``sqrt(V_i)`` for GRPO, as a column over the drawn prompts."""
    return np.asarray(step.eta / step.std[:, None] if step.rule is GRPO else step.eta + 0 * step.std[:, None])


def gain(step: Any) -> Array:
    """``J_l(theta_t) - J_l(theta_{t-1})``."""
    return of_others(step.gain)


def _inner(step: Any) -> Array:
    return np.asarray(step.state.gradient @ step.state.gradient.T)


def inner_before(step: Any) -> Array:
    """``eta <grad J_l, grad J_i>`` (over ``sqrt(V_i)`` for GRPO), both at theta_{t-1}."""
    return of_others(_pace(step) * _inner(step))


def inner_after(step: Any) -> Array:
    """The same with both gradients at theta_t, as printed in eqs. (27) and (31)."""
    gradients = step.after.gradient
    drawn = gradients[np.arange(step.n), np.arange(step.n)]
    return of_others(_pace(step) * np.sum(gradients * drawn[:, None, :], axis=2))


def taylor(step: Any) -> Array:
    """The slope plus Taylor's remainder in its exact, integral form."""
    return inner_before(step) + of_others(step.remainders)


def remaining(step: Any) -> Array:
    """``eta^2 / 2 grad J_i^T Hess J_l grad J_i`` (over ``V_i`` for GRPO), at theta' = theta_{t-1}."""
    forms = np.array([step.state.hessian_form(gradient) for gradient in step.state.gradient])
    pace = _pace(step)
    return of_others(pace * pace * forms / 2)


def lemma_17(sign: int) -> Callable[[Any], Array]:
    """Lemma 17's form of :func:`remaining`; the sign is that of its second term."""

    def side(step: Any) -> Array:
        u, hr, pace = step.by_output(step.state.gradient), entries(step.state), _pace(step)
        first = np.sum(hr * u * u, axis=2)
        second = np.sum(hr * u, axis=2) * np.sum(step.state.policy * u, axis=2)
        return of_others(pace * pace * (first / 2 + sign * second))

    return side


def through_lemma_17(inner: Callable[[Any], Array], factor: Callable[[Any], Array]) -> Callable[[Any], Array]:
    """The slope as ``inner`` has it, less ``factor ||X_l grad J_i||^2``."""
    return lambda step: inner(step) - curvature_term(step, factor)


def curvature_term(step: Any, factor: Callable[[Any], Array]) -> Array:
    """``factor eta^2 ||X_l grad J_i||^2`` (over ``V_i`` for GRPO)."""
    pace = _pace(step)
    return of_others(pace * pace * factor(step) * step.projected(step.state.gradient))


def variance_somewhere(step: Any) -> Array:
    """``2 V_l(theta')`` at a theta' on the segment of the step."""
    return np.asarray(2 * step.midway_variance)


def assumption_4(step: Any) -> Array:
    """``eta ||X_l grad J_i||^2 / (M ||X_l||^2)`` (over ``sqrt(V_i)`` for GRPO)."""
    return of_others(_pace(step) * step.projected(step.state.gradient) / (step.constants.M * step.x_sq))
