"""A problem from what a person says of it, in strings and numbers: one reading for single runs and for sweeps."""

from __future__ import annotations

from simulator.difficulty import get_difficulty
from simulator.families import make_problem
from simulator.problems import Problem
from theory.errors import expected

__all__ = ["build_problem", "check_size"]

# Two gigabytes of features; beyond it a machine starts to swap rather than to say that its memory is full.
_LARGEST = 250_000_000


def check_size(n: int, k: int, d: int | None) -> None:
    """Raise InputError if features ``(n, K, d)`` are too many to be built; without d there are n K of them."""
    numbers = n * k * (n * k if d is None else d)
    if numbers > _LARGEST:
        raise expected("n K d", numbers, f"at most {_LARGEST} features", "lower --n, --k or --d")


def build_problem(
    family: str, n: int, k: int, d: int | None, p0: str, seed: int, strength: float | None = None
) -> Problem:
    """The problem of a family, with success probabilities at the start as ``p0`` says.

    Raises:
        InputError: see :func:`simulator.difficulty.get_difficulty` and :func:`simulator.families.make_problem`, or too
            many features.
    """
    difficulty = get_difficulty(p0)
    check_size(n, k, d)
    return make_problem(family, n, k, d, p0=difficulty.targets(max(n, 1), seed), seed=seed, strength=strength)
