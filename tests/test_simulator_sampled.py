"""Sampled rules: which outputs random words choose, the update, and whole runs."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from compare import assert_agree
from hypothesis import given
from hypothesis import strategies as st

from simulator.families import make_problem
from simulator.random import SAMPLE_STREAM, philox
from simulator.reference import simulate
from simulator.sampled import (
    SampledRule,
    get_any_rule,
    group_updates,
    outputs_of,
    sample_words,
)
from theory.advantages import PRESETS
from theory.errors import InputError
from theory.policy import PolicyState
from theory.rules import GRPO


def get_rule(name: str) -> SampledRule:
    rule = get_any_rule(name)
    assert isinstance(rule, SampledRule)
    return rule


def state_of(p0: Any = (0.1, 0.6, 0.9), outputs: int = 3, seed: int = 3) -> PolicyState:
    """Prompts whose wrong outputs have different chances."""
    problem = make_problem("gaussian", len(p0), outputs, p0=p0, seed=seed)
    return problem.at(problem.theta0 + 0.3 * np.random.default_rng(seed).standard_normal(problem.d))


def words_of(*values: int) -> np.ndarray:
    return np.array([values], dtype=np.uint64)


def _word_count(state: PolicyState, output: int) -> int:
    """How many of the 2^64 words choose the output, by bisection for the ends of its runs of words."""

    def chosen(word: int) -> int:
        return int(outputs_of(state, words_of(word))[0, 0])

    order = [int(state.answers[0])] + [j for j in range(state.odds.wrong.shape[1]) if j != state.answers[0]]
    ends, low = [], 0
    for j in order:
        # Outputs come in this order as the word grows; find the first word beyond j.
        start, stop = low, 2**64
        while start < stop:
            middle = (start + stop) // 2
            start, stop = (middle + 1, stop) if order.index(chosen(middle)) <= order.index(j) else (start, middle)
        ends.append(start - low)
        low = start
    return ends[order.index(output)]


@pytest.mark.parametrize("p0", [1e-19, 1e-12, 1e-3, 0.3, 0.5, 0.7, 1 - 1e-12, 1 - 2**-53])
@pytest.mark.parametrize("outputs", [2, 4])
def test_outputs_are_chosen_with_their_probabilities(p0: float, outputs: int) -> None:
    state = state_of((p0,), outputs)
    chances = [Fraction(_word_count(state, j), 2**64) for j in range(outputs)]
    assert sum(chances) == 1
    policy = state.policy[0]
    for j in range(outputs):
        # Within a word, and the rounding of the chance itself and of the cumulated ones.
        assert abs(chances[j] - Fraction(policy[j])) <= Fraction(2, 2**64) + Fraction(4, 2**53) * Fraction(
            float(policy[j]) if j == state.answers[0] else float(state.q[0])
        )


def _solved(log_q: float) -> PolicyState:
    problem = make_problem("tabular", 1, 3, p0=0.5, seed=1)
    step = np.zeros(3)
    step[problem.answers[0]] = -log_q * np.log(10)
    return problem.at(problem.theta0 + step)


def test_wrong_outputs_are_still_drawn_where_p_rounds_to_one() -> None:
    state = _solved(-18)
    assert (state.p[0], state.q[0]) == (1.0, pytest.approx(1e-18, rel=1e-9))
    wrong = 2**64 - _word_count(state, int(state.answers[0]))
    assert wrong == int(float(state.q[0]) * 2**64) == 18
    # Both wrong outputs get their half of these.
    assert sorted(_word_count(state, j) for j in range(3))[:2] == [9, 9]
    # Beyond 2^-64 none is drawn any more.
    assert outputs_of(_solved(-30), words_of(0, 2**63, 2**64 - 1)).tolist() == [[int(state.answers[0])] * 3]


@given(word=st.integers(0, 2**64 - 1), seed=st.integers(0, 50), log_odds=st.floats(-60, 60))
def test_every_word_chooses_an_output_that_can_occur(word: int, seed: int, log_odds: float) -> None:
    problem = make_problem("gaussian", 2, 4, p0=1 / (1 + np.exp(-log_odds)) if log_odds < 30 else 0.5, seed=seed)
    state = problem.at(problem.theta0)
    chosen = outputs_of(state, np.full((2, 3), word, dtype=np.uint64))
    assert ((chosen >= 0) & (chosen < 4)).all()
    assert (state.policy[[0, 1], chosen[:, 0]] > 0).all()


def _naive_update(rule: SampledRule, state: PolicyState, outputs: np.ndarray) -> np.ndarray:
    """``(1/G) sum_g A_g (x_{y_g} - E_pi x)``, output by output."""
    advantages = rule.convention((outputs == state.answers[:, None]).astype(float))
    rows = []
    for x, pi, row, signals in zip(state.features, state.policy, outputs, advantages, strict=True):
        rows.append(sum(a * (x[y] - pi @ x) for a, y in zip(signals, row, strict=True)) / len(row))
    return np.array(rows)


@pytest.mark.parametrize("name", PRESETS)
@given(seed=st.integers(0, 10**6))
def test_the_update_is_the_sum_over_the_outputs(name: str, seed: int) -> None:
    state, rule = state_of(), get_rule(f"{name}:5")
    outputs = np.random.default_rng(seed).integers(0, 3, size=(3, 5))
    assert_agree(group_updates(rule, state, outputs), _naive_update(rule, state, outputs), 1e-11, name, atol=1e-12)


def test_nothing_cancels_on_a_solved_prompt() -> None:
    """All outputs right, no baseline: the update is ``x_a - E_pi x = q gap``, at q = 1e-18."""
    state = _solved(-18)
    outputs = np.full((1, 4), state.answers[0])
    assert_agree(group_updates(get_rule("plain:4"), state, outputs), state.q[:, None] * state.gap, 1e-15)


def test_a_batch_scale_divides_by_one_deviation_and_has_no_expected_rule() -> None:
    rule, state = get_rule("trl_batch:4"), state_of()
    outputs = np.array([[0, 1, 2, 0], [1, 1, 1, 1], [2, 0, 2, 2]])
    rewards = (outputs == state.answers[:, None]).astype(float)
    plain = group_updates(get_rule("no_std:4"), state, outputs)
    assert_agree(group_updates(rule, state, outputs), plain / (rewards.std(ddof=1) + 1e-4), 1e-12, atol=1e-15)
    with pytest.raises(InputError, match="rule is 'trl_batch:4'"):
        rule.expected_rule()


def test_samples_are_the_documented_words() -> None:
    rule, batch = get_rule("dapo:3"), 2
    for step, attempt in ((0, 0), (5, 0), (5, 2)):
        raw = sample_words(rule, batch, step, 9, 4)(attempt)
        stream = philox(9, replica=4, stream=SAMPLE_STREAM + 16 * attempt).random_raw(200)
        for b, g in product(range(batch), range(3)):
            assert raw[b, g] == stream[(step * batch + b) * 3 + g]


def _naive_run(rule: SampledRule, problem: Any, eta: float, draws: np.ndarray, seed: int) -> np.ndarray:
    theta = problem.theta0
    for t, row in enumerate(draws):
        groups = []
        for b, i in enumerate(row):
            state = problem.at(theta)
            one = PolicyState(problem.features[[i]], problem.answers[[i]], _one(state, i))
            for attempt in range(1 + rule.resample):
                first = (t * len(row) + b) * rule.group
                raw = philox(seed, stream=SAMPLE_STREAM + 16 * attempt).random_raw(first + rule.group)[first:]
                chosen = outputs_of(one, raw[None, :])[0]
                if len(set((chosen == problem.answers[i]).tolist())) == 2:
                    break
            groups.append(chosen)
        drawn = problem.at(theta)
        batch = PolicyState(problem.features[row], problem.answers[row], _one(drawn, row))
        theta = theta + eta * _naive_update(rule, batch, np.array(groups)).mean(axis=0)
    return np.asarray(theta)


def _one(state: PolicyState, rows: Any) -> Any:
    rows = np.atleast_1d(rows)
    return type(state.odds)(*(getattr(state.odds, name)[rows] for name in ("log_odds", "p", "q", "wrong")))


@pytest.mark.parametrize("schedule", ["uniform", "all", "minibatch:2"])
@pytest.mark.parametrize("name", ["trl:4", "rloo:3", "plain:2", "trl_batch:4", "dapo:2"])
def test_runs_are_what_the_documents_say(name: str, schedule: str) -> None:
    rule, problem = get_rule(name), make_problem("gaussian", 3, 4, p0=[0.1, 0.4, 0.9], seed=2)
    record = simulate(problem, rule, 0.3, 25, schedule=schedule, seed=6)
    draws = record.order.reshape(25, -1)
    assert_agree(record.theta[-1], _naive_run(rule, problem, 0.3, draws, 6), 1e-10, name, atol=1e-12)
    assert record.rule == name
    assert record.step_bound is None


def test_seed_and_replica_name_the_samples() -> None:
    problem = make_problem("gaussian", 3, 4, p0=0.4, seed=2)

    def run(**names: int) -> bytes:
        return simulate(problem, get_rule("paper:4"), 0.3, 30, schedule="all", **names).theta.tobytes()

    assert run(seed=1) == run(seed=1)
    assert len({run(seed=1), run(seed=2), run(seed=1, replica=1)}) == 3


def test_large_groups_follow_the_exact_rule() -> None:
    problem = make_problem("orthogonal", 2, 3, p0=[0.3, 0.5], seed=2)
    sampled = simulate(problem, get_rule("paper:20000"), 0.5, 40, schedule="all")
    exact = simulate(problem, GRPO, 0.5, 40, schedule="all")
    # Each step's estimate of p is off by about 0.0035.
    assert_agree(sampled.J, exact.J, 0.0, "J", atol=0.01)


def test_hopeless_and_solved_prompts_stay_finite() -> None:
    problem = make_problem("tabular", 3, 3, p0=[1e-300, 1e-12, 1 - 1e-12], seed=1)
    for name in ("trl:4", "plain:4", "dapo:4", "rloo:4"):
        record = simulate(problem, get_rule(name), 50.0, 200, schedule="all")
        assert np.isfinite(record.theta).all()
