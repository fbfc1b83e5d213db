"""Bootstrap over prompts, and the correction of cosines for sampling noise, on data whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from pages import said

from llm_bridge.measurement.intervals import (
    Interval,
    _all_resamples,
    _expanded,
    _needed,
    over_prompts,
    pairs_of,
    split_half_cosines,
    student_interval,
)
from theory.errors import InputError


def test_the_interval_of_a_mean_covers_it_about_as_often_as_it_says() -> None:
    rng, covered = np.random.default_rng(1), 0
    for trial in range(60):
        values = rng.exponential(size=25)
        found = over_prompts(lambda index, v=values: float(v[index].mean()), 25, resamples=300, seed=trial)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 1.0 <= found.high
    assert 50 <= covered <= 60


@pytest.mark.parametrize("prompts", [8, 20])
def test_the_interval_of_a_mean_covers_it_also_for_few_prompts(prompts: int) -> None:
    """Of plain 95% BCa intervals of the mean of 8 normal numbers fewer than 92% do."""
    rng, covered = np.random.default_rng(prompts), 0
    for trial in range(250):
        values = rng.standard_normal(prompts)
        found = over_prompts(lambda index, v=values: float(v[index].mean()), prompts, resamples=500, seed=trial)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.0 <= found.high
    assert 0.92 <= covered / 250 <= 0.99


def _coverage(prompts: int, draw: Callable[[np.random.Generator], np.ndarray], trials: int) -> float:
    """How often the interval of a mean of mean 0 holds it, where 199 resamples are asked for, as `reproduce` does."""
    rng, covered = np.random.default_rng(100 + prompts), 0
    for trial in range(trials):
        values = draw(rng)
        found = over_prompts(lambda index, v=values: float(v[index].mean()), prompts, resamples=199, seed=trial)
        covered += found.low <= 0.0 <= found.high  # type: ignore[operator]
    return covered / trials


@pytest.mark.deep
@pytest.mark.parametrize(("prompts", "drawn"), [(5, 0.902), (6, 0.914)])
def test_few_resamples_do_not_shorten_the_intervals_of_few_prompts(prompts: int, drawn: float) -> None:
    """With 199 resamples that were drawn, intervals held the mean in this share of 3000 cases."""
    share = _coverage(prompts, lambda rng: rng.standard_normal(prompts), 2500)
    assert drawn + 0.008 < share < 0.95


@pytest.mark.deep
def test_the_shares_that_the_page_on_measuring_tells() -> None:
    """To within three standard errors of 800 to 2500 cases."""
    words = (
        "for the mean of 4, 5 and 6 normal numbers #%, #% and #% hold it, of 8 or more #%, of 8 exponential ones #%."
    )
    trials = {4: 2500, 5: 2500, 6: 2500, 8: 800}
    shares = [_coverage(n, lambda rng, n=n: rng.standard_normal(n), count) for n, count in trials.items()]  # type: ignore[misc]
    shares.append(_coverage(8, lambda rng: rng.exponential(size=8) - 1, 800))
    for written, share, count in zip(said("measuring", words), shares, [*trials.values(), 800], strict=True):
        assert abs(float(written) / 100 - share) < 3 * (share * (1 - share) / count) ** 0.5


@pytest.mark.parametrize("prompts", [4, 5])
def test_few_prompts_take_all_resamples_whatever_is_asked_for(prompts: int) -> None:
    values = np.random.default_rng(prompts).exponential(size=prompts)
    every = np.array([values[list(index)].mean() for index in product(range(prompts), repeat=prompts)])
    distribution = _all_resamples(lambda index: np.array([values[index].mean()]), prompts)
    np.testing.assert_allclose(np.sort(distribution[0]), np.sort(every), rtol=1e-13)
    few, many = (
        over_prompts(lambda index: float(values[index].mean()), prompts, resamples=resamples, seed=resamples)
        for resamples in (1, 999)
    )
    assert few == many


def test_a_few_resamples_without_a_value_do_not_cost_the_others_their_correction() -> None:
    """Pairs have none where all prompts are one, which is among all resamples; the ends stay BCa's."""
    values = np.random.default_rng(2).exponential(size=6)
    everywhere, mostly = (
        over_prompts(lambda index, least=least: float(values[index].mean()) if len({*index}) > least else None, 6)
        for least in (0, 1)
    )
    assert (mostly.low, mostly.high) == pytest.approx((everywhere.low, everywhere.high), rel=0.02)
    means = [values[list(index)].mean() for index in product(range(6), repeat=6)]
    tail = (1 - _expanded(0.95, 6)) / 2
    assert abs(float(np.quantile(means, 1 - tail)) - everywhere.high) > 0.03 * everywhere.high  # type: ignore[operator]


def test_more_prompts_draw_as_many_resamples_as_their_level_needs_and_no_more() -> None:
    wide = _expanded(0.95, 8)
    assert _needed(wide) * (1 - wide) / 2 == pytest.approx(5, rel=0.01)
    assert _needed(_expanded(0.9999, 7)) == 20_000
    calls: list[int] = []
    over_prompts(lambda index: float(len(calls.append(0) or calls)), 8, resamples=1)
    assert _needed(wide) < len(calls) < _needed(wide) + 20


@pytest.mark.parametrize("runs", [2, 5, 10])
def test_students_interval_covers_as_often_as_it_says_also_for_few_runs(runs: int) -> None:
    """The bootstrap's covers 83% of the time for 5 runs, which was once taken for 95%."""
    rng = np.random.default_rng(runs)
    covered = 0
    for _ in range(2000):
        found = student_interval(rng.standard_normal(runs))
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0 <= found.high
    assert abs(covered / 2000 - 0.95) < 4 * (0.95 * 0.05 / 2000) ** 0.5


def test_students_interval_of_a_logarithm_and_of_too_little() -> None:
    values = np.array([1.0, 2.0, 4.0])
    found, plain = student_interval(np.log(values), shown=np.exp), student_interval(np.log(values))
    assert found.value == pytest.approx(2.0)
    assert (found.low, found.high) == pytest.approx((np.exp(plain.low), np.exp(plain.high)))
    assert student_interval(values[:1]) == Interval(1.0)
    assert student_interval(np.array([1.0, np.nan])) == Interval(None)


def test_a_statistic_of_pairs_gets_the_interval_of_its_prompts_and_not_of_its_pairs() -> None:
    """Cosine-like values a_i + a_j: the error of their mean is that of n prompts, not of n (n - 1) / 2 pairs."""
    a = np.random.default_rng(2).standard_normal(30)

    def mean(index: np.ndarray) -> float:
        i, j = pairs_of(index)
        return float((a[i] + a[j]).mean())

    found = over_prompts(mean, 30, seed=3)
    assert found.value == pytest.approx(2 * a.mean())
    width = found.high - found.low  # type: ignore[operator]
    assert width == pytest.approx(2 * 1.96 * 2 * a.std(ddof=1) / 30**0.5, rel=0.3)


def test_pairs_leave_out_a_prompt_with_itself() -> None:
    i, j = pairs_of(np.array([4, 4, 7, 9]))
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == [(4, 7), (4, 9), (4, 7), (4, 9), (7, 9)]


def test_undefined_values_have_no_interval_and_few_prompts_neither() -> None:
    assert over_prompts(lambda index: None, 10).to_json() == [None, None, None]
    assert over_prompts(lambda index: 0.5, 3).to_json() == [0.5, None, None]
    constant = over_prompts(lambda index: 0.5, 10)
    assert (constant.value, constant.low, constant.high) == (0.5, 0.5, 0.5)
    # Undefined on resamples of few different prompts only: the others carry the interval.
    values = np.arange(6.0)
    some = over_prompts(lambda index: float(values[index].mean()) if len(set(index)) > 2 else None, 6)
    assert some.low is not None
    assert some.low < 2.5 < some.high  # type: ignore[operator]


def test_intervals_are_reproducible() -> None:
    values = np.random.default_rng(5).standard_normal(12)
    first, second = (over_prompts(lambda index: float(values[index].mean()), 12, seed=7) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("options", [{"level": 1.0}, {"level": 0.0}, {"resamples": 0}])
def test_bad_options(options: dict) -> None:
    with pytest.raises(InputError):
        over_prompts(lambda index: 0.0, 5, **options)


def _noisy(cosine: float, noise: float, trials: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Raw and corrected cosines of two gradients at a known angle, over many noisy draws."""
    rng, d = np.random.default_rng(11), 200
    true = np.zeros((2, d))
    true[0, 0], true[1, :2] = 1.0, [cosine, (1 - cosine**2) ** 0.5]
    raw, corrected, undefined = [], [], 0
    for _ in range(trials):
        halves = true + noise * rng.standard_normal((2, 2, d))
        found = split_half_cosines(halves[0], halves[1])
        raw.append(found["raw"][0])
        corrected.append(found["cosines"][0])
        undefined += found["undefined"]
    return np.array(raw), np.array(corrected), undefined


@pytest.mark.parametrize("cosine", [-0.4, 0.0, 0.3, 0.9])
def test_noise_shrinks_cosines_and_the_correction_undoes_it(cosine: float) -> None:
    raw, corrected, undefined = _noisy(cosine, noise=0.1, trials=600)
    # The mean of two halves has ||noise||^2 = d noise^2 / 2 = 1: raw cosines are halved.
    assert raw.mean() == pytest.approx(cosine / 2, abs=0.02)
    error = np.nanstd(corrected) / len(corrected) ** 0.5
    assert np.nanmean(corrected) == pytest.approx(cosine, abs=max(4 * error, 0.02))
    assert undefined < 6


def test_where_noise_outweighs_the_gradient_pairs_are_counted_and_not_guessed() -> None:
    _, corrected, undefined = _noisy(0.5, noise=2.0, trials=200)
    assert undefined == np.isnan(corrected).sum()
    # Each of the two denominators is positive about half of the time.
    assert 110 < undefined < 190


def test_without_noise_nothing_is_corrected() -> None:
    gradients = np.random.default_rng(3).standard_normal((5, 40))
    found = split_half_cosines(gradients, gradients)
    np.testing.assert_allclose(found["cosines"], found["raw"], rtol=1e-14)
    np.testing.assert_allclose(found["reliability"], 1, rtol=1e-14)


def test_halves_must_match() -> None:
    with pytest.raises(InputError):
        split_half_cosines(np.ones((2, 3)), np.ones((3, 2)))
