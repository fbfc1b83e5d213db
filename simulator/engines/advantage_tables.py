"""Advantages of binary rewards as tables, filled by ``theory.advantages`` itself."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simulator.engines.arrays import Sampling
from simulator.sampled import SampledRule
from theory.advantages import Convention
from theory.rules import Rule

__all__ = ["sampling_of"]

Floats = npt.NDArray[np.float64]


def sampling_of(rule: Rule | SampledRule, batch: int) -> Sampling:
    """How the compiled run samples: tables over the right outputs of a group (and of the batch of a step)."""
    if isinstance(rule, Rule):
        return Sampling(0, 1, np.empty((0, 0)), np.empty((0, 0)))
    tables = _batch_tables if rule.convention.scale == "batch" else _group_tables
    right, wrong = tables(rule.convention, rule.group, batch)
    return Sampling(rule.group, 1 + rule.resample, right, wrong)


def _group_tables(convention: Convention, group: int, batch: int) -> tuple[Floats, Floats]:
    rewards = np.tri(group + 1, group, -1)
    values = convention(rewards)
    # Column 0 is right wherever an output is, the last one wrong wherever one is; elsewhere the entry is not read.
    shape = (group + 1, batch * group + 1)
    right, wrong = (np.ascontiguousarray(np.broadcast_to(values[:, [k]], shape)) for k in (0, group - 1))
    return right, wrong


def _batch_tables(convention: Convention, group: int, batch: int) -> tuple[Floats, Floats]:
    right, wrong = np.zeros((2, group + 1, batch * group + 1))
    for k in range(group + 1):
        for others in range((batch - 1) * group + 1):
            rewards = np.zeros(batch * group)
            rewards[:k] = 1.0
            rewards[group : group + others] = 1.0
            values = convention(rewards.reshape(batch, group))[0]
            right[k, k + others], wrong[k, k + others] = values[0], values[-1]
    return right, wrong
