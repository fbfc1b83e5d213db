"""Sampled advantages: golden values of the published conventions, and what holds for all of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compare import assert_agree
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from theory.advantages import PRESETS, Convention, advantages, get_convention, zero_variance_groups
from theory.errors import InputError

# A group of 8 with 3 right outputs: advantage of a right one, from the published formula, typed as its arithmetic.
STD0, STD1 = np.sqrt(0.375 * 0.625), np.sqrt(0.375 * 0.625 * 8 / 7)
GOLDEN = {
    "paper": 0.625 / STD0,
    "talk": 0.625 / STD0,
    "no_std": 0.625,
    "trl": 0.625 / (STD1 + 1e-4),
    "verl": 0.625 / (STD1 + 1e-6),
    "openrlhf": 0.625 / (STD1 + 1e-9),
    "grpo_zero": 0.625 / (STD0 + 1e-4),
    "dr_grpo": 0.625,
    "rloo": 1 - 2 / 7,
    "plain": 1.0,
}
ROUNDED = {"paper": 1.291, "trl": 1.207, "dr_grpo": 0.625, "rloo": 0.714}

groups = hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(2, 9)), elements=st.sampled_from([0.0, 1.0]))


@pytest.mark.parametrize("name", GOLDEN)
def test_presets_hold_to_the_published_formula(name: str) -> None:
    rewards = np.array([[1.0, 1, 1, 0, 0, 0, 0, 0]])
    result = get_convention(name)(rewards)
    assert_agree(result[0, :3], np.full(3, GOLDEN[name]), 1e-14, name)
    if name != "plain":
        assert_agree(result.sum(), 0.0, 0.0, "sum", atol=1e-14)


@pytest.mark.parametrize("name", ROUNDED)
def test_presets_give_the_figures_people_quote(name: str) -> None:
    assert round(float(get_convention(name)(np.array([[1.0, 1, 1, 0, 0, 0, 0, 0]]))[0, 0]), 3) == ROUNDED[name]


def test_batch_scaling_uses_one_deviation_for_all_groups() -> None:
    rewards = np.array([[1.0, 0, 0, 0], [1.0, 1, 0, 0]])
    centred = rewards - rewards.mean(axis=1, keepdims=True)
    assert_agree(get_convention("trl_batch")(rewards), centred / (rewards.std(ddof=1) + 1e-4), 1e-14)


@pytest.mark.parametrize("name", PRESETS)
@given(rewards=groups)
def test_torch_and_numpy_agree(name: str, rewards: np.ndarray) -> None:
    ours = PRESETS[name](rewards)
    theirs = PRESETS[name](torch.from_numpy(rewards))
    assert isinstance(theirs, torch.Tensor)
    # With eps = 1e-9 rounding noise of a constant group is blown up to 1e-7; nothing else comes near.
    assert_agree(theirs.numpy(), ours, 1e-12, name, atol=1e-6 if name == "openrlhf" else 1e-9)


@pytest.mark.parametrize("name", sorted(PRESETS.keys() - {"plain"}))
@given(rewards=groups)
def test_constant_groups_get_nothing_and_others_sum_to_zero(name: str, rewards: np.ndarray) -> None:
    result = PRESETS[name](rewards)
    assert np.isfinite(result).all()
    assert_agree(result.sum(axis=1), np.zeros(len(rewards)), 0.0, "sum", atol=1e-6)
    constant = zero_variance_groups(rewards)
    assert_agree(result[constant], np.zeros_like(result[constant]), 0.0, "constant groups", atol=1e-6)
    assert ((result > 0) == (rewards == 1))[~constant].all()


@given(rewards=groups)
def test_without_a_baseline_the_rewards_themselves_are_the_advantages(rewards: np.ndarray) -> None:
    assert (PRESETS["plain"](rewards) == rewards).all()
    scaled = advantages(rewards, baseline="none", scale="group")
    constant = zero_variance_groups(rewards)
    assert (scaled[constant] == 0).all()
    mixed = rewards[~constant]
    assert_agree(scaled[~constant], mixed / mixed.std(axis=1, ddof=0, keepdims=True), 1e-14)


@given(rewards=groups, scale=st.floats(0.1, 100), shift=st.floats(-10, 10))
def test_the_papers_advantages_ignore_the_unit_of_reward(rewards: np.ndarray, scale: float, shift: float) -> None:
    mixed = rewards[~zero_variance_groups(rewards)]
    if len(mixed):
        assert_agree(PRESETS["paper"](scale * mixed + shift), PRESETS["paper"](mixed), 1e-9)


def test_zero_variance_is_seen_by_range_not_by_a_computed_deviation() -> None:
    rewards = np.full((1, 6), 0.1)
    assert zero_variance_groups(rewards).all()
    assert not zero_variance_groups(np.array([[0.1, 0.1, 0.1 + 1e-16]])).any()
    assert advantages(rewards).tolist() == [[0.0] * 6]
    assert advantages(np.full((2, 3), 1.0), scale="batch").tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize(
    ("rewards", "options", "words"),
    [
        (np.ones(4), {}, "(4,)"),
        (np.ones((0, 4)), {}, "(0, 4)"),
        (np.array([[1.0, np.nan]]), {}, "finite"),
        (np.array([[1.0, np.inf]]), {}, "finite"),
        (np.ones((3, 1)), {}, "G is 1"),
        (np.ones((3, 1)), {"baseline": "leave_one_out", "scale": "none"}, "G is 1"),
        (np.ones((2, 4)), {"ddof": 2}, "ddof is 2"),
        (np.ones((2, 4)), {"eps": -1.0}, "eps is -1.0"),
        (np.ones((2, 4)), {"zero_variance": "divide"}, "eps is 0"),
    ],
)
def test_unusable_groups_are_refused(rewards: np.ndarray, options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words.replace("(", r"\(").replace(")", r"\)")) as caught:
        advantages(rewards, **options)
    assert "\n" not in str(caught.value)


def test_unknown_presets_are_refused() -> None:
    with pytest.raises(InputError, match="gspo"):
        get_convention("gspo")


def test_a_convention_is_its_explicit_options() -> None:
    rewards = np.array([[1.0, 0.0, 0.0]])
    custom = Convention("mean", "group", 1, 0.5, "divide")
    direct = advantages(rewards, baseline="mean", scale="group", ddof=1, eps=0.5, zero_variance="divide")
    assert (custom(rewards) == direct).all()
