"""The policy against ball arithmetic, from p = 1e-300 to p = 1 - 1e-300."""

from __future__ import annotations

import numpy as np
import pytest
from cases import POINTS, PointCase
from compare import assert_agree
from hypothesis import given
from hypothesis import strategies as st

from theory.exact import as_balls, as_floats, precision, softmax_jet, spectral_norm_sq
from theory.policy import PolicyState, evaluate, logistic, odds

# Rounding of the logits alone costs |z| units in the last place of p; everything else must cost a few.
EPS = np.finfo(np.float64).eps


def _states(case: PointCase) -> tuple[PolicyState, PolicyState, float]:
    """The state in floats, the same in balls, and the relative error that rounding the logits may cause."""
    state = evaluate(case.features, case.answers, case.theta)
    exact = evaluate(as_balls(case.features), case.answers, as_balls(case.theta))
    size = np.abs(case.features[0]) @ np.abs(case.theta)
    return state, exact, 8 * EPS * (1 + float(size.max()))


@pytest.mark.parametrize("case", POINTS, ids=lambda case: case.name)
def test_probabilities_and_derivatives_keep_their_digits(case: PointCase) -> None:
    with precision(512):
        state, exact, rtol = _states(case)
        y = case.direction
        for name in ("p", "q", "variance", "gradient_norm", "policy"):
            assert_agree(getattr(state, name), getattr(exact, name), rtol, name)
        scale = as_floats(exact.gradient_norm)[0]
        assert_agree(state.gradient, exact.gradient, rtol, "gradient", atol=rtol * scale)
        hessian_scale = as_floats(exact.variance)[0] * (np.abs(case.features[0]).max() * np.abs(y).sum()) ** 2
        form = exact.hessian_form(as_balls(y))
        assert_agree(state.hessian_form(y), form, 0.0, "y^T H y", atol=rtol * hessian_scale)
        vector = exact.hessian_vector(as_balls(y))
        assert_agree(state.hessian_vector(y), vector, 0.0, "H y", atol=4 * rtol * hessian_scale)
        assert_agree(state.hessian_vector(y) @ y, form, 0.0, "y . H y", atol=4 * rtol * hessian_scale * np.abs(y).sum())


@pytest.mark.parametrize("case", POINTS, ids=lambda case: case.name)
def test_balls_agree_with_the_definition_of_softmax(case: PointCase) -> None:
    """The jets use nothing but the definition; 400 bits leave no room for a wrong formula."""
    with precision(2048):
        x, theta, y = as_balls(case.features), as_balls(case.theta), as_balls(case.direction)
        state = evaluate(x, case.answers, theta)
        value, slope, curvature = softmax_jet(list(x[0] @ theta), list(x[0] @ y), int(case.answers[0]))
        for ours, theirs in (
            (state.p[0], value),
            ((state.gradient @ y)[0], slope),
            (state.hessian_form(y)[0], curvature),
        ):
            assert ours.overlaps(theirs)
            assert abs(ours - theirs).upper() < abs(theirs).lower() * 2.0**-400


def test_failure_probability_is_not_formed_by_subtraction() -> None:
    case = next(c for c in POINTS if c.name == "solved, q = 1e-300")
    state = evaluate(case.features, case.answers, case.theta)
    assert state.p[0] == 1.0
    assert 1e-302 < state.q[0] < 1e-298
    assert state.gradient_norm[0] > 0


@given(st.floats(-745, 745))
def test_logistic_is_symmetric_and_sums_to_one(x: float) -> None:
    p, q = logistic(np.array([x]))
    back, forth = logistic(np.array([-x]))
    assert p[0] == forth[0]
    assert q[0] == back[0]
    assert_agree(p + q, [1.0], 2 * EPS, "p + q")


def test_logistic_at_infinite_log_odds() -> None:
    p, q = logistic(np.array([np.inf, -np.inf]))
    assert p.tolist() == [1.0, 0.0]
    assert q.tolist() == [0.0, 1.0]


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=6), st.data())
def test_odds_do_not_see_a_shift_of_all_logits(logits: list[float], data: st.DataObject) -> None:
    answer = data.draw(st.integers(0, len(logits) - 1))
    shift = data.draw(st.integers(-1000, 1000))
    z = np.array([logits]) * 2.0**-10
    plain, shifted = odds(z, np.array([answer])), odds(z + shift, np.array([answer]))
    assert_agree(shifted.p, plain.p, 1e-11, "p")
    assert_agree(shifted.wrong, plain.wrong, 1e-11, "w")
    assert_agree(plain.wrong.sum(axis=1), [1.0], 1e-14, "sum of w")
    assert plain.wrong[0, answer] == 0.0


def test_each_prompt_may_have_parameters_of_its_own() -> None:
    rng = np.random.default_rng(0)
    features, answers, theta = rng.standard_normal((3, 4, 5)), np.array([0, 3, 2]), rng.standard_normal((3, 5))
    together = evaluate(features, answers, theta)
    for i in range(3):
        alone = evaluate(features[i : i + 1], answers[i : i + 1], theta[i])
        assert_agree(together.gradient[i], alone.gradient[0], 1e-14, "gradient")


@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(4),
        np.array([[1.0, 0.0], [0.0, 1.0 + 2.0**-52]]),
        np.array([[1.0, -1.0], [-1.0, 1.0], [1.0, -1.0]]),
        np.ones((3, 2)) * 1e-150,
        np.zeros((2, 3)),
        np.random.default_rng(0).standard_normal((6, 9)),
    ],
)
def test_the_spectral_norm_is_enclosed_even_where_eigenvalues_cluster(matrix: np.ndarray) -> None:
    with precision(512):
        norm_sq = spectral_norm_sq(as_balls(matrix))
        assert norm_sq.rad() <= abs(norm_sq).upper() * 2.0**-400
        assert_agree(float(norm_sq), np.linalg.norm(matrix, 2) ** 2, 1e-13)
