"""The power family: one theorem for every alpha, held to golden values, and its mutants refuted."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import exp, log, sqrt
from typing import Any

import numpy as np
import pytest
from compare import assert_agree
from scipy.integrate import quad

from simulator.checks import build_context
from theory.claim import Claim
from theory.claims import load_registry
from theory.claims.power import ALPHAS, power_step
from theory.exact import as_balls, precision
from theory.instances import Instance
from theory.points import Point
from theory.rules import get_rule, power
from theory.search import property_check, search

REGISTRY = load_registry()
IDS = {alpha: f"X-POWER-{round(100 * alpha)}" for alpha in ALPHAS}


def _two_outputs(log_odds: float, steps: int = 1) -> Instance:
    """K = 2, d = 1, features 1 and -1: X^2 = 2, gap = 2, L = 2 theta."""
    zeros = np.zeros(1)
    return Instance(np.array([[[1.0], [-1.0]]]), np.array([0]), np.array([log_odds / 2]), zeros, zeros, steps)


@pytest.mark.parametrize(
    ("alpha", "eta"), [(0.0, 1.0), (0.25, sqrt(0.5)), (0.5, 0.5), (0.75, sqrt(0.125)), (1.0, 0.25)]
)
def test_the_step_size_joins_those_of_the_theorems(alpha: float, eta: float) -> None:
    assert_agree(power_step(alpha, 1.0), eta, 1e-15)
    assert_agree(power_step(alpha, 7.0), eta / 7, 1e-15)
    for name in ("reinforce", "grpo"):
        rule = get_rule(name)
        assert rule.step_size is not None
        if alpha == (0.0 if name == "reinforce" else 0.5):
            assert_agree(power_step(alpha, 3.0), rule.step_size(3.0), 1e-15)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_one_step_of_two_outputs_has_its_golden_value(alpha: float) -> None:
    """From p = 1/5, V = 4/25: dL = eta V^(1 - alpha) 4 with eta = 4^(-alpha) / 2, that is (4 V)^(1 - alpha) / 2."""
    run = build_context(REGISTRY[IDS[alpha]], _two_outputs(log(0.25)))
    odds = 0.25 * exp(0.5 * 0.64 ** (1 - alpha))
    assert_agree(run.gain[0, 0], odds / (1 + odds) - 0.2, 1e-13)
    assert_agree(run.weighted_grad_sq[0, 0], 4 * 0.16 ** (2 - alpha), 1e-13)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_guarantee_is_two_thirds_of_first_order(alpha: float) -> None:
    claim, run = REGISTRY[IDS[alpha]], build_context(REGISTRY[IDS[alpha]], _two_outputs(log(0.25)))
    assert_agree(claim.links[0].right(run)[0, 0], 2 / 3 * 0.5 * 4**-alpha * 4 * 0.16 ** (2 - alpha), 1e-13)
    assert_agree(claim.links[1].right(run)[0, 0], 1.5 * 0.8 * 2 * 4**alpha, 1e-13)
    assert_agree(claim.links[2].right(run)[0, 0], 1.5 * 0.8 * 2 * 4**alpha * 0.16**alpha, 1e-13)


def test_the_weighted_mean_is_taken_over_the_prompt_order() -> None:
    """Two prompts, one step: each has moved with odds 1/2."""
    one, blocks = _two_outputs(log(0.25)), np.zeros((2, 2, 2))
    blocks[0, :, 0] = blocks[1, :, 1] = [1.0, -1.0]
    zeros = np.zeros(2)
    pair = Instance(blocks, np.array([0, 0]), np.full(2, log(0.25) / 2), zeros, zeros, 1)
    claim = REGISTRY["X-POWER-25"]
    alone, both = build_context(claim, one), build_context(claim, pair)
    assert_agree(both.weighted_grad_sq[1], np.full(2, alone.weighted_grad_sq[:, 0].mean()), 1e-14)


def _mutant(claim_id: str, link: int, factor: float, **changes: Any) -> Claim:
    claim = REGISTRY[claim_id]
    part = claim.links[link]
    right = part.right
    return replace(
        claim,
        relation=part.relation,
        left=part.left,
        right=lambda c: right(c) * factor,
        chain=(),
        proof=None,
        **changes,
    )


@pytest.mark.parametrize("alpha", ALPHAS)
def test_an_inflated_guarantee_and_a_tightened_sum_are_refuted(alpha: float) -> None:
    for link, factor in ((0, 1.45), (1, 0.6)):
        mutant = _mutant(IDS[alpha], link, factor)
        found = search(mutant, build_context, examples=60, evaluations=60, seed=1, shrink=False)
        assert found.counterexample is not None, link


@pytest.mark.parametrize("alpha", [0.25, 0.5, 1.0])
def test_another_exponent_in_the_guarantee_is_refuted(alpha: float) -> None:
    """A guarantee with V^(-alpha - 1/2), V taken at the start, is too much for a hard prompt."""
    mutant = _mutant(IDS[alpha], 0, 1.0)
    right = mutant.right
    steeper = replace(mutant, right=lambda run: right(run) * (run.q[0] * run.J[0]) ** -0.5)
    assert property_check(steeper, build_context, 60, seed=2, shrink=False).counterexample is not None


@pytest.mark.parametrize("alpha", ALPHAS)
def test_a_step_far_beyond_the_theorem_is_refuted(alpha: float) -> None:
    mutant = replace(_mutant(IDS[alpha], 0, 1.0), step_size=lambda x: 20 * power_step(alpha, x))
    assert search(mutant, build_context, examples=60, evaluations=60, seed=3, shrink=False).counterexample is not None


def test_the_power_of_a_ball_is_the_power_of_the_float() -> None:
    with precision(256):
        v = as_balls(np.array([0.2, 1e-12]))
        for alpha in ALPHAS:
            assert_agree(
                [float(e) for e in power(alpha).weight(v, 1 - v)],
                (np.array([0.2, 1e-12]) * (1 - np.array([0.2, 1e-12]))) ** -alpha,
                1e-14,
            )
            assert abs(float(power_step(alpha, v[0])) - 4**-alpha / 0.2) < 1e-14 * 20


@pytest.mark.parametrize(
    ("alpha", "closed"),
    [
        (0.0, lambda p: 2 * log(p / (1 - p)) + p / (1 - p) - (1 - p) / p),
        (0.5, lambda p: 2 * sqrt(p / (1 - p)) - 2 * sqrt((1 - p) / p)),
        (1.0, lambda p: log(p / (1 - p))),
    ],
)
def test_the_closed_forms_are_the_integrals(alpha: float, closed: Any) -> None:
    value, _ = quad(lambda p: (p * (1 - p)) ** (alpha - 2), 0.01, 0.9, epsabs=0, epsrel=1e-12, limit=200)
    assert_agree(closed(0.9) - closed(0.01), value, 1e-10)


@pytest.mark.parametrize("link", range(len(ALPHAS)))
def test_another_exponent_of_the_flow_is_refuted(link: int) -> None:
    mutant = _mutant("X-POWER-FLOW", link, 1.0)
    right = mutant.right

    def changed(point: Point) -> Any:
        return right(point) * point.state.variance**0.25

    assert property_check(replace(mutant, right=changed), build_context, 30, seed=4, shrink=False).counterexample


def test_the_guarantees_come_in_their_order() -> None:
    claim = REGISTRY["X-POWER-BEST"]
    reversed_claim = replace(claim, chain=tuple(replace(link, relation=">=") for link in claim.chain), proof=None)
    assert property_check(reversed_claim, build_context, 30, seed=5, shrink=False).counterexample is not None
    point = Point(_two_outputs(0.0))
    assert_agree(
        [float(link.left(point)[0]) for link in claim.chain], [float(claim.chain[0].right(point)[0])] * 4, 1e-15
    )


def test_partial_steps_are_not_shared_between_claims() -> None:
    steps = [REGISTRY[claim_id].step_size for claim_id in IDS.values()]
    assert all(isinstance(step, partial) for step in steps)
    assert len({step(1.0) for step in steps if step is not None}) == len(ALPHAS)
