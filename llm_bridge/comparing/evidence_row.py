"""One line of the table *claim or constant | printed | simulator | this model | verdict*, and how intervals decide."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from scipy.stats import binomtest

__all__ = ["LEAST_PROMPTS", "EvidenceRow", "Verdict", "decide", "over_prompts", "share_over_prompts"]

# Intervals over fewer prompts do not reach 95% (llm_bridge.measurement.intervals), so they decide nothing.
LEAST_PROMPTS = 6

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
    """Whether ``[value, low, high]`` lies above (or below) a threshold; undecided if it holds it or has no ends."""
    if interval is None or len(interval) < 3 or interval[1] is None or interval[2] is None:
        return "undecided"
    low, high = float(interval[1]), float(interval[2])
    if relation == "below":
        low, high, threshold = -high, -low, -threshold
    return "supported" if low > threshold else "refuted" if high < threshold else "undecided"


def over_prompts(interval: Any, prompts: int) -> Any:
    """``[value, low, high]``, or the value alone where there are too few prompts for an interval to decide by."""
    return interval if interval is None or prompts >= LEAST_PROMPTS else [interval[0], None, None]


def share_over_prompts(interval: Any, prompts: int) -> Any:
    """The same of a share of the pairs of prompts.

    Resamples of a share of 0 or 1 are all alike, whatever their number. So such a share gets the exact one-sided bound,
    at 97.5%, of as many independent pairs as the prompts can form: ``prompts // 2``.
    """
    interval = over_prompts(interval, prompts)
    if interval is None or interval[1] is None or interval[1] != interval[2]:
        return interval
    pairs = prompts // 2
    room = 1 - binomtest(pairs, pairs).proportion_ci(0.95, "exact").low
    return [interval[0], max(interval[1] - room, 0.0), min(interval[2] + room, 1.0)]
