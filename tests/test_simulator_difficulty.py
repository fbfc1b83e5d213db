"""Difficulties: every form, its range, its seed, and refusals."""

from __future__ import annotations

import pytest
from compare import assert_agree
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from simulator.difficulty import FORMS, get_difficulty, success_targets
from simulator.families import make_problem
from theory.errors import InputError

seeds = st.integers(0, 2**64 - 1)


def test_presets_are_where_the_papers_splits_start() -> None:
    """Section 4.4: GSM8K-Easy starts at about 0.45, GSM8K-Hard at about 0.20."""
    assert get_difficulty("easy").targets(3, 0).tolist() == [0.45] * 3
    assert get_difficulty("hard").targets(2, 0).tolist() == [0.2] * 2


def test_numbers_and_ranges_are_even_in_log_odds() -> None:
    assert_agree(get_difficulty("0.2").targets(3, 0), [0.2] * 3, 1e-15)
    assert (get_difficulty("1e-12:0.6").targets(5, 9) == success_targets(5, 1e-12, 0.6)).all()


@given(seed=seeds, n=st.integers(1, 40), text=st.sampled_from(["beta:0.01,5", "beta:5,0.01", "loguniform:1e-12,0.5"]))
def test_random_difficulties_stay_in_range_and_follow_the_seed(seed: int, n: int, text: str) -> None:
    difficulty = get_difficulty(text)
    targets = difficulty.targets(n, seed)
    assert targets.shape == (n,)
    assert ((targets >= 1e-12) & (targets <= 1 - 1e-12)).all()
    assert (targets == difficulty.targets(n, seed)).all()
    assert (targets == difficulty.targets(n + 3, seed)[:n]).all() or text.startswith("beta")


@pytest.mark.parametrize(
    ("text", "law"),
    [("beta:2,5", stats.beta(2, 5)), ("loguniform:1e-12,0.5", stats.loguniform(1e-12, 0.5))],
)
def test_random_difficulties_have_their_distribution(text: str, law: object) -> None:
    """Kolmogorov and Smirnov's test on 20,000 draws with a fixed seed; the two laws are told apart."""
    draws = get_difficulty(text).targets(20_000, 1)
    assert stats.kstest(draws, law.cdf).pvalue > 0.001  # type: ignore[attr-defined]
    assert stats.kstest(draws, stats.beta(2, 4.8).cdf).pvalue < 1e-6


def test_problems_start_at_random_difficulties_down_to_the_least() -> None:
    targets = get_difficulty("loguniform:1e-12,1e-9").targets(6, 3)
    problem = make_problem("shared-skill", 6, 4, p0=targets, seed=1)
    assert_agree(problem.at(problem.theta0).p, targets, 1e-9)


def test_another_seed_gives_other_prompts() -> None:
    for text in ("beta:2,5", "loguniform:1e-3,0.5"):
        assert (get_difficulty(text).targets(5, 1) != get_difficulty(text).targets(5, 2)).all()


BAD = ["", "medium", "0.2:0.3:0.4", "0", "1", "0.6:0.2", "nan", "beta", "beta:2", "beta:0,1", "beta:1,inf", "beta:a,b"]


@pytest.mark.parametrize("text", [*BAD, "loguniform:0,0.5", "loguniform:0.5,0.1", "loguniform:0.1,1", "gamma:1,2"])
def test_other_texts_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError, match="p0 is") as caught:
        get_difficulty(text)
    assert "\n" not in str(caught.value)


def test_an_unknown_form_lists_all_of_them() -> None:
    with pytest.raises(InputError) as caught:
        get_difficulty("medium")
    assert all(form in str(caught.value) for form in list(FORMS)[:2])
