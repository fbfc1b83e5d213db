"""The best straight pieces for curves, by dynamic programming, where the noise is correlated from step to step.

Noise with lag-one correlation rho is made white by ``y_t - rho y_{t-1}`` within a piece; its first point counts
``sqrt(1 - rho^2)``. Pieces do not meet: a curve may jump from one to the next at no cost.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["best_pieces", "line_residual", "piece_squares", "whitened"]

Floats = npt.NDArray[np.float64]


def whitened(values: Floats, rho: float) -> Floats:
    """``values`` ``(S, ...)`` with each row's correlation with the one before taken out; the first row shrunk."""
    found = values.copy()
    found[1:] -= rho * values[:-1]
    found[0] *= (1 - rho**2) ** 0.5
    return found


def line_residual(x: Floats, y: Floats) -> Floats:
    """What a straight line through points ``(S,)``, ``(S, c)`` leaves."""
    columns = np.stack([np.ones_like(x), x], axis=1)
    return y - columns @ np.linalg.lstsq(columns, y, rcond=None)[0]


def piece_squares(x: Floats, y: Floats, rho: Floats) -> Floats:
    """Squares that a straight line leaves of each curve once whitened, ``(c,)``."""
    columns = np.stack([np.ones_like(x), x], axis=1)
    found = []
    for curve, correlation in zip(y.T, rho, strict=True):
        design, target = whitened(columns, correlation), whitened(curve, correlation)
        found.append(np.sum((target - design @ np.linalg.lstsq(design, target, rcond=None)[0]) ** 2))
    return np.array(found)


def best_pieces(x: Floats, y: Floats, most: int, least: int, rho: Floats, scale: Floats) -> list[tuple[int, ...]]:
    """The first points of the later pieces of the best division into 1, 2, ... pieces.

    Args:
        x: ``(S,)``.
        y: ``(S, c)``.
        most: pieces at most.
        least: points of a piece at least.
        rho: lag-one correlation of each curve's noise, ``(c,)``.
        scale: standard deviation of each curve's white noise, ``(c,)``: squares are counted in units of it.
    """
    points = len(x)
    cost = sum(_costs(x, curve / size, least, r) for curve, size, r in zip(y.T, scale, rho, strict=True))
    best, origin = [np.asarray(cost)[0].copy()], []
    for _ in range(most - 1):
        # Least cost of points 0 .. j - 1 in one piece more, the last of which begins at i.
        table = best[-1][:, None] + cost
        origin.append(np.argmin(table, axis=0))
        best.append(np.min(table, axis=0))
    found = []
    for pieces in range(1, most + 1):
        if not np.isfinite(best[pieces - 1][points]):
            break
        end, breaks = points, []
        for level in range(pieces - 2, -1, -1):
            end = int(origin[level][end])
            breaks.append(end)
        found.append(tuple(reversed(breaks)))
    return found


def _costs(x: Floats, y: Floats, least: int, rho: float) -> Floats:
    """``cost[i, j]``: squares that a straight line leaves on points i .. j - 1 of one curve; inf if too few."""
    points = len(x)
    y = y - y.mean()
    i, j = np.triu_indices(points + 1, k=least)
    columns = np.stack([np.ones_like(x), x, y], axis=1)
    inside = columns[1:] - rho * columns[:-1]
    first = columns * (1 - rho**2) ** 0.5

    def product(a: int, b: int) -> Floats:
        sums = np.concatenate([[0.0, 0.0], np.cumsum(inside[:, a] * inside[:, b])])
        # Entry t + 1 of the sums ends with the step from t - 1 to t; the piece's own steps begin after i.
        return np.asarray(sums[j] - sums[i + 1] + (first[:, a] * first[:, b])[i])

    aa, ab, bb, ay, by, yy = (product(*pair) for pair in ((0, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 2)))
    across, slope = np.maximum(bb - ab * ab / aa, 1e-300), by - ab * ay / aa
    cost = np.full((points + 1, points + 1), np.inf)
    cost[i, j] = np.maximum(yy - ay * ay / aa - slope * slope / across, 0.0)
    return cost
