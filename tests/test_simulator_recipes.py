"""What each family says of itself, against what is measured: assumptions, constants, and how drifting prompts drift."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compare import assert_agree

from simulator.families import FAMILIES, make_problem, success_targets
from simulator.interacting import node_states
from simulator.problems import Problem
from simulator.recipes import ASSUMPTIONS
from simulator.reference import simulate
from theory.assumptions import unique_answers
from theory.cosines import gradient_cosines, orthogonality_defect
from theory.exact import spectral_norm_sq
from theory.interaction import measure_constants
from theory.rules import GRPO, REINFORCE

NAMES = sorted(FAMILIES)
# Beyond what a margin and a rounding up to 24 bits add to a measured M.
M_ROUNDING = 3e-7


def _strengths(name: str) -> list[float | None]:
    return [None] if FAMILIES[name].default_strength is None else [None, 0.2, 0.9]


CASES = [(name, strength) for name in NAMES for strength in _strengths(name)]


def _problem(name: str, strength: float | None = None, n: int = 4, seed: int = 0) -> Problem:
    return make_problem(name, n, 6, p0=success_targets(n, 0.05, 0.7), seed=seed, strength=strength)


def _states(problem: Problem) -> list[np.ndarray]:
    """The start, states along a run, and random ones."""
    run = simulate(problem, GRPO, 0.5 / problem.x_max_sq, 200, seed=3)
    noise = np.random.default_rng(0).standard_normal((5, problem.d))
    return [*run.theta[::5], *(problem.theta0 + 2 * noise)]


def _measured_m(problem: Problem, thetas: Any) -> float:
    """The least M of Assumption 4 on the states; 1 stands for every number up to 1."""
    x_sq = np.array([float(spectral_norm_sq(x)) for x in problem.features])
    return measure_constants(node_states(problem.features, problem.answers, np.array(thetas)), x_sq, 1.0).M


@pytest.mark.parametrize(("name", "strength"), CASES)
def test_assumptions_hold_and_fail_as_the_family_says(name: str, strength: float | None) -> None:
    said = FAMILIES[name].assumptions
    assert tuple(said) == ASSUMPTIONS
    problem = _problem(name, strength)
    rewards = np.eye(problem.outputs)[problem.answers]
    assert unique_answers(rewards).all()
    assert (orthogonality_defect(problem.features) < 1e-12) == (said["A2"] == "holds")
    finite = []
    for theta in _states(problem):
        state = problem.at(theta)
        assert (state.variance**0.5 <= 0.5).all()
        assert np.isfinite(state.gradient_norm.max() / state.gradient_norm.min())
        finite.append(np.isfinite(_measured_m(problem, [theta])))
    assert {"holds": all(finite), "fails": not any(finite), "depends": True}[said["A4"]], finite
    assert {assumption for assumption, verdict in said.items() if verdict == "depends"} <= FAMILIES[name].notes.keys()


@pytest.mark.parametrize("name", ["gaussian", "drifting"])
def test_what_depends_goes_both_ways(name: str) -> None:
    """Assumption 4 is met at some states and missed at others."""
    found = set()
    for seed in range(8):
        problem = _problem(name, 0.9 if name == "gaussian" else 1.0, n=2, seed=seed)
        run = simulate(problem, GRPO, 1.0 / problem.x_max_sq, 3000, seed=seed)
        found |= {bool(np.isfinite(_measured_m(problem, [theta]))) for theta in run.theta}
    assert found == {True, False}


@pytest.mark.parametrize(("name", "strength"), CASES)
def test_closed_forms_are_what_is_measured(name: str, strength: float | None) -> None:
    family, problem = FAMILIES[name], _problem(name, strength)
    rho = family.default_strength or 0.0 if strength is None else strength
    for theta in _states(problem):
        state = problem.at(theta)
        said = {key: form.value(problem, state, rho) for key, form in family.constants.items()}
        if "X_max^2" in said:
            assert_agree(said["X_max^2"], problem.x_max_sq, 1e-12, "X_max^2")
        if "defect" in said:
            assert_agree(said["defect"], orthogonality_defect(problem.features), 1e-12, "defect")
        if "M" in said:
            measured = _measured_m(problem, [theta])
            # The measured M counts from 1 on.
            assert measured == np.inf if said["M"] == np.inf else abs(measured / max(1.0, said["M"]) - 1) < M_ROUNDING


def test_every_family_has_a_closed_form_or_none_that_is_known() -> None:
    assert {name for name in NAMES if not FAMILIES[name].constants} == {"gaussian"}
    assert {name for name in NAMES if "X_max^2" in FAMILIES[name].constants} == {"tabular", "conflicting", "drifting"}


def test_conflicting_prompts_hurt_each_other_by_the_stated_amount() -> None:
    problem = _problem("conflicting", 0.7, n=5)
    for theta in _states(problem):
        state = problem.at(theta)
        inner = state.gradient @ state.gradient.T
        pairs = ~np.eye(5, dtype=bool)
        said = -np.outer(state.variance, state.variance) * 0.49 / 4
        assert_agree(inner[pairs], said[pairs], 1e-9)
    before = problem.at(problem.theta0)
    for i in range(5):
        after = problem.at(problem.theta0 + 1e-3 * before.gradient[i])
        assert ((after.p < before.p) == (np.arange(5) != i)).all()


@pytest.mark.parametrize("strength", [0.0, 0.5, 0.9])
def test_the_strength_of_gaussian_prompts_is_their_correlation(strength: float) -> None:
    features = make_problem("gaussian", 20, 30, 600, seed=1, strength=strength).features
    products = [np.sum(features[i] * features[j], axis=1) for i in range(20) for j in range(i)]
    # The mean of 5,700 products of standard deviation about 1/sqrt(600), some of which share a common part.
    assert abs(np.mean(products) - strength) < 0.02


DRIFT = [(GRPO, 1.0, 3000), (REINFORCE, 1.0, 20_000)]


@pytest.mark.parametrize(("rule", "scale", "steps"), DRIFT, ids=["grpo", "reinforce"])
def test_drifting_prompts_go_through_the_phases(rule: Any, scale: float, steps: int) -> None:
    """Table 3 of the paper in small: nearly orthogonal; a positive mean with little spread; a large spread."""
    problem = make_problem("drifting", 8, 8, p0=0.2, seed=2)
    run = simulate(problem, rule, scale * float(rule.step_size(problem.x_max_sq)), steps, seed=1)
    cosines = np.array([gradient_cosines(problem.at(theta).gap) for theta in run.theta])
    mean, spread, least = cosines.mean(axis=1), cosines.std(axis=1, ddof=0), cosines.min(axis=1)
    peak = int(mean.argmax())
    assert 0 < peak < len(mean) - 1
    # Phase I: at the start every cosine is the same up to the late outputs' 1 percent.
    assert abs(cosines[0]).max() < 0.003
    # Phase II: the mean is ten times as large, all cosines are positive, and their spread is below their mean.
    assert mean[peak] > 10 * mean[0]
    assert least[peak] > 0
    assert spread[peak] < mean[peak]
    # Phase III: some are negative, and the spread has grown several times.
    assert least[-1] < -0.1
    assert 0.2 < (cosines[-1] > 0).mean() < 0.8
    assert spread[-1] > 5 * spread[peak]
    finite = [np.isfinite(_measured_m(problem, [theta])) for theta in run.theta]
    assert [ok for ok, low in zip(finite, least, strict=True)] == [bool(low > 0) for low in least]


def test_a_step_at_the_start_moves_weight_from_the_decoy_to_the_early_outputs() -> None:
    """The rates that the family's docstring states, by a small step along each prompt's gap."""
    problem = make_problem("drifting", 5, 7, p0=0.2, seed=1, strength=0.8)
    start, tiny = problem.at(problem.theta0), 1e-6

    def log_ratio(state: Any) -> np.ndarray:
        order = np.sort(state.odds.wrong, axis=1)
        # Late outputs are the lightest (after the right one's 0), the decoy the heaviest, the early ones in between.
        return np.log(order[:, -2] / order[:, -1])

    early = (problem.outputs - 1) // 2
    for i in range(5):
        rate = (log_ratio(problem.at(problem.theta0 + tiny * start.gap[i])) - log_ratio(start)) / tiny
        said = np.full(5, -(0.8**2) * 0.1)
        said[i] = 4 * 0.89 - (1 / early + 0.8**2) * 0.1
        assert_agree(rate, said, 1e-4)
