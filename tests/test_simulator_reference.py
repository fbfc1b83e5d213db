"""The reference engine against loops written anew, in floats and in ball arithmetic, and its symmetries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import flint
import numpy as np
import pytest
from compare import assert_agree
from hypothesis import given
from hypothesis import strategies as st

from simulator.families import make_problem
from simulator.problems import Problem
from simulator.random import uniform_order
from simulator.records import Record
from simulator.reference import simulate, update_direction
from theory.errors import InputError
from theory.exact import as_balls, as_floats, precision
from theory.policy import evaluate
from theory.rules import GRPO, REINFORCE, Rule, power

# Each rule with its weight as a function of V, as the sources print it.
RULES: list[tuple[Rule, Callable[[Any], Any]]] = [
    (REINFORCE, lambda v: v / v),
    (GRPO, lambda v: 1 / v**0.5),
    (power(0.25), lambda v: 1 / v**0.25),
    (power(1.0), lambda v: 1 / v),
]
each_rule = pytest.mark.parametrize(("rule", "weight"), RULES, ids=[rule.name for rule, _ in RULES])


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def _naive(problem: Problem, weight: Callable[[Any], Any], eta: float, order: Sequence[int]) -> np.ndarray:
    """``J`` after 0, 1, ... steps, from ``grad J = p (x_a - sum_j pi_j x_j)`` and the plain softmax."""
    theta, rows = problem.theta0, []
    for i in [*order, 0]:
        rows.append([_softmax(x @ theta)[a] for x, a in zip(problem.features, problem.answers, strict=True)])
        x, a = problem.features[i], problem.answers[i]
        pi = _softmax(x @ theta)
        theta = theta + eta * weight(pi[a] * (1 - pi[a])) * pi[a] * (x[a] - pi @ x)
    return np.array(rows)


@each_rule
@pytest.mark.parametrize("name", ["orthogonal", "gaussian"])
def test_runs_agree_with_a_naive_loop(rule: Rule, weight: Callable[[Any], Any], name: str) -> None:
    problem = make_problem(name, 3, 4, p0=[0.05, 0.4, 0.8], seed=2)
    record = simulate(problem, rule, 0.7, 80, seed=11, record="full")
    assert_agree(record.J, _naive(problem, weight, 0.7, record.order), 1e-10, "J")
    assert_agree(record.q, 1 - record.J, 1e-10, "q")
    assert np.abs(record.J[-1] - record.J[0]).max() > 0.05


def _ball_state(x: Any, a: int, theta: Any) -> tuple[Any, Any, Any]:
    """p, q and the gradient of one prompt in balls, from the definition of softmax."""
    odds = [z.exp() for z in (x - x[a]) @ theta]
    total = sum(odds, flint.arb(0))
    pi = np.array([o / total for o in odds], dtype=object)
    return pi[a], sum((pi[j] for j in range(len(pi)) if j != a), flint.arb(0)), pi[a] * (x[a] - pi @ x)


def _ball_run(
    problem: Problem, weight: Callable[[Any], Any], eta: float, order: Sequence[int]
) -> dict[str, np.ndarray]:
    features, theta = as_balls(problem.features), as_balls(problem.theta0)
    rows: dict[str, list[Any]] = {name: [] for name in ("J", "q", "grad_sq", "theta")}
    for i in [*order, 0]:
        states = [_ball_state(x, a, theta) for x, a in zip(features, problem.answers, strict=True)]
        values = ([s[0] for s in states], [s[1] for s in states], [np.sum(s[2] * s[2]) for s in states], theta)
        for name, value in zip(rows, values, strict=True):
            rows[name].append(value)
        p, q, gradient = states[i]
        theta = theta + as_balls(eta)[()] * weight(p * q) * gradient
    arrays = {name: np.array(value, dtype=object) for name, value in rows.items()}
    arrays["gain"] = arrays["J"][1:] - arrays["J"][:-1]
    return {name: as_floats(value) for name, value in arrays.items()}


@each_rule
@pytest.mark.parametrize("name", ["tabular", "gaussian"])
@pytest.mark.parametrize("p0", [1e-12, 0.3, 1 - 1e-12])
def test_runs_agree_with_ball_arithmetic(rule: Rule, weight: Callable[[Any], Any], name: str, p0: float) -> None:
    problem = make_problem(name, 2, 3, p0=p0, seed=4)
    record = simulate(problem, rule, 0.5, 25, seed=1, record="full")
    with precision(400):
        exact = _ball_run(problem, weight, 0.5, record.order)
    for field in ("J", "q", "grad_sq"):
        assert_agree(getattr(record, field), exact[field], 1e-12, field)
    assert_agree(record.theta, exact["theta"], 1e-13, "theta", atol=1e-14)
    rows, i = np.arange(25), record.order
    assert_agree(record.step_grad_sq, exact["grad_sq"][rows, i], 1e-12, "step_grad_sq")
    assert_agree(record.step_std, np.sqrt(exact["J"] * exact["q"])[rows, i], 1e-12, "step_std")
    # The gain is a difference of probabilities, each of which carries the rounding of its logits.
    size = float(np.minimum(exact["J"], exact["q"]).max())
    assert_agree(record.step_gain, exact["gain"][rows, i], 1e-12, "step_gain", atol=1e-13 * size)


def test_gains_are_the_differences_of_the_snapshots() -> None:
    problem = make_problem("gaussian", 3, 4, p0=[0.02, 0.5, 0.99], seed=3)
    record = simulate(problem, GRPO, 0.4, 60, seed=5, record="full")
    rows = np.arange(60)
    assert_agree(record.step_gain, np.diff(record.J, axis=0)[rows, record.order], 0.0, "gain", atol=4e-16)
    assert_agree(record.step_grad_sq, record.grad_sq[rows, record.order], 1e-14)
    assert_agree(record.step_std, record.std[rows, record.order], 1e-14)


def test_log_and_full_records_agree_at_common_times() -> None:
    problem = make_problem("gaussian", 3, 4, seed=3)
    log, full = (simulate(problem, GRPO, 0.4, 120, seed=5, record=mode) for mode in ("log", "full"))
    assert full.t.tolist() == list(range(121))
    assert 10 < len(log.t) < 60
    for name in ("J", "q", "grad_sq", "theta"):
        assert (getattr(log, name) == getattr(full, name)[log.t]).all()
    for name in ("order", "step_gain", "step_grad_sq", "step_std"):
        assert (getattr(log, name) == getattr(full, name)).all()


def _same(one: Record, two: Record) -> bool:
    names = ("order", "t", "J", "q", "grad_sq", "theta", "step_gain", "step_grad_sq", "step_std")
    return all(getattr(one, name).tobytes() == getattr(two, name).tobytes() for name in names)


@given(seed=st.integers(0, 2**64 - 2), replica=st.integers(0, 5))
def test_seed_and_replica_name_a_run(seed: int, replica: int) -> None:
    problem = make_problem("gaussian", 4, 3, seed=1)
    run = simulate(problem, GRPO, 0.5, 40, seed=seed, replica=replica)
    assert _same(run, simulate(problem, GRPO, 0.5, 40, seed=seed, replica=replica))
    assert (run.order == uniform_order(4, 40, seed, replica)).all()
    for other in ((seed + 1, replica), (seed, replica + 1)):
        assert (run.order != uniform_order(4, 40, *other)).any()


def test_a_longer_run_begins_with_the_shorter_one() -> None:
    problem = make_problem("gaussian", 3, 3, seed=1)
    short, long = (simulate(problem, GRPO, 0.5, steps, seed=3, record="full") for steps in (20, 50))
    assert (long.theta[:21] == short.theta).all()


def test_the_order_of_the_problem_is_followed_and_others_stand_still() -> None:
    problem = make_problem("tabular", 3, 3, p0=[0.1, 0.2, 0.3], seed=1).with_order([2, 0, 0, 2, 1])
    record = simulate(problem, GRPO, 0.5, 4, seed=9, record="full")
    assert record.order.tolist() == [2, 0, 0, 2]
    moved = np.diff(record.J, axis=0) != 0
    assert moved.tolist() == [[False, False, True], [True, False, False], [True, False, False], [False, False, True]]
    assert _same(record, simulate(problem, GRPO, 0.5, 4, seed=10, record="full"))


def test_an_order_that_is_too_short_is_refused() -> None:
    problem = make_problem("tabular", 3, 3).with_order([0, 1])
    with pytest.raises(InputError, match="steps is 3; expected at most 2"):
        simulate(problem, GRPO, 0.5, 3)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [((0.0, 5), "eta is 0"), ((float("nan"), 5), "eta is nan"), ((1.0, 0), "steps is 0"), ((1.0, 5, "all"), "'all'")],
)
def test_bad_runs_are_refused(arguments: tuple[Any, ...], text: str) -> None:
    eta, steps, *mode = arguments
    with pytest.raises(InputError, match=text):
        simulate(make_problem("tabular", 2, 2), GRPO, eta, steps, record=mode[0] if mode else "log")


def test_progress_hears_every_step_and_the_record_its_setting() -> None:
    heard: list[int] = []
    problem = make_problem("orthogonal", 2, 3, seed=1)
    record = simulate(problem, power(0.25), 0.5, 7, progress=heard.append)
    assert heard == list(range(1, 8))
    assert (record.origin, record.problem, record.rule, record.eta) == ("simulator", "orthogonal", "power:0.25", 0.5)
    assert record.x_max_sq == problem.x_max_sq


@each_rule
@given(seed=st.integers(0, 10**6), exponent=st.integers(-20, 20))
def test_scaling_the_features_and_the_step_changes_no_bit(rule: Rule, weight: Any, seed: int, exponent: int) -> None:
    """``X s, theta / s, eta / s^2`` is the same policy; s is a power of two, so not even rounding differs."""
    problem, s = make_problem("gaussian", 2, 3, p0=[0.1, 0.7], seed=seed), 2.0**exponent
    scaled = replace(problem, features=problem.features * s, theta0=problem.theta0 / s)
    one, two = (simulate(b, rule, eta, 15, seed=seed) for b, eta in ((problem, 0.5), (scaled, 0.5 / s**2)))
    for name in ("J", "q", "step_gain", "step_std"):
        assert (getattr(one, name) == getattr(two, name)).all()


@given(seed=st.integers(0, 10**6))
def test_rotations_shifts_and_renamed_outputs_leave_the_policy(seed: int) -> None:
    rng, problem = np.random.default_rng(seed), make_problem("gaussian", 2, 4, p0=[0.1, 0.7], seed=seed)
    rotation = np.linalg.qr(rng.standard_normal((problem.d, problem.d)))[0]
    shift, names = rng.standard_normal((2, 1, problem.d)), rng.permutation(4)
    twin = Problem(
        ((problem.features + shift) @ rotation)[:, names],
        np.argsort(names)[problem.answers],
        problem.theta0 @ rotation,
    )
    one, two = (simulate(b, GRPO, 0.5, 15, seed=seed) for b in (problem, twin))
    assert_agree(two.J, one.J, 1e-9, "J")
    assert_agree(two.grad_sq, one.grad_sq, 1e-8, "grad_sq")


def test_the_gram_matrix_decides_the_run() -> None:
    problem = make_problem("gaussian", 3, 3, d=30, p0=[0.1, 0.4, 0.7], seed=6)
    flat = problem.features.reshape(9, 30)
    twin = Problem.from_gram(flat @ flat.T, problem.features @ problem.theta0, problem.answers)
    one, two = (simulate(b, GRPO, 0.5, 100, seed=6) for b in (problem, twin))
    assert_agree(two.J, one.J, 1e-9, "J")


def test_ascent_of_the_log_odds_goes_on_where_the_variance_underflows() -> None:
    """With ``power:1`` on two free logits the log-odds grow by 2 eta at each draw, past 745 where V is 0 in floats."""
    problem = make_problem("tabular", 1, 2, p0=0.3)
    record = simulate(problem, power(1.0), 1.0, 1000)
    right = int(problem.answers[0])
    assert record.q[-1, 0] == 0.0
    start = np.log(0.3) - np.log(0.7)
    assert_agree(record.theta[:, right] - record.theta[:, 1 - right], start + 2.0 * record.t, 1e-12)
    assert_agree(record.J[:, 0] + record.q[:, 0], np.ones(len(record.t)), 1e-15)


@pytest.mark.parametrize("eta", [1e4, 1e300])
def test_an_enormous_step_saturates_but_stays_finite(eta: float) -> None:
    record = simulate(make_problem("tabular", 2, 3, seed=1), GRPO, eta, 30)
    assert (record.J[-1] == 1.0).all()
    assert np.isfinite(record.step_gain).all()


@each_rule
def test_the_update_direction_is_the_weighted_gradient(rule: Rule, weight: Callable[[Any], Any]) -> None:
    problem = make_problem("gaussian", 4, 3, p0=[1e-12, 1e-3, 0.5, 1 - 1e-9], seed=2)
    state = problem.at(problem.theta0)
    assert_agree(update_direction(rule, state), weight(state.variance)[:, None] * state.gradient, 1e-13)
    with precision(300):
        balls = evaluate(as_balls(problem.features), problem.answers, as_balls(problem.theta0))
        exact = weight(balls.variance)[:, None] * balls.gradient
        assert_agree(update_direction(rule, balls), exact, 1e-15)
        scale = float(np.abs(as_floats(exact)).max())
        assert_agree(update_direction(rule, state), exact, 1e-12, atol=1e-14 * scale)
