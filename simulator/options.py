"""What a person says about a run, in strings and numbers: one reading for single runs and for sweeps."""

from __future__ import annotations

from simulator.families import make_problem, success_targets
from simulator.problems import Problem
from theory.errors import expected
from theory.rules import Rule

__all__ = ["build_problem", "parse_range", "resolve_eta"]

# Two gigabytes of features; beyond it a machine starts to swap rather than to say that its memory is full.
_LARGEST = 250_000_000


def parse_range(text: str) -> tuple[float, float]:
    """``0.2`` or ``LOW:HIGH`` as a pair.

    Raises:
        InputError: not one or two numbers.
    """
    parts = text.split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise expected("p0", text, "a probability or LOW:HIGH", "e.g. 0.2 or 0.05:0.9")
    return numbers[0], numbers[-1]


def resolve_eta(eta: float | None, rule: Rule, x_max_sq: float) -> float:
    """The given step size, or the theorem's own for the rule.

    Raises:
        InputError: none is given and no theorem of the sources covers the rule, or all features are zero.
    """
    if eta is not None:
        return eta
    if rule.step_size is None:
        raise expected("eta", None, f"a step size, as no theorem of the sources covers {rule.name}", "pass --eta")
    if x_max_sq <= 0:
        raise expected("X_max^2", x_max_sq, "a number above 0 to derive the step size from", "pass other features")
    return float(rule.step_size(x_max_sq))


def build_problem(family: str, n: int, k: int, d: int | None, p0: str, seed: int) -> Problem:
    """The problem of a family, with success probabilities at the start as ``p0`` says (:func:`parse_range`).

    Raises:
        InputError: see :func:`parse_range` and :func:`simulator.families.make_problem`, or too many features.
    """
    low, high = parse_range(p0)
    numbers = n * k * (n * k if d is None else d)
    if numbers > _LARGEST:
        raise expected("n K d", numbers, f"at most {_LARGEST} features", "lower --n, --k or --d")
    return make_problem(family, n, k, d, p0=success_targets(max(n, 1), low, high), seed=seed)
