"""Checking a file of verdicts: replay its certificates, confirm its counterexamples, and see that they fit the verdict.

What a claim says in the file must be what it says. What a proof assumes (its symbols with their signs, its relations
and cited facts), what its steps show and what it concludes must be what the claim of that id assumes, needs and
concludes; only how a step is shown (its witness) is the file's own. The claims that a proof cites are proved anew. The
figures of searches (tightness, worst ratios) are not repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import flint

from simulator.checks import build_context
from simulator.problems import Problem
from theory.checker import CertificateError, check
from theory.claim import Claim, Registry
from theory.claims import load_registry
from theory.hypotheses import founded
from theory.instances import Instance
from theory.judge import Counterexample
from theory.judge import recheck as confirm
from theory.verdicts import Outcome, Verdict

__all__ = ["Finding", "recheck_claim"]

_OF_THE_CLAIM = ("source", "place", "title", "statement", "scope", "assumptions", "fixed_by", "remark", "misprint")

_PREMISES = ("assumptions", "cites", "symbols", "relations", "facts", "derivation", "conclusion")

# How a step is shown; all else of a step is what it shows.
_WITNESSES = {"terms"}

# What must be there: a proof, and a counterexample. Both together are a bug of the toolkit, which leaves it undecided.
_SHOWN_BY = {
    "proved": ((True, False),),
    "refuted": ((False, True),),
    "supported": ((False, False),),
    "vacuous": ((False, False),),
    "undecided": ((False, False), (True, True)),
}

# Fifteen digits are written of each side; a file that says less than this says nothing.
_STATED_WITHIN = 1e-9


@dataclass(frozen=True)
class Finding:
    """What became of one certificate, counterexample or verdict.

    Attributes:
        holds: whether it checks out; None if there was nothing to check.
        text: one line for a person.
    """

    holds: bool | None
    text: str


def recheck_claim(row: Mapping[str, Any], registry: Registry | None = None) -> Iterator[Finding]:
    """Check one claim of a file that ``whynorm verify --json`` wrote.

    Args:
        row: with the keys ``id``, ``verdict``, ``evidence`` and ``counterexample``.
        registry: of all claims there are; whynorm's own if None.

    Raises:
        InputError: there is no claim of that id.
    """
    known = registry or load_registry()
    claim = known[row["id"]]
    differing = _differing(claim, row)
    if differing:
        yield Finding(False, f"{claim.id}: entry REJECTED: {differing} is not as the claim has it")
    if _contradicted(row):
        yield Finding(False, f"{claim.id}: entry REJECTED: an outcome among its evidence contradicts the verdict")
    certificates = [item["certificate"] for item in row["evidence"] if "certificate" in item]
    proved = refuted = False
    for certificate in certificates:
        finding = _certificate(claim, certificate, known)
        proved = proved or bool(finding.holds)
        yield finding
    if row["counterexample"] is not None:
        finding = _counterexample(claim, row["counterexample"])
        refuted = bool(finding.holds)
        yield finding
    verdict = row["verdict"]
    if not isinstance(verdict, str) or verdict not in _SHOWN_BY:
        yield Finding(
            False, f"{claim.id}: verdict REJECTED: there is no verdict {' '.join(repr(verdict).split())[:60]}"
        )
    elif (proved, refuted) not in _SHOWN_BY[verdict]:
        found = [name for name, held in (("a proof", proved), ("a counterexample", refuted)) if held]
        reason = f"the file holds {' and '.join(found) or 'nothing that shows it'}"
        yield Finding(False, f"{claim.id}: verdict {verdict} REJECTED: {reason}")
    elif not (certificates or row["counterexample"] is not None):
        yield Finding(None, f"{claim.id}: verdict {verdict}: the file holds nothing to recheck")


def _differing(claim: Claim, row: Mapping[str, Any]) -> str:
    """The name of the first thing that the file says of the claim itself and that is not so; empty if there is none."""
    own = Verdict(claim, "undecided", ()).to_json()
    if "links" in row and _named(row["links"]) != _named(own["links"]):
        return "links"
    return next((name for name in _OF_THE_CLAIM if name in row and row[name] != own[name]), "")


def _named(links: Any) -> Any:
    """Names and relations; tightness and slack are what a search met, and another one may meet another."""
    try:
        return [(link["name"], link["relation"]) for link in links]
    except (TypeError, KeyError):
        return None


def _contradicted(row: Mapping[str, Any]) -> bool:
    """Whether an outcome among the evidence is unknown, or a violation that the verdict says there is not."""
    outcomes = [item.get("outcome", "holds") for item in row["evidence"]]
    violated = "violated" in outcomes and row["verdict"] in ("proved", "supported", "vacuous")
    return violated or not set(outcomes) <= set(get_args(Outcome))


def _certificate(claim: Claim, certificate: Any, registry: Registry) -> Finding:
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
        founded(claim, registry)
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
        if min(instance.steps, instance.group - 1) < 1:
            raise ValueError("a run without steps, or a group of one")
        if data["format"] != 1 or data["claim"] != claim.id:
            raise ValueError(f"of format {data['format']!r} and about {data['claim']!r}")
        stated, place = [flint.arb(str(data[side])) for side in ("left", "right")], (data["index"], data["link"])
        found = confirm(claim, build_context, instance)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        reason = " ".join(str(error).split())[:160]
        return Finding(False, f"{claim.id}: counterexample REJECTED: cannot be read ({reason})")
    if not isinstance(found, Counterexample):
        return Finding(False, f"{claim.id}: counterexample REJECTED: the claim holds there, or that cannot be decided")
    shown = f"{found.left} against {found.right}"
    if not _agree(stated, [flint.arb(found.left), flint.arb(found.right)]):
        return Finding(False, f"{claim.id}: counterexample REJECTED: the sides are {shown}, not what the file says")
    if place != (found.index, found.link):
        entry = f"entry {found.index}" + (f" of {found.link}" if found.link else "")
        return Finding(False, f"{claim.id}: counterexample REJECTED: what fails is {entry}, not what the file says")
    return Finding(True, f"{claim.id}: counterexample holds, {shown}")


def _agree(stated: list[Any], own: list[Any]) -> bool:
    """Whether the stated sides are numbers, and those that were found."""
    size = max(abs(side).upper() for side in own)
    return all(
        ball.is_finite() and ball.rad() <= _STATED_WITHIN * size and ball.overlaps(side)
        for ball, side in zip(stated, own, strict=True)
    )
