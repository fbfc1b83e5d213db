"""exp, log and powers of the vector engine against 50-digit arithmetic, and the random words against numpy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from compare import assert_agree
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from simulator.engines.arrays import Draws
from simulator.engines.draws import draw_prompts
from simulator.engines.functions import EXP_COEFFICIENTS, LOG_2_LOW, LOG_COEFFICIENTS, exp, inverse_sqrt, log, power
from simulator.engines.philox import philox_block
from simulator.engines.pointers import staged
from simulator.engines.room import BLOCK
from simulator.engines.vectors import Lanes
from simulator.random import philox, uniform_order


def _compiled(function: Callable[[Lanes], Lanes], width: int = 8) -> Callable[[np.ndarray], np.ndarray]:
    """The function as a numpy function of an array whose length is a multiple of ``width``."""
    stage = staged(width, lambda source, target: target.store(function(source.load())))

    @njit
    def run(x, out):  # type: ignore[no-untyped-def]
        for i in range(0, len(x), width):
            stage(((x, i), (out, i)))

    def apply(x: np.ndarray) -> np.ndarray:
        out = np.empty_like(x)
        run(x, out)
        return out

    return apply


def _worst_ulps(x: np.ndarray, y: np.ndarray, exact: Callable[[Any], Any]) -> float:
    with mpmath.workdps(50):
        pairs = zip(x.tolist(), y.tolist(), strict=True)
        return max(float(abs(mpmath.mpf(b) - exact(mpmath.mpf(a))) / np.spacing(abs(b))) for a, b in pairs)


def test_exp_is_within_one_unit_in_the_last_place() -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate([np.linspace(-708, 708, 2000), rng.standard_normal(2000), 1e-9 * rng.standard_normal(96)])
    assert _worst_ulps(x, _compiled(exp)(x), mpmath.exp) < 1.0
    assert_agree(_compiled(exp)(np.zeros(8)), np.ones(8), 0.0)


def test_log_is_within_one_unit_in_the_last_place() -> None:
    rng = np.random.default_rng(2)
    x = np.concatenate([10 ** np.linspace(-307, 308, 2000), 1 + 1e-3 * rng.standard_normal(2000), rng.random(96)])
    assert _worst_ulps(x, _compiled(log)(x), mpmath.log) < 1.0


def test_inverse_square_root_is_within_two_units_in_the_last_place() -> None:
    rng = np.random.default_rng(3)
    x = np.concatenate([10 ** np.linspace(-307, 308, 2000), rng.random(2000), 1 + 1e-12 * rng.standard_normal(96)])
    assert _worst_ulps(x, _compiled(inverse_sqrt)(x), lambda v: 1 / mpmath.sqrt(v)) < 2.0


@pytest.mark.parametrize("exponent", [0.0, 0.25, -0.25, 0.5, -0.5, 1.0, -1.0, 2.0, -0.7])
def test_powers(exponent: float) -> None:
    x = 10 ** np.linspace(-300, 0, 800)
    with np.errstate(over="ignore"):
        # The error of the logarithm's last digit grows with its size, up to 690.
        assert_agree(_compiled(lambda v: power(v, exponent))(x), x**exponent, 3e-13, f"x ** {exponent}")


def test_coefficients_are_what_the_docstrings_say() -> None:
    with mpmath.workdps(40):
        half, top = mpmath.log(2) / 2, (3 - 2 * mpmath.sqrt(2)) ** 2

        def exp_tail(r: Any) -> Any:
            return sum(r**k / mpmath.factorial(k + 2) for k in range(30))

        def log_tail(u: Any) -> Any:
            return sum(u**k / (2 * k + 3) for k in range(60))

        fitted_exp = mpmath.chebyfit(exp_tail, [-half, half], len(EXP_COEFFICIENTS) - 2)
        fitted_log = mpmath.chebyfit(log_tail, [0, top], len(LOG_COEFFICIENTS))
        assert [float(c) for c in reversed(fitted_exp)] == list(EXP_COEFFICIENTS[2:])
        assert [float(c) for c in reversed(fitted_log)] == list(LOG_COEFFICIENTS)
        assert float(mpmath.log(2) - mpmath.mpf(np.log(2))) == LOG_2_LOW


@given(
    seed=st.integers(0, 2**64 - 1),
    replica=st.integers(0, 2**40),
    stream=st.integers(0, 300),
    block=st.integers(0, 2**20),
)
def test_words_are_those_of_numpy(seed: int, replica: int, stream: int, block: int) -> None:
    source = philox(seed, replica=replica, stream=stream)
    state = source.state
    state["state"]["counter"][0] = block
    source.state = state
    ours = philox_block(np.uint64(block), np.uint64(seed), np.uint64(replica), np.uint64(stream))
    assert list(ours) == source.random_raw(4).tolist()


def test_negative_control_a_shifted_coefficient_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = (*EXP_COEFFICIENTS[:-1], EXP_COEFFICIENTS[-1] * 1.001)
    monkeypatch.setattr("simulator.engines.functions.EXP_COEFFICIENTS", broken)
    x = np.linspace(-0.34, 0.34, 800)
    assert _worst_ulps(x, _compiled(exp)(x), mpmath.exp) > 1.0


@given(seed=st.integers(0, 2**64 - 1), replica=st.integers(0, 2**40), n=st.integers(1, 2**31), lanes=st.integers(1, 40))
def test_prompts_are_those_of_the_reference(seed: int, replica: int, n: int, lanes: int) -> None:
    """Drawn 16 replicas at a time and one by one; the third block of steps."""
    draws = Draws(np.uint64(seed), 1, True, np.empty((0, 0), np.int64))
    order = np.zeros((BLOCK, 1, lanes), np.int64)
    draw_prompts(draws, n, 2 * BLOCK, replica, order)
    for lane in (0, lanes - 1):
        wanted = uniform_order(n, 3 * BLOCK, seed, replica + lane)[2 * BLOCK :]
        assert order[:, 0, lane].tolist() == wanted.tolist()
