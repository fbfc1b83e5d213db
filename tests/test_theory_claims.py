"""The registry, and every claim as a property of random instances."""

from __future__ import annotations

import types
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, target
from hypothesis import strategies as st

from simulator.checks import build_context
from theory.claim import Claim, Registry
from theory.claims import load_registry
from theory.errors import InputError
from theory.exact import precision
from theory.instances import Instance
from theory.judge import EXACT_BITS, Counterexample, compare, failed_assumptions, recheck
from theory.search import limits_for
from theory.strategies import instances
from theory.verdicts import EQUAL_WITHIN

SPINE = {
    *("X-IDENTITY", "P-EQ10", "P-EQ11", "P-EQ12", "P-L31-VAR", "P-L31-GLOBAL", "P-L32"),
    *(f"P-T31-{part}" for part in ("DESCENT", "SUM", "MIN")),
    *(f"P-T32-{part}" for part in ("DESCENT", "SUM", "MIN", "COMPARE")),
}
ALL = list(load_registry())
RUNS = ("step", "expectation", "joint", "interacting")
HOLDING = [claim for claim in ALL if claim.fixed_by is None]


def test_the_registry_holds_the_claims_of_the_spine() -> None:
    assert {claim.id for claim in ALL} >= SPINE


@pytest.mark.parametrize("claim", ALL, ids=lambda claim: claim.id)
def test_a_claim_says_all_that_it_must(claim: Claim) -> None:
    assert claim.title
    assert claim.place
    assert claim.statement
    assert claim.assumptions or claim.scope == "several"
    assert (claim.scope in RUNS) == (claim.rule is not None) == (claim.step_size is not None)
    if claim.fixed_by is not None:
        assert claim.fixed_by == f"{claim.id}-FIXED"
        fixed = load_registry()[claim.fixed_by]
        assert fixed.proof is not None
        assert fixed.assumptions == claim.assumptions or claim.source == "talk"


def _holds(claim: Claim, instance: Instance) -> None:
    exact = claim.needs_balls
    with np.errstate(all="ignore"), precision(EXACT_BITS if exact else 53):
        context = build_context(claim, instance.exact() if exact else instance)
        if failed_assumptions(claim, context):
            return
        comparison = compare(claim, context)
    if np.isfinite(comparison.worst):
        target(comparison.worst, label="ratio")
    if exact:
        # Where a gradient nearly cancels, balls lose digits: 1.03e-100 was met, of 1e-154.
        assert np.nanmax(comparison.error, initial=0.0) < EQUAL_WITHIN
    if comparison.violated.any():
        assert not isinstance(recheck(claim, build_context, instance), Counterexample)


@pytest.mark.parametrize("claim", [c for c in HOLDING if c.scope not in RUNS], ids=lambda c: c.id)
@given(data=st.data())
def test_claims_about_points_hold_on_random_instances(claim: Claim, data: st.DataObject) -> None:
    _holds(claim, data.draw(instances(limits_for(claim))))


@pytest.mark.parametrize("claim", [c for c in HOLDING if c.scope in RUNS], ids=lambda c: c.id)
@given(data=st.data())
@settings(max_examples=20)
def test_claims_about_runs_hold_on_random_instances(claim: Claim, data: st.DataObject) -> None:
    limits = limits_for(claim)
    _holds(claim, data.draw(instances(replace(limits, steps=min(limits.steps, 40)))))


def test_a_new_claim_is_one_new_module() -> None:
    """What CONTRIBUTING promises: an object with a statement and two sides is a claim like any other."""
    base = load_registry()["P-L32"]
    mine = replace(base, id="MY-CLAIM", proof=None, right=lambda point: point.x_max_sq**0.5 + 0 * point.gradient_norm)
    module = types.SimpleNamespace(CLAIMS=(mine,))
    registry = Registry()
    registry.add(*module.CLAIMS)
    assert list(registry) == [mine]
    with pytest.raises(ValueError, match="MY-CLAIM is registered twice"):
        registry.add(mine)


def test_an_unknown_claim_is_refused_with_a_suggestion() -> None:
    with pytest.raises(InputError, match=r"P-T32-SUMM.*P-T32-SUM"):
        load_registry()["P-T32-SUMM"]


def test_a_family_is_chosen_by_its_beginning() -> None:
    registry = load_registry()
    assert [claim.id for claim in registry.select(["X-GROUP"])] == ["X-GROUP"], "an id is itself"
    family = [claim.id for claim in registry.select(["X-POWER", "P-L32", "X-POWER-0"])]
    assert family == [*(f"X-POWER-{part}" for part in ("0", "25", "50", "75", "100", "FLOW", "BEST")), "P-L32"]
    assert len(registry.select(["P-STEP"])) == 45
    with pytest.raises(InputError, match="claim is 'P-STE'"):
        registry.select(["P-STE"])


def test_every_id_that_was_asked_for_is_there() -> None:
    """The fixed ids; X-POWER and X-PLATEAU are families."""
    ids = {claim.id for claim in ALL}
    theorems = {f"P-T3{k}-{part}" for k in (1, 2, 3, 4) for part in ("DESCENT", "SUM", "MIN")}
    talk = {f"S-{rule}-{part}" for rule in ("REINFORCE", "GRPO") for part in ("DESCENT", "SUM", "MIN")}
    steps = {f"P-STEP-{number}" for number in range(13, 34)}
    named = "P-EQ5 P-EQ10 P-EQ11 P-EQ12 P-L31-VAR P-L31-GLOBAL P-L32 P-L33 P-LD1 P-T32-COMPARE P-T34-APPENDIX "
    named += "S-UPDATE-SHORT S-UPDATE-REINFORCE S-UPDATE-GRPO S-SMOOTH-LOCAL S-SMOOTH-GLOBAL S-SMOOTH-BALL S-ORTHO "
    named += "X-IDENTITY X-COMPARE X-GROUP X-ORDER"
    assert theorems | talk | steps | set(named.split()) <= ids
    for family in ("X-SHARP", "X-POWER", "X-PLATEAU"):
        assert any(name.startswith(f"{family}-") for name in ids)
