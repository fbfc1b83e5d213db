"""Small scatter plots of left against right side, log-log, as coordinates for a template; no drawing library."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

__all__ = ["Scatter", "Tick", "scatter_plots"]

# The drawing area is a square of this many units; whole numbers keep paths short.
SIZE = 240
# Pairs further than this many decades from the median are left out, or a single one would squeeze the rest.
_BELOW, _ABOVE = 10, 5
_MOST = 150
_SUPERSCRIPTS = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")


@dataclass(frozen=True)
class Tick:
    """A power of ten: its place along an axis, from the origin, and its label."""

    at: int
    label: str


@dataclass(frozen=True)
class Scatter:
    """One link of a claim: pairs of sides on equal logarithmic axes, right side along x, left side along y.

    Attributes:
        name: the link's name.
        relation: ``<=`` or ``>=``.
        paths: kind of evidence -> path data, a dot per pair.
        ticks: of both axes.
        left_out: pairs that lie too far from the others to be drawn.
    """

    name: str
    relation: str
    paths: dict[str, str]
    ticks: tuple[Tick, ...]
    left_out: int


def scatter_plots(claim: Mapping[str, Any]) -> list[Scatter]:
    """A plot for each inequality of a claim that both sides are known of.

    Args:
        claim: row as ``whynorm verify --json`` writes it.
    """
    plots = []
    for number, link in enumerate(claim["links"]):
        if link["relation"] not in ("<=", ">="):
            continue
        pairs = {
            item["kind"]: [(float(right), float(left)) for which, left, right in item["sides"] if which == number]
            for item in claim["evidence"]
            if item.get("sides")
        }
        if any(pairs.values()):
            plots.append(_plot(link["name"], link["relation"], pairs))
    return plots


def _plot(name: str, relation: str, pairs: Mapping[str, list[tuple[float, float]]]) -> Scatter:
    logs = {
        kind: [(math.log10(x), math.log10(y)) for x, y in found if x > 0 and y > 0][-_MOST:]
        for kind, found in pairs.items()
    }
    middle = median([value for found in logs.values() for pair in found for value in pair] or [0.0])
    shown = {
        kind: [pair for pair in found if min(pair) >= middle - _BELOW and max(pair) <= middle + _ABOVE]
        for kind, found in logs.items()
    }
    values = [value for found in shown.values() for pair in found for value in pair] or [middle]
    low = math.floor(min(values))
    high = max(math.ceil(max(values)), low + 1)
    unit = SIZE / (high - low)
    paths = {kind: _dots(found, low, unit) for kind, found in shown.items() if found}
    decades = sorted({low, (low + high) // 2, high})
    ticks = tuple(Tick(round((d - low) * unit), f"10{str(d).translate(_SUPERSCRIPTS)}") for d in decades)
    left_out = sum(map(len, pairs.values())) - sum(map(len, shown.values()))
    return Scatter(name, relation, paths, ticks, left_out)


def _dots(pairs: list[tuple[float, float]], low: int, unit: float) -> str:
    """Moves and lines of length 0, which round line caps turn into dots; coincident ones are drawn once."""
    places = dict.fromkeys((round((x - low) * unit), SIZE - round((y - low) * unit)) for x, y in pairs)
    return "".join(f"M{x} {y}h0" for x, y in places)
