"""Numpy, all replicas at once: matrix products of BLAS, numpy's exp; prompts from numpy's default generator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.peers import LARGEST, Case, Floats, Result

__all__ = ["prepare"]

# Doubles of rows that a step gathers at most; beyond that, replicas are grouped by the prompt they draw.
_GATHERED = 1 << 20


def prepare(case: Case, steps: int, replicas: int, threads: int, variant: str = "") -> Callable[[], Result]:
    """See :mod:`benchmarks.peers`; ``threads`` is what BLAS was started with. Replicas are the last axis."""
    layout, rows, eta = case.layout, case.rows, case.scaled_eta
    n, wrong, d = layout.differences.shape
    differences, columns = layout.differences.reshape(n * wrong, d), np.arange(replicas)

    def evaluate(state: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        margins = state if layout.space == "gram" else differences @ state
        e = np.exp(np.clip(margins, -LARGEST, LARGEST)).reshape(n, wrong, replicas)
        odds = e.sum(axis=1)
        p = 1 / (1 + odds)
        length = ((layout.factors @ (e * p[:, None])) ** 2).sum(axis=1)
        return e, p, odds * p, p * p * length

    def update(state: Floats, drawn: np.ndarray, e: Floats, p: Floats, q: Floats) -> None:
        right, failed = p[drawn, columns], q[drawn, columns]
        shares = e[drawn, :, columns] * (-eta * (right * failed) ** -0.5 * right * right)[:, None]
        if rows[0].size * replicas <= _GATHERED:
            state += (shares[:, None] @ rows[drawn])[:, 0].T
            return
        for prompt in np.unique(drawn):
            who = np.flatnonzero(drawn == prompt)
            state[:, who] += rows[prompt].T @ shares[who].T

    def run() -> Result:
        order = np.random.default_rng(0).integers(n, size=(steps, replicas))
        state = np.repeat(case.start[:, None], replicas, axis=1)
        sum_p, sum_g = np.zeros((2, n, replicas))
        for t in range(steps + 1):
            e, p, q, g = evaluate(state)
            sum_p += p
            sum_g += g
            if t < steps:
                update(state, order[t], e, p, q)
        return Result(p.T, g.T, sum_p.T, sum_g.T, lambda replica: order[:, replica])

    return run
