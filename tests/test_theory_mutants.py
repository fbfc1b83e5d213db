"""Mutation, ablation and power: false claims are refuted, dropped assumptions are missed, injected bugs show."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.resources import files
from typing import Any

import flint
import numpy as np
import pytest
from cases import POINTS
from test_theory_policy import test_probabilities_and_derivatives_keep_their_digits as _digits

import simulator.checks
import theory.policy
from simulator import ablation
from simulator.ablation import ablate
from simulator.checks import build_context, trajectory_check
from simulator.dropped import without
from theory.assumptions import BOUNDED_STD, INTERACTION, ORTHOGONAL, SCALE, UNIQUE_ANSWER
from theory.claims import load_registry
from theory.hypotheses import basis
from theory.judge import Counterexample, failed_assumptions, recheck
from theory.known import kept_instance
from theory.mutants import mutants, single_links
from theory.policy import PolicyState
from theory.search import search
from whynorm.verify import Effort, verify_claim

REGISTRY = load_registry()
LOW = Effort(examples=40, evaluations=40, steps=40, sampled_steps=5)
FOLDER = files("theory").joinpath("counterexamples")
KEPT = sorted(f.name[:-5] for f in FOLDER.iterdir() if ".A" in f.name)


def test_a_chain_falls_into_its_links() -> None:
    claim = REGISTRY["X-SHARP-LIPSCHITZ"]
    parts = dict(single_links(claim))
    assert [part.title for part in parts.values()] == [link.name for link in claim.links]
    assert all(len(part.links) == 1 and part.proof is None for part in parts.values())


@pytest.mark.parametrize(
    ("claim_id", "ratio", "kinds"),
    [
        ("P-L31-VAR", 0.5, {"direction": 1, "constant": 1, "exponent": 2}),
        ("P-T31-DESCENT-FIXED", 0.5, {"direction": 1, "constant": 1, "exponent": 2, "step size": 1}),
        ("P-EQ10", float("nan"), {"constant": 2, "direction": 1}),
        ("P-T32-COMPARE-FIXED", float("nan"), {"constant": 2, "direction": 1}),
        ("P-L32", float("nan"), {"direction": 1}),
    ],
)
def test_each_thing_is_changed_once(claim_id: str, ratio: float, kinds: dict[str, int]) -> None:
    found = list(mutants(next(claim for _, claim in single_links(REGISTRY[claim_id])), ratio))
    assert {kind: sum(m.kind == kind for m in found) for kind in kinds} == kinds
    assert len(found) == sum(kinds.values())
    assert all(m.origin == claim_id and m.claim.proof is None for m in found)


@pytest.mark.parametrize(
    ("claim_id", "ratio"),
    [("P-EQ12", float("nan")), ("P-L33", 0.2), ("X-SHARP-VAR", 0.999), ("P-T31-SUM", 0.5), ("P-T34-MIN", 0.19)],
)
def test_every_mutant_is_refuted(claim_id: str, ratio: float) -> None:
    (_, single), *_ = single_links(REGISTRY[claim_id])
    for mutant in mutants(single, ratio):
        evaluations = 600 if single.rule is None else 100
        searches = (
            search(mutant.claim, build_context, examples=200, evaluations=evaluations, seed=seed, shrink=False)
            for seed in (5, 6, 7)
        )
        assert any(found.counterexample is not None for found in searches), mutant.text


@pytest.mark.parametrize(
    ("claim_id", "needed"),
    [
        ("P-LD1", {"A2"}),
        ("X-IDENTITY", {"A1"}),
        ("P-L31-VAR", set()),
        ("P-T32-DESCENT-FIXED", {"A2", "A3"}),
        ("P-T33-MIN", {"A4"}),
        ("P-T34-DESCENT-FIXED", {"A3", "A4", "A5"}),
        ("P-T34-MIN", {"A3", "A4", "A5"}),
        ("P-STEP-14", {"A1"}),
        ("P-STEP-D3-BALL", {"A1"}),
        ("X-PLATEAU-50", {"A1"}),
        ("X-POWER-0", {"A2"}),
        ("P-T32-COMPARE-FIXED", set()),
        ("S-GRPO-MIN-FIXED", {"A2", "A3"}),
    ],
)
def test_dropped_assumptions_are_missed_where_they_are_needed(claim_id: str, needed: set[str]) -> None:
    found = ablate(REGISTRY[claim_id], examples=150, evaluations=60, seed=21)
    assert {a.assumption for a in found if a.outcome == "needed"} == needed
    assert {a.assumption for a in found} == {a.id for a in REGISTRY[claim_id].assumptions}
    for each in found:
        assert each.reason
        assert (each.counterexample is not None) == (each.outcome == "needed")
        assert (each.rests_on[:1] == (claim_id,)) == (each.outcome == "not needed")


def test_an_instance_that_contradicts_a_proof_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    claim = REGISTRY["P-LD1"]
    proof = basis(claim, REGISTRY)
    assert "A2" in proof.assumptions
    monkeypatch.setattr(ablation, "basis", lambda *_: replace(proof, assumptions=frozenset()))
    found = {a.assumption: a for a in ablate(claim, examples=100, evaluations=20, seed=1)}
    assert found["A2"].outcome == "contradiction"
    assert found["A2"].counterexample is not None


@pytest.mark.parametrize("name", KEPT)
def test_kept_violations_hold_and_the_certificates_do_use_the_assumption(name: str) -> None:
    claim_id, _, assumption_id = name.partition(".")
    claim = REGISTRY[claim_id]
    assumption = next(a for a in claim.assumptions if a.id == assumption_id)
    drops, instance = without(claim, assumption), kept_instance(name)
    assert instance is not None
    violated = [isinstance(recheck(drop.claim, drop.build, instance), Counterexample) for drop in drops]
    assert any(violated)
    assert assumption_id in basis(claim, REGISTRY).assumptions
    kept = json.loads(FOLDER.joinpath(f"{name}.json").read_text())
    assert kept["without"] == assumption_id
    assert kept.get("part", "") in ("", drops[violated.index(True)].part)


@pytest.mark.parametrize("claim_id", ["P-T34-SUM-FIXED", "P-T34-MIN", "P-STEP-29-FIXED"])
def test_that_r1_and_r2_are_at_least_1_is_a_part_of_assumption_5(claim_id: str) -> None:
    """A prompt alone has ratios of 1, and no certificate may count on more than that without naming the assumption."""
    claim, instance = REGISTRY[claim_id], kept_instance(f"{claim_id}.A5")
    assert instance is not None
    assert len(instance.answers) == 1
    ratios, floor = without(claim, SCALE)
    assert recheck(ratios.claim, ratios.build, instance) is True
    assert isinstance(recheck(floor.claim, floor.build, instance), Counterexample)
    context = floor.build(floor.claim, instance)
    assert context.eta > 1 / instance.features.max() ** 2
    # Of what the claim assumes, just this fails there.
    assert failed_assumptions(claim, context) == ("A5",)
    assert failed_assumptions(floor.claim, context) == ()
    assert (context.constants.R1, context.constants.R2) == (1 / 16, 1 / 16)
    found = {each.assumption: each for each in ablate(claim, examples=20, evaluations=5, seed=2)}["A5"]
    assert (found.outcome, found.part, found.unbroken) == ("needed", floor.part, (ratios.part,))
    assert ratios.part in found.reason


def test_a_claim_without_an_assumption_is_about_more_runs() -> None:
    (dropped,) = without(REGISTRY["P-T31-SUM"], ORTHOGONAL)
    assert dropped.claim.scope == "interacting"
    assert ORTHOGONAL not in dropped.claim.assumptions
    for claim_id, assumption, scope in (
        ("P-T32-MIN", BOUNDED_STD, "expectation"),
        ("P-T33-MIN", INTERACTION, "interacting"),
        ("X-PLATEAU-0", ORTHOGONAL, "expectation"),
    ):
        assert [drop.claim.scope for drop in without(REGISTRY[claim_id], assumption)] == [scope]
    assert without(REGISTRY["P-T33-SUM"], UNIQUE_ANSWER) == ()


def _negative_gap(state: PolicyState) -> Any:
    right = state.features[np.arange(len(state.answers)), state.answers]
    return (state.odds.wrong[:, None, :] @ state.features)[:, 0, :] - right


def _no_failure_factor(state: PolicyState) -> Any:
    return state.p[:, None] * state.gap


def _no_spread(state: PolicyState, y: Any) -> Any:
    slope = state.gap @ y
    return state.variance * ((state.q - state.p) * (slope * slope))


def _flipped_curvature(state: PolicyState, y: Any) -> Any:
    u, slope = state.features @ y, state.gap @ y
    centred = u - np.sum(state.odds.wrong * u, axis=1)[:, None]
    spread = np.sum(state.odds.wrong * (centred * centred), axis=1)
    return state.variance * ((state.p - state.q) * (slope * slope) - spread)


BUGS: dict[str, tuple[str, Any, str]] = {
    "gradient with the wrong sign": ("gap", property(_negative_gap), "X-IDENTITY"),
    "gradient without the factor q": ("gradient", property(_no_failure_factor), "P-STEP-19"),
    "curvature without the spread of wrong outputs": ("hessian_form", _no_spread, "X-IDENTITY"),
    "curvature with p and q swapped": ("hessian_form", _flipped_curvature, "X-IDENTITY"),
    "runs with the wrong sign": ("gap", property(_negative_gap), "P-T31-DESCENT-FIXED"),
}


@pytest.fixture
def own_runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Simulated runs are shared within a process: a bug must see none from before, and leave none behind."""
    shared = (simulator.checks._visited, simulator.checks._interacting)
    monkeypatch.setattr(simulator.checks, "_CONTEXTS", {})
    for runs in shared:
        runs.cache_clear()
    yield
    for runs in shared:
        runs.cache_clear()


@pytest.mark.usefixtures("own_runs")
@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_turns_a_verdict_red(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A violated claim that has a proof is undecided, never proved: the evidence contradicts itself."""
    name, broken, claim_id = BUGS[bug]
    claim = REGISTRY[claim_id]
    monkeypatch.setattr(PolicyState, name, broken)
    assert verify_claim(claim, LOW).verdict == "undecided"
    assert verify_claim(replace(claim, proof=None), LOW).verdict == "refuted"


def test_a_step_size_too_small_turns_a_theorem_red() -> None:
    claim = REGISTRY["P-T34-DESCENT-FIXED"]
    step_size = claim.step_size
    assert step_size is not None
    wrong = replace(claim, step_size=lambda given: step_size(given) / 4, proof=None)
    assert search(wrong, build_context, examples=150, evaluations=80, seed=3).counterexample is not None


def _by_subtraction(x: Any) -> tuple[Any, Any]:
    p = 1 / (1 + np.exp(-x))
    return p, 1 - p


def test_failure_by_subtraction_shows_against_balls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Balls of 512 bits can afford q = 1 - p at q = 1e-12, floats cannot: the comparer of the policy sees it."""
    case = next(case for case in POINTS if case.name == "easy, q = 1e-12")
    _digits(case)
    monkeypatch.setattr(theory.policy, "logistic", _by_subtraction)
    with pytest.raises(AssertionError, match="entries differ"):
        _digits(case)


def test_equal_sides_that_balls_cannot_tell_are_undecided() -> None:
    """At too low a precision the enclosures of two equal numbers overlap whatever they are: that is no support."""
    claim = replace(REGISTRY["X-IDENTITY"], proof=None)
    assert verify_claim(claim, LOW).verdict == "supported"
    loose = replace(claim, left=lambda point: point.jets[1:] + flint.arb(0, 1))
    assert verify_claim(loose, LOW).verdict == "undecided"


def test_trajectories_see_an_inflated_guarantee() -> None:
    claim = REGISTRY["P-T33-DESCENT-FIXED"]
    right: Callable[[Any], Any] = claim.right
    inflated = replace(claim, right=lambda run: 4 * right(run), proof=None)
    assert trajectory_check(inflated).counterexample is not None
