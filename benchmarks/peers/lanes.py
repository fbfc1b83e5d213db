"""The lanes engine itself; prompts from Philox, as everywhere in the package."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.peers import Case, Result, package_order
from simulator.engines.run import simulate_many
from theory.rules import GRPO

__all__ = ["prepare"]


def prepare(case: Case, steps: int, replicas: int, threads: int, variant: str = "") -> Callable[[], Result]:
    """See :mod:`benchmarks.peers`."""

    def run() -> Result:
        options = {"replicas": replicas, "space": case.layout, "record": "ends"}
        done = simulate_many(case.problem, GRPO, case.eta, steps, engine_options={"threads": threads}, **options)  # type: ignore[arg-type]
        scale = case.layout.scale**2
        # Of the two snapshots, 0 and T; a sum over so short an axis takes numpy ten times as long.
        sums = done.sum_J[:, 0] + done.sum_J[:, 1], (done.sum_grad_sq[:, 0] + done.sum_grad_sq[:, 1]) * scale
        return Result(done.J[:, -1], done.grad_sq[:, -1] * scale, *sums, package_order(case.problem.n, steps))

    return run
