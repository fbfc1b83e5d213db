"""Schedules: their draws as documented in raw words, and runs of several prompts a step against loops of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compare import assert_agree
from hypothesis import given
from hypothesis import strategies as st

from simulator import schedules
from simulator.families import make_problem
from simulator.joint import JointRun
from simulator.random import ORDER_STREAM, philox, uniform_order, words
from simulator.reference import simulate
from simulator.schedules import FORMS, get_schedule
from theory.errors import InputError
from theory.instances import Instance
from theory.rules import GRPO, REINFORCE, power

seeds = st.integers(0, 2**64 - 1)
NAMES = ["uniform", "all", "cyclic", "minibatch:1", "minibatch:3"]


def _shuffled(n: int, steps: int, size: int, seed: int, replica: int) -> list[list[int]]:
    """The algorithm of the docstring in Python's own integers."""
    raw = [int(w) for w in philox(seed, replica=replica, stream=ORDER_STREAM).random_raw(steps * size)]
    halves = [half for word in raw for half in (word % 2**32, word // 2**32)]
    rows = []
    for t in range(steps):
        a = list(range(n))
        for b in range(size):
            r = ((n - b) * halves[t * size + b]) // 2**32
            a[b], a[b + r] = a[b + r], a[b]
        rows.append(a[:size])
    return rows


@given(seed=seeds, replica=st.integers(0, 3), n=st.integers(1, 9), steps=st.integers(1, 20), data=st.data())
def test_minibatches_are_the_documented_shuffle(seed: int, replica: int, n: int, steps: int, data: Any) -> None:
    size = data.draw(st.integers(1, n))
    draws = get_schedule(f"minibatch:{size}").draws(n, steps, seed, replica)
    assert draws.dtype == np.int64
    assert draws.tolist() == _shuffled(n, steps, size, seed, replica)
    assert all(len(set(row)) == size for row in draws.tolist())
    assert set(draws.ravel().tolist()) <= set(range(n))


@given(seed=seeds, n=st.integers(1, 9), steps=st.integers(1, 30), name=st.sampled_from(NAMES))
def test_a_longer_run_begins_with_the_shorter_one(seed: int, n: int, steps: int, name: str) -> None:
    n = max(n, 3)
    schedule = get_schedule(name)
    draws = schedule.draws(n, steps, seed)
    assert draws.shape == (steps, schedule.batch(n))
    assert (schedule.draws(n, steps + 7, seed)[:steps] == draws).all()


@given(seed=seeds, n=st.integers(1, 9), steps=st.integers(1, 30), replica=st.integers(0, 3))
def test_the_other_schedules_are_what_they_say(seed: int, n: int, steps: int, replica: int) -> None:
    uniform = get_schedule("uniform").draws(n, steps, seed, replica)
    assert (uniform[:, 0] == uniform_order(n, steps, seed, replica)).all()
    assert (get_schedule("minibatch:1").draws(n, steps, seed, replica) == uniform).all()
    assert get_schedule("all").draws(n, steps, seed).tolist() == [list(range(n))] * steps
    assert get_schedule("cyclic").draws(n, steps, seed)[:, 0].tolist() == [t % n for t in range(steps)]


def test_blocks_change_no_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = get_schedule("minibatch:4").draws(7, 100, 5)
    monkeypatch.setattr(schedules, "_BLOCK", 20)
    assert (get_schedule("minibatch:4").draws(7, 100, 5) == whole).all()


def test_every_minibatch_is_equally_likely() -> None:
    draws = get_schedule("minibatch:3").draws(5, 60_000, 1)
    orders, counts = np.unique(draws @ np.array([25, 5, 1]), return_counts=True)
    assert len(orders) == 60
    # Five standard deviations of a binomial count with chance 1/60.
    assert np.abs(counts - 1000).max() < 5 * 1000**0.5


@given(seed=seeds, start=st.integers(0, 50), count=st.integers(0, 30), replica=st.integers(0, 3))
def test_words_can_be_read_from_anywhere(seed: int, start: int, count: int, replica: int) -> None:
    whole = philox(seed, replica=replica, stream=3).random_raw(start + count)
    assert (words(seed, start, count, replica=replica, stream=3) == whole[start:]).all()


BAD = ["", "random", "uniform:3", "all:2", "minibatch", "minibatch:", "minibatch:0", "minibatch:-1", "minibatch:1.5"]


@pytest.mark.parametrize("name", [*BAD, "minibatch:x", "minibatch:²", f"minibatch:{10**25}"])
def test_unknown_schedules_are_refused_with_all_forms(name: str) -> None:
    with pytest.raises(InputError) as caught:
        get_schedule(name)
    assert all(form in str(caught.value) for form in FORMS)


def test_a_minibatch_of_more_prompts_than_there_are_is_refused() -> None:
    with pytest.raises(InputError, match="minibatch size B is 4; expected at most 3"):
        simulate(make_problem("tabular", 3, 3), GRPO, 0.5, 5, schedule="minibatch:4")


def test_all_prompts_at_once_is_the_talks_run() -> None:
    problem = make_problem("gaussian", 3, 4, p0=[0.05, 0.4, 0.8], seed=2)
    zeros = np.zeros(problem.d)
    instance = Instance(problem.features, problem.answers, problem.theta0, zeros, zeros, 60)
    for rule in (REINFORCE, GRPO):
        record = simulate(problem, rule, 0.7, 60, schedule="all", record="full")
        joint = JointRun(instance, rule, lambda x_max_sq: 0.7)
        assert_agree(record.J, joint.J, 1e-12, "J")
        assert_agree(record.step_gain, joint.gain.mean(axis=1), 1e-9, "step_gain", atol=1e-15)
        assert_agree(record.step_grad_sq, record.grad_sq[:-1].mean(axis=1), 1e-13, "step_grad_sq")
        assert_agree(record.step_std, record.std[:-1].mean(axis=1), 1e-13, "step_std")


@pytest.mark.parametrize("name", ["cyclic", "minibatch:2", "uniform"])
def test_runs_follow_their_draws(name: str) -> None:
    problem, rule, eta = make_problem("gaussian", 4, 3, p0=[0.1, 0.3, 0.5, 0.7], seed=1), power(0.25), 0.4
    record = simulate(problem, rule, eta, 50, schedule=name, seed=8, record="full")
    draws = get_schedule(name).draws(4, 50, 8)
    assert (record.order.reshape(50, -1) == draws).all()
    assert record.order.ndim == (2 if name == "minibatch:2" else 1)
    theta = problem.theta0
    for row, after in zip(draws, record.theta[1:], strict=True):
        state = problem.at(theta)
        move = sum(rule.weight(state.p[i], state.q[i]) * state.gradient[i] for i in row)
        theta = theta + eta / len(row) * move
        assert_agree(after, theta, 1e-12, name, atol=1e-13)


def test_a_minibatch_of_all_prompts_moves_like_all_of_them() -> None:
    problem = make_problem("gaussian", 4, 3, p0=[0.1, 0.3, 0.5, 0.7], seed=1)
    one, two = (simulate(problem, GRPO, 0.4, 50, schedule=name, seed=8) for name in ("all", "minibatch:4"))
    assert_agree(one.J, two.J, 1e-11)


def test_the_order_of_the_problem_wins_and_the_record_says_so() -> None:
    problem = make_problem("tabular", 3, 3, p0=[0.1, 0.2, 0.3], seed=1).with_order([2, 0, 0, 2, 1])
    record = simulate(problem, GRPO, 0.5, 4, schedule="all")
    assert (record.order.tolist(), record.schedule) == ([2, 0, 0, 2], "given")


@pytest.mark.parametrize("name", NAMES)
def test_records_of_every_schedule_come_back(name: str, tmp_path: Any) -> None:
    problem = make_problem("orthogonal", 3, 3, p0=0.3, seed=1)
    record = simulate(problem, GRPO, 0.5, 20, schedule=name)
    record.save(tmp_path)
    found = type(record).load(tmp_path)
    assert (found.schedule, found.summary()) == (name, record.summary())
    assert (found.order == record.order).all()
    assert found.summary()["steps"] == 20
    # One-step theorems are about the one prompt that is drawn.
    several = record.order.ndim == 2
    assert several == (name in ("all", "minibatch:3"))
    assert (found.step_bound is None) == several
    assert found.summary().get("prompts_per_step", 1) == (3 if several else 1)
