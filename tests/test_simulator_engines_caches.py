"""What is done for the caches' sake changes no bit: groups of replicas, narrower columns, places of the matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simulator.engines import lanes
from simulator.engines.ensemble import Ensemble
from simulator.engines.layout import lay_out
from simulator.engines.run import simulate_many
from simulator.families import make_problem
from theory.rules import GRPO

PROBLEM = make_problem("gaussian", 9, 4, 40, p0=0.3, seed=4)


def _runs(replicas: int, space: Any, **options: Any) -> Ensemble:
    return simulate_many(PROBLEM, GRPO, 0.7 / PROBLEM.x_max_sq, 20, replicas=replicas, space=space, **options)


def _assert_same(one: Ensemble, other: Ensemble) -> None:
    for name in ("J", "q", "grad_sq", "sum_J", "sum_grad_sq"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("space", ["gram", pytest.param("features", marks=pytest.mark.deep)])
def test_replicas_that_share_what_they_read(space: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 70 replicas of 9 prompts groups of 6, 4, 2 and 1 all occur; each has a start of its own."""
    starts = PROBLEM.theta0 + 0.1 * np.random.default_rng(0).standard_normal((70, PROBLEM.d))
    apart = _runs(70, space, theta0=starts)
    monkeypatch.setattr(lanes, "BEYOND_CACHE", 0)
    _assert_same(_runs(70, space, theta0=starts), apart)


@pytest.mark.parametrize("space", ["gram", pytest.param("features", marks=pytest.mark.deep)])
def test_threads_share_few_replicas_of_a_large_problem(space: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "BEYOND_CACHE", 0)
    layout = lay_out(PROBLEM, space)
    assert [lanes._lanes(layout, 16, threads) for threads in (1, 2)] == [(16, False), (8, False)]
    _assert_same(*(_runs(16, space, engine_options={"threads": threads}) for threads in (1, 2)))


@pytest.mark.parametrize("space", ["features", pytest.param("gram", marks=pytest.mark.deep)])
def test_prompts_side_by_side_in_narrower_vectors(space: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, wide = lay_out(PROBLEM, space), _runs(1, space)
    assert lanes._lanes(layout, 1, 1) == (16, True)
    monkeypatch.setattr(lanes, "FIRST_CACHE", 0)
    assert lanes._lanes(layout, 1, 1) == (8, True)
    _assert_same(_runs(1, space), wide)


@pytest.mark.parametrize("space", ["features", "gram"])
@pytest.mark.parametrize("across", [0, 8, 16])
def test_matrices_begin_at_a_cache_line(space: Any, across: int) -> None:
    layout = lay_out(PROBLEM, space)
    layout = layout.side_by_side(across) if across else layout
    assert {matrix.ctypes.data % 64 for matrix in layout.compiled if matrix.size} == {0}


def test_equal_starts_are_those_that_are_told_for_each() -> None:
    each = np.repeat(PROBLEM.theta0[None], 33, axis=0)
    each[32] *= 2
    apart, same = _runs(33, "features", theta0=each), _runs(33, "features")
    for name in ("J", "grad_sq", "sum_J"):
        np.testing.assert_array_equal(getattr(apart, name)[:32], getattr(same, name)[:32])
        assert (getattr(apart, name)[32] != getattr(same, name)[32]).any()
