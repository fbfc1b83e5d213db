"""The displayed steps of Appendices C, D and E: all there, and each link of them would be missed if it were false."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import flint
import numpy as np
import pytest

from simulator.checks import build_context
from simulator.steps import Step
from theory.claim import Claim, Link
from theory.claims import _relaxed_sides as sides
from theory.claims import load_registry
from theory.exact import as_floats, precision, segment_variance
from theory.instances import Instance
from theory.judge import EXACT_BITS, Counterexample, recheck
from theory.known import kept_instance
from theory.rules import REINFORCE
from theory.search import search

REGISTRY = load_registry()
STEPS = [claim for claim in REGISTRY if claim.id.startswith("P-STEP-")]
MISPRINTED = {"23", "24", "27", "29", "30", "31", "32", "33"}
UNNUMBERED = {
    *("C1", "C1-ENTRIES", "C1-NORM", "C2-GRADIENT", "C2"),
    *("C3-MOVE", "C3-MAX", "C3-F", "C3-HALF", "C3-CASE1", "C3-CASE2"),
    *("D1", "D2-SUM", "D3-UPDATE", "D3-BALL", "E1-SUM"),
}


def test_every_display_has_a_claim() -> None:
    numbered = {str(number) for number in range(13, 34)}
    repaired = {f"{number}-FIXED" for number in MISPRINTED}
    assert {claim.id.removeprefix("P-STEP-") for claim in STEPS} == numbered | repaired | UNNUMBERED


@pytest.mark.parametrize("claim", STEPS, ids=lambda claim: claim.id)
def test_a_display_is_proved_or_repaired(claim: Claim) -> None:
    misprinted = claim.id.removeprefix("P-STEP-") in MISPRINTED
    assert (claim.fixed_by is not None) == misprinted
    assert (claim.proof is None) == misprinted
    assert len({link.name for link in claim.links}) == len(claim.links)


@pytest.mark.parametrize("number", sorted(MISPRINTED))
def test_a_misprint_has_a_counterexample_that_its_repair_survives(number: str) -> None:
    instance = kept_instance(f"P-STEP-{number}")
    assert instance is not None
    assert isinstance(recheck(REGISTRY[f"P-STEP-{number}"], build_context, instance), Counterexample)
    assert not isinstance(recheck(REGISTRY[f"P-STEP-{number}-FIXED"], build_context, instance), Counterexample)


def _only(claim_id: str, link: Link) -> Claim:
    """The claim with one link in place of its chain, and without its proof."""
    return replace(REGISTRY[claim_id], relation="chain", chain=(link,), proof=None)


def _refuted(claim: Claim, seed: int = 1) -> bool:
    found = search(claim, build_context, examples=60, evaluations=120, seed=seed, shrink=False)
    return found.counterexample is not None


def _scaled(side: Callable[[Any], Any], numerator: int, denominator: int) -> Callable[[Any], Any]:
    return lambda context: side(context) * numerator / denominator


# Each factor (in percent) takes the link past a ratio that a short search reaches: it is then false.
TIGHTENED = {
    ("P-STEP-13", 0): 99,
    ("P-STEP-13", 1): 80,
    ("P-STEP-13", 3): 99,
    ("P-STEP-15", 1): 99,
    ("P-STEP-16", 0): 50,
    ("P-STEP-16", 1): 99,
    ("P-STEP-16", 2): 99,
    ("P-STEP-16", 3): 95,
    ("P-STEP-C1-NORM", 0): 99,
    ("P-STEP-C1-NORM", 1): 101,
    ("P-STEP-C2", 0): 99,
    ("P-STEP-C2", 3): 99,
    ("P-STEP-C3-MOVE", 0): 55,
    ("P-STEP-C3-MAX", 0): 8,
    ("P-STEP-C3-F", 0): 99,
    ("P-STEP-C3-CASE1", 1): 99,
    ("P-STEP-C3-CASE1", 3): 89,
    ("P-STEP-C3-CASE2", 2): 99,
    ("P-STEP-19", 0): 200,
    ("P-STEP-20", 0): 200,
    ("P-STEP-22", 0): 260,
    ("P-STEP-23-FIXED", 0): 250,
    ("P-STEP-24-FIXED", 0): 260,
    ("P-STEP-D2-SUM", 0): 50,
    ("P-STEP-D3-BALL", 1): 99,
    ("P-STEP-D3-BALL", 2): 75,
    ("P-STEP-25", 2): 101,
    ("P-STEP-27-FIXED", 1): 102,
    ("P-STEP-27-FIXED", 3): 102,
    ("P-STEP-28", 0): 250,
    ("P-STEP-29-FIXED", 1): 101,
    ("P-STEP-31-FIXED", 2): 102,
    ("P-STEP-32-FIXED", 0): 300,
}


@pytest.mark.parametrize(("claim_id", "number"), TIGHTENED)
def test_a_tightened_link_is_refuted(claim_id: str, number: int) -> None:
    link = REGISTRY[claim_id].links[number]
    percent = TIGHTENED[claim_id, number]
    assert (link.relation == "<=") == (percent < 100)
    assert _refuted(_only(claim_id, replace(link, right=_scaled(link.right, percent, 100))))


EQUATIONS = [(claim.id, k) for claim in STEPS for k, link in enumerate(claim.links) if link.relation == "=="]
# Both sides are 0: no factor can make a difference.
ZERO = {("P-STEP-17", 0), ("P-STEP-D1", 0), ("P-STEP-D1", 1), ("P-STEP-D1", 2)}


@pytest.mark.parametrize(("claim_id", "number"), [key for key in EQUATIONS if key not in ZERO])
def test_an_equation_with_a_wrong_factor_is_refuted(claim_id: str, number: int) -> None:
    link = REGISTRY[claim_id].links[number]
    assert _refuted(_only(claim_id, replace(link, right=_scaled(link.right, 10**12 + 1, 10**12))))


def _skill_shared_by_two() -> Instance:
    """Three prompts with a coordinate each; the second and the third also share one."""
    features = np.zeros((3, 3, 4))
    features[np.arange(3), 0, np.arange(3)] = 1.0
    features[1:, 0, 3] = 0.25
    zeros = np.zeros(4)
    return Instance(features, np.zeros(3, dtype=int), np.array([0.0, 0.0, 0.0, 0.25]), np.ones(4), zeros)


# The link whose right side bounds the gain whatever theta' is: V there is at most 1/4, or 5/8 of the deviation.
@pytest.mark.parametrize(("number", "bound"), [("27", 2), ("31", 1)])
def test_either_slip_of_the_expansion_is_refuted_alone(number: str, bound: int) -> None:
    printed, fixed = REGISTRY[f"P-STEP-{number}"], REGISTRY[f"P-STEP-{number}-FIXED"]
    sign, gain = fixed.chain[0], fixed.chain[1]

    def refuted(link: Link) -> bool:
        return isinstance(recheck(_only(fixed.id, link), build_context, _skill_shared_by_two()), Counterexample)

    assert not refuted(sign)
    assert refuted(replace(sign, right=sides.lemma_17(1)))
    assert not refuted(replace(gain, right=fixed.chain[bound].right))
    assert refuted(replace(gain, right=printed.chain[bound].right))


def test_a_bound_that_is_attained_is_no_open_question() -> None:
    """One output has all features: gradient and bound agree, and no precision tells them apart."""
    zeros = np.zeros(1)
    instance = Instance(np.array([[[1.0], [0.0]]]), np.array([0]), zeros, np.ones(1), zeros)
    claim = _only("P-STEP-C2", REGISTRY["P-STEP-C2"].chain[0])
    assert recheck(claim, build_context, replace(instance, theta=np.array([0.3]))) is True
    assert recheck(claim, build_context, replace(instance, theta=np.array([0.3])), bits=53) is False


def _far_from_half() -> Instance:
    features = np.array([[[2.0, 0.0], [0.0, 1.0], [0.25, 0.0]], [[1.0, 0.5], [0.0, 0.0], [0.5, 1.0]]])
    zeros = np.zeros(2)
    return Instance(features, np.array([0, 0]), np.array([70.0, -3.0]), np.ones(2), zeros)


def test_a_tiny_gain_keeps_its_digits() -> None:
    """1 - p is about 1e-50 here, the gain 1e-100: p' - p alone would be left with 50 digits."""
    with precision(EXACT_BITS):
        step = Step(_far_from_half().exact(), REINFORCE, lambda constants: 1 / constants.x_max_sq)
        for gain, taylor in zip(step.gain.flat, (step.slopes + step.remainders).flat, strict=True):
            assert gain.overlaps(taylor)
            assert abs(gain - taylor) < abs(gain) * flint.arb("1e-140")
        naive = step.after.p - step.state.p
        assert all(a.overlaps(b) for a, b in zip(naive.flat, step.gain.flat, strict=True))


def test_gains_agree_between_floats_and_balls() -> None:
    instance = replace(_far_from_half(), theta=np.array([0.5, -0.25]))
    size = lambda constants: 1 / constants.x_max_sq  # noqa: E731
    with precision(EXACT_BITS):
        exact = as_floats(Step(instance.exact(), REINFORCE, size).gain)
    np.testing.assert_allclose(Step(instance, REINFORCE, size).gain, exact, rtol=1e-12)


def test_the_variance_of_the_segment_is_that_of_one_of_its_points() -> None:
    logits, slopes = [flint.arb(0), flint.arb(1)], [flint.arb(3), flint.arb(0)]
    found = float(segment_variance(logits, slopes, [0]))
    s = np.linspace(0, 1, 20001)
    p = 1 / (1 + np.exp(1 - 3 * s))
    assert found == pytest.approx(np.trapezoid(2 * (1 - s) * p * (1 - p), s), rel=1e-7)
    assert (p * (1 - p)).min() < found < (p * (1 - p)).max()
