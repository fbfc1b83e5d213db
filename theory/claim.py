"""The claim: one declarative object. Proof, property test, search, simulation and report row follow from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from theory.assumptions import Assumption
from theory.certificates import Certificate
from theory.errors import expected
from theory.instances import Instance
from theory.rules import Rule

__all__ = ["Claim", "Link", "Registry", "Relation", "Scope"]

Relation = Literal["==", "<=", ">=", "iff"]
Scope = Literal["point", "ball", "several", "group", "step", "expectation", "joint", "interacting"]
Side = Callable[[Any], Any]


@dataclass(frozen=True)
class Link:
    """One (in)equality of a chain: ``left`` relation ``right``, elementwise.

    Attributes:
        name: which step of the chain, in a few words.
        relation: as in a claim.
        left: left-hand side as a function of the context, floats or balls.
        right: right-hand side, same shape.
    """

    name: str
    relation: Relation
    left: Side
    right: Side


def _no_side(context: Any) -> Any:
    raise TypeError("a claim with a chain has the sides of its links")


@dataclass(frozen=True)
class Claim:
    """A statement of a source, as printed or as repaired.

    Attributes:
        id: fixed key, e.g. ``P-L31-VAR``; a repaired form carries ``-FIXED``.
        source: ``paper``, ``talk`` or ``whynorm``.
        place: equation, lemma or theorem.
        title: a few words.
        statement: LaTeX.
        scope: what the claim is about, which decides the context that ``left`` and ``right`` receive:
            ``point`` -> ``theory.points.Point``, ``ball`` -> ``theory.points.Ball``,
            ``several`` -> ``theory.several.SeveralPoint``, ``group`` -> ``theory.groups.Group``,
            ``step`` -> ``simulator.steps.Step``, ``expectation`` -> ``simulator.expectations.ExpectedRun``,
            ``joint`` -> ``simulator.joint.JointRun``, ``interacting`` -> ``simulator.interacting.InteractingRun``.
        relation: ``left`` relation ``right``, elementwise; with ``iff`` both sides are numbers and the claim is that
            one is positive exactly where the other is; ``chain`` if the claim consists of several links.
        left: left-hand side as a function of the context, floats or balls.
        right: right-hand side, same shape.
        chain: in place of these three, the (in)equalities that the claim consists of, all of which must hold.
        assumptions: each measured on the context; where one fails the claim is vacuous.
        rule: the update rule of a claim about steps or runs.
        step_size: eta as a function of ``X_max^2``, for a claim about steps or runs; where prompts interact, as a
            function of ``theory.interaction.Constants``.
        proof: builds the certificate, or None.
        witness: an instance on which the bound is attained, or nearly so; None if none is known.
        fixed_by: id of the repaired claim, if the printed one fails.
        remark: misprints, readings, what to know.
        misprint: whether the source prints this otherwise, by a slip that the remark names, and it is read as meant.
    """

    id: str
    source: Literal["paper", "talk", "whynorm"]
    place: str
    title: str
    statement: str
    scope: Scope
    relation: Relation | Literal["chain"] = "chain"
    left: Side = _no_side
    right: Side = _no_side
    chain: tuple[Link, ...] = ()
    assumptions: tuple[Assumption, ...] = ()
    rule: Rule | None = None
    step_size: Callable[[Any], Any] | None = None
    proof: Callable[[], Certificate] | None = None
    witness: Callable[[], Instance] | None = None
    fixed_by: str | None = None
    remark: str = ""
    misprint: bool = False

    @property
    def links(self) -> tuple[Link, ...]:
        """The chain; of a claim without one, its only link."""
        if self.relation == "chain":
            return self.chain
        return (Link("", self.relation, self.left, self.right),)

    @property
    def needs_balls(self) -> bool:
        """Whether floats are too coarse to look at it at all: an equality is worth checking only beyond rounding."""
        return any(link.relation == "==" for link in self.links)


class Registry:
    """All claims by id, in the order of their registration."""

    def __init__(self) -> None:
        """Start without claims."""
        self._claims: dict[str, Claim] = {}

    def add(self, *claims: Claim) -> None:
        """Register claims.

        Raises:
            ValueError: an id is taken.
        """
        for claim in claims:
            if claim.id in self._claims:
                raise ValueError(f"claim {claim.id} is registered twice")
            self._claims[claim.id] = claim

    def __iter__(self) -> Iterator[Claim]:
        """The claims, in order."""
        return iter(self._claims.values())

    def __getitem__(self, claim_id: str) -> Claim:
        """The claim with that id.

        Raises:
            InputError: no such claim.
        """
        try:
            return self._claims[claim_id]
        except KeyError:
            near = get_close_matches(str(claim_id).upper(), self._claims, n=3, cutoff=0.4)
            hint = f"did you mean {', '.join(near)}?" if near else "`whynorm verify --list` shows all ids"
            raise expected("claim", claim_id, "a registered id", hint) from None

    def select(self, names: Iterable[str]) -> list[Claim]:
        """The claims with these ids, each once; ``X-POWER`` stands for all ``X-POWER-...`` unless it is an id itself.

        Raises:
            InputError: neither a claim nor the beginning of one.
        """
        chosen: dict[str, Claim] = {}
        for name in names:
            family = [claim for claim in self if claim.id.startswith(f"{name}-")]
            for claim in [self[name]] if name in self or not family else family:
                chosen[claim.id] = claim
        return list(chosen.values())

    def __len__(self) -> int:
        """Number of claims."""
        return len(self._claims)

    def __contains__(self, claim_id: object) -> bool:
        """Whether a claim has that id."""
        return claim_id in self._claims
