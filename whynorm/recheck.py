"""Checking a file of verdicts: replay its certificates, confirm its counterexamples, and see that they fit the verdict.

Nothing in the file is taken on trust. What a proof assumes (its symbols with their signs, its relations and cited
facts), what its steps show and what it concludes must be what the claim of that id assumes, needs and concludes; only
how a step is shown (its witness) is the file's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import flint

from simulator.checks import build_context
from simulator.problems import Problem
from theory.checker import CertificateError, check
from theory.claim import Claim, Registry
from theory.claims import load_registry
from theory.instances import Instance
from theory.judge import Counterexample
from theory.judge import recheck as confirm

__all__ = ["Finding", "recheck_claim"]

_PREMISES = ("assumptions", "cites", "symbols", "relations", "facts", "derivation", "conclusion")

# How a step is shown; all else of a step is what it shows.
_WITNESSES = {"terms"}


@dataclass(frozen=True)
class Finding:
    """What became of one certificate, counterexample or verdict.

    Attributes:
        holds: whether it checks out.
        text: one line for a person.
    """

    holds: bool
    text: str


def recheck_claim(row: Mapping[str, Any], registry: Registry | None = None) -> Iterator[Finding]:
    """Check one claim of a file that ``whynorm verify --json`` wrote.

    Args:
        row: with the keys ``id``, ``verdict``, ``evidence`` and ``counterexample``.
        registry: of all claims there are; whynorm's own if None.

    Raises:
        InputError: there is no claim of that id.
    """
    claim = (registry or load_registry())[row["id"]]
    certificates = [item["certificate"] for item in row["evidence"] if "certificate" in item]
    proved = refuted = False
    for certificate in certificates:
        finding = _certificate(claim, certificate)
        proved = proved or finding.holds
        yield finding
    if row["counterexample"] is not None:
        finding = _counterexample(claim, row["counterexample"])
        refuted = finding.holds
        yield finding
    needed = {"proved": (True, False), "refuted": (False, True)}.get(row["verdict"])
    if needed is not None and needed != (proved, refuted):
        found = [name for name, held in (("a proof", proved), ("a counterexample", refuted)) if held]
        reason = f"the file holds {' and '.join(found) or 'nothing that shows it'}"
        yield Finding(False, f"{claim.id}: verdict {row['verdict']} REJECTED: {reason}")


def _certificate(claim: Claim, certificate: Any) -> Finding:
    try:
        if not isinstance(certificate, dict):
            raise CertificateError("not a certificate")
        steps = check(certificate)
        if certificate["claim"] != claim.id or claim.proof is None:
            raise CertificateError(f"it is about {certificate['claim']!r}")
        own = claim.proof().to_json()
        for name in _PREMISES:
            if certificate[name] != own[name]:
                raise CertificateError(f"its {name} are not those of the claim")
        if [_goal(step) for step in certificate["steps"]] != [_goal(step) for step in own["steps"]]:
            raise CertificateError("its steps do not show what the claim needs")
    except CertificateError as error:
        return Finding(False, f"{claim.id}: certificate REJECTED: {' '.join(str(error).split())}")
    return Finding(True, f"{claim.id}: certificate holds, {steps} step{'s' if steps > 1 else ''}")


def _goal(step: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in step.items() if key not in _WITNESSES}


def _counterexample(claim: Claim, data: Any) -> Finding:
    try:
        instance = Instance.from_json(data["instance"])
        problem = Problem(instance.features, instance.answers, instance.theta)
        if instance.direction.shape != (problem.d,) or instance.displacement.shape != (problem.d,):
            raise ValueError("a direction of the wrong length")
        if instance.steps < 1:
            raise ValueError("a run without steps")
        stated = [flint.arb(str(data[side])) for side in ("left", "right")]
        found = confirm(claim, build_context, instance)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        return Finding(False, f"{claim.id}: counterexample REJECTED: cannot be read ({' '.join(str(error).split())})")
    if not isinstance(found, Counterexample):
        return Finding(False, f"{claim.id}: counterexample REJECTED: the claim holds there, or that cannot be decided")
    shown = f"{found.left} against {found.right}"
    if not all(ball.overlaps(flint.arb(own)) for ball, own in zip(stated, (found.left, found.right), strict=True)):
        return Finding(False, f"{claim.id}: counterexample REJECTED: the sides are {shown}, not what the file says")
    return Finding(True, f"{claim.id}: counterexample holds, {shown}")
