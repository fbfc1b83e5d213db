"""One line of the table *claim or constant | printed | simulator | this model | verdict*, and how intervals decide."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["EvidenceRow", "Verdict", "decide"]

Verdict = Literal["supported", "refuted", "undecided", "vacuous"]


@dataclass(frozen=True)
class EvidenceRow:
    """One line of the table *claim or constant | printed | simulator | this model | verdict*.

    Attributes:
        id: ``E-...``, or the claim that the row is about.
        statement: what is held against the measurement.
        printed: the figures of the sources with their places; empty for our own claims.
        simulator: what the bandit says.
        model: what this model says, with its interval.
        verdict: on this model; of E-CONSISTENT, on the sources' figures.
        here: whether the sources' figure is reproduced on this model.
        remark: what to know.
    """

    id: str
    statement: str
    printed: str
    simulator: str
    model: str
    verdict: Verdict
    here: str = ""
    remark: str = ""

    def to_json(self) -> dict[str, str]:
        """Plain data."""
        return asdict(self)


def decide(interval: Any, threshold: float, relation: Literal["above", "below"]) -> Verdict:
    """Whether ``[value, low, high]`` lies above (or below) a threshold; undecided without an interval."""
    if interval is None or len(interval) < 3 or interval[1] is None or interval[2] is None:
        return "undecided"
    low, high = float(interval[1]), float(interval[2])
    if relation == "below":
        low, high, threshold = -high, -low, -threshold
    return "supported" if low >= threshold else "refuted" if high < threshold else "undecided"
