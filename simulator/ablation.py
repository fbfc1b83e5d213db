"""Which assumptions are needed: each is dropped in turn, and a violating instance is looked for.

Dropping an assumption means that the claim speaks of runs which the assumption excluded, so the context must be one
that is right without it: expectations over prompt orders by following all of them instead of by ``X-ORDER``, constants
that are not measured but stay at 1, a sequence C below what Assumption 3 allows, several right outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from simulator.checks import build_context
from simulator.interacting import InteractingRun
from simulator.problems import Problem
from simulator.sampling import sampled_check
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
from theory.instances import Instance
from theory.judge import Build, Counterexample, recheck
from theory.search import limits_for, search
from theory.several import OneAnswerFormulas, SeveralBall, SeveralGroup, SeveralPoint

__all__ = ["Ablation", "ablate", "without"]

# C is taken this much below the standard deviation where Assumption 3 is dropped.
SMALLER = 16
# Parameter vectors in the tree of prompt orders; enough for prompts in conflict to use up the cumulative bounds.
ORDERS, STEPS = 520, 40
# Long enough for two prompts in conflict to use up the cumulative bounds.
CONFLICT_STEPS = 120


@dataclass(frozen=True)
class Ablation:
    """What became of a claim without one of its assumptions.

    Attributes:
        claim: id.
        assumption: id.
        outcome: ``needed`` (a violating instance was confirmed), ``needed (sampled)`` (violated beyond a confidence
            interval, on runs too long to follow every order), ``argued`` (none was found, or there is no context to
            look in, and ``reason`` says in words why it is not needed), ``not seen to be needed`` (none was found),
            ``not tried`` (no context and no argument).
        reason: why, in a few words.
        counterexample: the violating instance, or None.
    """

    claim: str
    assumption: str
    outcome: str
    reason: str
    counterexample: Counterexample | None = None


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
        None where there is no such context: Assumption 1 on runs and groups, which have one right output per prompt.
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
    found = []
    for assumption in claim.assumptions:
        progress(f"{claim.id} without {assumption.id}")
        found.append(_ablate(claim, assumption, examples, evaluations, seed))
    return found


def _conflict() -> Problem:
    """Two prompts with the same two outputs, of which each wants the other; prompt 1 starts at 0.8."""
    features = np.tile([[[1.0], [-1.0]]], (2, 1, 1))
    return Problem(features, np.array([0, 1]), np.array([np.log(4.0) / 2]), name="conflict")


def _in_conflict(claim: Claim, assumption: Assumption) -> Counterexample | None:
    """The exact answer on two prompts in conflict, where both move at every step: one run is all there is."""
    if claim.scope != "joint" or assumption is not ORTHOGONAL:
        return None
    problem, zeros = _conflict(), np.zeros(1)
    instance = Instance(problem.features, problem.answers, problem.theta0, zeros, zeros, CONFLICT_STEPS)
    found = recheck(claim, build_context, instance)
    return found if isinstance(found, Counterexample) else None


# Why an assumption is not needed, in words: an argument for people, not a measurement. Wherever there is a context
# without the assumption a search still looks for a violation, and what it finds outweighs the argument.
_LEMMAS = "it enters through Lemmas 3.1 to 3.3 alone, which hold without it: X-SEVERAL-VAR, X-SEVERAL-LIPSCHITZ"
_CURVATURE = "it enters through the curvature and the slope alone: X-SEVERAL-CURVATURE, X-SEVERAL-LIPSCHITZ"
_LINEAR = "J and the update are sums over the right outputs, and both sides are linear in the reward vector"
_SCALARS = "it is about numbers in (0, 1); its certificate uses p + q = 1 alone"
_CONCAVE = "its certificate needs -y^T Hess L y <= Var_w(u), and with several right outputs it is Var_w(u) - Var_v(u)"
_ALGEBRA = "the statement compares two given bounds; its proof is algebra and uses no property of the run"
_UNUSED = "its certificate does not use it: no relation and no fact there speaks of it"
_TAYLOR = "it is Taylor's theorem, which holds for every smooth J"
_SYMMETRIC = "it holds for every symmetric matrix"
_GROUPS = "its certificate holds with the mean over the right outputs in place of u_a"
_LOGITS = "J is a function of the prompt's own logits, however many outputs are right"
_ONE_ANSWER = {
    _LEMMAS: "P-T31 P-T32 P-T33 P-T34 S-REINFORCE S-GRPO P-L31 S-SMOOTH P-L32 P-L33 P-STEP-C3-MOVE "
    "P-STEP-C3-MAX P-STEP-19 P-STEP-20 P-STEP-22 P-STEP-23 P-STEP-24 P-STEP-25 P-STEP-28 P-STEP-29 "
    "P-STEP-32 P-STEP-33 P-STEP-D2-SUM P-STEP-E1-SUM",
    _LOGITS: "S-ORTHO X-ORDER P-STEP-18 P-STEP-21",
    _TAYLOR: "P-STEP-26 P-STEP-30",
    _SYMMETRIC: "P-STEP-C1-NORM",
    _GROUPS: "X-GROUP S-UPDATE-SHORT-FIXED",
    _CURVATURE: "X-SHARP-VAR X-SHARP-LIPSCHITZ X-SHARP-GLOBAL X-SHARP-BALL X-SHARP-REINFORCE X-SHARP-GRPO X-COMPARE",
    _LINEAR: "P-EQ5 P-EQ10 P-LD1 P-STEP-17 P-STEP-D1",
    _SCALARS: "X-GROUP-BOUND X-GROUP-JENSEN X-GROUP-LIMIT X-GROUP-MONOTONE X-POWER-BEST P-STEP-C3-F P-STEP-C3-HALF "
    "P-STEP-C3-CASE",
    _CONCAVE: "X-POWER-0 X-POWER-25 X-POWER-50 X-POWER-75 X-POWER-100",
}
_NOT_USED = {
    ORTHOGONAL.id: "P-STEP-19 P-STEP-D3-UPDATE P-STEP-D3-BALL P-STEP-22 X-PLATEAU",
    BOUNDED_STD.id: "P-STEP-30-FIXED P-STEP-31-FIXED",
    INTERACTION.id: "P-STEP-25 P-STEP-26 P-STEP-29-FIXED P-STEP-30-FIXED",
    SCALE.id: "P-STEP-29-FIXED P-STEP-30-FIXED",
}


def _argument(claim: Claim, assumption: Assumption) -> str:
    """Why the assumption is not needed; empty if no argument is known."""
    if assumption is UNIQUE_ANSWER:
        # The last one is meant: it is about fewer claims than X-GROUP, with which its ids begin.
        found = [reason for reason, ids in _ONE_ANSWER.items() if claim.id.startswith(tuple(ids.split()))]
        return found[-1] if found else ""
    if claim.id.startswith(tuple(_NOT_USED.get(assumption.id, "-").split())):
        return _UNUSED
    if assumption is BOUNDED_STD and claim.id == "X-POWER-0":
        return "C enters to the power 2 alpha = 0"
    return _ALGEBRA if all(link.relation == "iff" for link in claim.links) else ""


def _ablate(claim: Claim, assumption: Assumption, examples: int, evaluations: int, seed: int) -> Ablation:
    argument, dropped = _argument(claim, assumption), without(claim, assumption)
    if dropped is None:
        reason = argument or "runs, groups and displayed steps here have one right output"
        return Ablation(claim.id, assumption.id, "argued" if argument else "not tried", reason)
    weaker, build = dropped
    limits = limits_for(weaker)
    if assumption in (ORTHOGONAL, INTERACTION, SCALE):
        limits = replace(limits, interacting=True, conflicting=assumption is not SCALE)
        limits = limits if limits.orders is None else replace(limits, steps=STEPS, orders=ORDERS)
    result = search(weaker, build, examples=examples, evaluations=evaluations, seed=seed, shrink=False, limits=limits)
    example = result.counterexample or _in_conflict(weaker, assumption)
    if example is not None:
        return Ablation(claim.id, assumption.id, "needed", f"{example.left} against {example.right}", example)
    if weaker.scope == "interacting" and assumption in (ORTHOGONAL, INTERACTION):
        found = sampled_check(
            weaker, _conflict(), CONFLICT_STEPS, replicas=2000, batches=25, seed=seed, names=_measured(weaker)
        )
        if found.exceeds:
            reason = f"two prompts in conflict, {CONFLICT_STEPS} steps, {found.replicas} sampled orders: "
            reason += f"ratio of the means {found.worst_ratio:.3g}, beyond 1 with {found.confidence:.0%} confidence"
            return Ablation(claim.id, assumption.id, "needed (sampled)", reason)
    live = f"no violation on {result.instances - result.vacuous} instances without it"
    if argument:
        return Ablation(claim.id, assumption.id, "argued", f"{argument}; {live}")
    return Ablation(claim.id, assumption.id, "not seen to be needed", live)
