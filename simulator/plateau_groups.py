r"""Escape of sampled runs: groups of G outputs, two outputs each, exact in law and without walking through idle steps.

With two outputs the step of a group with k right ones is ``c khat (1 - khat) / (std + eps)`` in the log-odds, with
``c = eta |gap|^2``: never negative, and 0 for a group without variance. While nothing moves, the time until the next
mixed group is geometric, so a run of 10^12 steps is some thirty draws.
"""

from __future__ import annotations

from math import comb, log, log1p

import numpy as np
import numpy.typing as npt

from simulator.random import ESCAPE_STREAM, generator
from theory.advantages import PRESETS, Convention
from theory.errors import expected
from theory.groups import pair_of_advantages

__all__ = ["sampled_escape"]


def sampled_escape(
    size: int,
    c: float,
    p0: float,
    replicas: int,
    *,
    convention: Convention = PRESETS["paper"],
    seed: int = 0,
) -> npt.NDArray[np.float64]:
    """Steps of sampled runs from p0 until p >= 1/2, one for each replica: ``(replicas,)``.

    Args:
        size: G, at least 2.
        c: ``eta |gap|^2``, above 0.
        p0: in [1e-15, 1/2).
        replicas: independent runs.
        convention: of the advantages, with scale ``none`` or ``group``.
        seed: of the draws.

    Raises:
        InputError: a value out of range.
    """
    if not 1e-15 <= p0 < 0.5:
        raise expected("p0", p0, "from 1e-15 to below 1/2", "a waiting time must fit an integer")
    if size < 2 or not c > 0 or replicas < 1:
        raise expected("size, c, replicas", (size, c, replicas), "at least 2, above 0, at least 1", "correct them")
    rng = generator(seed, stream=ESCAPE_STREAM)
    k = np.arange(1, size)
    moves = np.array([c * pair_of_advantages(int(j), size, convention)[0] * j / size for j in k])
    binomials = np.array([float(comb(size, int(j))) for j in k])
    log_odds = np.full(replicas, log(p0) - log1p(-p0))
    steps = np.zeros(replicas)
    while (left := np.flatnonzero(log_odds < 0)).size:
        odds = np.exp(log_odds[left])
        p, q = odds / (1 + odds), 1 / (1 + odds)
        # Probabilities of the mixed groups; their sum keeps its digits where p is tiny.
        chances = binomials * p[:, None] ** k * q[:, None] ** (size - k)
        mixed = chances.sum(axis=1)
        steps[left] += rng.geometric(np.minimum(mixed, 1.0))
        ranks = (chances.cumsum(axis=1) < (rng.random(len(left)) * mixed)[:, None]).sum(axis=1)
        log_odds[left] += moves[np.minimum(ranks, size - 2)]
    return steps
