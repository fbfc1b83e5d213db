"""The reference engine against the least that its exponentials cost.

    python -m benchmarks.engine [--out benchmarks/results/engine.json]

Work unit: one step of one run, J and ||grad J||^2 of all n prompts recorded (``record="full"``), float64, one core.
The limit is what the n K exponentials of that unit cost when numpy computes a long array of them: no engine that
evaluates them one step after the other in float64 with this exp can be faster. The exact expectation is given per step
of the prompts' paths.
"""

from __future__ import annotations

import argparse
import json
import platform
import timeit
from pathlib import Path

import numpy as np

from simulator.expectations import prompt_paths
from simulator.families import make_problem
from simulator.files import write_json
from simulator.problems import Problem
from simulator.reference import simulate
from theory.rules import GRPO

CASES = ((4, 4, 4), (8, 8, 8), (32, 16, 16))
STEPS = 400


def _best(call: object, repeats: int = 5) -> float:
    """Least seconds of several calls: noise only ever adds."""
    return min(timeit.repeat(call, number=1, repeat=repeats))  # type: ignore[arg-type]


def _problem(n: int, outputs: int, d: int) -> Problem:
    """Gaussian features in d dimensions, theta = 0 (d is too small to choose p0)."""
    features = make_problem("gaussian", n, outputs, n * outputs).features[:, :, :d]
    return Problem(np.ascontiguousarray(features), np.zeros(n, dtype=np.int64), np.zeros(d))


def _exp_nanoseconds() -> float:
    values = np.random.default_rng(0).standard_normal(1 << 16)
    out = np.empty_like(values)
    return _best(lambda: np.exp(values, out=out), 50) / len(values) * 1e9


def measure() -> list[dict[str, float | str]]:
    """One row per case; nanoseconds per step and the ratio to the limit."""
    exp = _exp_nanoseconds()
    rows: list[dict[str, float | str]] = []
    for n, outputs, d in CASES:
        problem = _problem(n, outputs, d)
        eta = 0.5 / problem.x_max_sq
        run = _best(lambda p=problem, e=eta: simulate(p, GRPO, e, STEPS, record="full"))
        paths = _best(lambda p=problem, e=eta: prompt_paths(p.features, p.answers, p.theta0, GRPO, e, STEPS))
        limit = n * outputs * exp
        reference, expectation = run / STEPS * 1e9, paths / STEPS * 1e9
        rows.append(
            {
                "case": f"n={n} K={outputs} d={d}",
                "reference_ns": reference,
                "paths_ns": expectation,
                "limit_ns": limit,
                "reference_over_limit": reference / limit,
                "paths_over_limit": expectation / limit,
            }
        )
    return rows


def main() -> None:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = measure()
    print(json.dumps(rows, indent=1))
    if arguments.out is not None:
        machine = {"python": platform.python_version(), "numpy": np.__version__, "processor": platform.machine()}
        write_json(arguments.out, {"command": "python -m benchmarks.engine", "machine": machine, "rows": rows})


if __name__ == "__main__":
    main()
