"""The study of plateaus: steps to escape and tails of the power family and of groups, with fitted exponents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import log
from typing import Any

import numpy as np

from simulator.plateau import Tail, count_steps, enclose_steps, tail_path
from theory.claims.power import ALPHAS, power_step
from theory.errors import expected
from theory.groups import group_rule
from theory.rules import Rule, power

__all__ = ["STARTS", "Escape", "Fit", "Study", "fits_enough", "plateau_study"]

# Exponents are those of p0 -> 0: starts above this are not fitted.
FITTED = 1e-4
STARTS = tuple(float(f"1e-{k}") for k in range(1, 13))


@dataclass(frozen=True)
class Escape:
    """Steps from p0 to p >= 1/2.

    Attributes:
        rule: its name.
        p0: start.
        low, high: enclosure of the number of steps.
        counted: the number of steps if it was counted, else None.
    """

    rule: str
    p0: float
    low: int
    high: int
    counted: int | None


@dataclass(frozen=True)
class Fit:
    """A least-squares slope with its 95 percent interval (Student's t on the residuals).

    The data have no noise: the interval says how far they are from a straight line, that is, from the limit.

    Attributes:
        rule: its name.
        of: ``escape`` (log steps against log(1 / p0)), ``escape, steps`` (steps against log(1 / p0)), ``tail``
            (log q against log t) or ``tail, steps`` (log q against t).
        slope: the exponent, or the slope.
        low, high: the interval.
        predicted: the limit, by ``X-PLATEAU``.
    """

    rule: str
    of: str
    slope: float
    low: float
    high: float
    predicted: float


@dataclass(frozen=True)
class Study:
    """Tables of :func:`plateau_study`, rule after rule."""

    escapes: tuple[Escape, ...]
    tails: tuple[Tail, ...]
    fits: tuple[Fit, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        tails = [{"rule": tail.rule, "t": tail.t.tolist(), "log_q": tail.log_q.tolist()} for tail in self.tails]
        return {"escapes": [asdict(e) for e in self.escapes], "tails": tails, "fits": [asdict(f) for f in self.fits]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Study:
        """Inverse of :meth:`to_json`."""
        tails = (Tail(tail["rule"], np.array(tail["t"]), np.array(tail["log_q"])) for tail in data["tails"])
        return cls(tuple(Escape(**e) for e in data["escapes"]), tuple(tails), tuple(Fit(**f) for f in data["fits"]))


def _fit(rule: str, of: str, x: Any, y: Any, predicted: float) -> Fit:
    from scipy import stats

    line = stats.linregress(x, y)
    margin = float(stats.t.ppf(0.975, len(x) - 2) * line.stderr)
    slope = float(line.slope)
    return Fit(rule, of, slope, slope - margin, slope + margin, predicted)


def _cases(groups: Sequence[int], alphas: Sequence[float]) -> list[tuple[Rule, float, float]]:
    """Rules with c (``X^2 = 1``, ``|gap|^2 = 2``, as in a table of two outputs) and ``s = 1 - alpha``."""
    family = [(power(float(a)), 2 * power_step(a, 1.0), 1 - a) for a in alphas]
    return [*family, *((group_rule(size), 2 * power_step(0.5, 1.0), 1.0) for size in groups)]


def _escape_fit(found: list[Escape], s: float, c: float) -> Fit:
    hard = [e for e in found if e.p0 <= FITTED]
    inverse = np.log([1 / e.p0 for e in hard])
    steps = np.array([e.counted or (e.low + e.high) / 2 for e in hard])
    if s == 0:
        return _fit(hard[0].rule, "escape, steps", inverse, steps, 1 / c)
    return _fit(hard[0].rule, "escape", inverse, np.log(steps), s)


def fits_enough(p0: Sequence[float]) -> None:
    """Refuses starts to which no exponent can be fitted.

    Raises:
        InputError: fewer than three of them are at most 1e-4.
    """
    if sum(p <= FITTED for p in set(p0)) < 3:
        raise expected("p0", list(p0), "at least three starts of at most 1e-4", "add harder prompts")


def plateau_study(
    p0: Sequence[float] = STARTS,
    groups: Sequence[int] = (8, 64),
    alphas: Sequence[float] = ALPHAS,
    *,
    limit: int = 100_000,
    horizon: int = 30_000,
    progress: Callable[[int], None] = lambda done: None,
) -> Study:
    """Escape and tail for the power family and for groups, with fitted exponents.

    Args:
        p0: starts, at least three of them at most 1e-4 (these are fitted).
        groups: group sizes G.
        alphas: members of the power family, from 0 to 1.
        limit: most steps to count one by one; beyond, the enclosure stands alone.
        horizon: length of the tail runs; their last two decades are fitted.
        progress: told the number of finished rules.

    Raises:
        InputError: fewer than three starts to fit, or a start out of range.
    """
    fits_enough(p0)
    escapes, tails, fits = [], [], []
    times = np.unique(np.rint(np.geomspace(1, horizon, 40)).astype(int))
    for done, (rule, c, s) in enumerate(_cases(groups, alphas), start=1):
        found = [_escape(rule, c, start, s, limit) for start in p0]
        tail = tail_path(rule, c, [int(t) for t in times])
        escapes += found
        tails.append(tail)
        late = tail.t >= horizon / 100
        x = tail.t[late] if s == 0 else np.log10(tail.t[late])
        name, limit_slope = ("tail, steps", -c / log(10)) if s == 0 else ("tail", -1 / s)
        fits += [_escape_fit(found, s, c), _fit(rule.name, name, x, tail.log_q[late], limit_slope)]
        progress(done)
    return Study(tuple(escapes), tuple(tails), tuple(fits))


def _escape(rule: Rule, c: float, p0: float, s: float, limit: int) -> Escape:
    low, high = enclose_steps(rule, c, p0, s)
    counted = count_steps(rule, c, p0, limit) if low <= limit else None
    return Escape(rule.name, p0, low, high, counted)
