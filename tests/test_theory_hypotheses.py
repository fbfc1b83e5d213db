"""What proofs rest on: declared, checked even against tampering, followed down to the end, without circles."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import sympy as sp

from theory.certificates import Certificate, Proof, digest
from theory.checker import CertificateError, check
from theory.claim import Claim, Registry
from theory.claims import load_registry
from theory.hypotheses import basis, founded

REGISTRY = load_registry()
PROVED = [claim for claim in REGISTRY if claim.proof is not None]


@pytest.mark.parametrize("claim", PROVED, ids=lambda claim: claim.id)
def test_a_proof_uses_no_assumption_that_the_claim_does_not_make(claim: Claim) -> None:
    found = founded(claim, REGISTRY)
    assert found.assumptions <= {assumption.id for assumption in claim.assumptions}
    assert found.claims[0] == claim.id
    assert all(REGISTRY[name].fixed_by is None for name in found.claims)


def test_what_lies_below_counts() -> None:
    assert basis(REGISTRY["P-T31-SUM"], REGISTRY).assumptions == {"A2"}
    assert basis(REGISTRY["P-T34-MIN"], REGISTRY).assumptions == {"A3", "A4", "A5"}
    below = basis(REGISTRY["P-T31-SUM"], REGISTRY).claims
    assert {"P-T31-DESCENT-FIXED", "S-ORTHO-FIXED", "P-L31-GLOBAL", "X-SEVERAL-IDENTITY"} < set(below)
    assert basis(REGISTRY["X-SHARP-BALL"], REGISTRY).assumptions == frozenset()


def _tampered(original: dict[str, Any]) -> list[dict[str, Any]]:
    """The certificate with something undeclared, or with too much declared, each with a fitting digest."""
    mutants = []
    for name, extra in (("assumptions", "A9"), ("cites", "X-NONE")):
        for i in range(len(original[name])):
            mutants.append({**original, name: original[name][:i] + original[name][i + 1 :]})
        mutants.append({**original, name: sorted([*original[name], extra])})
    for text in (" Assumption 9.", " X-NONE.", " see P-L99-NONE"):
        mutants.append({**original, "facts": [*original["facts"], f"It also needs{text}"]})
        because = copy.deepcopy(original)
        because["steps"][0]["because"] += text
        mutants.append(because)
    if "A1" not in original["assumptions"]:
        for text in ("x_a . y", "u_a - m", "e_a - w", "[H r]_a", "the right output"):
            mutants.append({**original, "facts": [*original["facts"], f"The number is {text}."]})
    return mutants


@pytest.mark.parametrize("claim", PROVED, ids=lambda claim: claim.id)
def test_an_assumption_or_a_citation_cannot_be_hidden(claim: Claim) -> None:
    assert claim.proof is not None
    original = json.loads(json.dumps(claim.proof().to_json()))
    for mutant in _tampered(original):
        with pytest.raises(CertificateError, match="its texts name"):
            check({**mutant, "sha256": digest(mutant)})


def _proof(name: str, fact: str) -> Certificate:
    proof = Proof(name)
    p = proof.symbol("p", "positive", "a number")
    proof.fact(fact)
    proof.equal(p, p + sp.Integer(0), "the same")
    return proof.done("nothing")


def _claim(name: str, fact: str) -> Claim:
    return replace(REGISTRY["P-L32"], id=name, proof=partial(_proof, name, fact))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"X-ONE": "X-TWO", "X-TWO": "X-ONE"}, "a circle of proofs: X-ONE -> X-TWO -> X-ONE"),
        ({"X-ONE": "X-THREE"}, "X-ONE cites X-THREE, which is no claim"),
    ],
)
def test_proofs_do_not_rest_on_nothing(facts: dict[str, str], message: str) -> None:
    registry = Registry()
    registry.add(*(_claim(name, f"By {fact}.") for name, fact in facts.items()))
    with pytest.raises(CertificateError, match=message):
        basis(registry["X-ONE"], registry)


def test_what_the_claim_does_not_assume_or_what_is_refuted_cannot_carry_a_proof() -> None:
    registry = Registry()
    registry.add(_claim("X-ONE", "By Assumption 2."), _claim("X-TWO", "By X-THREE."))
    registry.add(replace(_claim("X-THREE", "It is so."), fixed_by="X-ONE"))
    with pytest.raises(CertificateError, match="rests on A2, which the claim does not assume"):
        founded(registry["X-ONE"], registry)
    with pytest.raises(CertificateError, match="rests on X-THREE, which is refuted"):
        founded(registry["X-TWO"], registry)


def test_a_claim_without_a_proof_proves_nothing() -> None:
    registry = Registry()
    registry.add(_claim("X-ONE", "By X-TWO."), replace(REGISTRY["P-T31-DESCENT"], id="X-TWO"))
    with pytest.raises(CertificateError, match="X-TWO has no proof"):
        basis(registry["X-ONE"], registry)
