"""From evidence to verdict: each of the five verdicts, and the refusal to choose when evidence contradicts itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from theory.claims import load_registry
from theory.search import SearchResult
from theory.verdicts import Evidence, decide, proof_evidence, search_evidence

CLAIM = load_registry()["P-L31-VAR"]
PROOF = Evidence("proof", "holds", "")
HOLDS = Evidence("property", "holds", "", 10, 0, 0.5)
VIOLATED = Evidence("property", "violated", "", 10, 0, 1.5)
VACUOUS = Evidence("trajectory", "vacuous", "", 10, 10)
OPEN = Evidence("property", "undecided", "", 10)


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        ([PROOF, HOLDS], "proved"),
        ([PROOF, VACUOUS], "proved"),
        ([PROOF, OPEN], "proved"),
        ([HOLDS, VACUOUS], "supported"),
        ([HOLDS, VIOLATED], "refuted"),
        ([VIOLATED, VACUOUS], "refuted"),
        ([VACUOUS], "vacuous"),
        ([HOLDS, OPEN], "undecided"),
        ([], "undecided"),
        ([PROOF, VIOLATED], "undecided"),
    ],
)
def test_the_verdict_follows_from_the_evidence(evidence: list[Evidence], verdict: str) -> None:
    assert decide(CLAIM, evidence).verdict == verdict


def test_tightness_is_the_largest_ratio_and_slack_its_inverse() -> None:
    verdict = decide(CLAIM, [PROOF, HOLDS, replace(HOLDS, worst_ratio=0.25)])
    assert verdict.tightness == 0.5
    assert verdict.slack == 2.0
    assert decide(CLAIM, [PROOF]).tightness is None
    assert decide(CLAIM, [PROOF]).slack is None


@pytest.mark.parametrize(
    ("seen", "outcome"),
    [
        ({"instances": 5, "vacuous": 5}, "vacuous"),
        ({"instances": 5, "vacuous": 4}, "holds"),
        ({"instances": 5, "undecided": 1}, "undecided"),
        ({"instances": 5, "dismissed": 2}, "holds"),
        ({}, "vacuous"),
    ],
)
def test_what_a_search_saw_becomes_evidence(seen: dict[str, Any], outcome: str) -> None:
    evidence = search_evidence("property", SearchResult(**seen))
    assert evidence.outcome == outcome
    assert str(seen.get("instances", 0) - seen.get("vacuous", 0)) in evidence.summary


def test_a_proof_must_carry_the_id_of_its_claim() -> None:
    other = load_registry()["P-L32"]
    with pytest.raises(ValueError, match="carries the id P-L32"):
        proof_evidence(replace(CLAIM, proof=other.proof), load_registry())
    assert proof_evidence(replace(CLAIM, proof=None), load_registry()) is None


def test_json_names_everything_a_reader_needs() -> None:
    content = decide(CLAIM, [PROOF, HOLDS]).to_json()
    needed = {"id", "source", "statement", "verdict", "tightness", "slack", "assumptions", "evidence"}
    assert needed | {"counterexample", "fixed_by"} <= set(content)
    assert [item["kind"] for item in content["evidence"]] == ["proof", "property"]
