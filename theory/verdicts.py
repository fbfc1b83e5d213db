"""From evidence to a verdict.

``proved``: a certificate that the independent checker replayed. ``refuted``: a counterexample that ball arithmetic
confirmed. ``supported``: checked where its assumptions were measured to hold, without a violation. ``vacuous``: its
assumptions never held. ``undecided``: anything else, also when two kinds of evidence contradict each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from theory.claim import Claim, Registry
from theory.found import SearchResult
from theory.hypotheses import founded, replayed
from theory.judge import Counterexample

__all__ = ["EQUAL_WITHIN", "Evidence", "Name", "Outcome", "Verdict", "decide", "proof_evidence", "search_evidence"]

Outcome = Literal["holds", "violated", "vacuous", "undecided"]
Name = Literal["proved", "supported", "refuted", "vacuous", "undecided"]


# Balls that should enclose equal numbers must differ by no more than this, relatively; else nothing was seen.
EQUAL_WITHIN = 1e-60


@dataclass(frozen=True)
class Evidence:
    """One way a claim was put to the test, and what came out.

    Attributes:
        kind: ``proof``, ``kept`` (a counterexample of old, rechecked), ``property``, ``trajectory`` or ``error`` (the
            evidence could not be gathered).
        outcome: ``holds``, ``violated``, ``vacuous`` or ``undecided``.
        summary: one sentence with the numbers.
        instances: instances looked at (0 for a proof).
        vacuous: of these, instances on which an assumption failed.
        worst_ratio: largest left/right ratio, None if there is none.
        counterexample: confirmed exactly, or None.
        link_ratios: the same of each link of a chain, by its number.
        data: certificate, worst instance, sampled sides and the like, ready for JSON.
    """

    kind: str
    outcome: Outcome
    summary: str
    instances: int = 0
    vacuous: int = 0
    worst_ratio: float | None = None
    counterexample: Counterexample | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    link_ratios: Mapping[int, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "kind": self.kind,
            "outcome": self.outcome,
            "summary": self.summary,
            "instances": self.instances,
            "vacuous": self.vacuous,
            "worst_ratio": self.worst_ratio,
            **self.data,
        }


@dataclass(frozen=True)
class Verdict:
    """What is known of a claim.

    Attributes:
        claim: the claim.
        verdict: see the module's docstring.
        evidence: all that was tried.
    """

    claim: Claim
    verdict: Name
    evidence: tuple[Evidence, ...]

    @property
    def tightness(self) -> float | None:
        """Largest left/right ratio met: 1 is attained, 0.5 means that the constant is twice what was needed."""
        if all(link.relation == "==" for link in self.claim.links):
            return 1.0 if self.verdict in ("proved", "supported") else None
        ratios = [e.worst_ratio for e in self.evidence if e.worst_ratio is not None]
        return max(ratios, default=None)

    @property
    def slack(self) -> float | None:
        """``1 / tightness``: the factor between the stated bound and the worst instance met."""
        return 1 / self.tightness if self.tightness else None

    @property
    def links(self) -> list[dict[str, Any]]:
        """Name, relation, tightness and slack of each link; a claim without a chain has one, without a name.

        Slack is where a proof gives a constant away; an equality has none.
        """
        if self.claim.relation != "chain":
            slack = None if self.claim.relation == "==" else self.slack
            return [{"name": "", "relation": self.claim.relation, "tightness": self.tightness, "slack": slack}]
        rows = []
        for number, link in enumerate(self.claim.links):
            found = [e.link_ratios[number] for e in self.evidence if number in e.link_ratios]
            tightness: float | None = max(found, default=None)
            slack = 1 / tightness if tightness else None
            if link.relation == "==" and self.verdict in ("proved", "supported"):
                tightness = 1.0
            rows.append({"name": link.name, "relation": link.relation, "tightness": tightness, "slack": slack})
        return rows

    @property
    def counterexample(self) -> Counterexample | None:
        """The first confirmed counterexample."""
        return next((e.counterexample for e in self.evidence if e.counterexample is not None), None)

    def to_json(self) -> dict[str, Any]:
        """Plain data, as ``whynorm verify --json`` writes it."""
        claim = self.claim
        return {
            "id": claim.id,
            "source": claim.source,
            "place": claim.place,
            "title": claim.title,
            "statement": claim.statement,
            "scope": claim.scope,
            "verdict": self.verdict,
            "tightness": self.tightness,
            "slack": self.slack,
            "links": self.links,
            "assumptions": [{"id": a.id, "statement": a.statement} for a in claim.assumptions],
            "evidence": [e.to_json() for e in self.evidence],
            "counterexample": self.counterexample.to_json() if self.counterexample else None,
            "fixed_by": claim.fixed_by,
            "remark": claim.remark,
            "misprint": claim.misprint,
        }


def proof_evidence(claim: Claim, registry: Registry) -> Evidence | None:
    """Build the claim's certificate and replay it, and those of all claims that it cites, with the independent checker.

    Raises:
        CertificateError: one of them fails or is about another claim, or see :func:`theory.hypotheses.founded`.
    """
    if claim.proof is None:
        return None
    certificate, steps = replayed(claim)
    founded(claim, registry)
    facts = len(certificate["facts"])
    summary = f"{steps} machine-checked steps, replayed by an independent checker; {facts} textbook facts cited"
    return Evidence("proof", "holds", summary, data={"certificate": certificate})


def search_evidence(kind: str, result: SearchResult) -> Evidence:
    """Turn what a search or a trajectory check saw into evidence."""
    live = result.instances - result.vacuous
    parts = [f"{live} instances"]
    if result.vacuous:
        parts.append(f"{result.vacuous} vacuous")
    outcome: Outcome = "holds"
    if result.counterexample is not None:
        outcome = "violated"
        example = result.counterexample
        parts.append(f"counterexample confirmed in ball arithmetic: {example.left} against {example.right}")
    elif live == 0:
        outcome = "vacuous"
    elif result.worst_error > EQUAL_WITHIN:
        outcome = "undecided"
        parts.append("two sides that should be equal were not seen to be")
    elif result.undecided:
        outcome = "undecided"
        parts.append(f"{result.undecided} suspected violations could be neither confirmed nor dismissed")
    else:
        parts.append("no violation")
    if result.dismissed:
        parts.append(f"{result.dismissed} float alarms dismissed by exact recheck")
    ratio = None if math.isnan(result.worst_ratio) else result.worst_ratio
    if ratio is not None and outcome != "violated":
        parts.append(f"worst ratio {ratio:.4g}")
    if not math.isnan(result.worst_error):
        parts.append(f"largest relative error {result.worst_error:.1e}")
    summary, ratios = ", ".join(parts), dict(result.link_ratios)
    return Evidence(
        kind, outcome, summary, result.instances, result.vacuous, ratio, result.counterexample, _shown(result), ratios
    )


def _shown(result: SearchResult) -> dict[str, Any]:
    """What a report draws: the worst instance, both sides there, and a sample of both sides elsewhere."""
    data: dict[str, Any] = {}
    if result.worst is not None:
        data["worst_instance"] = result.worst.to_json()
    if result.worst_sides is not None:
        link, left, right = result.worst_sides
        data["worst_sides"] = {"link": link, "left": left, "right": right}
    if not math.isnan(result.worst_error):
        data["worst_error"] = result.worst_error
    if result.sides.pairs:
        data["sides"] = result.sides.to_json()
    return data


def decide(claim: Claim, evidence: Sequence[Evidence]) -> Verdict:
    """Weigh the evidence; a proof and a counterexample together are a bug of the toolkit, and give ``undecided``."""
    outcomes = {e.outcome for e in evidence}
    proved = any(e.kind == "proof" and e.outcome == "holds" for e in evidence)
    name: Name
    if proved and "violated" in outcomes:
        name = "undecided"
    elif "violated" in outcomes:
        name = "refuted"
    elif proved:
        name = "proved"
    elif "undecided" in outcomes or not outcomes:
        name = "undecided"
    else:
        name = "supported" if "holds" in outcomes else "vacuous"
    return Verdict(claim, name, tuple(evidence))
