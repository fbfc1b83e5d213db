"""Step sizes that look at the state: as large as X-DIRECTIONAL-REINFORCE and X-DIRECTIONAL-GRPO prove to work.

A step along ``v = grad J_i`` needs the curvature along v only, which the range ``R`` of ``x_j . v`` over the outputs
bounds. In place of the theorems' ``X_max^2`` stands ``R^2 / ||v||^2``, which is at most ``2 X_max^2``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simulator.sampled import SampledRule
from theory.directional import output_range
from theory.errors import expected
from theory.policy import Array, PolicyState
from theory.rules import GRPO, REINFORCE, Rule

__all__ = ["StepRule", "directional", "directional_constant", "step_of_range"]


@dataclass(frozen=True)
class StepRule:
    """A step size that depends on the state.

    Attributes:
        name: what a user types.
        sizes: from the policy of B prompts to the step size of each, ``(B,)``.
    """

    name: str
    sizes: Callable[[PolicyState], Array]


def directional_constant(rule: Rule | SampledRule) -> float:
    """c of the step size ``c / R^2``, R the range of the outputs along the unit gradient; at least the theorems' twice.

    ``6 sqrt(3)`` for REINFORCE, 4 for GRPO: claims X-DIRECTIONAL-REINFORCE and X-DIRECTIONAL-GRPO.

    Raises:
        InputError: another rule.
    """
    found = {REINFORCE.name: 6 * 3**0.5, GRPO.name: 4.0}.get(rule.name)
    if found is None:
        remedy = f"pass --eta NUMBER for {rule.name}"
        raise expected("eta", "directional", "a step size for reinforce or grpo, for which it is proved", remedy)
    return found


def step_of_range(constant: float, gap_sq: Array, span: Array) -> Array:
    """``c ||g||^2 / R(g)^2``; 0 where the gradient vanishes, which then is not moved along anyway.

    Args:
        constant: c.
        gap_sq: ``||g||^2`` of the gradient of the log-odds, any shape.
        span: ``R(g)``, the range of ``x_j . g`` over the outputs, same shape.
    """
    square = np.asarray(span) ** 2
    return np.divide(constant * np.asarray(gap_sq), square, out=np.zeros_like(square), where=square > 0)


def directional(rule: Rule | SampledRule) -> StepRule:
    """The directional step size of an exact rule.

    Raises:
        InputError: a rule for which no such step is proved.
    """
    constant = directional_constant(rule)

    def sizes(state: PolicyState) -> Array:
        span = output_range((state.features @ state.gap[:, :, None])[:, :, 0])
        return step_of_range(constant, np.sum(state.gap * state.gap, axis=1), span)

    return StepRule("directional", sizes)
