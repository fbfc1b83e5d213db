"""What a sampled run can be asked to measure at every step, from gradients that it has anyway."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from llm_bridge.measurement.interaction_measures import interaction_measures
from llm_bridge.sampled.halves import check_halves, measures_of_halves
from simulator.sampled import SampledRule

__all__ = ["Interaction", "Observer", "SplitInteraction", "observed"]

# observer(step, gradients (N, d), rewards (N, G)) -> what is logged under theory/
Observer = Callable[[int, torch.Tensor, npt.NDArray[np.float64]], Mapping[str, float | None]]


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
        gap = _gap(self._rule, rewards)
        p = rewards.mean(axis=1)
        return interaction_measures(gradients, np.sqrt(p * (1 - p)), weights=gap)


class SplitInteraction:
    """The same from the halves of every group, and with it what the noise of sampling does to cosines.

    To be passed to ``train_groups`` as one of ``half_observers``; see ``llm_bridge.sampled.halves``.
    """

    def __init__(self, rule: SampledRule) -> None:
        """Measure a run of this rule.

        Raises:
            InputError: its groups have no two halves.
        """
        check_halves(rule.group)
        self._rule = rule

    def __call__(self, step: int, halves: torch.Tensor, rewards: npt.NDArray[np.float64]) -> Mapping[str, float | None]:
        """The measures by name, of halves ``(N, 2, d)``; None where there is nothing to take one from."""
        return measures_of_halves(halves, rewards, _gap(self._rule, rewards))


def observed(
    step: int,
    rows: torch.Tensor,
    rewards: npt.NDArray[np.float64],
    observers: Sequence[Observer],
    half_observers: Sequence[Observer],
) -> dict[str, float | None]:
    """What all of them say of a step's gradients ``(N, d)``, or ``(2N, d)`` of the halves where these are looked at."""
    found: dict[str, float | None] = {}
    halves = rows.view(len(rewards), -1, rows.shape[1])
    if observers:
        whole = halves.mean(dim=1) if half_observers else rows
        for observer in observers:
            found.update(observer(step, whole, rewards))
    for observer in half_observers:
        found.update(observer(step, halves, rewards))
    return found


def _gap(rule: SampledRule, rewards: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """By how much the advantage of a right completion exceeds that of a wrong one, ``(N,)``."""
    advantages = rule.convention(rewards)
    return np.asarray(advantages.max(axis=1) - advantages.min(axis=1))
