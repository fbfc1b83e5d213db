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
        runs, rows = self.count * side, n + (-n % layout.across if layout.across else 0)
        # One array for all: only large ones get large pages, without which to write to fresh memory takes long.
        p, q, grad_sq, sum_p, sum_g = np.empty((5, runs, snapshots, rows))
        state = np.empty((runs, snapshots if keep_state else 0, layout.length))
        self.outputs = Outputs(p, q, grad_sq, sum_p, sum_g, state)

    def spread(self, values: Floats) -> Floats:
        """``(R, m)`` -> ``(columns, m * side)``, the lanes innermost; padding repeats the last replica."""
        padding = np.repeat(values[-1:], self.count * self.side - self.replicas, axis=0)
        lanes = np.concatenate([values, padding]).reshape(self.count, self.side, -1)
        return np.ascontiguousarray(lanes.transpose(0, 2, 1)).reshape(self.count, -1)

    def collect(self, scale: float) -> dict[str, Floats]:
        """The arrays of an :class:`Ensemble`, of the unscaled features; once, as they are scaled where they lie."""
        values, state = self.outputs[:-1], self.outputs.state[: self.replicas]
        p, q, grad_sq, sum_p, sum_g = (np.ascontiguousarray(x[: self.replicas, :, : self.n]) for x in values)
        for squares in (grad_sq, sum_g):
            squares /= scale**2
        state *= scale
        return {"J": p, "q": q, "grad_sq": grad_sq, "sum_J": sum_p, "sum_grad_sq": sum_g, "theta": state}
