"""The simulator's column of the constants table is measured: other problems give other numbers."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.constants import geometry
from simulator.families import make_problem
from theory.cosines import gradient_cosines


def test_orthogonal_prompts_are_measured_as_orthogonal() -> None:
    found = geometry(make_problem("orthogonal", 4, 3, p0=0.3, seed=1))
    assert found["orthogonality_defect"] == found["cosine_mean"] == found["cosine_std"] == 0.0
    assert found["cosine_small_share"] == 1.0


def test_correlated_prompts_are_measured_as_such() -> None:
    problem = make_problem("gaussian", 4, 3, p0=0.3, seed=1)
    found = geometry(problem)
    cosines = gradient_cosines(problem.at(problem.theta0).gradient)
    assert found["orthogonality_defect"] > 0.1  # type: ignore[operator]
    assert found["cosine_mean"] == pytest.approx(cosines.mean())
    assert found["cosine_std"] == pytest.approx(cosines.std())
    assert found["cosine_small_share"] == np.mean(np.abs(cosines) < 0.1)
    assert found["x_max_sq_centred"] < found["x_max_sq"] == problem.x_max_sq  # type: ignore[operator]
