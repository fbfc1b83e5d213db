"""When runs reach a success probability, and medians with intervals that assume nothing of their distribution."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from simulator.engines.ensemble import Ensemble
from simulator.engines.run import simulate_many
from simulator.problems import Problem
from simulator.sampled import SampledRule
from theory.errors import expected
from theory.rules import Rule
from whynorm.outputs import usable_cores
from whynorm.studies.study import STRICT, Probability, Runs

__all__ = [
    "CONFIDENCE",
    "Passages",
    "finite",
    "median_interval",
    "passage_summary",
    "passage_times",
    "study_runs",
    "times_to",
]

Floats = npt.NDArray[np.float64]

# Of every interval of a study.
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Passages(Runs):
    """Runs that are timed until they reach a threshold.

    Attributes:
        p0: success probability of every prompt at the start, below the threshold.
        threshold: of the mean success probability over the prompts.
    """

    p0: Annotated[list[Probability], Field(min_length=1)]
    threshold: Probability

    @model_validator(mode="after")
    def _below(self) -> Passages:
        if max(self.p0) >= self.threshold:
            raise expected("p0", max(self.p0), f"below the threshold {self.threshold:g}", "remove it")
        return self


def study_runs(spec: Runs, problem: Problem, rule: Rule | SampledRule, eta: float, **options: Any) -> Ensemble:
    """The runs of one setting; replica r has the same prompt order whatever the rule."""
    options = {"record": "full", "replicas": spec.replicas, **options}
    threads = {"threads": usable_cores()} if spec.engine == "lanes" else None
    steps = options.pop("steps", spec.steps)
    return simulate_many(
        problem, rule, eta, steps, engine=spec.engine, engine_options=threads, seed=spec.seed, **options
    )


def passage_times(ensemble: Ensemble, threshold: float) -> Floats:
    """First recorded time at which the mean of J over the prompts is at least ``threshold``, ``(R,)``; inf if none."""
    above = ensemble.J.mean(axis=2) >= threshold
    return np.where(above.any(axis=1), ensemble.t[np.argmax(above, axis=1)].astype(np.float64), np.inf)


def times_to(spec: Runs, problem: Problem, rule: Rule | SampledRule, eta: float, threshold: float) -> Floats:
    """:func:`passage_times` of the runs of one setting, every step looked at."""
    return passage_times(study_runs(spec, problem, rule, eta), threshold)


def median_interval(samples: Floats) -> tuple[float, float, float]:
    """Median and the order statistics around it that cover it with at least 95% confidence, inf allowed.

    With ``B ~ Binomial(R, 1/2)`` the interval from the k-th smallest to the k-th largest sample covers with probability
    ``1 - 2 P(B < k)``; k is the largest for which that is enough. With five samples or fewer none is, and the ends are
    the smallest and the largest.
    """
    from scipy.stats import binom

    ordered = np.sort(samples)
    count = len(ordered)
    below = int(binom.ppf((1 - CONFIDENCE) / 2, count, 0.5))
    k = max(below, 1)
    middle = ordered[[(count - 1) // 2, count // 2]]
    median = float(middle[0]) if middle[0] == middle[1] else float(middle.mean())
    return median, float(ordered[k - 1]), float(ordered[count - k])


def finite(value: float) -> float | None:
    """For JSON, which has no infinity: None where a run did not arrive."""
    return float(value) if np.isfinite(value) else None


def passage_summary(times: Floats) -> dict[str, Any]:
    """Median, interval (None where not reached) and share of the runs that arrived."""
    median, low, high = (finite(value) for value in median_interval(times))
    return {"median": median, "low": low, "high": high, "reached": float(np.isfinite(times).mean())}
