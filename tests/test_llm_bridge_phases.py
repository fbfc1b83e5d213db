"""Phases are found where there are some, at the right places, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from llm_bridge.measurement.phases import find_phases
from llm_bridge.measurement.smooth_curves import SmoothCurves
from theory.errors import InputError

S = 150
T = np.arange(S)


def _noise(seed: int, size: float, rho: float = 0.0) -> np.ndarray:
    """Autoregressive noise with standard deviation ``size``."""
    draws = np.random.default_rng(seed).standard_normal(S) * size
    for step in range(1, S):
        draws[step] = rho * draws[step - 1] + (1 - rho**2) ** 0.5 * draws[step]
    return draws


THREE = {
    "plateaus": np.repeat([1.0, 0.6, 0.1], [45, 60, 45]),
    "slopes": np.interp(T, [0, 45, 105, S], [1.0, 0.95, 0.3, 0.28]),
    "ways up and down": np.interp(T, [0, 45, 105, S], [0.0, 1.0, 0.2, 0.9]),
}
NONE = {
    "constant": np.full(S, 0.5),
    "line": T / S,
    "exponential": np.exp(-T / 30),
    "logistic": 1 / (1 + np.exp(-(T - 70) / 12)),
    "root": np.sqrt(T / S),
    "one over t": 1 / (1 + T / 20),
}


@pytest.mark.parametrize("name", THREE)
def test_three_phases_are_found_where_they_are(name: str) -> None:
    found = find_phases(T, THREE[name] + _noise(1, 0.015), draws=39)
    assert found.number == 3
    np.testing.assert_allclose(found.breaks, [45, 105], atol=4)
    assert found.margin >= 10
    assert found.p is not None
    assert found.p <= 0.05


@pytest.mark.parametrize("rho", [0.0, 0.9])
@pytest.mark.parametrize("name", NONE)
def test_curves_without_phases_have_none(name: str, rho: float) -> None:
    found = find_phases(T, NONE[name] + _noise(3, 0.05, rho), draws=39)
    assert found.number == 1, found.to_json()
    assert found.to_json()["verdict"] == "none"


@pytest.mark.parametrize("name", NONE)
def test_nor_have_they_without_noise(name: str) -> None:
    assert find_phases(T, NONE[name]).number == 1


@pytest.mark.deep
def test_wandering_is_seldom_taken_for_phases() -> None:
    """Random walks, the hardest case: a BIC that took steps for independent would see phases in nearly all of them."""
    seen = sum(find_phases(T, np.cumsum(_noise(seed, 1.0)), draws=39).number > 1 for seed in range(25))
    assert seen <= 4


def test_breaks_are_common_to_several_curves_and_each_phase_is_described() -> None:
    curves = np.stack([THREE["plateaus"], 1 - THREE["plateaus"], np.zeros(S)], axis=1)
    curves += np.stack([_noise(seed, 0.02) for seed in (4, 5, 6)], axis=1)
    found = find_phases(2 * T, curves, draws=19)
    assert found.number == 3
    np.testing.assert_allclose(found.breaks, [90, 210], atol=2)
    np.testing.assert_allclose(found.means[:, 0], [1.0, 0.6, 0.1], atol=0.02)
    np.testing.assert_allclose(found.means[:, 1], [0.0, 0.4, 0.9], atol=0.02)
    assert found.means.shape == found.slopes.shape == (3, 3)


def test_slopes_are_per_unit_of_time() -> None:
    found = find_phases(10 * T, 0.3 * T + _noise(7, 0.1))
    assert found.number == 1
    assert found.slopes[0, 0] == pytest.approx(0.03, rel=1e-2)


def test_long_curves_are_averaged_first() -> None:
    t = np.arange(3000)
    found = find_phases(
        t, np.repeat([0.0, 1.0, 0.5], 1000) + 0.2 * np.random.default_rng(8).standard_normal(3000), draws=19
    )
    assert found.number == 3
    np.testing.assert_allclose(found.breaks, [1000, 2000], atol=26)


def test_the_search_is_exact() -> None:
    """Two pieces, against trying every break."""
    rng = np.random.default_rng(9)
    y = rng.standard_normal(40) + np.repeat([0.0, 30.0], [13, 27])
    t = np.arange(40.0)

    def left(a: int, b: int) -> float:
        return float(np.sum((y[a:b] - np.polyval(np.polyfit(t[a:b], y[a:b], 1), t[a:b])) ** 2))

    best = min(range(5, 36), key=lambda at: left(0, at) + left(at, 40))
    assert find_phases(t, y, most=2).breaks == (best,)


def test_smooth_shapes_fit_themselves() -> None:
    x = np.linspace(0, 1, 60)
    y = np.stack([2 - 3 * x**3 + x, np.exp(-4 * x), np.full(60, 3.0)], axis=1)
    left = SmoothCurves(x).squares(y)
    assert left["cubic"][0][0] < 1e-12
    assert left["exponential"][0][1] < 1e-2
    assert left["constant"][0][2] < 1e-12
    np.testing.assert_allclose(SmoothCurves(x).fit(y)[:, 0], y[:, 0], atol=1e-9)


@pytest.mark.parametrize(
    ("t", "curves"),
    [
        (np.arange(5), np.arange(5)),
        (np.arange(20), np.arange(19)),
        (np.arange(20)[::-1], np.arange(20)),
        (np.arange(20), np.full(20, np.nan)),
    ],
)
def test_bad_curves(t: np.ndarray, curves: np.ndarray) -> None:
    with pytest.raises(InputError):
        find_phases(t, curves)


@pytest.mark.parametrize(("name", "value"), [("shortest", 21), ("shortest", 2), ("most", 0), ("draws", 0)])
def test_bad_options(name: str, value: int) -> None:
    with pytest.raises(InputError, match=f"{name} is {value}"):
        find_phases(np.arange(20), np.arange(20) ** 0.5, **{name: value})  # type: ignore[arg-type]
