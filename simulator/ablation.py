"""Which assumptions are needed: each is dropped in turn, and either a violation or a proof must decide.

``needed``: an instance without the assumption (``simulator.dropped``) violates the claim, rechecked in ball arithmetic.
``not needed``: neither the claim's certificate nor that of any claim below it uses the assumption
(``theory.hypotheses``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from simulator.conflict import ConflictRun, conflict, conflict_steps
from simulator.dropped import Drop, without
from theory.assumptions import INTERACTION, ORTHOGONAL, SCALE, Assumption
from theory.claim import Claim
from theory.claims import load_registry
from theory.found import SearchResult
from theory.hypotheses import Basis, basis
from theory.instances import Instance
from theory.judge import Build, Counterexample, recheck
from theory.known import kept_instance
from theory.search import limits_for, search

__all__ = ["Ablation", "ablate"]

Outcome = Literal["needed", "not needed", "unsettled", "contradiction"]

# Parameter vectors in the tree of prompt orders.
ORDERS, STEPS = 520, 40
# Success probabilities of the first of two prompts in conflict.
STARTS = (0.8, 0.95)
# Long enough for two prompts in conflict that share every step to use up the cumulative bounds.
JOINT_STEPS = 120


@dataclass(frozen=True)
class Ablation:
    """What became of a claim without one of its assumptions.

    Attributes:
        claim: id.
        assumption: id.
        outcome: ``needed`` (a violating instance was confirmed exactly), ``not needed`` (the certificates prove the
            claim without it), ``unsettled`` (the certificates use it, but no violation was found), ``contradiction``
            (violated although the certificates do not use it: one of the two is wrong).
        reason: why, in a few words.
        counterexample: the violating instance, or None.
        rests_on: ids of the claims whose certificates prove the statement without the assumption.
        part: what the assumption says that the counterexample breaks; empty for all that it says.
        unbroken: other parts of it, without which alone no violation was found.
    """

    claim: str
    assumption: str
    outcome: Outcome
    reason: str
    counterexample: Counterexample | None = None
    rests_on: tuple[str, ...] = ()
    part: str = ""
    unbroken: tuple[str, ...] = ()


def ablate(
    claim: Claim,
    examples: int,
    evaluations: int,
    seed: int,
    progress: Callable[[str], Any] = lambda message: None,
) -> list[Ablation]:
    """Drop each assumption of a claim in turn.

    Args:
        claim: one that holds.
        examples, evaluations, seed: of the search for a violating instance.
        progress: called with one line per assumption.
    """
    proof = None if claim.proof is None else basis(claim, load_registry())
    found = []
    for assumption in claim.assumptions:
        progress(f"{claim.id} without {assumption.id}")
        found.append(_ablate(claim, assumption, proof, examples, evaluations, seed))
    return found


def _walks(claim: Claim) -> Iterator[tuple[Build, Instance]]:
    """Two prompts in conflict over many steps, by rigorous enclosures."""
    rule, step_size = claim.rule, claim.step_size
    assert rule is not None
    assert step_size is not None
    for p0 in STARTS:
        yield (
            (lambda _, instance: ConflictRun(instance, rule, step_size)),
            conflict(p0, conflict_steps(rule, step_size)),
        )


def _candidates(drop: Drop, assumption: Assumption) -> Iterator[tuple[Build, Instance]]:
    """Instances that are likely to violate the claim without the assumption, the cheapest first."""
    weaker = drop.claim
    kept = kept_instance(f"{weaker.id}.{assumption.id}")
    if kept is not None:
        yield drop.build, kept
    if weaker.scope == "joint" and assumption is ORTHOGONAL:
        yield drop.build, conflict(STARTS[0], JOINT_STEPS)
    if weaker.scope == "interacting" and assumption in (ORTHOGONAL, INTERACTION):
        yield drop.build, conflict(STARTS[0], 1)
        yield from _walks(weaker)


def _violation(drop: Drop, assumption: Assumption) -> Counterexample | None:
    for context, instance in _candidates(drop, assumption):
        # A walk knows no more than what cumulative bounds and rates look at.
        with suppress(AttributeError):
            found = recheck(drop.claim, context, instance)
            if isinstance(found, Counterexample):
                return found
    return None


def _search(drop: Drop, assumption: Assumption, examples: int, evaluations: int, seed: int) -> SearchResult:
    limits = limits_for(drop.claim)
    if assumption in (ORTHOGONAL, INTERACTION, SCALE):
        # Where R1 and R2 are free, larger ones make smaller steps, which break less.
        others = assumption is not SCALE
        limits = replace(limits, interacting=True, conflicting=others, constants=limits.constants and others)
        limits = limits if limits.orders is None else replace(limits, steps=STEPS, orders=ORDERS)
    return search(
        drop.claim, drop.build, examples=examples, evaluations=evaluations, seed=seed, shrink=False, limits=limits
    )


def _ablate(claim: Claim, assumption: Assumption, proof: Basis | None, *effort: int) -> Ablation:
    examples, evaluations, seed = effort
    used = proof is None or assumption.id in proof.assumptions
    told: list[str] = []
    unbroken: list[str] = []
    for drop in without(claim, assumption):
        example = _violation(drop, assumption) if used else None
        if example is None:
            # Where proofs decide, the search only stands guard over them.
            examples, evaluations = effort[:2] if used else (max(effort[0] // 2, 1), effort[1] // 2)
            result = _search(drop, assumption, examples, evaluations, seed)
            example = result.counterexample
        if example is not None:
            reason = "; ".join([f"{example.left} against {example.right}", *told])
            outcome: Outcome = "needed" if used else "contradiction"
            return Ablation(claim.id, assumption.id, outcome, reason, example, part=drop.part, unbroken=tuple(unbroken))
        unbroken.append(drop.part)
        also = f" without that {drop.part}" if drop.part else ""
        told.append(f"no violation on {result.instances - result.vacuous} instances{also}")
    live = "; ".join(told) or "there is no context to look for a violation in"
    if proof is None or used:
        return Ablation(claim.id, assumption.id, "unsettled", f"its proof uses it; {live}")
    also = f" and those of {len(proof.claims) - 1} claims below it" if len(proof.claims) > 1 else ""
    reason = (
        f"its certificate{also}, {proof.steps} replayed steps, use {', '.join(sorted(proof.assumptions)) or 'none'}"
    )
    return Ablation(claim.id, assumption.id, "not needed", f"{reason}; {live}", rests_on=proof.claims)
