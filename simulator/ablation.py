"""Which assumptions are needed: each is dropped in turn, and either a violation or a proof must decide.

Dropping an assumption means that the claim speaks of runs which the assumption excluded, so the context must be one
that is right without it: expectations over prompt orders by following all of them instead of by ``X-ORDER``, constants
that are not measured but stay at 1, a sequence C below what Assumption 3 allows, several right outputs.

``needed``: an instance without the assumption violates the claim, rechecked in ball arithmetic. ``not needed``: neither
the claim's certificate nor that of any claim below it uses the assumption (``theory.hypotheses``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from simulator.checks import build_context
from simulator.conflict import ConflictRun, conflict, conflict_steps
from simulator.interacting import InteractingRun
from simulator.several import SeveralRun, SeveralStep
from simulator.steps import Step
from theory.assumptions import (
    BOUNDED_STD,
    GRADIENT_ORTHOGONAL,
    INTERACTION,
    ORTHOGONAL,
    SCALE,
    UNIQUE_ANSWER,
    Assumption,
)
from theory.claim import Claim
from theory.claims import load_registry
from theory.hypotheses import Basis, basis
from theory.instances import Instance
from theory.judge import Build, Counterexample, recheck
from theory.known import kept_instance
from theory.search import limits_for, search
from theory.several import OneAnswerFormulas, SeveralBall, SeveralGroup, SeveralPoint

__all__ = ["Ablation", "ablate", "without"]

Outcome = Literal["needed", "not needed", "unsettled", "contradiction"]

# C is taken this much below the standard deviation where Assumption 3 is dropped.
SMALLER = 16
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
    """

    claim: str
    assumption: str
    outcome: Outcome
    reason: str
    counterexample: Counterexample | None = None
    rests_on: tuple[str, ...] = ()


class _Without:
    """A context in which one quantity is replaced; all else is as it was."""

    def __init__(self, context: Any, **replaced: Any) -> None:
        self._context, self._replaced = context, replaced

    def __getattr__(self, name: str) -> Any:
        replaced = self.__dict__["_replaced"]
        return replaced[name] if name in replaced else getattr(self.__dict__["_context"], name)


def _smaller_bound(claim: Claim, instance: Instance) -> Any:
    context = build_context(claim, instance)
    return _Without(context, std_bound=context.std_bound / SMALLER)


def _several(claim: Claim, instance: Instance) -> Any:
    if claim.rule is not None:
        context = SeveralStep if claim.scope == "step" else SeveralRun
        assert claim.step_size is not None
        return context(instance, claim.rule, claim.step_size)
    if claim.id == "X-IDENTITY":
        return OneAnswerFormulas(instance)
    return {"point": SeveralPoint, "ball": SeveralBall, "group": SeveralGroup}[claim.scope](instance)


def _with_constants(names: tuple[str, ...], claim: Claim, instance: Instance) -> Any:
    assert claim.rule is not None
    assert claim.step_size is not None
    context = Step if claim.scope == "step" else InteractingRun
    return context(instance, claim.rule, claim.step_size, names)


def _by_all_orders(claim: Claim) -> Claim:
    """A claim about orthogonal prompts as one about prompts that may interact."""
    # The plateau claims are about a prompt's own path, which the other prompts do not enter.
    if claim.scope != "expectation" or claim.id.startswith("X-PLATEAU"):
        return claim
    step_size = claim.step_size
    assert step_size is not None
    return replace(claim, scope="interacting", step_size=lambda constants: step_size(constants.x_max_sq))


def _measured(claim: Claim) -> tuple[str, ...]:
    """The constants that the claim's assumptions are about; the others stay at 1."""
    named = {INTERACTION: ("M",), SCALE: ("R1", "R2")}
    return tuple(name for assumption in claim.assumptions for name in named.get(assumption, ()))


def without(claim: Claim, assumption: Assumption) -> tuple[Claim, Build] | None:
    """The claim without the assumption, and how to build its context.

    Returns:
        None where there is no such context: Assumption 1 on runs of prompts that interact or share every step.
    """
    rest = tuple(each for each in claim.assumptions if each is not assumption)
    weaker = replace(claim, assumptions=rest, proof=None, witness=None)
    if assumption in (ORTHOGONAL, GRADIENT_ORTHOGONAL):
        return _by_all_orders(weaker), build_context
    if assumption is BOUNDED_STD:
        return weaker, _smaller_bound
    if assumption in (INTERACTION, SCALE):
        return weaker, partial(_with_constants, _measured(weaker))
    if assumption is UNIQUE_ANSWER and claim.scope not in ("joint", "interacting"):
        return weaker, _several
    return None


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


def _candidates(claim: Claim, weaker: Claim, assumption: Assumption, build: Build) -> Iterator[tuple[Build, Instance]]:
    """Instances that are likely to violate the claim without the assumption, the cheapest first."""
    kept = kept_instance(f"{claim.id}.{assumption.id}")
    if kept is not None:
        yield build, kept
    if weaker.scope == "joint" and assumption is ORTHOGONAL:
        yield build, conflict(STARTS[0], JOINT_STEPS)
    if weaker.scope == "interacting" and assumption in (ORTHOGONAL, INTERACTION):
        yield build, conflict(STARTS[0], 1)
        yield from _walks(weaker)


def _violation(claim: Claim, weaker: Claim, assumption: Assumption, build: Build) -> Counterexample | None:
    for context, instance in _candidates(claim, weaker, assumption, build):
        # A walk knows no more than what cumulative bounds and rates look at.
        with suppress(AttributeError):
            found = recheck(weaker, context, instance)
            if isinstance(found, Counterexample):
                return found
    return None


def _ablate(claim: Claim, assumption: Assumption, proof: Basis | None, *effort: int) -> Ablation:
    examples, evaluations, seed = effort
    used = proof is None or assumption.id in proof.assumptions
    dropped = without(claim, assumption)
    example, live = None, "there is no context to look for a violation in"
    if dropped is not None:
        weaker, build = dropped
        example = _violation(claim, weaker, assumption, build) if used else None
        if example is None:
            limits = limits_for(weaker)
            if assumption in (ORTHOGONAL, INTERACTION, SCALE):
                limits = replace(limits, interacting=True, conflicting=assumption is not SCALE)
                limits = limits if limits.orders is None else replace(limits, steps=STEPS, orders=ORDERS)
            # Where proofs decide, the search only stands guard over them.
            examples, evaluations = (examples, evaluations) if used else (max(examples // 2, 1), evaluations // 2)
            result = search(
                weaker, build, examples=examples, evaluations=evaluations, seed=seed, shrink=False, limits=limits
            )
            example, live = result.counterexample, f"no violation on {result.instances - result.vacuous} instances"
    if example is not None:
        sides = f"{example.left} against {example.right}"
        return Ablation(claim.id, assumption.id, "needed" if used else "contradiction", sides, example)
    if proof is None or used:
        return Ablation(claim.id, assumption.id, "unsettled", f"its proof uses it; {live}")
    also = f" and those of {len(proof.claims) - 1} claims below it" if len(proof.claims) > 1 else ""
    reason = (
        f"its certificate{also}, {proof.steps} replayed steps, use {', '.join(sorted(proof.assumptions)) or 'none'}"
    )
    return Ablation(claim.id, assumption.id, "not needed", f"{reason}; {live}", rests_on=proof.claims)
