"""Counter-based randomness: every stream is named by (seed, run, replica), so workers and order cannot matter."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from theory.errors import expected

__all__ = ["generator", "uniform_order"]


def generator(seed: int, run: int = 0, replica: int = 0, stream: int = 0) -> np.random.Generator:
    """A Philox generator keyed by (seed, run), its counter offset by (replica, stream).

    Raises:
        InputError: seed is not in [0, 2^64).
    """
    if not 0 <= seed < 2**64:
        raise expected("seed", seed, "an integer from 0 to 2^64 - 1", "choose one in that range")
    key = np.array([seed, run], dtype=np.uint64)
    counter = np.array([0, 0, replica, stream], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def uniform_order(n: int, steps: int, seed: int, replica: int = 0) -> npt.NDArray[np.int64]:
    """Prompts drawn uniformly at random, ``(steps,)`` (Algorithms 1 and 2)."""
    return generator(seed, replica=replica, stream=1).integers(0, n, size=steps)
