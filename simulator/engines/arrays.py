"""What a compiled run is given and what it leaves, as tuples of arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Bandit", "Draws", "Outputs", "Sampling", "Shape"]


class Bandit(NamedTuple):
    """Arrays of a :class:`simulator.engines.layout.Layout`, flat."""

    differences: npt.NDArray[np.float64]
    factors: npt.NDArray[np.float64]
    steps: npt.NDArray[np.float64]


class Draws(NamedTuple):
    """Where prompts come from.

    Attributes:
        seed: of the run.
        batch: B.
        random: whether prompts are drawn (partial Fisher-Yates, see ``Schedule.draws``) or read from ``given``.
        given: int64 ``(T, B)``, or empty.
    """

    seed: np.uint64
    batch: int
    random: bool
    given: npt.NDArray[np.int64]


class Sampling(NamedTuple):
    """How a sampled rule moves.

    Attributes:
        group: G, 0 for an exact rule.
        attempts: groups drawn at most for a prompt.
        right: advantage of a right output, ``(G + 1, B G + 1)``, from right outputs of the group and of the batch.
        wrong: likewise of a wrong one.
    """

    group: int
    attempts: int
    right: npt.NDArray[np.float64]
    wrong: npt.NDArray[np.float64]


class Outputs(NamedTuple):
    """What the lanes of C columns, R = C * side runs, leave at S snapshots.

    Attributes:
        p: ``(R, S, n)``.
        q: likewise.
        grad_sq: likewise, of the scaled features.
        sum_p: sums of p over the times after the snapshot before, up to and with this one, ``(R, S, n)``.
        sum_grad_sq: likewise.
        state: ``(R, S, length)``, or ``(R, 0, length)`` where it is not wanted.
    """

    p: npt.NDArray[np.float64]
    q: npt.NDArray[np.float64]
    grad_sq: npt.NDArray[np.float64]
    sum_p: npt.NDArray[np.float64]
    sum_grad_sq: npt.NDArray[np.float64]
    state: npt.NDArray[np.float64]


class Shape(NamedTuple):
    """What is fixed when a run is compiled.

    Attributes:
        width: lanes of a vector.
        across_prompts: whether the lanes are prompts of one replica; else they are replicas.
        n_wrong: K - 1.
        dimension: d in feature space, None in Gram space.
        length: of the state: d, or the number of margins.
        rank: of the factors.
    """

    width: int
    across_prompts: bool
    n_wrong: int
    dimension: int | None
    length: int
    rank: int
