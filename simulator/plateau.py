r"""Escape from a hard prompt, measured: steps until p = 1/2, and the tail of q, for two outputs.

With two outputs the gap is constant and a run is a recursion in one number, the log-odds:

    L_{t+1} = L_t + m(L_t),    m = c weight(p, q) V,    c = eta |gap|^2.

Steps are counted one by one where that takes at most ``limit`` steps. Where it would take 10^12, they are enclosed:
for L <= 0 and ``m(L + d) <= e^(s d) m(L)``, m growing with L, one step advances ``int dL / m`` by at most 1 and
``int e^(s m) dL / m`` by at least 1. Hence the first t with ``L_t >= 0`` obeys

    int dL / m  <=  t  <=  1 + int e^(s m) dL / m        (both integrals from L_0 to 0),

two numbers that differ by about ``s log(1 / p0)``. For the power family ``m = c V^s`` with s = 1 - alpha. For a group
s = 1: ``w_G V`` is the Bernstein polynomial of the concave ``sqrt(x (1 - x))``, hence itself concave in p, and grows no
faster than p. The integrals are Gauss sums, exact to about 1e-13.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil, exp, floor, log, log1p
from typing import Any

import numpy as np
import numpy.typing as npt

from theory.claims.power import ALPHAS, power_step
from theory.errors import expected
from theory.groups import group_rule
from theory.policy import logistic
from theory.rules import Rule, power

__all__ = [
    "Escape",
    "Fit",
    "Study",
    "Tail",
    "count_steps",
    "enclose_steps",
    "fits_enough",
    "plateau_study",
    "tail_path",
]

# How much wider than the Gauss sums the enclosure is made, relatively.
QUADRATURE = 1e-11
NODES = 24
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
class Tail:
    """``log10 q_t`` at times t of a run that starts at p = 1/2."""

    rule: str
    t: npt.NDArray[np.int64]
    log_q: npt.NDArray[np.float64]


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


def _advance(rule: Rule, c: float, log_odds: float) -> float:
    """``m(L)``; scalars, because a run is one number after another."""
    e = exp(-abs(log_odds))
    # A solved prompt may underflow; the weight of log-odds ascent is then still finite.
    large, small = 1 / (1 + e), max(e / (1 + e), 1e-300)
    p, q = (large, small) if log_odds >= 0 else (small, large)
    return float(c * rule.weight(p, q) * p * q)


def _check(c: float, p0: float) -> None:
    if not 0 < p0 < 0.5:
        raise expected("p0", p0, "above 0 and below 1/2", "a prompt that is not yet solved half of the time")
    if not 0 < c <= 1e3:
        raise expected("c = eta |gap|^2", c, "above 0 and at most 1000", "use the step size of a theorem")


def count_steps(rule: Rule, c: float, p0: float, limit: int) -> int | None:
    """Steps from p0 until p >= 1/2, counted one by one; None if they are more than ``limit``.

    Args:
        rule: the update rule.
        c: ``eta |gap|^2``.
        p0: in (0, 1/2).
        limit: most steps to make.

    Raises:
        InputError: p0 or c out of range.
    """
    _check(c, p0)
    log_odds = log(p0) - log1p(-p0)
    for t in range(limit + 1):
        if log_odds >= 0:
            return t
        log_odds += _advance(rule, c, log_odds)
    return None


def enclose_steps(rule: Rule, c: float, p0: float, s: float = 1.0) -> tuple[int, int]:
    """Bounds of the number of steps from p0 until p >= 1/2, without making them; see the module.

    Args:
        rule: a member of the power family or a group.
        c: ``eta |gap|^2``.
        p0: in (0, 1/2).
        s: 1 - alpha for the power family, 1 for a group.

    Raises:
        InputError: p0 or c out of range.
    """
    _check(c, p0)
    start = log(p0) - log1p(-p0)
    edges = np.linspace(start, 0.0, max(ceil(-start / 0.5), 1) + 1)
    x, weights = np.polynomial.legendre.leggauss(NODES)
    half = np.diff(edges)[:, None] / 2
    log_odds = edges[:-1, None] + half * (1 + x)
    p, q = logistic(log_odds)
    m = c * rule.weight(p, q) * p * q
    low = float((half * weights / m).sum())
    high = float((half * weights * np.exp(s * m) / m).sum())
    return max(ceil(low * (1 - QUADRATURE)), 1), 1 + floor(high * (1 + QUADRATURE))


def tail_path(rule: Rule, c: float, times: Sequence[int]) -> Tail:
    """A run from p = 1/2, looked at at increasing times."""
    _check(c, 0.25)
    log_odds, t, seen = 0.0, 0, []
    for time in times:
        while t < time:
            log_odds += _advance(rule, c, log_odds)
            t += 1
        seen.append(-np.logaddexp(0.0, log_odds) / log(10))
    return Tail(rule.name, np.array(times, dtype=np.int64), np.array(seen))


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
