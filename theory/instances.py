"""Instances: everything a claim quantifies over, as plain arrays.

An instance holds float64 numbers, and every float is a rational, so the instance that a search finds is exactly the
one that is rechecked in ball arithmetic and exported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from theory.exact import as_balls
from theory.interaction import UNIT
from theory.policy import Array

__all__ = ["Instance"]


@dataclass(frozen=True)
class Instance:
    """One point of the space a claim quantifies over.

    Attributes:
        features: ``(n, K, d)``.
        answers: ``(n,)``.
        theta: ``(d,)``, the point itself or the start of a run.
        direction: ``(d,)``, the direction y of a quadratic form.
        displacement: ``(d,)``, a point of the unit ball (claims about a neighbourhood).
        steps: number of updates T (claims about runs).
        group: sampled outputs G of a group, at least 2 (claims about sampled groups).
        least_constants: M, R1 and R2 are taken at least this large, each at least 1 (claims about prompts that
            interact): the theorems allow any constants that satisfy the assumptions.
    """

    features: Array
    answers: Array
    theta: Array
    direction: Array
    displacement: Array
    steps: int = 1
    group: int = 2
    least_constants: tuple[float, ...] = UNIT

    def exact(self) -> Instance:
        """The same instance in ball arithmetic."""
        return replace(
            self,
            features=as_balls(self.features),
            theta=as_balls(self.theta),
            direction=as_balls(self.direction),
            displacement=as_balls(self.displacement),
        )

    def to_json(self) -> dict[str, Any]:
        """Exact rationals as strings, e.g. ``"-3/4"``."""
        arrays = {name: _rationals(getattr(self, name)) for name in _ARRAYS}
        plain = {**arrays, "answers": [int(a) for a in self.answers], "steps": self.steps, "group": self.group}
        larger = self.least_constants != UNIT
        return {**plain, "least_constants": _rationals(self.least_constants)} if larger else plain

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Instance:
        """Inverse of :meth:`to_json`; what it returns is exactly what the data says, or nothing.

        Raises:
            ValueError: a number that no float64 is; an answer, length or group size that is no integer, or is too large
                for anything to be calculated; constants below 1 or too large.
            KeyError, TypeError, OverflowError: something is missing, of another type, or beyond all floats.
        """
        arrays = {name: _floats(data[name]) for name in _ARRAYS}
        answers = np.array([_integer("an answer", each) for each in data["answers"]], dtype=np.int64)
        steps, group = (_integer(*each) for each in _sizes(data))
        least = tuple(map(float, _floats(data.get("least_constants", [1, 1, 1]))))
        if len(least) != 3 or not all(1 <= each < MOST_CONSTANT for each in least):
            raise ValueError(f"least constants {_short(least)}, not M, R1 and R2 from 1 to {MOST_CONSTANT:g}")
        return cls(**arrays, answers=answers, steps=steps, group=group, least_constants=least)


_ARRAYS = ("features", "theta", "direction", "displacement")
# Beyond what any search looks at; in exact arithmetic such a run or group would take hours.
MOST_STEPS = 10_000
MOST_GROUP = 1000
# Steps of a size below all rounding.
MOST_CONSTANT = 1e100
# As to_json writes them. Fraction reads exponents too, and "1e999999999" would keep it busy for good.
_QUOTIENT = re.compile(r"-?[0-9]{1,1100}(/[0-9]{1,1100})?")


def _sizes(data: dict[str, Any]) -> tuple[tuple[str, Any, int], ...]:
    return ("steps", data["steps"], MOST_STEPS), ("group", data.get("group", 2), MOST_GROUP)


def _rationals(values: Any) -> Any:
    if np.ndim(values):
        return [_rationals(row) for row in values]
    return str(Fraction(float(values)))


def _floats(values: Any) -> Array:
    if isinstance(values, list):
        return np.array([_floats(row) for row in values], dtype=np.float64)
    if isinstance(values, bool) or (isinstance(values, str) and not _QUOTIENT.fullmatch(values)):
        raise ValueError(f"{_short(values)} is no rational number such as -3/4")
    exact = Fraction(values)
    if Fraction(float(exact)) != exact:
        raise ValueError(f"{_short(values)} is no float64, and another number would be looked at")
    return np.float64(exact)  # type: ignore[return-value]


def _integer(name: str, value: Any, most: int = 2**62) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} is {_short(value)}, no integer")
    if abs(value) > most:
        raise ValueError(f"{name} is {_short(value)}, more than {most}")
    return value


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
