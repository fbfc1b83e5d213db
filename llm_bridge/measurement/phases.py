r"""Phases of a run, found from its curves and not drawn in: where they change their ways, or that they do not.

A phase is a stretch over which every curve is a straight line with noise. The best places for the breaks are found
exactly, by dynamic programming over all segmentations; their number by BIC. Against that stand curves without phases
(``llm_bridge.measurement.smooth_curves``). There are phases only where two things hold:

* the best segmentation beats the best smooth curve by a BIC of at least 10 ("very strong"), with noise that is
  correlated from step to step (first-order autoregressive), and
* it does so by more than on 95 of 99 curves drawn from that smooth curve with noise as correlated as its residuals are.

The second guards against what BIC does not know: curves along one run wander, and wandering looks like phases.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from llm_bridge.measurement.smooth_curves import SmoothCurves
from llm_bridge.measurement.straight_pieces import best_pieces, line_residual, piece_squares
from simulator.random import NOISE_STREAM, generator
from theory.errors import expected

__all__ = ["Phases", "find_phases"]

Floats = npt.NDArray[np.float64]
MARGIN, LEVEL = 10.0, 0.05
# Longer runs are first averaged down to this many points.
_MOST = 240
# Relative to a curve's spread; differences below it mean nothing.
_FLOOR = 1e-4


@dataclass(frozen=True)
class Phases:
    """What was found.

    Attributes:
        breaks: times at which a phase begins, without the first; empty if there are no phases.
        bic: by description: ``1 phase``, ``2 phases``, ... (straight lines) and the smooth curves.
        best_smooth: name of the best description without phases.
        margin: its BIC minus that of the best segmentation with two phases or more.
        p: share of curves without phases, with noise like this one's, whose margin is as large; None where the margin
            is below 10 and the question does not arise.
        means: of each curve in each phase, ``(phases, curves)``.
        slopes: per unit of time, ``(phases, curves)``.
    """

    breaks: tuple[float, ...]
    bic: dict[str, float]
    best_smooth: str
    margin: float
    p: float | None
    means: Floats
    slopes: Floats

    @property
    def number(self) -> int:
        """How many phases there are; 1 means none."""
        return len(self.breaks) + 1

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "phases": self.number,
            "verdict": "none" if self.number == 1 else f"{self.number} phases",
            "breaks": list(self.breaks),
            "bic": self.bic,
            "best_smooth": self.best_smooth,
            "margin": self.margin if np.isfinite(self.margin) else None,
            "p": self.p,
            "means": self.means.tolist(),
            "slopes": self.slopes.tolist(),
        }


def find_phases(
    t: npt.ArrayLike,
    curves: npt.ArrayLike,
    *,
    most: int = 5,
    shortest: int | None = None,
    draws: int = 99,
    seed: int = 0,
) -> Phases:
    """Find the phases of curves measured at the same times.

    Args:
        t: times, increasing, ``(S,)``.
        curves: ``(S, c)``, or ``(S,)`` for a single one; breaks are common to all, each has its own lines and noise.
        most: phases at most.
        shortest: points of a phase at least; a twentieth of all, and at least 5, if left out.
        draws: curves without phases that the margin is compared with.
        seed: of their noise.

    Raises:
        InputError: shapes do not fit, times do not increase, an entry is not finite, there are fewer than 12 points, or
            an option is out of range.
    """
    time, y = _checked(t, curves)
    least = max(5, len(time) // 20) if shortest is None else shortest
    if not 3 <= least <= len(time):
        raise expected("shortest", least, f"3 to the {len(time)} points of a curve", "leave it out for a twentieth")
    for name, value in (("most", most), ("draws", draws)):
        if value < 1:
            raise expected(name, value, "at least 1", "leave it out")
    x = (time - time[0]) / (time[-1] - time[0])
    search = _Search(x, min(most, len(x) // least), least)
    bic, breaks = search.compare(y)
    best_smooth, margin = search.margin(bic)
    chosen: tuple[int, ...] = ()
    p = None
    if margin >= MARGIN:
        rng = generator(seed, stream=NOISE_STREAM)
        null = search.without_phases(y, draws, rng)
        as_large = sum(search.margin(search.compare(each)[0])[1] >= margin for each in null)
        p = (1 + as_large) / (1 + draws)
        chosen = breaks if p <= LEVEL else ()
    means, slopes = _described(time, y, chosen)
    return Phases(tuple(float(time[at]) for at in chosen), bic, best_smooth, margin, p, means, slopes)


class _Search:
    """Fits of curves at fixed times; what depends on the times only is computed once."""

    def __init__(self, x: Floats, most: int, least: int) -> None:
        self._x, self._most, self._least = x, most, least
        self._smooth = SmoothCurves(x)

    def compare(self, y: Floats) -> tuple[dict[str, float], tuple[int, ...]]:
        """BIC of every description of curves ``(S, c)``, and the breaks of the best with two phases or more."""
        points, width = y.shape
        spread = np.ptp(y, axis=0)
        floor = points * (_FLOOR * np.where(spread > 0, spread, 1.0)) ** 2
        rho, scale = self._noise(y, floor)

        def bic(squares: Floats, parameters: int) -> float:
            left = np.maximum(squares, floor * (1 - rho**2)) / points
            return float(points * np.sum(np.log(left)) + parameters * np.log(points))

        told: dict[str, float] = {}
        places: dict[str, tuple[int, ...]] = {}
        for breaks in best_pieces(self._x, y, self._most, self._least, rho, scale):
            number = len(breaks) + 1
            edges = [0, *breaks, points]
            squares = np.sum([piece_squares(self._x[a:b], y[a:b], rho) for a, b in pairwise(edges)], axis=0)
            name = "1 phase" if number == 1 else f"{number} phases"
            told[name], places[name] = bic(squares, number * 2 * width + len(breaks)), breaks
        # Every curve may have the smooth shape that suits it best.
        told |= {name: bic(squares, count * width) for name, (squares, count) in self._smooth.squares(y, rho).items()}
        several = [name for name in places if name.endswith("phases")]
        return told, places[min(several, key=told.__getitem__)] if several else ()

    def _noise(self, y: Floats, floor: Floats) -> tuple[Floats, Floats]:
        """Lag-one correlation and size of each curve's noise: of what the finest division into pieces leaves."""
        # 6: the variance of y_0 - 2 y_1 + y_2 of white noise is six times its own.
        rough = np.sqrt(np.maximum(np.mean(np.diff(y, n=2, axis=0) ** 2, axis=0) / 6, floor / len(y)))
        white = np.zeros(y.shape[1])
        finest = best_pieces(self._x, y, self._most, self._least, white, rough)[-1]
        edges = [0, *finest, len(y)]
        residual = np.concatenate([line_residual(self._x[a:b], y[a:b]) for a, b in pairwise(edges)])
        exact = np.sum(residual**2, axis=0) <= floor
        rho = np.where(exact, 0.0, _autocorrelation(residual, len(edges) - 1))
        return rho, np.sqrt(np.maximum(np.mean(residual**2, axis=0) * (1 - rho**2), floor / len(y)))

    def margin(self, bic: dict[str, float]) -> tuple[str, float]:
        """The best description without phases, and by how much one with phases beats it."""
        smooth = min((name for name in bic if not name.endswith("phases")), key=bic.__getitem__)
        several = [value for name, value in bic.items() if name.endswith("phases")]
        return smooth, bic[smooth] - min(several) if several else -float("inf")

    def without_phases(self, y: Floats, draws: int, rng: np.random.Generator) -> list[Floats]:
        """Curves drawn from the best smooth fit, with first-order autoregressive noise like its residuals."""
        fit = self._smooth.fit(y)
        residual = y - fit
        points = len(y)
        # Up to four parameters were fitted, which take from the correlation about what three straight pieces do.
        rho = _autocorrelation(residual, 3)
        innovation = residual[1:] - rho * residual[:-1]
        root = np.linalg.cholesky(np.cov(innovation.T, ddof=0).reshape(y.shape[1], -1) + 1e-300 * np.eye(y.shape[1]))
        found = []
        for _ in range(draws):
            noise = rng.standard_normal((points, y.shape[1])) @ root.T
            noise[0] /= np.sqrt(1 - rho**2)
            for step in range(1, points):
                noise[step] += rho * noise[step - 1]
            found.append(fit + noise)
        return found


def _checked(t: npt.ArrayLike, curves: npt.ArrayLike) -> tuple[Floats, Floats]:
    time, y = np.asarray(t, dtype=np.float64), np.asarray(curves, dtype=np.float64)
    y = y[:, None] if y.ndim == 1 else y
    if time.ndim != 1 or y.ndim != 2 or y.shape[0] != len(time) or y.shape[1] == 0:
        raise expected("shape of curves", y.shape, f"({len(time)}, c) for these times", "pass a row for each time")
    if len(time) < 12:
        raise expected("points of a curve", len(time), "at least 12", "measure more often")
    if not (np.isfinite(time).all() and np.isfinite(y).all()):
        raise expected("curves", "not finite", "finite numbers", "leave out what could not be measured")
    if not (np.diff(time) > 0).all():
        raise expected("times", "not increasing", "increasing times", "sort them")
    if len(time) > _MOST:
        pieces = np.array_split(np.arange(len(time)), _MOST)
        time = np.array([time[piece].mean() for piece in pieces])
        y = np.array([y[piece].mean(axis=0) for piece in pieces])
    return time, y


def _autocorrelation(residual: Floats, pieces: int) -> Floats:
    """At lag one, of each curve, from 0 to 0.999; corrected for what fitting that many pieces takes from it."""
    size = np.maximum(np.sum(residual**2, axis=0), 1e-300)
    rho = np.sum(residual[1:] * residual[:-1], axis=0) / size
    return np.clip(rho + (1 + 4 * rho) * pieces / len(residual), 0.0, 0.999)


def _described(time: Floats, y: Floats, breaks: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Mean and slope of each curve in each phase."""
    edges = [0, *breaks, len(time)]
    means = [y[a:b].mean(axis=0) for a, b in pairwise(edges)]
    slopes = [np.polyfit(time[a:b], y[a:b], 1)[0] for a, b in pairwise(edges)]
    return np.array(means), np.array(slopes)
