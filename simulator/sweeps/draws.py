"""Values drawn from distributions: each key has a stream of its own, so a key more changes no other's values."""

from __future__ import annotations

import zlib
from statistics import NormalDist
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from simulator.random import VALUE_STREAM, generator
from theory.errors import expected

__all__ = ["Distribution", "draw"]

_BOUNDED = ("uniform", "loguniform", "logituniform", "integers")


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class Distribution:
    """What a key's values are drawn from.

    Attributes:
        kind: ``uniform``, ``loguniform`` (low > 0), ``logituniform`` (evenly in log-odds, 0 < low < high < 1),
            ``integers`` (both ends included), ``lognormal`` (median, and sigma of the logarithm) or ``choice``.
        low, high: ends, of the first four.
        median, sigma: of ``lognormal``.
        values: of ``choice``, each as likely.
    """

    kind: Literal["uniform", "loguniform", "logituniform", "integers", "lognormal", "choice"]
    low: Annotated[float, Field(allow_inf_nan=False)] | None = None
    high: Annotated[float, Field(allow_inf_nan=False)] | None = None
    median: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    sigma: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    values: list[Any] | None = None

    def check(self, name: str) -> None:
        """Refuse parameters that are missing, superfluous or out of order.

        Raises:
            InputError: as said; the message begins with ``name``.
        """
        wanted = {"choice": ("values",), "lognormal": ("median", "sigma")}.get(self.kind, ("low", "high"))
        given = tuple(key for key in ("low", "high", "median", "sigma", "values") if getattr(self, key) is not None)
        if given != wanted:
            raise expected(f"{name}", ", ".join(given) or None, f"{' and '.join(wanted)} for {self.kind}", "write them")
        if self.kind == "choice" and not self.values:
            raise expected(f"values of {name}", [], "at least one value", "list some")
        if self.kind not in _BOUNDED:
            return
        assert self.low is not None
        assert self.high is not None
        least = {"loguniform": 0.0, "logituniform": 0.0}.get(self.kind, -np.inf)
        most = 1.0 if self.kind == "logituniform" else np.inf
        if not least < self.low < self.high < most and not (self.kind == "integers" and self.low == self.high):
            bounds = {"loguniform": "0 < low < high", "logituniform": "0 < low < high < 1"}.get(self.kind, "low < high")
            raise expected(f"low, high of {name}", (self.low, self.high), bounds, "correct them")
        if self.kind == "integers" and not (self.low.is_integer() and self.high.is_integer()):
            raise expected(f"low, high of {name}", (self.low, self.high), "whole numbers", "round them")


def draw(key: str, distribution: Distribution, samples: int, seed: int) -> list[Any]:
    """Values of a key; continuous ones are rounded to 6 digits, so that every machine finds the same ids."""
    u = generator(seed, run=zlib.crc32(key.encode()), stream=VALUE_STREAM).random(samples)
    low, high = distribution.low or 0.0, distribution.high or 0.0
    if distribution.kind == "choice":
        assert distribution.values is not None
        return [distribution.values[int(i)] for i in u * len(distribution.values)]
    if distribution.kind == "integers":
        return [int(low) + int(i) for i in u * (int(high) - int(low) + 1)]
    if distribution.kind == "lognormal":
        assert distribution.median is not None
        # In (0, 1), where the normal distribution has its quantiles.
        normal = np.array([NormalDist().inv_cdf(float(p) + 2.0**-54) for p in u])
        values = distribution.median * np.exp((distribution.sigma or 0.0) * normal)
    elif distribution.kind == "uniform":
        values = low + (high - low) * u
    elif distribution.kind == "loguniform":
        values = np.exp(np.log(low) + (np.log(high) - np.log(low)) * u)
    else:
        ends = [np.log(p) - np.log1p(-p) for p in (low, high)]
        values = 1 / (1 + np.exp(-(ends[0] + (ends[1] - ends[0]) * u)))
    return [float(f"{value:.6g}") for value in values]
