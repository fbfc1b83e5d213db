"""Exact expectations against the enumeration of all prompt orders, ball arithmetic, fractions and simulated runs."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import comb
from typing import Any

import numpy as np
import pytest
from compare import assert_agree
from hypothesis import given
from hypothesis import strategies as st

from simulator.expectations import ExpectedRun, binomial_means, expectation, expected_run, prompt_paths
from simulator.families import make_problem
from simulator.problems import Problem
from simulator.reference import simulate
from theory.errors import InputError
from theory.exact import as_balls, as_floats, precision
from theory.instances import Instance
from theory.rules import GRPO, REINFORCE, Rule, power

RULES = [REINFORCE, GRPO, power(0.25)]
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)


def _instance(problem: Problem, steps: int) -> Instance:
    zeros = np.zeros(problem.d)
    return Instance(problem.features, problem.answers, problem.theta0, zeros, zeros, steps)


def _trajectory(problem: Problem, rule: Rule, eta: float, order: tuple[int, ...]) -> np.ndarray:
    """J, q, ||grad J||^2 and sqrt(V) at t = 0..T, by full updates of one shared theta; shape (4, T + 1, n)."""
    theta, rows = problem.theta0, []
    for i in [*order, None]:
        states = []
        for x, a in zip(problem.features, problem.answers, strict=True):
            pi = np.exp(x @ theta - (x @ theta).max())
            pi /= pi.sum()
            gradient = pi[a] * (x[a] - pi @ x)
            wrong = np.delete(pi, a).sum()
            states.append((pi[a], wrong, gradient @ gradient, np.sqrt(pi[a] * wrong), gradient))
        rows.append([state[:4] for state in states])
        if i is not None:
            theta = theta + eta * rule.weight(*states[i][:2]) * states[i][4]
    return np.array(rows).transpose(2, 0, 1)


@each_rule
@pytest.mark.parametrize(("n", "steps"), [(1, 6), (2, 7), (3, 5), (5, 3)])
def test_expectations_are_the_means_over_all_prompt_orders(rule: Rule, n: int, steps: int) -> None:
    problem = make_problem("orthogonal", n, 3, p0=np.linspace(0.1, 0.8, n), seed=n)
    run = expectation(problem, rule, 1.3, steps)
    every = np.array([_trajectory(problem, rule, 1.3, order) for order in product(range(n), repeat=steps)])
    mean = every.mean(axis=0)
    for c, name in enumerate(("J", "q", "grad_sq", "std_mean")):
        assert_agree(getattr(run, name), mean[c], 1e-12, name)
    assert_agree(run.gain, np.diff(mean[0], axis=0), 1e-10, "gain", atol=1e-15)
    assert_agree(run.std_sup, every[:, 3].max(axis=0), 1e-12, "std_sup")
    assert (run.std_bound == run.std_sup).all()


def test_one_shared_prompt_order_is_not_all_there_is() -> None:
    """The enumeration above means something only if the orders differ and expectations are no single path."""
    problem = make_problem("orthogonal", 2, 3, p0=[0.1, 0.6], seed=2)
    run, alone = expectation(problem, GRPO, 1.0, 8), simulate(problem.with_order([0] * 8), GRPO, 1.0, 8, record="full")
    assert (alone.J[2:, 0] > run.J[2:, 0] + 0.01).all()
    assert (run.J[2:, 1] > alone.J[2:, 1] + 0.01).all()


@each_rule
@pytest.mark.parametrize("p0", [1e-12, 0.3, 1 - 1e-12])
@pytest.mark.parametrize("n", [1, 3])
def test_floats_agree_with_ball_arithmetic(rule: Rule, p0: float, n: int) -> None:
    instance = _instance(make_problem("tabular", n, 3, p0=p0, seed=7), 30)
    run = ExpectedRun(instance, rule, lambda x_max_sq: 0.5 / x_max_sq)
    with precision(300):
        exact = ExpectedRun(instance.exact(), rule, lambda x_max_sq: 0.5 / x_max_sq)
        for name in ("J", "q", "grad_sq", "std_mean", "std_sup"):
            assert_agree(getattr(run, name), getattr(exact, name), 1e-12, name)
        size = float(min(as_floats(exact.J).max(), as_floats(exact.q).max()))
        assert_agree(run.gain, exact.gain, 1e-12, "gain", atol=1e-14 * size)
        assert_agree(run.eta, as_floats(exact.eta), 1e-15)
        assert max(float(ball.rad()) for ball in exact.J.ravel()) < 1e-60
        telescoped = exact.gain.sum(axis=0) - (exact.J[-1] - exact.J[0])
        assert all(ball.contains(0) for ball in telescoped)


@each_rule
def test_one_prompt_is_its_own_deterministic_run(rule: Rule) -> None:
    problem = make_problem("gaussian", 1, 4, p0=0.9, seed=3)
    run, record = expectation(problem, rule, 0.8, 40), simulate(problem, rule, 0.8, 40, record="full")
    for name in ("J", "q", "grad_sq"):
        assert_agree(getattr(run, name), getattr(record, name), 1e-13, name)
    assert_agree(run.gain[:, 0], record.step_gain, 1e-9, "gain", atol=1e-15)
    assert (run.std_sup == run.std_mean).all()
    assert (np.diff(run.std_sup, axis=0) < 0).all()


@each_rule
def test_simulated_runs_scatter_around_the_expectation(rule: Rule) -> None:
    problem = make_problem("orthogonal", 3, 3, p0=[0.1, 0.3, 0.6], seed=4)
    runs = [simulate(problem, rule, 1.0, 15, seed=8, replica=replica, record="full") for replica in range(200)]
    ends = np.array([run.J[[5, 15]] for run in runs])
    error = np.abs(ends.mean(axis=0) - expectation(problem, rule, 1.0, 15).J[[5, 15]])
    assert (error < 4.5 * ends.std(axis=0) / np.sqrt(200)).all()


def test_every_step_that_a_run_takes_is_on_a_prompt_path() -> None:
    problem = make_problem("orthogonal", 3, 4, p0=[0.1, 0.3, 0.6], seed=5)
    record = simulate(problem, GRPO, 0.6, 40, seed=2, record="full")
    paths = prompt_paths(problem.features, problem.answers, problem.theta0, GRPO, 0.6, 40)
    draws = np.cumsum(np.vstack([np.zeros(3), np.eye(3)[record.order]]), axis=0).astype(int)
    assert_agree(record.J, paths.p[draws, np.arange(3)], 1e-12, "J")
    assert (record.std <= expectation(problem, GRPO, 0.6, 40).std_sup * (1 + 1e-12)).all()


def _chance(n: int, t: int, k: int) -> Fraction:
    """Exactly k of t draws hit one prompt of n."""
    return Fraction(comb(t, k) * (n - 1) ** (t - k), n**t) if k <= t else Fraction(0)


@given(n=st.integers(2, 60), steps=st.integers(1, 60))
def test_the_mixture_is_the_binomial_distribution(n: int, steps: int) -> None:
    """Column j of the identity asks for the chance of exactly j draws, to full relative accuracy."""
    (chances,) = binomial_means([np.eye(steps + 1)], n)
    times = [0, 1, steps // 2, steps]
    exact = [[float(_chance(n, t, k)) for k in range(steps + 1)] for t in times]
    assert_agree(chances[times], exact, 1e-13)


@pytest.mark.parametrize("n", [2, 3, 50])
def test_long_mixtures_have_total_one_and_the_binomial_moments(n: int) -> None:
    k = np.arange(2001.0)[:, None]
    ones, mean, second = binomial_means([k**0, k, k**2], n)
    assert_agree(ones, k**0, 1e-12, "total")
    assert_agree(mean, k / n, 1e-12, "mean")
    assert_agree(second, k / n * (1 - 1 / n) + (k / n) ** 2, 1e-12, "second moment")


def test_mixtures_of_balls_enclose_the_exact_chances() -> None:
    with precision(128):
        (chances,) = binomial_means([as_balls(np.eye(13))], 3)
        for t, k in product(range(13), repeat=2):
            exact = _chance(3, t, k)
            difference = chances[t, k] * exact.denominator - exact.numerator
            assert difference.contains(0)
            assert float(difference.rad()) < 1e-25


@each_rule
def test_sums_and_monotony_over_a_long_run(rule: Rule) -> None:
    problem = make_problem("orthogonal", 4, 5, p0=[1e-6, 0.05, 0.5, 0.9], seed=6)
    run = expectation(problem, rule, 0.5 / problem.x_max_sq, 2000)
    assert_agree(run.J + run.q, np.ones_like(run.J), 1e-12, "J + q")
    assert_agree(run.J[0] + np.cumsum(run.gain, axis=0), run.J[1:], 1e-11, "telescoped gain")
    assert (run.gain > 0).all()
    assert (run.std_mean <= run.std_sup * (1 + 1e-12)).all()
    assert (np.diff(run.std_sup, axis=0) >= 0).all()


def test_paths_stay_finite_where_the_variance_underflows() -> None:
    problem = make_problem("tabular", 2, 2, p0=[0.3, 1e-200])
    paths = prompt_paths(problem.features, problem.answers, problem.theta0, power(1.0), 1.0, 900)
    assert (paths.q[-1] == 0).all()
    rows = np.arange(300)
    start = np.log(np.array([0.3, 1e-200])) - np.log1p(-np.array([0.3, 1e-200]))
    log_odds = start + 2.0 * rows[:, None]
    assert_agree(paths.p[:300], 1 / (1 + np.exp(-log_odds)), 1e-11, "p")
    run = expectation(problem, power(1.0), 1.0, 900)
    for name in ("J", "q", "grad_sq", "std_mean", "std_sup", "gain"):
        assert np.isfinite(getattr(run, name)).all(), name


def test_the_gain_keeps_its_digits_next_to_certain_success() -> None:
    """J rounds to 1 from the start; the gain must come from q."""
    problem = make_problem("orthogonal", 2, 3, p0=1 - 2.0**-50, seed=1)
    theta = problem.theta0 * 2.5
    instance = Instance(problem.features, problem.answers, theta, theta, theta, 5)
    run = ExpectedRun(instance, power(1.0), lambda x_max_sq: 0.5)
    assert (run.J == 1.0).all()
    with precision(400):
        exact = ExpectedRun(instance.exact(), power(1.0), lambda x_max_sq: 0.5)
        assert_agree(run.gain, exact.gain, 1e-11)


def test_expectation_refuses_prompts_that_are_not_orthogonal() -> None:
    with pytest.raises(InputError, match=r"orthogonality defect is 0\.\d+; expected 0: X_i X_j\^T = 0"):
        expectation(make_problem("gaussian", 2, 3), GRPO, 0.5, 10)


@pytest.mark.parametrize("arguments", [(0.0, 5), (-1.0, 5), (float("nan"), 5), (float("inf"), 5), (0.5, 0)])
def test_expectation_refuses_bad_steps(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(InputError, match=r"(eta|steps) is"):
        expectation(make_problem("tabular", 2, 3), GRPO, *arguments)


def test_the_context_of_claims_measures_and_does_not_refuse() -> None:
    problem = make_problem("gaussian", 2, 3, seed=1)
    run = expected_run(_instance(problem, 4), GRPO, lambda x_max_sq: 1 / (2 * x_max_sq))
    assert run.J.shape == (5, 2)
    assert_agree(run.eta, 1 / (2 * problem.x_max_sq), 1e-15)
    assert_agree(run.x_max_sq, problem.x_max_sq, 1e-15)
