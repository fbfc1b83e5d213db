"""Is the verifier itself any good? It must refute what is false, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pages import holds

from simulator.checks import build_context
from theory.claim import Claim
from theory.claims import load_registry
from theory.instances import Instance
from theory.judge import Counterexample, recheck
from theory.rules import GRPO, REINFORCE
from theory.search import limits_for, property_check, search

REGISTRY = load_registry()


def _scaled(claim: Claim, factor: float) -> Claim:
    """The claim with its bound multiplied: a mutant without its proof."""
    right = claim.right
    return replace(claim, right=lambda context: right(context) * factor, proof=None)


# Each factor is past the largest ratio known for the claim, so each mutant is false (and only just).
TIGHTENED = {
    "P-L31-VAR": 0.49,  # the best constant is 2 of 4
    "P-L31-GLOBAL": 0.19,  # 1 / (3 sqrt 3) = 0.1925
    "P-L32": 0.69,  # 1 / sqrt 2 = 0.7071
    "P-T31-SUM": 0.5,
    "P-T31-MIN": 0.2,
    "P-T32-SUM-FIXED": 0.3,
    "P-T32-MIN": 0.17,
}


@pytest.mark.parametrize(
    "claim_id", ["P-L32", *(pytest.param(c, marks=pytest.mark.deep) for c in TIGHTENED if c != "P-L32")]
)
def test_tightened_bounds_are_refuted(claim_id: str) -> None:
    mutant = _scaled(REGISTRY[claim_id], TIGHTENED[claim_id])
    found = search(mutant, build_context, examples=150, evaluations=400, seed=1)
    assert found.counterexample is not None


@pytest.mark.parametrize("claim_id", ["P-T31-DESCENT-FIXED", "P-T32-DESCENT-FIXED"])
def test_an_inflated_guarantee_is_refuted(claim_id: str) -> None:
    found = search(_scaled(REGISTRY[claim_id], 3.0), build_context, examples=100, evaluations=200, seed=1)
    assert found.counterexample is not None


@pytest.mark.parametrize("claim_id", ["P-L31-VAR", "P-L32", "P-T31-SUM", "P-T32-MIN"])
def test_reversed_inequalities_are_refuted(claim_id: str) -> None:
    claim = REGISTRY[claim_id]
    reversed_claim = replace(claim, relation=">=" if claim.relation == "<=" else "<=", proof=None)
    assert property_check(reversed_claim, build_context, 60, seed=2).counterexample is not None


@pytest.mark.parametrize("claim_id", ["X-IDENTITY", "P-EQ10", "P-EQ11", "P-EQ12"])
@pytest.mark.parametrize("factor", [1 + 1e-12, -1.0, 0.5])
def test_an_equation_with_a_wrong_factor_is_refuted(claim_id: str, factor: float) -> None:
    found = property_check(_scaled(REGISTRY[claim_id], factor), build_context, 40, seed=3)
    assert found.counterexample is not None


def _weight(factor: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda p, q: factor(p, q) * GRPO.weight(p, q)


BUGS = {
    "sign": _weight(lambda p, q: -1),
    "variance in place of deviation": lambda p, q: 1 / (p * q),
    "deviation multiplied": lambda p, q: (p * q) ** 0.5,
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_in_the_rule_turns_its_update_red(bug: str) -> None:
    claim = REGISTRY["P-EQ12"]
    broken = replace(GRPO, weight=BUGS[bug])
    mutant = replace(claim, left=lambda point: broken.weight(point.state.p, point.state.q) * point.jets[1], proof=None)
    assert property_check(mutant, build_context, 40, seed=4).counterexample is not None


@pytest.mark.parametrize("bug", ["sign", "deviation multiplied"])
def test_a_bug_in_the_rule_turns_its_theorem_red(bug: str) -> None:
    mutant = replace(REGISTRY["P-T32-DESCENT-FIXED"], rule=replace(GRPO, weight=BUGS[bug]), proof=None)
    assert search(mutant, build_context, examples=120, evaluations=100, seed=5).counterexample is not None


def test_a_step_size_beyond_the_theorem_is_refuted() -> None:
    claim = REGISTRY["P-T31-DESCENT-FIXED"]
    assert REINFORCE.step_size is not None
    mutant = replace(claim, step_size=lambda x_max_sq: 40 / x_max_sq, proof=None)
    assert search(mutant, build_context, examples=150, evaluations=200, seed=6).counterexample is not None


def _counterexample_instance() -> Instance:
    zeros = np.zeros(1)
    return Instance(np.array([[[1.0], [0.0]]]), np.array([0]), zeros, zeros, zeros, 76)


def test_the_known_counterexample_to_the_cumulative_bound_holds_from_76_steps_on() -> None:
    """Kept as a regression case: K = 2, d = 1, features 1 and 0, p0 = 1/2."""
    claim = REGISTRY["P-T32-SUM"]
    instance = _counterexample_instance()
    found = recheck(claim, build_context, instance)
    assert isinstance(found, Counterexample)
    assert found.index == 75
    assert recheck(claim, build_context, replace(instance, steps=75)) is True
    assert recheck(REGISTRY["P-T32-SUM-FIXED"], build_context, instance) is True


def test_too_little_precision_is_undecided_and_never_a_verdict() -> None:
    assert recheck(REGISTRY["P-T32-SUM"], build_context, _counterexample_instance(), bits=24) is False


def test_an_instance_outside_the_assumptions_refutes_nothing() -> None:
    features = np.zeros((2, 2, 1))
    features[:, 0, 0] = 1.0
    zeros = np.zeros(1)
    instance = Instance(features, np.array([0, 0]), zeros, zeros, zeros, 200)
    for claim_id in ("P-T32-SUM", "P-T31-DESCENT"):
        assert recheck(REGISTRY[claim_id], build_context, instance) is True


def test_instances_survive_json_bit_for_bit() -> None:
    instance = replace(_counterexample_instance(), theta=np.array([0.1]), direction=np.array([5e-324]))
    again = Instance.from_json(instance.to_json())
    for name in ("features", "answers", "theta", "direction", "displacement"):
        assert np.array_equal(getattr(again, name), getattr(instance, name))
    assert again.steps == 76
    assert "least_constants" not in instance.to_json()
    larger = replace(instance, least_constants=(16.0, 1.0, 8.5))
    assert Instance.from_json(larger.to_json()).least_constants == larger.least_constants


def test_searches_among_prompts_that_interact_draw_constants_larger_than_need_be() -> None:
    claim, seen = REGISTRY["P-T34-SUM-FIXED"], []

    def build(claim: Claim, instance: Instance) -> Any:
        run = build_context(claim, instance)
        seen.append((run.constants, instance.least_constants))
        return run

    property_check(claim, build, 60, seed=3)
    larger = [(constants, least) for constants, least in seen if constants and least != (1.0, 1.0, 1.0)]
    assert len(larger) > 5
    assert len(larger) < len(seen) / 2
    chosen = [(constants.M, constants.R1, constants.R2) for constants, _ in larger]
    assert (np.array(chosen) >= np.array([least for _, least in larger])).all()
    assert any(constants.M == least[0] > 1 for constants, least in larger)


def test_the_search_is_reproducible() -> None:
    first, second = (property_check(REGISTRY["P-L31-VAR"], build_context, 50, seed=7) for _ in range(2))
    assert first.worst_ratio == second.worst_ratio
    assert first.instances == second.instances


def test_how_far_searches_look() -> None:
    runs, joint, interacting = (limits_for(REGISTRY[name]) for name in ("P-T32-SUM", "S-GRPO-SUM", "P-T34-SUM"))
    holds("README", "up to # prompts (# copies of each where all move at every step), # outputs and # steps,",
          runs.prompts, joint.copies, runs.outputs, runs.steps)  # fmt: skip
    assert (joint.prompts, joint.outputs, joint.steps) == (runs.prompts, runs.outputs, runs.steps)
    holds("README", "all orders of up to # states;", interacting.orders)
