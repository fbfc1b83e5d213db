"""Where claims stand in their source: groups with headings, in the order in which the source is read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["SOURCES", "Section", "group_claims", "verdict_counts"]

Row = Mapping[str, Any]

# Sources in the order of the report, with what they are called there.
SOURCES = {"paper": "The paper", "talk": "The talk", "whynorm": "Added by whynorm"}
_VERDICTS = ("proved", "supported", "refuted", "vacuous", "undecided")
_NAMED = re.compile(
    r"\b(Section|Sec\.|Assumption|Definition|Lemma|Theorem|Corollary|App\.|Appendix) ([A-Z]|\d+)((?:\.\d+)*)"
)
_EQUATION = re.compile(r"\beqs?\. \((\d+)")


@dataclass(frozen=True)
class Section:
    """Claims of one place of a source.

    Attributes:
        source: key of ``SOURCES``, or what else a claim calls its source.
        title: heading.
        anchor: id of the heading on a page.
        claims: rows as ``whynorm verify --json`` writes them.
    """

    source: str
    title: str
    anchor: str
    claims: list[Row] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """How many claims have which verdict; verdicts that no claim has are left out."""
        return verdict_counts(self.claims)


def verdict_counts(claims: Iterable[Row]) -> dict[str, int]:
    """How many claims have which verdict, in a fixed order; verdicts that no claim has are left out."""
    found = [claim["verdict"] for claim in claims]
    return {name: found.count(name) for name in (*_VERDICTS, *sorted(set(found) - set(_VERDICTS))) if name in found}


def group_claims(claims: Iterable[Row]) -> list[Section]:
    """Claims by source and place. Within a section, and among places without a number, the given order is kept."""
    found: dict[tuple[str, str], tuple[Any, list[Row]]] = {}
    for claim in claims:
        source, (key, title) = str(claim["source"]), _place(claim)
        found.setdefault((source, title), (key, []))[1].append(claim)
    rank = {source: number for number, source in enumerate(SOURCES)}
    ordered = sorted(found.items(), key=lambda item: (rank.get(item[0][0], len(rank)), item[1][0]))
    return [
        Section(source, title, f"section-{number}", rows)
        for number, ((source, title), (_, rows)) in enumerate(ordered, start=1)
    ]


def _place(claim: Row) -> tuple[tuple[Any, ...], str]:
    """A sort key and a heading. Main text comes before the appendix, and sections go by their numbers."""
    place = str(claim["place"])
    if claim["source"] != "paper":
        title = place.split(",")[0]
        return (0,), title[:1].upper() + title[1:]
    named = _NAMED.search(place)
    if named is None:
        return ((0,), "Displayed equations") if _EQUATION.search(place) else ((3,), "Elsewhere")
    kind, first, rest = named.groups()
    numbers = tuple(int(number) for number in rest.split(".") if number)
    if kind.startswith("App") or first.isalpha():
        kind = "Appendix" if kind.startswith("App") else kind
        return (2, first, numbers, kind), f"{kind} {first}{rest}"
    # Lemma 3.1 and Theorem 3.1 are numbered apart; the paper's lemmas come before its theorems.
    return (1, first, kind == "Theorem", numbers), f"{kind} {first}{rest}"
