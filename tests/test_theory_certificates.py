"""Certificates: every proof replays, every tampered one is rejected, and a false proof cannot be written."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
import sympy as sp

from theory.certificates import Certificate, Proof, ProofError, digest
from theory.checker import CertificateError, check
from theory.claims import load_registry

PROVED = [claim for claim in load_registry() if claim.proof is not None]


def _certificate(claim: Any) -> dict[str, Any]:
    return json.loads(json.dumps(claim.proof().to_json()))


@pytest.mark.parametrize("claim", PROVED, ids=lambda claim: claim.id)
def test_every_proof_replays(claim: Any) -> None:
    certificate = _certificate(claim)
    assert certificate["claim"] == claim.id
    assert check(certificate) == len(certificate["steps"]) > 0


def _mutations(value: Any) -> Iterator[Any]:
    """Every value of the same JSON shape with one leaf changed or one entry dropped."""
    if isinstance(value, dict):
        for key in value:
            for mutant in _mutations(value[key]):
                yield {**value, key: mutant}
    elif isinstance(value, list):
        for i in range(len(value)):
            yield value[:i] + value[i + 1 :]
            for mutant in _mutations(value[i]):
                yield [*value[:i], mutant, *value[i + 1 :]]
    elif isinstance(value, str):
        yield value + "+1"
    else:
        yield value + 1


@pytest.mark.parametrize("claim", PROVED, ids=lambda claim: claim.id)
def test_every_changed_field_is_rejected(claim: Any) -> None:
    for mutant in _mutations(_certificate(claim)):
        with pytest.raises(CertificateError):
            check(mutant)


# With the digest made to fit, the mathematics itself must catch every one of these.
FIELDS = {
    "equal": ("left", "right"),
    "derivative": ("of", "image"),
    "nonnegative": ("expression", "terms"),
    "bound": ("expression",),
}


@pytest.mark.parametrize("claim", PROVED, ids=lambda claim: claim.id)
def test_changed_mathematics_is_rejected_even_with_a_fitting_digest(claim: Any) -> None:
    original = _certificate(claim)
    for i, step in enumerate(original["steps"]):
        for name in FIELDS.get(step["kind"], ("total",)):
            mutant = copy.deepcopy(original)
            names = [s["name"] for s in original["symbols"]] or ["1"]
            extra = "p" if "p" in names else names[0]
            extra = "1" if step["kind"] == "bound" else extra
            factor = f"*{extra}" if name == "of" else f"+{extra}"
            mutant["steps"][i][name] = f"({step[name]}){factor}"
            if name == "of" and extra not in original["derivation"]:
                continue
            mutant["sha256"] = digest(mutant)
            with pytest.raises(CertificateError):
                check(mutant)


def _small_proof() -> Proof:
    proof = Proof("T")
    p, q = proof.symbol("p", "positive", "p"), proof.symbol("q", "positive", "q")
    proof.relation(p + q, sp.Integer(1), "sum")
    return proof


def test_the_prover_refuses_what_does_not_hold() -> None:
    p, q = sp.Symbol("p", positive=True), sp.Symbol("q", positive=True)
    with pytest.raises(ProofError):
        _small_proof().equal(p - q, p + q, "wrong sign")
    with pytest.raises(ProofError):
        _small_proof().nonnegative(p - q, p + q, "wrong terms")
    with pytest.raises(ProofError):
        _small_proof().done("nothing shown")
    with pytest.raises(ProofError):
        _small_proof().moments(p * q, {p: sp.Integer(1)}, q + 1, "wrong total")
    with pytest.raises(ProofError):
        _small_proof().moments(p**2, {p: sp.Integer(1)}, q, "no sum for a square")


@pytest.mark.parametrize(
    "terms", ["q - p", "-p", "x", "p*x", "p/x", "x**3", "(p - q)**3", "p**x", "abs(x)", "p@q", "p+y"]
)
def test_the_checker_wants_visibly_non_negative_terms(terms: str) -> None:
    proof = _small_proof()
    proof.symbol("x", "real", "x")
    p, q = sp.symbols("p q", positive=True)
    proof.nonnegative((p - q) ** 2, (p - q) ** 2, "a square")
    good = proof.done("x").to_json()
    assert check(good) == 1
    bad = copy.deepcopy(good)
    bad["steps"][0].update(terms=terms, expression=terms)
    bad["sha256"] = digest(bad)
    with pytest.raises(CertificateError):
        check(bad)


def test_division_needs_a_positive_divisor() -> None:
    proof = _small_proof()
    proof.symbol("x", "real", "x")
    p = sp.Symbol("p", positive=True)
    proof.equal(p / p, sp.Integer(1), "fine")
    content = {**proof.done("x").content}
    content["steps"] = [{"kind": "equal", "left": "x/x", "right": "1", "because": "x may be 0"}]
    with pytest.raises(CertificateError, match="not known to be positive"):
        check(Certificate("T", content).to_json())


def test_a_derivation_has_to_respect_the_relations() -> None:
    """With p' = 1 and q' = 0 the sum p + q would change, which is 1; then anything could be derived."""
    proof = _small_proof()
    p, q = sp.symbols("p q", positive=True)
    proof.derive({p: sp.Integer(1), q: sp.Integer(-1)})
    proof.derivative(p * q, q - p, "product rule")
    content = dict(proof.done("x").content)
    assert check(Certificate("T", content).to_json()) == 1
    content["derivation"] = {"p": "1"}
    content["steps"] = [{"kind": "derivative", "of": "p*q", "image": "q", "because": "q stays"}]
    with pytest.raises(CertificateError, match="does not respect a relation"):
        check(Certificate("T", content).to_json())


@pytest.mark.parametrize("junk", [{}, {"format": 1}, {"format": 2}])
def test_junk_is_not_a_certificate(junk: dict) -> None:
    with pytest.raises(CertificateError):
        check(junk)
