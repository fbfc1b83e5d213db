"""Engines at the edges: smallest shapes, features without rank, log-odds at the clamp, and torch's compiled step."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare import assert_agree

from simulator.engines.functions import LARGEST_EXPONENT
from simulator.engines.run import ENGINES, simulate_many
from simulator.problems import Problem
from simulator.reference import simulate
from simulator.sampled import get_any_rule
from theory.errors import InputError
from theory.rules import GRPO

STEPS = 20
FAST = [name for name in ENGINES if name != "reference"]


def _random(n: int, outputs: int, d: int) -> Problem:
    rng = np.random.default_rng(n + 10 * outputs + 100 * d)
    features = rng.standard_normal((n, outputs, d))
    return Problem(features, rng.integers(0, outputs, n), 0.3 * rng.standard_normal(d))


def _equal(value: float) -> Problem:
    return Problem(np.full((2, 3, 4), value), np.array([0, 2]), np.linspace(-1, 1, 4))


PROBLEMS = {
    "n = 1, K = 2, d = 1": _random(1, 2, 1),
    "fewer features than wrong outputs": _random(3, 6, 2),
    "all features equal": _equal(0.7),
    "all features zero": _equal(0.0),
    "one prompt of zeros": Problem(
        np.concatenate([_random(1, 3, 4).features, np.zeros((1, 3, 4))]), np.array([1, 1]), np.ones(4)
    ),
    "two outputs with equal features": Problem(
        np.repeat(_random(2, 2, 4).features, [1, 2], axis=1), np.array([0, 0]), np.zeros(4)
    ),
    "tiny features": Problem(_random(2, 3, 4).features * 1e-300, np.array([0, 1]), np.ones(4)),
    "large features": Problem(_random(2, 3, 4).features * 1e59, np.array([0, 1]), np.ones(4) * 1e-60),
}


def _runs() -> Iterator[Any]:
    """Lanes compile every shape anew, seconds each: every day only that of n = 2, K = 3, d = 4, which many share."""
    layouts = [("features", 18), ("gram", 1), ("features", 1), ("gram", 18)]
    for (name, problem), (space, replicas), engine in product(PROBLEMS.items(), layouts, FAST):
        shared = problem.features.shape == (2, 3, 4)
        if shared or (space == "features") == (replicas == 18):
            deep = engine == "lanes" and not shared
            yield pytest.param(name, engine, space, replicas, marks=pytest.mark.deep if deep else ())


@pytest.mark.parametrize(("name", "engine", "space", "replicas"), list(_runs()))
def test_edges_of_the_layout(name: str, engine: str, space: Any, replicas: int) -> None:
    problem = PROBLEMS[name]
    eta = 0.5 / problem.x_max_sq if problem.x_max_sq > 0 else 0.5
    many = simulate_many(problem, GRPO, eta, STEPS, engine=engine, replicas=replicas, space=space, record="full")
    wanted = simulate(problem, GRPO, eta, STEPS, record="full")
    assert_agree(many.J[0], wanted.J, 1e-12, f"{name}, J")
    assert_agree(many.q[0], wanted.q, 1e-12, f"{name}, q")
    # A difference of features that cancels leaves an error of the last digit of what it cancelled.
    assert_agree(many.grad_sq[0], wanted.grad_sq, 1e-11, f"{name}, grad_sq", atol=1e-28 * problem.x_max_sq)


def _with_log_odds(log_odds: float) -> Problem:
    """One prompt of two outputs whose right one stands at these log-odds."""
    return Problem(np.array([[[1.0, 0.0], [0.0, 0.0]]]), np.array([0]), np.array([log_odds, 0.0]))


@pytest.mark.parametrize("engine", FAST)
def test_runs_reach_a_failure_probability_of_1e_299(engine: str) -> None:
    """GRPO with a large step ascends the log-odds to 688, within the clamp: every digit is the reference's."""
    problem, target = _with_log_odds(0.0), -log(1e-299)
    eta = 40.0
    wanted = simulate(problem, get_any_rule("power:1"), eta, 17, record="full")
    many = simulate_many(problem, get_any_rule("power:1"), eta, 17, engine=engine, replicas=2, record="full")
    assert target - 40 < 17 * eta < target
    assert wanted.q[-1, 0] < 1e-294
    assert_agree(many.q[1], wanted.q, 1e-12, "q")
    start = _with_log_odds(target)
    found = simulate_many(start, GRPO, 1e-3, 1, engine=engine, record="full")
    assert found.q[0, 0, 0] == pytest.approx(1e-299, rel=1e-12)
    assert_agree(found.q[0, 0], start.at(start.theta0).q, 1e-12, "q at 1e-299")


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("engine", FAST)
def test_beyond_the_clamp_log_odds_count_as_690(engine: str, sign: int) -> None:
    """The reference goes on to 0; the fast engines stop at exp(-690), and stay finite."""
    problem = _with_log_odds(sign * 800.0)
    many = simulate_many(problem, GRPO, 0.1, 3, engine=engine, replicas=2, record="full")
    small, large = (many.q, many.J) if sign > 0 else (many.J, many.q)
    assert_agree(small[0, 0], np.array([exp(-LARGEST_EXPONENT)]), 1e-12)
    assert_agree(large, np.ones((2, 4, 1)), 1e-15)
    assert many.finite.all()
    state = problem.at(problem.theta0)
    assert (state.q if sign > 0 else state.p)[0] < 1e-320


@pytest.mark.skipif(
    shutil.which("c++") is None and shutil.which("g++") is None and "CXX" not in os.environ,
    reason="torch compiles for the CPU with a C++ compiler, and none was found",
)
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
@pytest.mark.deep
def test_the_compiled_torch_step_is_the_same_step() -> None:
    script = Path(__file__).parent / "compiled_torch.py"
    done = subprocess.run([sys.executable, script, "grpo", "trl:3"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    distances = json.loads(done.stdout)
    assert set(distances) == {"grpo", "trl:3"}
    assert max(distances.values()) < 1e-12


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"engine_options": {"threads": 0}}, "threads"),
        ({"engine_options": {"threads": 1.5}}, "threads"),
        ({"engine": "torch", "engine_options": {"device": "meta"}}, "device"),
        ({"replicas": 2.5}, "replicas"),
        ({"replicas": True}, "replicas"),
        ({"replicas": "8"}, "replicas"),
        ({"replicas": range(5, 5)}, "replicas"),
        ({"replicas": range(2**63, 2**63 + 1)}, "replicas"),
        ({"replicas": 10**18}, "size of the records"),
        ({"replicas": 10**5, "steps": 10**4, "record": "full"}, "size of the records"),
        ({"replicas": 10**5, "steps": 10**9, "keep_theta": True}, "size of the records"),
    ],
    ids=str,
)
def test_bad_calls_are_refused_before_anything_is_allocated(options: dict[str, Any], word: str) -> None:
    steps = options.pop("steps", 5)
    with pytest.raises(InputError, match=word) as error:
        simulate_many(_random(3, 4, 50), GRPO, 0.1, steps, **options)
    assert "\n" not in str(error.value)


def test_numpys_integers_count_replicas_too() -> None:
    many = simulate_many(_random(1, 2, 2), GRPO, 0.1, 3, engine="reference", replicas=np.int64(3))  # type: ignore[arg-type]
    assert many.replicas.tolist() == [0, 1, 2]
