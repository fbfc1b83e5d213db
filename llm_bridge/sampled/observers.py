"""What a sampled run can be asked to measure at every step, from gradients that it has anyway."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from llm_bridge.measurement.interaction_measures import interaction_measures
from simulator.sampled import SampledRule

__all__ = ["Interaction"]


class Interaction:
    """Cosines, M, R1 and R2 of a step's prompts: Table 3 of the paper and Assumptions 4 and 5.

    What the rule multiplied a prompt's gradient by (the advantage of a right over that of a wrong completion) is
    divided out again: M and R1 depend on it, cosines do not. Prompts whose rewards are all equal have no gradient; they
    are left out and counted. The gradients are estimates from G completions: their noise pulls cosines towards 0.
    """

    def __init__(self, rule: SampledRule) -> None:
        """Measure a run of this rule."""
        self._rule = rule

    def __call__(
        self, step: int, gradients: torch.Tensor, rewards: npt.NDArray[np.float64]
    ) -> Mapping[str, float | None]:
        """The measures by name; None where no two prompts have a gradient."""
        advantages = self._rule.convention(rewards)
        gap = advantages.max(axis=1) - advantages.min(axis=1)
        p = rewards.mean(axis=1)
        return interaction_measures(gradients, torch.from_numpy(np.sqrt(p * (1 - p))), weights=torch.from_numpy(gap))
