"""Sampled groups on finite answer sets: the same draws as the simulator's, and X-GROUP's weight beside them."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_agree

from llm_bridge.comparing.sampled_comparison import (
    SampledComparison,
    compare_sampled,
    group_coefficients,
    train_sampled,
)
from llm_bridge.experiment import BridgeSettings, prepare
from llm_bridge.measurement.gram import answer_gram
from llm_bridge.measurement.moves import kept_parameters
from simulator.reference import simulate
from simulator.sampled import SampledRule, get_any_rule, sample_words, sampled_move
from theory.errors import InputError
from theory.policy import evaluate


def _sampled(name: str) -> SampledRule:
    rule = get_any_rule(name)
    assert isinstance(rule, SampledRule)
    return rule


@pytest.mark.parametrize("name", ["paper:8", "trl:4", "rloo:4", "plain:3", "dapo:3"])
def test_coefficients_give_the_simulators_update(name: str) -> None:
    """sum_j c_j grad log pi_j is what ``simulator.sampled.sampled_move`` moves by, from the same words."""
    rule, draws = _sampled(name), np.random.default_rng(7)
    for seed in range(6):
        features, theta = draws.normal(size=(1, 5, 3)), draws.normal(size=3)
        answer = int(draws.integers(5))
        state = evaluate(features, np.array([answer]), theta)
        words = sample_words(rule, 1, seed, 3, 0)
        wanted = sampled_move(rule, state, words)[0]
        weights = group_coefficients(rule, features[0] @ theta, answer, words)
        score = features[0] - state.policy[0] @ features[0]
        assert_agree(weights @ score, wanted, 1e-9, atol=1e-12)


def test_at_a_small_step_the_model_and_its_bandit_draw_and_move_alike() -> None:
    settings = BridgeSettings(prompts=("57+32", "39+32"), steps=4)
    loaded, _, batch = prepare(settings)
    problem = answer_gram(loaded, batch).problem("linearised")
    rule, eta = _sampled("paper:8"), 5.0 / problem.x_max_sq
    with kept_parameters(loaded):
        model = train_sampled(loaded, batch, rule, eta, 4, seed=2)
    bandit = simulate(problem, rule, eta, 4, seed=2, record="full").J
    moved = np.abs(model[-1] - model[0]).max()
    assert moved > 1e-3
    assert np.abs(model - bandit).max() < 0.1 * moved


def test_seeds_give_intervals_and_the_expected_rule_is_the_mean_of_large_groups() -> None:
    settings = BridgeSettings(prompts=("57+32", "39+32"), steps=3, eta_scale=20.0)
    found = compare_sampled(settings, _sampled("paper:512"), 2)
    assert found.model.shape == (2, 4, 2)
    told = found.to_json()
    assert told["largest_error_of_expected_rule"] < 0.02
    # The step size is said to be proved nowhere: the theorem it is a multiple of is about another rule.
    assert told["step"] == "20 times the step size of exact GRPO's theorem; no theorem covers paper:512"
    assert len(told["measured"]) == 4
    low, high = told["paired_difference_at_end"][1:]
    assert low <= told["paired_difference_at_end"][0] <= high


def test_intervals_are_students() -> None:
    curves = np.array([[[0.1], [0.2]], [[0.1], [0.4]], [[0.1], [0.3]]])
    found = SampledComparison(("a",), "r", 1.0, "as given", curves, curves, curves)
    mean, half = found.interval(curves)
    assert_agree(mean, [0.1, 0.3], 1e-12)
    assert_agree(half, [0.0, 4.302652729911275 * 0.1 / 3**0.5], 1e-9, atol=1e-12)


@pytest.mark.parametrize(("off", "within"), [(0.01, 0.0), (0.0, 1.0)])
def test_what_the_prompt_orders_do_to_both_is_not_taken_for_noise(off: float, within: float) -> None:
    """Each seed's order moves model and expected rule alike; which hid what differs."""
    draws = np.random.default_rng(5)
    orders, own = draws.normal(0.4, 0.1, (6, 1, 1)), draws.normal(0.0, 0.001, (6, 4, 2))
    expected, own = np.broadcast_to(orders, (6, 4, 2)), own - own.mean(axis=0)
    told = SampledComparison(("a", "b"), "r", 1.0, "as given", expected + off + own, expected, expected).to_json()
    assert told["share_within_interval"] == 1.0
    assert told["share_within_paired_interval"] == within
    assert_agree(told["over_expected_rule"], np.full(4, off), 0.0, atol=0.002)
    assert_agree(told["over_expected_rule_half_width"], np.zeros(4), 0.0, atol=0.002)
    # What earlier versions told of the mean over the orders is told still.
    assert_agree(told["expected_rule"], np.full(4, orders.mean()), 1e-12)
    assert_agree(told["largest_error_of_expected_rule"], off, 0.0, atol=0.002)


def test_what_has_no_interval_or_no_weight_is_refused() -> None:
    with pytest.raises(InputError, match="seeds is 1"):
        compare_sampled(BridgeSettings(model="no such model"), _sampled("paper:8"), 1)
    with pytest.raises(InputError, match="batch"):
        compare_sampled(BridgeSettings(model="no such model"), _sampled("custom:4,scale=batch"), 2)
