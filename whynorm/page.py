"""The report as HTML: the templates, and what they need to show formulas, instances and plots."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from theory.claims import load_registry
from whynorm.console import ratio_text
from whynorm.errata import errata, misprints, shown_instance, shown_side
from whynorm.formulas import display_maths
from whynorm.scatter import scatter_plots
from whynorm.sections import SOURCES, group_claims, verdict_counts

__all__ = ["render"]

Row = Mapping[str, Any]


def render(content: Mapping[str, Any], figures: Mapping[str, Markup]) -> str:
    """The page.

    Args:
        content: what ``report.json`` holds.
        figures: inline SVG by name.
    """
    environment = Environment(
        loader=PackageLoader("whynorm", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        mathml=_mathml,
        number=_number,
        ratio=ratio_text,
        ball=shown_side,
        instance_of=shown_instance,
        worst=_worst,
        equality_error=_equality_error,
        scatter_plots=scatter_plots,
    )
    claims = content["claims"]
    return environment.get_template("report.html.j2").render(
        **content,
        figures=figures,
        style=Markup((Path(__file__).parent / "report.css").read_text()),
        groups=_by_source(claims),
        counts=verdict_counts(claims),
        errata=errata(claims),
        misprints=misprints(claims),
        source_names=SOURCES,
    )


def _by_source(claims: list[Row]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for section in group_claims(claims):
        found.setdefault(section.source, []).append(section)
    return found


@cache
def _own_formulas() -> frozenset[str]:
    claims = list(load_registry())
    return frozenset([c.statement for c in claims] + [a.statement for c in claims for a in c.assumptions])


@cache
def _mathml(latex: str) -> Markup:
    """Display maths as MathML; text that is not this package's own is escaped, as the converter passes markup on."""
    if latex not in _own_formulas():
        return Markup("<p><code>{}</code></p>").format(latex)
    return Markup(display_maths(latex))


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}g}"


def _worst(claim: Row) -> dict[str, Any] | None:
    """The instance with the largest ratio that was met, and both sides there."""
    found = [item for item in claim["evidence"] if item.get("worst_sides") and item["worst_ratio"] is not None]
    if not found:
        return None
    item = max(found, key=lambda each: float(each["worst_ratio"]))
    sides = item["worst_sides"]
    return {
        "numbers": shown_instance(item["worst_instance"], claim["scope"]),
        "left": sides["left"],
        "right": sides["right"],
        "link": claim["links"][sides["link"]]["name"],
    }


def _equality_error(claim: Row) -> float | None:
    errors = [item["worst_error"] for item in claim["evidence"] if item.get("worst_error") is not None]
    return max(errors, default=None) if claim["verdict"] in ("proved", "supported") else None
