"""Trajectory checks: they hold claims against runs, refute wrong ones, and count what says nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import flint
import numpy as np
import pytest

from simulator import checks
from simulator.checks import build_context, trajectory_check
from simulator.expectations import ExpectedRun
from theory.assumptions import ORTHOGONAL
from theory.claim import Claim
from theory.claims import load_registry
from theory.cosines import orthogonality_defect
from theory.exact import as_balls, is_exact, precision
from theory.instances import Instance
from theory.judge import EXACT_BITS, recheck
from theory.points import Ball, Point
from theory.search import SearchResult

REGISTRY = load_registry()
# Printed claims that are false, and so marked; trajectories need not refute each of them.
TRUE = [claim.id for claim in REGISTRY if claim.fixed_by is None]
RUNS = [claim.id for claim in REGISTRY if claim.scope == "expectation"]
# Runs with one prompt, and what says nothing of them.
ONE_PROMPT, OF_SEVERAL = 2, {"X-GRPO-SUM-MEAN"}


@cache
def _checked(claim_id: str) -> SearchResult:
    return trajectory_check(REGISTRY[claim_id])


@pytest.mark.parametrize("claim_id", TRUE)
def test_true_claims_hold_on_every_trajectory(claim_id: str) -> None:
    result = _checked(claim_id)
    assert result.counterexample is None
    assert (result.undecided, result.dismissed) == (0, 0)
    assert result.instances - result.vacuous >= 4 - ONE_PROMPT * (claim_id in OF_SEVERAL)
    assert not result.worst_ratio > 1
    assert not result.worst_error > 1e-100


@pytest.mark.parametrize("claim_id", ["P-T31-DESCENT", "P-T32-DESCENT", "P-T32-SUM"])
def test_misprints_are_refuted_by_runs_and_confirmed_in_balls(claim_id: str) -> None:
    found = _checked(claim_id).counterexample
    assert found is not None
    assert (found.claim, found.bits) == (claim_id, 512)
    again = recheck(REGISTRY[claim_id], build_context, Instance.from_json(found.to_json()["instance"]))
    assert again.to_json() == found.to_json()  # type: ignore[union-attr]


@pytest.mark.parametrize("claim_id", ["X-IDENTITY", "P-EQ10", "P-L31-VAR", "P-L33", "P-T31-SUM", "P-T32-MIN"])
def test_in_balls_both_sides_are_narrow_on_every_trajectory(claim_id: str) -> None:
    """A side that is not finite would never be violated, and an equality would hold of anything."""
    claim, widest = REGISTRY[claim_id], 0.0
    for instance in list(checks._instances(claim, 30))[::3]:
        with precision(EXACT_BITS):
            context = build_context(claim, instance.exact())
            sides = np.concatenate([np.ravel(claim.left(context)), np.ravel(claim.right(context))])
            assert all(side.is_finite() for side in sides)
            widest = max(widest, *(float(side.rad() / abs(side).upper()) for side in sides if side != 0))
    assert widest < 1e-100


def _is_orthogonal(instance: Instance) -> bool:
    return orthogonality_defect(instance.features) == 0.0


@pytest.mark.parametrize("claim_id", [c for c in RUNS if c in TRUE])
def test_claims_about_runs_are_vacuous_on_the_one_family_that_is_not_orthogonal(claim_id: str) -> None:
    instances = list(checks._instances(REGISTRY[claim_id], 20))
    assert [_is_orthogonal(instance) for instance in instances].count(False) == 1
    result = _checked(claim_id)
    alone = sum(instance.features.shape[0] == 1 for instance in instances)
    assert alone == ONE_PROMPT
    assert (result.instances, result.vacuous) == (len(instances), 1 + alone * (claim_id in OF_SEVERAL))


def test_vacuous_states_are_those_not_orthogonal_and_those_without_a_pair() -> None:
    failing = sum(not _is_orthogonal(instance) for instance in checks._visited())
    alone = sum(len(instance.answers) == 1 for instance in checks._visited())
    assert failing > 0
    assert alone > 0
    assert failing + alone < len(checks._visited())
    assert _checked("P-LD1").vacuous == failing + alone
    assert _checked("P-L32").vacuous == 0


def test_without_the_assumption_a_violation_on_the_other_family_counts() -> None:
    """P-LD1 is false without Assumption 2, so being vacuous there is what keeps it from being refuted."""
    claim = REGISTRY["P-LD1"]
    assert ORTHOGONAL in claim.assumptions
    bare = replace(claim, assumptions=tuple(a for a in claim.assumptions if a is not ORTHOGONAL))
    found = trajectory_check(bare).counterexample
    assert found is not None
    assert not _is_orthogonal(found.instance)


def _tightened(claim_id: str, factor: float) -> Claim:
    right = REGISTRY[claim_id].right
    return replace(REGISTRY[claim_id], right=lambda context: right(context) * factor, proof=None)


@pytest.mark.parametrize("claim_id", ["P-L31-VAR", "P-L32", "P-L33", "P-T31-SUM", "P-T32-MIN", "P-T32-DESCENT-FIXED"])
def test_bounds_beyond_the_worst_ratio_are_refuted_and_others_not(claim_id: str) -> None:
    """The worst ratio that a check reports is exactly how far the bound can be moved on these trajectories."""
    worst = _checked(claim_id).worst_ratio
    down = REGISTRY[claim_id].relation == "<="
    beyond, within = (worst * (1 - 1e-6), worst * (1 + 1e-6)) if down else (1 / worst * 1.000001, 1 / worst * 0.999999)
    found = trajectory_check(_tightened(claim_id, beyond)).counterexample
    assert found is not None
    sides = [float(side.strip("[").split(" ")[0]) for side in (found.left, found.right)]
    assert sides[0] > sides[1] if down else sides[0] < sides[1]
    assert trajectory_check(_tightened(claim_id, within)).counterexample is None


@pytest.mark.parametrize("claim_id", ["P-L31-GLOBAL", "P-T31-MIN"])
def test_reversed_claims_are_refuted_at_the_first_instance(claim_id: str) -> None:
    result = trajectory_check(replace(REGISTRY[claim_id], relation=">="))
    assert result.counterexample is not None
    assert result.instances == 1


def test_an_equality_that_is_off_by_far_less_than_rounding_is_refuted() -> None:
    claim = REGISTRY["X-IDENTITY"]
    left = claim.left

    def changed(point: Any) -> Any:
        return left(point) * (1 + flint.arb(2) ** -200)

    assert trajectory_check(replace(claim, left=changed)).counterexample is not None


def _claim(floats: float, ball: Callable[[], Any]) -> Claim:
    """``left <= 1`` for a left side that is one thing in floats and another in balls."""

    def left(point: Any) -> Any:
        return np.array([ball()], dtype=object) if is_exact(point.features) else np.array([floats])

    return replace(REGISTRY["P-L32"], left=left, right=lambda point: left(point) * 0 + 1, assumptions=())


def test_violations_in_floats_alone_are_dismissed() -> None:
    result = trajectory_check(_claim(1.5, lambda: as_balls(0.5)[()]))
    assert (result.dismissed, result.undecided) == (result.instances, 0)
    assert result.counterexample is None


def test_violations_that_balls_cannot_decide_are_counted() -> None:
    result = trajectory_check(_claim(1.5, lambda: flint.arb(1, 0.5)))
    assert (result.dismissed, result.undecided) == (0, result.instances)
    assert result.counterexample is None


def test_violations_within_rounding_are_not_even_suspected() -> None:
    result = trajectory_check(_claim(1 + 1e-10, lambda: as_balls(2.0)[()]))
    assert (result.dismissed, result.undecided, result.counterexample) == (0, 0, None)


def test_steps_set_the_length_of_runs() -> None:
    instances = list(checks._instances(REGISTRY["P-T31-SUM"], 17))
    assert {instance.steps for instance in instances} == {17}
    run = build_context(REGISTRY["P-T31-SUM"], instances[0])
    assert run.J.shape == (18, 4)


def test_states_reach_from_hopeless_to_nearly_solved() -> None:
    states = [Point(instance).state for instance in checks._visited()]
    assert min(state.p.min() for state in states) < 1e-3
    assert min(state.q.min() for state in states) < 0.05
    for instance in checks._visited():
        assert np.linalg.norm(instance.displacement) <= 1 + 1e-15


def test_each_state_is_seen_along_the_log_odds_and_along_another_direction() -> None:
    visited = checks._visited()
    for one, two in zip(visited[::2], visited[1::2], strict=True):
        assert (one.theta == two.theta).all()
        assert (one.direction == Point(one).state.gap[0]).all()
        assert abs(one.direction @ two.direction) < 0.9999 * np.linalg.norm(one.direction) * np.linalg.norm(
            two.direction
        )


@pytest.mark.parametrize(("claim_id", "kind"), [("P-L32", Point), ("P-L33", Ball), ("P-T32-MIN", ExpectedRun)])
def test_the_context_is_that_of_the_scope(claim_id: str, kind: type) -> None:
    claim = REGISTRY[claim_id]
    instance = next(iter(checks._instances(claim, 3)))
    assert type(build_context(claim, instance)) is kind


@pytest.mark.parametrize("missing", ["rule", "step_size"])
def test_a_claim_about_runs_without_rule_or_step_is_a_mistake(missing: str) -> None:
    claim = replace(REGISTRY["P-T31-SUM"], **{missing: None})
    with pytest.raises(ValueError, match="P-T31-SUM is about runs but names no rule and step size"):
        trajectory_check(claim)
