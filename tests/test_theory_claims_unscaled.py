"""Theorem 3.4 without Assumption 5: where prompts lose, how little, and what the claims do not speak of."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
from compare import assert_agree
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.checks import build_context
from simulator.families import make_problem
from simulator.interacting import InteractingRun
from simulator.sampling import sampled_check
from theory.assumptions import INTERACTION, SCALE
from theory.checker import CertificateError, check
from theory.claim import Link
from theory.claims import _unscaled_sides as sides
from theory.claims import _unscaled_sums, load_registry
from theory.claims._unscaled_sums import MOST_OTHERS, sum_proof
from theory.exact import as_floats, precision
from theory.hypotheses import basis
from theory.instances import Instance
from theory.interaction import Constants
from theory.judge import Counterexample, compare, failed_assumptions, recheck
from theory.known import kept_instance
from theory.strategies import Limits, instances

REGISTRY = load_registry()
STEP = REGISTRY["X-UNSCALED-STEP"]
PARTS = ("STEP", "DESCENT", "SUM", "MIN")


def _losing() -> Instance:
    instance = kept_instance("P-T34-DESCENT-FIXED.A5")
    assert instance is not None
    return instance


@pytest.mark.parametrize("part", PARTS)
def test_no_proof_rests_on_the_ratios_of_scales(part: str) -> None:
    claim = REGISTRY[f"X-UNSCALED-{part}"]
    assert basis(claim, REGISTRY).assumptions <= {"A3", "A4"}
    assert SCALE not in claim.assumptions


@pytest.mark.parametrize("part", ["STEP", "SUM", "MIN"])
def test_the_claims_hold_where_a_prompt_loses(part: str) -> None:
    claim = REGISTRY[f"X-UNSCALED-{part}"]
    with precision(512):
        run = build_context(claim, _losing().exact())
        assert failed_assumptions(claim, run) == ()
        assert INTERACTION.measure(run).holds
        losses = run.drawn_gain[0][0][1, 0], run.drawn_gain[0][0][0, 1]
        assert any(loss < 0 for loss in losses)
        comparison = compare(claim, run)
    assert len(comparison.left)
    assert not comparison.violated.any()


def test_that_others_never_lose_is_refuted_for_three_outputs() -> None:
    link = STEP.links[1]
    harmless = replace(STEP, chain=(Link("never", ">=", link.left, lambda run: 0 * link.right(run)),), proof=None)
    assert isinstance(recheck(harmless, build_context, _losing()), Counterexample)


def test_a_loss_is_a_part_of_the_drawn_prompts_variance() -> None:
    """1/60 of it at most; where a prompt loses it is some part, and the bound with V_l alone is the weaker one."""
    with precision(512):
        run = build_context(STEP, _losing().exact())
        by_other, by_drawn = STEP.links[1], STEP.links[3]
        least, loss = as_floats(by_drawn.right(run)), as_floats(by_drawn.left(run))
        weaker = as_floats(by_other.right(run))
    losing = loss < 0
    assert losing.any()
    assert (loss[losing] >= least[losing]).all()
    # Far from tight, yet no empty bound: a 200th of it would be false.
    assert (loss[losing] < least[losing] / 200).any()
    assert (least[losing] > weaker[losing]).all()


def test_all_other_prompts_together_take_what_each_takes() -> None:
    run = build_context(STEP, _losing())
    each = np.concatenate([np.minimum(change, 0.0).sum(axis=1).ravel() for change in run.drawn_gain])
    assert each.min() < 0
    assert_agree(sides.all_losses(run), each, 1e-13, "losses")
    level = run.levels[0]
    unit = level.gradient[0] / np.linalg.norm(level.gradient[0], axis=1)[:, None]
    most = np.abs(unit @ unit.T).sum(axis=1).max()
    assert 1 <= np.linalg.eigvalsh(unit @ unit.T).max() <= most
    over = 95 * sides.factor(run.constants) ** 2
    assert_agree(sides.all_losses_bound(run)[: run.n], -(level.variance[0] ** 3) * most / over, 1e-8, "bound")


@given(instances(Limits(steps=5, orders=60, interacting=True)))
@settings(max_examples=40)
def test_gains_of_each_draw_are_differences_and_their_means_the_gain(instance: Instance) -> None:
    with np.errstate(all="ignore"):
        run = build_context(STEP, instance)
    assert isinstance(run, InteractingRun)
    for t, change in enumerate(run.drawn_gain):
        after = run.levels[t + 1].p.reshape(change.shape)
        assert_agree(after - run.levels[t].p[:, None, :], change, 1e-13, "gain of each draw", atol=1e-14)
        assert_agree(change.mean(axis=(0, 1)), run.gain[t], 1e-12, "gain", atol=1e-16)


@given(st.integers(2, 4), st.sampled_from([1, 3, MOST_OTHERS + 1, MOST_OTHERS + 2]), st.sampled_from([1.0, 3.2]))
def test_the_claims_are_silent_where_their_proofs_end(outputs: int, n: int, m: float) -> None:
    """Few prompts or few steps, more of both with a larger f = max(1, 5M/8)."""
    factor = max(1.0, 5 * m / 8)
    run = SimpleNamespace(n=n, features=np.zeros((1, outputs, 1)), constants=Constants(1.0, M=m))
    side, few = np.ones((9, 1)), n - 1 <= MOST_OTHERS * factor
    assert len(sides.paired(run, side)) == (9 if outputs == 2 else 0)
    assert len(sides.covered(run, side)) == 9
    with patch.object(sides, "MOST_STEPS", 2):
        assert len(sides.covered(run, side)) == (9 if outputs == 2 or few else 2 * factor**2)


@pytest.mark.parametrize("name", ["FEW_OTHERS", "FEW_STEPS", "MOST_OTHERS", "MOST_STEPS", "MOST_PASSES"])
def test_the_checker_rejects_larger_numbers(name: str) -> None:
    """The losses that the proof adds up would not fit in the bound; not that the claim would be false."""
    check(sum_proof().to_json())
    with patch.object(_unscaled_sums, name, getattr(_unscaled_sums, name) * 6 // 5):
        certificate = sum_proof().to_json()
    with pytest.raises(CertificateError, match="not visibly non-negative"):
        check(certificate)


def test_the_bounds_are_those_of_theorem_3_4_with_unit_ratios() -> None:
    for part, fixed in (("DESCENT", "P-T34-DESCENT-FIXED"), ("SUM", "P-T34-SUM-FIXED"), ("MIN", "P-T34-MIN")):
        claim, printed = REGISTRY[f"X-UNSCALED-{part}"], REGISTRY[fixed]
        features = np.array([[[1.0, 0.5], [-1.0, 0.5]], [[1.0, 0.0], [-0.5, 1.0]]])
        instance = Instance(features, np.array([0, 0]), np.zeros(2), np.ones(2), np.zeros(2), 4)
        run = build_context(claim, instance)
        run.constants = replace(run.constants, R1=1.0, R2=1.0)
        for side in ("left", "right"):
            assert_agree(as_floats(getattr(claim, side)(run)), as_floats(getattr(printed, side)(run)), 1e-13, side)


def test_sampled_orders_show_single_steps_as_they_are() -> None:
    """No interval around what is no mean; and a claim that speaks of two outputs only says nothing about three."""
    problem = make_problem("shared-skill", 3, 3, p0=0.2, seed=1)
    assert sampled_check(STEP, problem, 10).outcome == "holds"
    greedy = Link("half as much again", ">=", STEP.links[0].left, lambda run: 1.5 * STEP.links[0].right(run))
    found = sampled_check(replace(STEP, chain=(greedy,), proof=None), problem, 10)
    assert (found.outcome, found.exceeds) == ("undecided", True)
    assert sampled_check(REGISTRY["X-UNSCALED-DESCENT"], problem, 10).outcome == "vacuous"
