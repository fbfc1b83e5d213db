"""Assumptions 1 to 3 as measurements."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_agree

from simulator.expectations import ExpectedRun
from theory.assumptions import BOUNDED_STD, ORTHOGONAL, UNIQUE_ANSWER, unique_answers
from theory.cosines import gradient_cosines, orthogonality_defect
from theory.exact import as_balls
from theory.instances import Instance
from theory.points import Point
from theory.rules import GRPO


def _instance(features: np.ndarray, steps: int = 5) -> Instance:
    d = features.shape[2]
    return Instance(features, np.zeros(len(features), dtype=int), np.zeros(d), np.ones(d), np.ones(d), steps)


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [([[0, 1, 0]], [True]), ([[1, 1, 0]], [False]), ([[0, 0]], [False]), ([[0.5, 1.0]], [False]), ([[2, 1]], [False])],
)
def test_exactly_one_output_may_earn_the_reward(rewards: list, expected: list) -> None:
    assert unique_answers(rewards).tolist() == expected


def test_orthogonality_is_zero_for_separate_coordinates_and_one_for_copies() -> None:
    separate = np.zeros((2, 2, 4))
    separate[0, :, :2] = separate[1, :, 2:] = [[1, 2], [3, -1]]
    assert orthogonality_defect(separate) == 0.0
    assert orthogonality_defect(as_balls(separate)) == 0.0
    copies = np.zeros((2, 2, 4))
    copies[:, 0, 0] = 1.0
    assert orthogonality_defect(copies) == 1.0
    assert orthogonality_defect(separate[:1]) == 0.0


def test_a_tiny_overlap_passes_for_floats_and_fails_exactly() -> None:
    features = np.zeros((2, 2, 2))
    features[0, 0, 0] = features[1, 0, 1] = 1.0
    features[1, 0, 0] = 1e-14
    assert ORTHOGONAL.measure(Point(_instance(features))).holds
    assert not ORTHOGONAL.measure(Point(_instance(features).exact())).holds


def test_gradient_cosines_of_all_pairs() -> None:
    cosines = gradient_cosines([[1.0, 0.0], [1.0, 1.0], [0.0, -2.0], [0.0, 0.0]])
    assert_agree(cosines[[0, 1, 3]], [np.sqrt(0.5), 0.0, -np.sqrt(0.5)], 1e-15)
    assert np.isnan(cosines[[2, 4, 5]]).all()


def test_the_tightest_bound_on_the_deviation_is_accepted_and_less_is_not() -> None:
    features = np.zeros((2, 2, 2))
    features[0, 0, 0] = features[1, 0, 1] = 1.0
    run = ExpectedRun(_instance(features), GRPO, GRPO.step_size)
    assert UNIQUE_ANSWER.measure(run).holds
    assert BOUNDED_STD.measure(run).holds

    class Tightened(ExpectedRun):
        @property
        def std_bound(self) -> np.ndarray:
            return 0.99 * self.std_sup

    class Loosened(ExpectedRun):
        @property
        def std_bound(self) -> np.ndarray:
            return 0 * self.std_sup + 0.51

    for wrong in (Tightened, Loosened):
        assert not BOUNDED_STD.measure(wrong(_instance(features), GRPO, GRPO.step_size)).holds
