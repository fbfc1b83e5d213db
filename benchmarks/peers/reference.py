"""The reference engine, one replica after the other, every step recorded; prompts from Philox."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.peers import Case, Result, package_order
from simulator.reference import simulate
from theory.rules import GRPO

__all__ = ["prepare"]


def prepare(case: Case, steps: int, replicas: int, threads: int, variant: str = "") -> Callable[[], Result]:
    """See :mod:`benchmarks.peers`; always in feature space, on one thread."""

    def run() -> Result:
        runs = [simulate(case.problem, GRPO, case.eta, steps, replica=r, record="full") for r in range(replicas)]
        J, g = (np.stack([getattr(run, name) for run in runs]) for name in ("J", "grad_sq"))
        g = g * case.layout.scale**2
        return Result(J[:, -1], g[:, -1], J.sum(axis=1), g.sum(axis=1), package_order(case.problem.n, steps))

    return run
