"""Claims without one of their assumptions, and the contexts that are right without it.

Dropping an assumption means that the claim speaks of runs which the assumption excluded: expectations over prompt
orders by following all of them instead of by ``X-ORDER``, constants that are not measured, a sequence C below what
Assumption 3 allows, several right outputs.

Assumption 5 says two things of R1 and R2: that they bound ratios between prompts, and that they are at least 1. They
are dropped one after the other: first R1 and R2 stay at 1 whatever the prompts do, then they are smaller.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from simulator.checks import build_context
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
from theory.instances import Instance
from theory.judge import Build
from theory.several import OneAnswerFormulas, SeveralBall, SeveralGroup, SeveralPoint

__all__ = ["Drop", "without"]

# C is taken this much below the standard deviation where Assumption 3 is dropped, R1 and R2 below 1 for Assumption 5.
SMALLER = 16


@dataclass(frozen=True)
class Drop:
    """A claim without an assumption.

    Attributes:
        claim: the weaker claim.
        build: from the weaker claim and an instance to a context.
        part: what the assumption says that is dropped; empty for all that it says.
    """

    claim: Claim
    build: Build
    part: str = ""


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


def _smaller(constants: Any) -> Any:
    return replace(constants, R1=1 / SMALLER, R2=1 / SMALLER)


def _below_one(names: tuple[str, ...], claim: Claim, instance: Instance) -> Any:
    step_size = claim.step_size
    assert step_size is not None
    larger_steps = replace(claim, step_size=lambda constants: step_size(_smaller(constants)))
    context = _with_constants(names, larger_steps, instance)
    return _Without(context, constants=context.constants and _smaller(context.constants))


def _by_all_orders(claim: Claim) -> Claim:
    """A claim about orthogonal prompts as one about prompts that may interact."""
    # The plateau claims are about a prompt's own path, which the other prompts do not enter.
    if claim.scope != "expectation" or claim.id.startswith("X-PLATEAU"):
        return claim
    step_size = claim.step_size
    assert step_size is not None
    return replace(claim, scope="interacting", step_size=lambda constants: step_size(constants.x_max_sq))


def _measured(claim: Claim) -> tuple[str, ...]:
    """The constants that the claim's assumptions are about; the others stay at the instance's least ones, mostly 1."""
    named = {INTERACTION: ("M",), SCALE: ("R1", "R2")}
    return tuple(name for assumption in claim.assumptions for name in named.get(assumption, ()))


def without(claim: Claim, assumption: Assumption) -> tuple[Drop, ...]:
    """The claim without the assumption, the least change first.

    Returns:
        Nothing where there is no context for it: Assumption 1 on runs of prompts that interact or share every step.
        Two for Assumption 5.
    """
    rest = tuple(each for each in claim.assumptions if each is not assumption)
    weaker = replace(claim, assumptions=rest, proof=None, witness=None)
    if assumption in (ORTHOGONAL, GRADIENT_ORTHOGONAL):
        return (Drop(_by_all_orders(weaker), build_context),)
    if assumption is BOUNDED_STD:
        return (Drop(weaker, _smaller_bound),)
    if assumption is INTERACTION:
        return (Drop(weaker, partial(_with_constants, _measured(weaker))),)
    if assumption is SCALE:
        names = _measured(weaker)
        return (
            Drop(weaker, partial(_with_constants, names), "R1 and R2 bound ratios between prompts"),
            Drop(weaker, partial(_below_one, names), "R1 and R2 are at least 1"),
        )
    if assumption is UNIQUE_ANSWER and claim.scope not in ("joint", "interacting"):
        return (Drop(weaker, _several),)
    return ()
