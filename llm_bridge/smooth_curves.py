"""Curves without phases: polynomials up to degree three, exponential, hyperbola, power, logistic; fitted by search."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["SmoothCurves"]

Floats = npt.NDArray[np.float64]


class SmoothCurves:
    """Least-squares fits at fixed times. All but two parameters of a shape are linear; the others are on a grid."""

    def __init__(self, x: Floats) -> None:
        """Prepare an orthonormal basis of every member of every shape; ``x`` is ``(S,)``, from 0 to 1."""
        rates = np.geomspace(0.5, 80, 30)
        bends = [np.tanh(rate * (x - at) / 2) for rate in rates for at in np.linspace(-0.2, 1, 25)]
        shapes = {
            "exponential": ([np.exp(-rate * x) for rate in rates], 3),
            "hyperbola": ([1 / (1 + rate * x) for rate in rates], 3),
            "power": ([x**power for power in np.geomspace(0.1, 4, 30)], 3),
            "logistic": (bends, 4),
        }
        names = ("constant", "line", "parabola", "cubic")
        self._bases = {
            name: (np.linalg.qr(np.stack([x**k for k in range(d + 1)], axis=1))[0][None], d + 1)
            for d, name in enumerate(names)
        }
        for name, (members, parameters) in shapes.items():
            columns = np.stack([np.stack([np.ones_like(x), member], axis=1) for member in members])
            self._bases[name] = (np.linalg.qr(columns)[0], parameters)

    def squares(self, y: Floats) -> dict[str, tuple[Floats, int]]:
        """By shape: the sum of squares that its best member leaves of each curve ``(c,)``, and how many parameters."""
        return {name: (left.min(axis=0), self._bases[name][1]) for name, left in self._all(y).items()}

    def fit(self, y: Floats) -> Floats:
        """The best fit of each curve by BIC over all shapes, ``(S, c)``."""
        points = len(y)
        found = np.empty_like(y)
        every = self._all(y)
        for curve in range(y.shape[1]):
            # Exact fits have no residual left to take a logarithm of.
            floor = 1e-12 * max(float(np.sum((y[:, curve] - y[:, curve].mean()) ** 2)), 1e-300)
            bic = {
                name: points * np.log(max(left[:, curve].min(), floor)) + self._bases[name][1] * np.log(points)
                for name, left in every.items()
            }
            name = min(bic, key=bic.__getitem__)
            basis = self._bases[name][0][int(np.argmin(every[name][:, curve]))]
            found[:, curve] = basis @ (basis.T @ y[:, curve])
        return found

    def _all(self, y: Floats) -> dict[str, Floats]:
        """By shape, squares left by each member, ``(members, c)``."""
        # Centred first, as every shape has a constant: the difference of two large sums would lose digits.
        z = y - y.mean(axis=0)
        total = np.sum(z * z, axis=0)
        return {
            name: np.maximum(total - np.sum(np.matmul(basis.transpose(0, 2, 1), z) ** 2, axis=1), 0.0)
            for name, (basis, _) in self._bases.items()
        }
