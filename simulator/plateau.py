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

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp, floor, log, log1p

import numpy as np
import numpy.typing as npt

from theory.errors import expected
from theory.policy import logistic
from theory.rules import Rule

__all__ = ["Tail", "count_steps", "enclose_steps", "tail_path"]

# How much wider than the Gauss sums the enclosure is made, relatively.
QUADRATURE = 1e-11
NODES = 24


@dataclass(frozen=True)
class Tail:
    """``log10 q_t`` at times t of a run that starts at p = 1/2."""

    rule: str
    t: npt.NDArray[np.int64]
    log_q: npt.NDArray[np.float64]


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
