"""Instances: everything a claim quantifies over, as plain arrays.

An instance holds float64 numbers, and every float is a rational, so the instance that a search finds is exactly the
one that is rechecked in ball arithmetic and exported.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from theory.exact import as_balls
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
    """

    features: Array
    answers: Array
    theta: Array
    direction: Array
    displacement: Array
    steps: int = 1
    group: int = 2

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
        return {**arrays, "answers": [int(a) for a in self.answers], "steps": self.steps, "group": self.group}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Instance:
        """Inverse of :meth:`to_json`."""
        arrays = {name: _floats(data[name]) for name in _ARRAYS}
        answers = np.array(data["answers"], dtype=np.int64)
        return cls(**arrays, answers=answers, steps=int(data["steps"]), group=int(data.get("group", 2)))


_ARRAYS = ("features", "theta", "direction", "displacement")


def _rationals(values: Any) -> Any:
    if np.ndim(values):
        return [_rationals(row) for row in values]
    return str(Fraction(float(values)))


def _floats(values: Any) -> Array:
    if isinstance(values, list):
        return np.array([_floats(row) for row in values], dtype=np.float64)
    return np.float64(Fraction(values))  # type: ignore[return-value]
