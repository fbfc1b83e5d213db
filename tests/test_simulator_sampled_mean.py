"""X-GROUP on the simulator's own code: the mean of sampled updates is the exact rule that ``expected_rule`` names."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from compare import assert_agree
from test_simulator_sampled import get_rule, state_of, words_of

from simulator.sampled import DAPO_ATTEMPTS, SampledRule, group_updates, outputs_of, sample_words, sampled_move
from theory.advantages import PRESETS
from theory.errors import InputError
from theory.policy import PolicyState

# Rules with an expectation of their own for each prompt; a batch scale has none.
ALONE = [name for name in PRESETS if PRESETS[name].scale != "batch"]


def rows(state: PolicyState, copies: int) -> Any:
    """The probabilities of a state, repeated."""
    odds = state.odds
    return type(odds)(*(np.concatenate([getattr(odds, name)] * copies) for name in ("log_odds", "p", "q", "wrong")))


def _enumerated(rule: SampledRule, state: PolicyState) -> np.ndarray:
    """``E[update]`` of every prompt by all ``K^G`` groups, each through the simulator's own update."""
    outputs, size = state.policy.shape[1], rule.group
    mean = np.zeros(state.gap.shape)
    for draw in product(range(outputs), repeat=size):
        groups = np.tile(np.array(draw), (len(state.p), 1))
        mean += np.prod(state.policy[:, draw], axis=1)[:, None] * group_updates(rule, state, groups)
    return mean


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_expected_update_is_the_expected_rule(name: str, size: int) -> None:
    rule, state = get_rule(f"{name}:{size}"), state_of()
    weight = rule.expected_rule().weight(state.p, state.q)
    assert_agree(_enumerated(rule, state), weight[:, None] * state.gradient, 1e-12, rule.name, atol=1e-15)
    # Far from what a wrong weight would give.
    assert np.abs(_enumerated(rule, state) - 1.01 * weight[:, None] * state.gradient).max() > 1e-4


def _word_of(state: PolicyState, output: int) -> int:
    """Some word that chooses the output."""
    rng = np.random.default_rng(0)
    while True:
        word = int(rng.integers(0, 2**64, dtype=np.uint64))
        if outputs_of(state, words_of(word))[0, 0] == output:
            return word


@pytest.mark.parametrize("resample", [1, 2])
def test_the_expected_update_with_resampling_is_the_expected_rule(resample: int) -> None:
    """All sequences of 2 or 3 groups of 2 outputs, each through the simulator's own loop over attempts."""
    rule, state = SampledRule("dapo", PRESETS["verl"], 2, resample), state_of((0.2,), 2)
    words = np.array([_word_of(state, j) for j in range(2)], dtype=np.uint64)
    mean = np.zeros((1, state.gap.shape[1]))
    for draw in product(range(2), repeat=2 * (1 + resample)):
        groups = np.array(draw).reshape(1 + resample, 1, 2)
        mean += np.prod(state.policy[0, list(draw)]) * sampled_move(rule, state, lambda a, g=groups: words[g[a]])
    weight = rule.expected_rule().weight(state.p, state.q)
    assert_agree(mean, weight[:, None] * state.gradient, 1e-12)
    once = SampledRule("verl", PRESETS["verl"], 2).expected_rule().weight(state.p, state.q)
    assert (weight > 1.2 * once).all()


def test_expectations_are_refused_where_binomials_overflow() -> None:
    assert get_rule("trl:1000").expected_rule().weight(0.5, 0.5) == pytest.approx(2.0, rel=1e-2)
    with pytest.raises(InputError, match="group size G is 1001; expected at most 1000"):
        get_rule("trl:1001").expected_rule()


def test_expected_numbers_of_attempts_at_the_ends() -> None:
    rule, once = get_rule("dapo:8").expected_rule(), get_rule("verl:8").expected_rule()
    for p, q in ((1e-300, 1.0), (1.0, 1e-300), (1e-20, 1.0)):
        assert_agree(rule.weight(p, q), DAPO_ATTEMPTS * once.weight(p, q), 1e-12)
    mixed = 1 - 2 * 0.5**8
    assert_agree(rule.weight(0.5, 0.5), once.weight(0.5, 0.5) / mixed, 1e-12)
    assert get_rule("dapo:2").expected_rule().weight(0.0, 1.0) == DAPO_ATTEMPTS * get_rule(
        "verl:2"
    ).expected_rule().weight(0.0, 1.0)


@pytest.mark.parametrize("name", [*(f"{name}:4" for name in ALONE), "dapo:2", "trl:16", "plain:1"])
def test_the_mean_of_sampled_updates_is_the_expectation(name: str) -> None:
    """Mean over 20,000 groups for each of three prompts, from the words that runs use.

    Eighteen coordinates are held against 5 standard errors: by the normal law a right implementation fails with odds
    below 1.1e-5, and a weight that is 15 percent off is told apart.
    """
    rule, groups = get_rule(name), 20_000
    one = state_of(outputs=2)
    many = PolicyState(np.tile(one.features, (groups, 1, 1)), np.tile(one.answers, groups), rows(one, groups))
    moves = sampled_move(rule, many, sample_words(rule, 3 * groups, 0, 11, 0)).reshape(groups, 3, -1)
    error = moves.std(axis=0, ddof=1) / groups**0.5
    exact = rule.expected_rule().weight(one.p, one.q)[:, None] * one.gradient
    assert (np.abs(moves.mean(axis=0) - exact) < 5 * error + 1e-12).all()
    assert (np.abs(moves.mean(axis=0) - 1.15 * exact) > 5 * error).any()
