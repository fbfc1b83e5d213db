r"""Intervals for what is measured on n prompts, and cosines freed from the noise of sampled rollouts.

Prompts are what is drawn at random, so prompts are what is resampled: the n (n - 1) / 2 pairs of n prompts are not
independent, and an interval that resampled pairs would be far too short. Of few prompts the bootstrap's own intervals
are too short as well: those of 95% for the mean of n normal numbers hold it in 83%, 88% and 90% of cases for n of 5, 10
and 20. So their level is raised as Hesterberg does (What Teachers Should Know About the Bootstrap, The American
Statistician 69, 2015): the ends that belong to the normal quantile ``sqrt(n / (n - 1)) t_{n-1}``. So far out only many
resamples tell where the ends are: 1 in 1050 lies beyond either of them for n = 5. So of up to 6 prompts all resamples
are taken, each as often as it occurs among all n^n (462 different ones for n = 6), and of more prompts so many are
drawn that 5 are expected beyond each end. What that cannot mend: no resample leaves the sample's range, which lies on
one side of the median in 2^(1 - n) of all samples, so that 4 and 5 prompts never reach 95%. Means over a few
independent runs have Student's intervals.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import ceil, factorial, prod
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import DegenerateDataWarning, bootstrap, norm
from scipy.stats import t as student

from simulator.random import RESAMPLE_STREAM, generator
from simulator.sampling import student_margin
from theory.errors import expected

__all__ = [
    "Interval",
    "intervals_over_prompts",
    "over_prompts",
    "pairs_of",
    "split_half_cosines",
    "split_half_of_grams",
    "student_interval",
]

Floats = npt.NDArray[np.float64]
# Fewer prompts than this say nothing about their spread.
_LEAST = 4
# Up to so many prompts there are fewer different resamples than are usually drawn.
_MOST_ENUMERATED = 6
# Resamples that are expected beyond each end of an interval, and the most that are drawn for the sake of it.
_BEYOND = 5
_MOST_DRAWN = 20_000


@dataclass(frozen=True)
class Interval:
    """A value measured on n prompts, with an interval for what it would be on all prompts like them.

    ``low`` and ``high`` are None where there are too few prompts or the statistic does not vary or is undefined on
    resamples; ``value`` is None where it is undefined.
    """

    value: float | None
    low: float | None = None
    high: float | None = None

    def to_json(self) -> list[float | None]:
        """``[value, low, high]``."""
        return [self.value, self.low, self.high]


def intervals_over_prompts(
    statistic: Callable[[npt.NDArray[np.int64]], Mapping[str, float | None]],
    n: int,
    *,
    level: float = 0.95,
    resamples: int = 999,
    seed: int = 0,
) -> dict[str, Interval]:
    """Bootstrap over prompts (``scipy.stats.bootstrap``), expanded for few of them: BCa, or percentile where undefined.

    Args:
        statistic: from the numbers of the prompts of a resample (with repetitions), ``(m,)``, to values by name; None
            or NaN where undefined. A statistic of pairs must leave out pairs of a prompt with itself: see
            :func:`pairs_of`.
        n: number of prompts.
        level: of the intervals, in (0, 1).
        resamples: number of resamples, raised to what the expanded level needs; of up to 6 prompts all are taken.
        seed: of the resampling.

    Raises:
        InputError: level is not in (0, 1), or resamples is below 1.
    """
    if not 0 < level < 1:
        raise expected("level", level, "a number between 0 and 1", "use for example 0.95")
    if resamples < 1:
        raise expected("resamples", resamples, "at least 1", "use for example 999")

    def values(index: Any, axis: int = -1) -> Floats:
        found = statistic(np.asarray(index, dtype=np.int64))
        return np.array([np.nan if value is None else value for value in found.values()], dtype=np.float64)

    names, point = list(statistic(np.arange(n))), values(np.arange(n))
    low, high = np.full((2, len(names)), np.nan)
    if n >= _LEAST and np.isfinite(point).any():
        low, high = _ends(values, n, _expanded(level, n), resamples, seed)
    return {name: _interval(*each) for name, *each in zip(names, point, low, high, strict=True)}


def _ends(values: Callable[..., Floats], n: int, wide: float, resamples: int, seed: int) -> Floats:
    """Lower and upper ends at the level ``wide``, ``(2, V)``; NaN where no resample defines a value."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        if n <= _MOST_ENUMERATED:
            found = _all_resamples(values, n)
        else:
            found = _drawn_resamples(values, n, max(resamples, _needed(wide)), seed)
        ends = [_ends_of(lambda *data, k=k: float(values(*data)[k]), each, n, wide) for k, each in enumerate(found)]
    return np.array(ends).T


def _ends_of(value: Callable[..., float], found: Floats, n: int, wide: float) -> tuple[float, float]:
    """BCa's ends, or the percentiles where those are undefined, from a value's own resamples ``(R,)``."""
    # Resamples on which a value is undefined (all one prompt, say) say nothing about it.
    defined = found[np.isfinite(found)]
    if not len(defined):
        return np.nan, np.nan
    known = SimpleNamespace(bootstrap_distribution=defined)
    options: dict[str, Any] = {"vectorized": False, "confidence_level": wide, "method": "BCa"}
    ends = bootstrap((np.arange(n),), value, n_resamples=0, bootstrap_result=known, **options).confidence_interval
    if np.isfinite([ends.low, ends.high]).all():
        return float(ends.low), float(ends.high)
    low, high = np.quantile(defined, [(1 - wide) / 2, (1 + wide) / 2])
    return float(low), float(high)


def _drawn_resamples(values: Callable[..., Floats], n: int, count: int, seed: int) -> Floats:
    """The values on resamples drawn at random, ``(V, count)``."""
    draws = generator(seed, stream=RESAMPLE_STREAM)
    drawn = bootstrap((np.arange(n),), values, vectorized=False, n_resamples=count, method="percentile", rng=draws)
    return np.atleast_2d(drawn.bootstrap_distribution)


def _all_resamples(values: Callable[..., Floats], n: int) -> Floats:
    """The values on all n^n resamples, ``(V, n^n)``, each found once for all orders of the same prompts."""
    different = np.array(list(combinations_with_replacement(range(n), n)))
    orders = [factorial(n) // prod(map(factorial, np.bincount(index).tolist())) for index in different]
    return np.repeat(np.array([values(index) for index in different]).T, orders, axis=1)


def _needed(wide: float) -> int:
    """Resamples of which ``_BEYOND`` are expected beyond each end at this level, or the most that are drawn."""
    return ceil(min(2 * _BEYOND / max(1 - wide, 1e-12), _MOST_DRAWN))


def _expanded(level: float, n: int) -> float:
    """The level at which a bootstrap of n is as wide, for a mean, as Student's interval of this level."""
    quantile = np.sqrt(n / (n - 1)) * student.ppf((1 + level) / 2, n - 1)
    return float(2 * norm.cdf(quantile) - 1)


def _interval(value: float, low: float, high: float) -> Interval:
    if not np.isfinite(value):
        return Interval(None)
    return Interval(float(value), float(low), float(high)) if np.isfinite([low, high]).all() else Interval(float(value))


def over_prompts(statistic: Callable[[npt.NDArray[np.int64]], float | None], n: int, **options: Any) -> Interval:
    """The interval of one statistic; options and errors as for :func:`intervals_over_prompts`."""
    return intervals_over_prompts(lambda index: {"value": statistic(index)}, n, **options)["value"]


def student_interval(
    values: Floats, *, level: float = 0.95, shown: Callable[[Any], Any] = lambda value: value
) -> Interval:
    """The mean of independent values ``(R,)`` with Student's interval; no ends for a single one, nothing if not finite.

    Args:
        values: one of each run.
        level: of the interval, in (0, 1).
        shown: an increasing function that is applied to the mean and to both ends, such as the inverse of a logarithm.
    """
    mean = float(np.mean(values))
    if not np.isfinite(mean):
        return Interval(None)
    margin = float(student_margin(values, level, 2))
    ends = [float(shown(mean + sign * margin)) for sign in (-1, 1)] if np.isfinite(margin) else [None, None]
    return Interval(float(shown(mean)), *ends)


def pairs_of(index: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pairs of different prompts of a resample: two arrays of prompt numbers, each pair as often as it was drawn."""
    rows, columns = np.triu_indices(len(index), k=1)
    first, second = index[rows], index[columns]
    different = first != second
    return first[different], second[different]


def split_half_cosines(first: npt.ArrayLike, second: npt.ArrayLike) -> dict[str, Any]:
    r"""Cosines of the prompts' mean gradients without the noise of sampling, from two independent halves of each group.

    The noise makes a measured ``||g_i||^2`` too large by its variance, so that measured cosines shrink towards 0. With
    independent halves, ``<g_i^1, g_i^2>`` is an unbiased estimate of ``||E g_i||^2``, and as prompts are sampled
    independently every ``<g_i^a, g_j^b>`` is one of ``<E g_i, E g_j>``; the four are averaged:

        cos_ij = 1/4 sum_{a, b} <g_i^a, g_j^b> / sqrt(<g_i^1, g_i^2> <g_j^1, g_j^2>).

    Args:
        first: ``(N, d)``, the estimates from one half of each group.
        second: ``(N, d)``, from the other half.

    Returns:
        ``cosines`` of the pairs i < j, NaN where a factor of the denominator is not positive (the noise outweighs the
        gradient: nothing can be said); they may exceed 1 in absolute value, and are not clipped, which would bias their
        mean. ``undefined``: the number of such pairs; ``raw``: the cosines as measured on the mean of both halves;
        ``reliability``: ``(N,)``, ``<g_i^1, g_i^2> / ||(g_i^1 + g_i^2) / 2||^2``, 1 without noise.

    Raises:
        InputError: shapes differ, or are not (N, d).
    """
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != two.shape or one.ndim != 2:
        raise expected(
            "shapes of the halves", f"{one.shape} and {two.shape}", "(N, d) twice", "split each group evenly"
        )
    return split_half_of_grams(one @ one.T, one @ two.T, two @ two.T)


def split_half_of_grams(first: Floats, across: Floats, second: Floats) -> dict[str, Any]:
    """The same from inner products, each ``(N, N)``: within the first half, first by second, within the second."""
    mean = (first + across + across.T + second) / 4
    size, shared = np.diag(mean), np.diag(across)
    rows, columns = np.triu_indices(len(mean), k=1)
    products = mean[rows, columns]
    usable = (shared[rows] > 0) & (shared[columns] > 0)
    with np.errstate(all="ignore"):
        cosines = np.where(usable, products / np.sqrt(np.abs(shared[rows] * shared[columns])), np.nan)
        raw = products / np.sqrt(size[rows] * size[columns])
        reliability = shared / size
    return {"cosines": cosines, "raw": raw, "undefined": int((~usable).sum()), "reliability": reliability}
