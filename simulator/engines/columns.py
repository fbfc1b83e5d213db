"""Replicas as columns of vectors: how they are dealt out to the compiled run, and how its results are collected."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simulator.engines.arrays import Outputs
from simulator.engines.layout import Layout

__all__ = ["Columns"]

Floats = npt.NDArray[np.float64]


class Columns:
    """Replicas dealt out to columns of ``side``, the last one padded with further replicas that nobody asked for."""

    def __init__(self, n: int, layout: Layout, side: int, replicas: int, snapshots: int, keep_state: bool) -> None:
        """Room for the results of ``replicas`` runs of n prompts."""
        self.n, self.length, self.side, self.replicas = n, layout.length, side, replicas
        self.count = -(-replicas // side)
        rows = n + (-n % layout.across if layout.across else 0)
        self.values = {name: np.empty((self.count, snapshots, rows * side)) for name in Outputs._fields[:-1]}
        self.states = np.empty((self.count, snapshots if keep_state else 0, layout.length * side))

    def spread(self, values: Floats) -> Floats:
        """``(R, m)`` -> ``(columns, m * side)``, the lanes innermost; padding repeats the last replica."""
        padding = np.repeat(values[-1:], self.count * self.side - self.replicas, axis=0)
        lanes = np.concatenate([values, padding]).reshape(self.count, self.side, -1)
        return np.ascontiguousarray(lanes.transpose(0, 2, 1)).reshape(self.count, -1)

    def outputs(self, column: slice) -> Outputs:
        """Where the columns write."""
        return Outputs(**{name: self.values[name][column] for name in self.values}, state=self.states[column])

    def collect(self, scale: float) -> dict[str, Floats]:
        """The arrays of an :class:`Ensemble`, of the unscaled features."""
        p, q, grad_sq, sum_p, sum_g = (self._runs(v)[:, :, : self.n] for v in self.values.values())
        return {
            "J": p,
            "q": q,
            "grad_sq": grad_sq / scale**2,
            "sum_J": sum_p,
            "sum_grad_sq": sum_g / scale**2,
            "theta": self._runs(self.states) * scale,
        }

    def _runs(self, values: Floats) -> Floats:
        """``(columns, S, rows * side)`` -> ``(R, S, rows)``."""
        snapshots, rows = values.shape[1], values.shape[2] // self.side
        split = values.reshape(self.count, snapshots, rows, self.side).transpose(0, 3, 1, 2)
        return split.reshape(self.count * self.side, snapshots, rows)[: self.replicas]
