"""Kept counterexamples: one for every refuted claim, confirmed anew, and none for a claim that holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import theory
from simulator.checks import build_context
from theory.claim import Claim
from theory.claims import load_registry
from theory.judge import Counterexample, recheck
from theory.known import kept_instance, recheck_kept

REFUTED = [claim for claim in load_registry() if claim.fixed_by is not None]


@pytest.mark.parametrize("claim", REFUTED, ids=lambda claim: claim.id)
def test_a_kept_counterexample_is_confirmed_and_its_repair_survives_it(claim: Claim) -> None:
    result = recheck_kept(claim, build_context)
    assert result is not None
    assert result.counterexample is not None
    failed = next(link for link in claim.links if link.name == result.counterexample.link)
    assert failed.relation == "==" or not result.worst_ratio <= 1
    instance = kept_instance(claim.id)
    assert instance is not None
    fixed = load_registry()[claim.fixed_by or ""]
    assert not isinstance(recheck(fixed, build_context, instance), Counterexample)


def test_only_refuted_claims_have_one() -> None:
    """Files called ID.A1 are about a claim without an assumption, and others that hold have none."""
    folder = Path(theory.__file__).parent / "counterexamples"
    assert {path.stem for path in folder.glob("*.json") if "." not in path.stem} == {claim.id for claim in REFUTED}
    assert recheck_kept(load_registry()["P-L32"], build_context) is None


def test_a_file_alone_refutes_nothing() -> None:
    """A claim that holds is not refuted by an instance kept under its id."""
    true_claim = replace(load_registry()["P-T32-SUM-FIXED"], id="P-T32-SUM")
    result = recheck_kept(true_claim, build_context)
    assert result is not None
    assert result.counterexample is None


def test_the_talks_sum_fails_with_several_prompts_where_its_rate_does() -> None:
    """Its kept instance has one prompt; the factor n that its remark speaks of is missing with more."""
    instance = kept_instance("S-GRPO-MIN")
    assert instance is not None
    assert len(instance.answers) > 1
    assert isinstance(recheck(load_registry()["S-GRPO-SUM"], build_context, instance), Counterexample)
