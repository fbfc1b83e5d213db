"""Compiles the step of the torch engine, and prints for each rule named how far it is from the plain one.

In a process of its own: the compiler imports build tools that replace modules and warn.
"""

from __future__ import annotations

import json
import sys

import numpy as np

from simulator.engines.run import simulate_many
from simulator.problems import Problem
from simulator.sampled import get_any_rule

STEPS = 20


def _distance(name: str) -> float:
    """Largest relative difference of J over a run of ``STEPS`` steps."""
    rng = np.random.default_rng(543)
    problem = Problem(rng.standard_normal((3, 4, 5)), rng.integers(0, 4, 3), 0.3 * rng.standard_normal(5))
    plain, compiled = (
        simulate_many(
            problem,
            get_any_rule(name),
            0.1,
            STEPS,
            engine="torch",
            replicas=5,
            record="full",
            engine_options={"device": "cpu", "compiled": flag},
        )
        for flag in (False, True)
    )
    assert plain.J.shape == compiled.J.shape
    assert np.ptp(plain.J) > 0.01
    return float(np.abs(compiled.J / plain.J - 1).max())


if __name__ == "__main__":
    print(json.dumps({name: _distance(name) for name in sys.argv[1:]}))
