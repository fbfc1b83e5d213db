"""X-GRPO-SUM-MEAN: what its proof counts, counted; where it is silent; and the constant that the proof needs."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import comb
from unittest.mock import patch

import numpy as np
import pytest
import sympy as sp
from compare import assert_agree

from simulator.checks import build_context
from simulator.expectations import ExpectedRun
from theory.checker import CertificateError, check
from theory.claims import grpo_mean, load_registry
from theory.instances import Instance
from theory.judge import Counterexample, compare, recheck
from theory.known import kept_instance

REGISTRY = load_registry()
CLAIM = REGISTRY["X-GRPO-SUM-MEAN"]


def _more_than(n: int, steps: int) -> list[Fraction]:
    """``P(B > m)`` for m = 0..T-1, B ~ Binomial(T, 1/n), exactly."""
    odds = [Fraction(comb(steps, k) * (n - 1) ** (steps - k), n**steps) for k in range(steps + 1)]
    return [sum(odds[m + 1 :], Fraction(0)) for m in range(steps)]


def _pair(p0: float, steps: int, size: float = 1.0) -> Instance:
    """Two orthogonal prompts at p0 and 1/2, features 1 and -1 and ``size`` times that: a larger one slows the first."""
    features = np.zeros((2, 2, 2))
    features[0, :, 0], features[1, :, 1] = (1.0, -1.0), (size, -size)
    theta = np.array([np.log(p0 / (1 - p0)) / 2, 0.0])
    return Instance(features, np.array([0, 0]), theta, np.ones(2), np.zeros(2), steps)


@pytest.mark.parametrize("n", [2, 3, 7])
def test_draws_are_rarely_many(n: int) -> None:
    """``P(B > m) <= 2 (T - m) / T``; a factor of 1 would not do with two prompts, nor 2 with one."""
    for steps in range(1, 60):
        assert all(chance <= Fraction(2 * (steps - m), steps) for m, chance in enumerate(_more_than(n, steps)))
    assert any(chance > Fraction(10 - m, 10) for m, chance in enumerate(_more_than(2, 10)))
    assert _more_than(1, 10)[-1] > Fraction(2, 10)


def test_the_sum_counts_each_point_of_the_path_as_often_as_it_is_left() -> None:
    run = build_context(CLAIM, _pair(0.1, 25))
    chances = np.array([float(chance) for chance in _more_than(2, 25)])
    assert_agree(run.grad_sq[:-1].sum(axis=0), 2 * chances @ run.paths.grad_sq[:-1], 1e-13, "sum")


@pytest.mark.parametrize("p0", [1e-3, 0.3, 0.8])
def test_a_draw_gains_what_the_proof_says_and_c_is_the_largest_so_far(p0: float) -> None:
    run = build_context(CLAIM, _pair(p0, 60, size=0.5))
    path = run.paths
    assert (path.gain >= 17 * path.grad_sq[:-1] / (40 * run.x_max_sq * path.std[:-1]) * (1 - 1e-12)).all()
    assert_agree(run.std_bound, np.maximum.accumulate(path.std), 0.0)


def test_it_holds_with_slow_paths_from_hard_prompts_and_not_with_a_smaller_c() -> None:
    assert CLAIM.witness is not None
    run = build_context(CLAIM, CLAIM.witness())
    assert isinstance(run, ExpectedRun)
    assert_agree(run.J[0], [1e-4, 1e-4], 1e-3)
    left, right = (np.asarray(side(run))[-1] for side in (CLAIM.left, CLAIM.right))
    assert (left / right > 0.488).all()
    assert (left < right).all()
    # With the mean deviation in place of C, which Assumption 3 does not allow, the bound would fall below the sum.
    assert (left > right * run.std_mean[:-1].mean(axis=0) / run.std_bound[:-1].mean(axis=0)).all()


def test_a_constant_below_1_41_would_not_do() -> None:
    """From a harder start than the witness's, whose run is shorter."""
    assert CLAIM.witness is not None
    instance = replace(CLAIM.witness(), theta=np.full(2, np.log(1e-5) / 2), steps=1360)
    run = build_context(CLAIM, instance)
    ratio = (np.asarray(CLAIM.left(run)) / CLAIM.right(run))[-1]
    assert ((ratio > 0.5317) & (ratio < 1)).all()
    assert (8 / 3 * ratio > 1.41).all()


def test_it_is_silent_about_one_prompt_where_it_is_false() -> None:
    kept = kept_instance("P-T32-SUM")
    assert kept is not None
    assert not len(compare(CLAIM, build_context(CLAIM, kept)).left)
    bold = replace(CLAIM, left=REGISTRY["P-T32-SUM"].left, right=REGISTRY["P-T32-SUM"].right, proof=None)
    assert isinstance(recheck(bold, build_context, kept), Counterexample)
    assert recheck(bold, build_context, _pair(0.5, 76)) is True


def test_the_checker_rejects_a_constant_below_40_17() -> None:
    assert CLAIM.proof is not None
    for constant, accepted in ((sp.Rational(8, 3), True), (sp.Rational(40, 17), True), (sp.Rational(7, 3), False)):
        with patch.object(grpo_mean, "PRINTED", constant):
            certificate = CLAIM.proof().to_json()
        if accepted:
            check(certificate)
            continue
        with pytest.raises(CertificateError, match="not visibly non-negative"):
            check(certificate)
