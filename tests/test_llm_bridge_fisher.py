"""Fisher information: its trace and diagonal, the paper's estimator, and the test against reward variance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from compare import assert_agree
from scipy.stats import pearsonr, permutation_test, rankdata, spearmanr
from tiny_case import case

from llm_bridge.gradients import logit_features
from llm_bridge.measurement.fisher import fisher_against_variance, fisher_diagonal, fisher_traces
from theory.errors import InputError


def test_trace_and_diagonal_are_the_expected_squares_of_the_score() -> None:
    loaded, batch, measured = case()
    x, pi = logit_features(loaded, batch)[1].numpy(), measured.policy
    traces = fisher_traces(measured)
    for i in range(2):
        score = x[i] - pi[i] @ x[i]
        exact = pi[i] @ score**2
        assert_agree(fisher_diagonal(loaded, batch.prompt(i)), exact, 0.0, "diagonal", atol=1e-9 * exact.max())
        assert traces[i] == pytest.approx(exact.sum(), rel=1e-9)


def test_the_papers_estimator_is_unbiased_for_it() -> None:
    """``B grad L * grad L`` with one response a prompt, over all pairs of responses of two prompts."""
    loaded, batch, measured = case()
    x, pi = logit_features(loaded, batch)[1].numpy()[:2], measured.policy[:2]
    scores = [x[i] - pi[i] @ x[i] for i in range(2)]
    expected = 0.0
    for j, first in enumerate(scores[0]):
        for k, second in enumerate(scores[1]):
            expected = expected + pi[0][j] * pi[1][k] * 2 * ((first + second) / 2) ** 2
    exact = (fisher_diagonal(loaded, batch.prompt(0)) + fisher_diagonal(loaded, batch.prompt(1))) / 2
    assert_agree(expected, exact, 0.0, "mini-batch", atol=1e-9 * exact.max())


def _related(strength: float, steps: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Traces and variances that share a part of each prompt's own at each step."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((steps, n))
    return strength * shared + rng.standard_normal((steps, n)), strength * shared + rng.standard_normal((steps, n))


def test_one_checkpoint_is_scipys_correlation() -> None:
    f, v = _related(1.0, 1, 30, 3)
    found = fisher_against_variance(f, v, resamples=200)
    for kind, reference in (("pearson", pearsonr(f[0], v[0])), ("spearman", spearmanr(f[0], v[0]))):
        told = found[kind]["same"]
        assert told["value"] == pytest.approx(reference.statistic)
        assert told["p"] == pytest.approx(reference.pvalue, abs=0.02)
        assert told["low"] < told["value"] < told["high"]
        assert found[kind]["different"] is None


@pytest.mark.parametrize("n", [3, 5])
def test_of_few_prompts_all_orders_are_taken(n: int) -> None:
    """Whatever the seed: of 5 prompts 9999 random orders gave 0.374 and 0.379 with two seeds where 0.375 is exact."""
    f, v = _related(1.0, 4, n, 7)
    found = [fisher_against_variance(f, v, resamples=1, seed=seed) for seed in (0, 1)]
    assert found[0]["permutations"] == {"orders": math.factorial(n), "all": True}
    for kind, change in (("pearson", lambda rows: rows), ("spearman", lambda rows: rankdata(rows, axis=1))):
        a, b = change(f), change(v)

        def same(order: np.ndarray, a: np.ndarray = a, b: np.ndarray = b) -> float:
            # Rounded, as scipy counts equal correlations as equal only if they are so to the last digits.
            return round(abs(np.mean([pearsonr(a[t], b[t, order]).statistic for t in range(len(a))])), 10)

        exact = permutation_test(
            (np.arange(n),), same, permutation_type="pairings", vectorized=False, alternative="greater"
        )
        assert found[0][kind]["same"]["p"] == found[1][kind]["same"]["p"] == pytest.approx(exact.pvalue, rel=1e-12)
        assert found[0][kind]["same"]["p"] >= 1 / math.factorial(n)


def test_of_more_prompts_random_orders_are_taken_and_the_observed_one_counts() -> None:
    seven = np.arange(7.0)[None]
    assert fisher_against_variance(seven, seven, resamples=1)["pearson"]["same"]["p"] == 2 / math.factorial(7)
    rows = np.arange(8.0)[None]
    found = fisher_against_variance(rows, rows, resamples=1)
    assert found["permutations"] == {"orders": 9999, "all": False}
    # Two of the 40320 orders reach a correlation of 1 or -1; the seed draws none, and p is not 0.
    assert found["pearson"]["same"]["p"] == 1e-4
    assert fisher_against_variance(np.ones((2, 2)), np.ones((2, 2)))["permutations"] is None


def test_what_holds_at_the_same_step_only_is_told_apart() -> None:
    f, v = _related(1.5, 6, 40, 4)
    found = fisher_against_variance(f, v, resamples=100)["pearson"]
    assert found["same"]["value"] > 0.4
    assert found["same"]["p"] < 0.001
    assert abs(found["different"]["value"]) < 0.1
    assert found["different"]["p"] > 0.01
    by_hand = [np.corrcoef(f[t], v[s])[0, 1] for t in range(6) for s in range(6) if s != t]
    assert found["different"]["value"] == pytest.approx(np.mean(by_hand))
    assert found["within"] == pytest.approx(np.mean([np.corrcoef(f[:, i], v[:, i])[0, 1] for i in range(40)]))


def test_what_belongs_to_the_prompts_lasts_over_steps_and_vanishes_between_prompts() -> None:
    rng = np.random.default_rng(5)
    own = rng.standard_normal(25)
    f, v = (np.tile(own, (5, 1)) + 0.1 * rng.standard_normal((5, 25)) for _ in range(2))
    found = fisher_against_variance(f, v, resamples=50)["pearson"]
    assert found["different"]["value"] > 0.9
    assert found["different"]["p"] < 0.001
    # Pair different prompts, as mini-batches of different iterations do, and nothing is left.
    by_hand = [
        np.mean(_standard(f[t]) * _standard(np.roll(v[s], k)))
        for t in range(5)
        for s in range(5)
        if s != t
        for k in range(1, 25)
    ]
    assert found["other_prompts"] == pytest.approx(np.mean(by_hand))
    assert abs(found["other_prompts"]) < 0.05


def _standard(row: np.ndarray) -> np.ndarray:
    return (row - row.mean()) / row.std()


@pytest.mark.deep
def test_independent_data_is_seldom_significant() -> None:
    """Also along a run, where values of a prompt hardly change from step to step."""
    rng, small = np.random.default_rng(6), 0
    for _ in range(40):
        f, v = (np.cumsum(rng.standard_normal((6, 12)), axis=0) for _ in range(2))
        small += fisher_against_variance(f, v, resamples=1)["pearson"]["same"]["p"] < 0.05
    assert small <= 6


def test_constant_and_few_values_have_no_correlation() -> None:
    constant = fisher_against_variance(np.ones((1, 5)), np.arange(5.0)[None])
    assert constant["pearson"]["same"] is None
    assert fisher_against_variance(np.ones((2, 2)), np.ones((2, 2)))["pearson"]["same"] is None
    with pytest.raises(InputError):
        fisher_against_variance(np.ones((2, 3)), np.ones((3, 2)))


def test_no_correlation_and_no_end_of_an_interval_lies_beyond_one() -> None:
    """Few prompts in a line or against it: every mean is 1 or -1 but for rounding, resamples of two prompts always."""
    ends = []
    for seed in range(2):
        f = np.random.default_rng(seed).lognormal(size=(3, 6))
        for sign in (1.0, -1.0):
            found = fisher_against_variance(f, 5.0 + sign * 0.3 * f, resamples=50)
            for kind in ("pearson", "spearman"):
                ends += [found[kind][name][end] for name in ("same", "different") for end in ("value", "low", "high")]
                ends.append(found[kind]["within"])
    assert np.abs(ends).max() == 1.0
