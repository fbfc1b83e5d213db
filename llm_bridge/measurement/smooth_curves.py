"""Curves without phases: polynomials up to degree three, exponential, hyperbola, power, logistic; fitted by search."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from llm_bridge.measurement.straight_pieces import whitened

__all__ = ["SmoothCurves"]

Floats = npt.NDArray[np.float64]
_POLYNOMIALS = ("constant", "line", "parabola", "cubic")


class SmoothCurves:
    """Least-squares fits at fixed times. All but one or two parameters of a shape are linear; the others on a grid."""

    def __init__(self, x: Floats) -> None:
        """Prepare the members of every shape; ``x`` is ``(S,)``, from 0 to 1."""
        rates = np.geomspace(0.5, 80, 30)
        bends = [np.tanh(rate * (x - at) / 2) for rate in rates for at in np.linspace(-0.2, 1, 25)]
        self._powers = np.stack([x**k for k in range(4)], axis=1)
        # A constant plus a multiple of one of these; how many parameters that makes.
        self._members = {
            "exponential": (np.stack([np.exp(-rate * x) for rate in rates], axis=1), 3),
            "hyperbola": (np.stack([1 / (1 + rate * x) for rate in rates], axis=1), 3),
            "power": (np.stack([x**power for power in np.geomspace(0.1, 4, 30)], axis=1), 3),
            "logistic": (np.stack(bends, axis=1), 4),
        }

    def squares(self, y: Floats, rho: Floats | None = None) -> dict[str, tuple[Floats, int]]:
        """By shape: the sum of squares that its best member leaves of each curve ``(c,)``, and how many parameters.

        Args:
            y: ``(S, c)``.
            rho: lag-one correlation of each curve's noise, which is made white first; none if left out.
        """
        correlations = np.zeros(y.shape[1]) if rho is None else rho
        each = [self._fits(curve, r) for curve, r in zip(y.T, correlations, strict=True)]
        counts = {name: place + 1 for place, name in enumerate(_POLYNOMIALS)}
        counts |= {name: count for name, (_, count) in self._members.items()}
        return {name: (np.array([fits[name][0] for fits in each]), counts[name]) for name in counts}

    def fit(self, y: Floats) -> Floats:
        """The best fit of each curve by BIC over all shapes, white noise, ``(S, c)``."""
        points, found = len(y), []
        told = self.squares(y)
        for place, curve in enumerate(y.T):
            # Exact fits have no residual left to take a logarithm of.
            floor = 1e-12 * max(float(np.sum((curve - curve.mean()) ** 2)), 1e-300)
            bic = {
                name: points * np.log(max(left[place], floor)) + count * np.log(points)
                for name, (left, count) in told.items()
            }
            design = self._fits(curve, 0.0)[min(bic, key=bic.__getitem__)][1]
            found.append(design @ np.linalg.lstsq(design, curve, rcond=None)[0])
        return np.stack(found, axis=1)

    def _fits(self, curve: Floats, rho: float) -> dict[str, tuple[float, Floats]]:
        """By shape, what its best member leaves of one curve, and that member's columns (not whitened)."""
        # Centred first, as every shape has a constant: the difference of two large sums would lose digits.
        target, powers = whitened(curve - curve.mean(), rho), whitened(self._powers, rho)
        found = {}
        for place, name in enumerate(_POLYNOMIALS):
            columns = powers[:, : place + 1]
            left = target - columns @ np.linalg.lstsq(columns, target, rcond=None)[0]
            found[name] = (float(left @ left), self._powers[:, : place + 1])
        one = powers[:, 0]
        rest = target - one * (one @ target) / (one @ one)
        for name, (members, _) in self._members.items():
            columns = whitened(members, rho)
            columns = columns - np.outer(one, one @ columns) / (one @ one)
            explained = (rest @ columns) ** 2 / np.maximum(np.sum(columns * columns, axis=0), 1e-300)
            best = int(np.argmax(explained))
            design = np.stack([self._powers[:, 0], members[:, best]], axis=1)
            found[name] = (max(float(rest @ rest - explained[best]), 0.0), design)
        return found
