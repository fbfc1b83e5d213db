"""What a claim's proof rests on: the assumptions that it and the proofs of all the claims it cites make use of.

A certificate declares both (``theory.certificates``), and ``theory.checker`` rejects one whose texts name anything
else. An assumption outside the union over all certificates below a claim is not needed for it: they prove the claim's
statement where the assumption fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from theory.checker import CertificateError, check
from theory.claim import Claim, Registry

__all__ = ["Basis", "basis", "founded", "replayed"]


@dataclass(frozen=True)
class Basis:
    """What the proof of a claim rests on.

    Attributes:
        assumptions: ids of all assumptions used.
        claims: ids of the claims whose certificates were replayed, its own first.
        steps: machine-checked steps in all of them together.
    """

    assumptions: frozenset[str]
    claims: tuple[str, ...]
    steps: int


@cache
def replayed(claim: Claim) -> tuple[Mapping[str, Any], int]:
    """The claim's own certificate, as plain data, and its number of steps, after the independent checker's replay.

    Args:
        claim: one with a proof.

    Raises:
        CertificateError: there is no proof, it is about another claim, or a step fails.
    """
    if claim.proof is None:
        raise CertificateError(f"{claim.id} has no proof to rest on")
    certificate = claim.proof().to_json()
    if certificate["claim"] != claim.id:
        raise CertificateError(f"the proof of {claim.id} carries the id {certificate['claim']}")
    return certificate, check(certificate)


def basis(claim: Claim, registry: Registry) -> Basis:
    """Replay the claim's certificate and those of all the claims below it.

    Args:
        claim: one with a proof.
        registry: where cited claims are looked up.

    Raises:
        CertificateError: a certificate fails, a cited claim is unknown, refuted or without proof, or claims rest on one
            another in a circle.
    """
    order: list[Claim] = []
    _descend(claim, registry, order, ())
    parts = [replayed(each) for each in order]
    used = frozenset(name for certificate, _ in parts for name in certificate["assumptions"])
    return Basis(used, tuple(each.id for each in reversed(order)), sum(steps for _, steps in parts))


def founded(claim: Claim, registry: Registry) -> Basis:
    """:func:`basis`, where the claim makes every assumption that its proof rests on and rests on no refuted claim.

    Args:
        claim: one with a proof.
        registry: where cited claims are looked up.

    Raises:
        CertificateError: that is not so, or see :func:`basis`.
    """
    found = basis(claim, registry)
    missing = sorted(found.assumptions - {assumption.id for assumption in claim.assumptions})
    if missing:
        raise CertificateError(f"its proof rests on {', '.join(missing)}, which the claim does not assume")
    for name in found.claims[1:]:
        if registry[name].fixed_by is not None:
            raise CertificateError(f"its proof rests on {name}, which is refuted")
    return found


def _descend(claim: Claim, registry: Registry, order: list[Claim], path: tuple[str, ...]) -> None:
    """Append the claims below, then the claim itself."""
    if claim.id in path:
        raise CertificateError(f"a circle of proofs: {' -> '.join((*path, claim.id))}")
    if claim in order:
        return
    for name in replayed(claim)[0]["cites"]:
        if name not in registry:
            raise CertificateError(f"{claim.id} cites {name}, which is no claim")
        _descend(registry[name], registry, order, (*path, claim.id))
    order.append(claim)
