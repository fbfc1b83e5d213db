"""Step sizes that look at the state: proved descent, closed forms, and who may ask for them."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_agree
from hypothesis import given
from hypothesis import strategies as st

from simulator.directional import RISE, STATE_FORMS, Along, largest_linear, step_rule
from simulator.families import make_problem
from simulator.problems import Problem
from simulator.reference import simulate
from simulator.run_bounds import bounds
from simulator.sampled import get_any_rule
from simulator.step_sizes import resolve_step
from theory.errors import InputError
from theory.policy import evaluate
from theory.rules import GRPO, REINFORCE, get_rule


def _problem(seed: int, n: int = 3, outputs: int = 5, d: int = 4, scale: float = 1.0) -> Problem:
    draws = np.random.default_rng(seed)
    features = scale * draws.normal(size=(n, outputs, d)) + draws.normal(size=d) * 3
    return Problem(features, draws.integers(0, outputs, n), draws.normal(size=d) / scale)


def _along(problem: Problem) -> Along:
    return Along.of(problem.at(problem.theta0))


@given(seed=st.integers(0, 10**6), rule=st.sampled_from([REINFORCE, GRPO]), scale=st.sampled_from([0.1, 1.0, 30.0]))
def test_a_directional_step_gains_what_is_proved(seed: int, rule: object, scale: float) -> None:
    assert rule in (REINFORCE, GRPO)
    problem = _problem(seed, scale=scale)
    chosen = get_rule(rule.name)
    record = simulate(problem, chosen, step_rule("directional", chosen), 6, seed=seed, record="full")
    share = {"reinforce": 0.5, "grpo": 0.5}[chosen.name]
    weight = 1.0 if chosen is REINFORCE else 1 / record.step_std
    guaranteed = share * record.extra["step_eta"] * weight * record.step_grad_sq
    assert (record.step_gain >= guaranteed * (1 - 1e-9) - 1e-15).all()


@given(seed=st.integers(0, 10**6), rule=st.sampled_from(["reinforce", "grpo", "power:0.75"]))
def test_a_peak_step_never_falls(seed: int, rule: str) -> None:
    chosen = get_rule(rule)
    record = simulate(_problem(seed), chosen, step_rule("peak", chosen), 6, seed=seed, record="full")
    assert (record.step_gain >= -1e-15).all()


@given(seed=st.integers(0, 10**6))
def test_it_is_never_below_the_best_constant_step(seed: int) -> None:
    problem = _problem(seed)
    for rule in (REINFORCE, GRPO):
        sizes = step_rule("directional", rule).sizes(_along(problem))
        assert (sizes >= resolve_step("best", rule, problem.x_max_sq) * (1 - 1e-12)).all()


def test_two_outputs_have_no_limit_and_rise_by_one() -> None:
    problem = Problem(np.array([[[1.0], [-1.0]]]), np.array([0]), np.array([0.3]))
    along = _along(problem)
    assert largest_linear(along).tolist() == [np.inf]
    record = simulate(problem, GRPO, step_rule("peak", GRPO), 3, record="full")
    assert_agree(np.diff(np.log(record.J / record.q)[:, 0]), np.full(3, RISE), 1e-9, "rise of the log-odds")


def test_the_peak_is_where_the_slope_vanishes_and_the_limit_where_the_start_is_met_again() -> None:
    """u = (1, 0, 4) with wrong weights 0.9 and 0.1: slope 1 - m(tau), peak 9 = 3 e^(4 tau) and so on."""
    u, wrong = np.array([[1.0, 0.0, 4.0]]), np.array([[0.0, 0.9, 0.1]])
    along = Along(u, wrong, np.array([0]), np.array([0.5]), np.array([0.5]))
    tau = float(step_rule("peak", GRPO).sizes(along)[0]) / 2.0  # tau = eta sqrt(V)
    assert_agree(0.9 * np.exp(-tau), 0.1 * 3 * np.exp(3 * tau), 1e-9)
    last = float(largest_linear(along)[0])
    assert_agree(0.9 * np.exp(-last) + 0.1 * np.exp(3 * last), 1.0, 1e-9)
    assert last > tau


def test_the_limit_of_the_linear_picture_is_where_a_bandit_starts_to_fall() -> None:
    problem = _problem(5, n=1, outputs=6)
    along = _along(problem)
    limit = largest_linear(along)[0]
    assert np.isfinite(limit)
    gap = problem.at(problem.theta0).gap[0]
    for factor, rises in ((0.99, True), (1.01, False)):
        after = evaluate(problem.features, problem.answers, problem.theta0 + factor * limit * gap)
        assert (after.p[0] > along.p[0]) == rises


def test_the_record_tells_the_steps_that_were_taken() -> None:
    problem = make_problem("orthogonal", 3, 4, p0=np.array([0.1, 0.3, 0.6]), seed=2)
    record = simulate(problem, GRPO, step_rule("directional", GRPO), 20, record="full")
    taken = record.extra["step_eta"]
    assert record.eta == np.median(taken)
    assert record.summary()["step_eta"] == {"least": taken.min(), "most": taken.max()}
    found, why = bounds(record, problem)
    assert not found
    assert "changes with the state" in str(why)


def test_a_prompt_without_gradient_stands_still() -> None:
    problem = Problem(np.ones((1, 3, 2)), np.array([0]), np.ones(2))
    for name in STATE_FORMS:
        record = simulate(problem, GRPO, step_rule(name, GRPO), 2, record="full")
        assert (record.theta == 1.0).all()


def test_steps_are_refused_where_they_mean_nothing() -> None:
    with pytest.raises(InputError, match=r"power:0\.3"):
        step_rule("directional", get_rule("power:0.3"))
    with pytest.raises(InputError, match="trl:8"):
        step_rule("peak", get_any_rule("trl:8"))
    with pytest.raises(InputError, match="one of directional, peak"):
        step_rule("best", GRPO)
    with pytest.raises(InputError, match="does not change with the state"):
        resolve_step("directional", GRPO, 1.0)


def test_weights_of_zero_do_not_speak() -> None:
    """A wrong output of weight 0 limits nothing, however far it lies."""
    u, wrong = np.array([[1.0, 0.0, 1e9]]), np.array([[0.0, 1.0, 0.0]])
    along = Along(u, wrong, np.array([0]), np.array([0.5]), np.array([0.5]))
    assert largest_linear(along)[0] == np.inf
