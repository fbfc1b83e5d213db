"""The errata of the sources: each printed claim that is refuted, why, and what holds in its place.

Everything is taken from verdicts, so the list says neither more nor less than the evidence does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from whynorm.sections import SOURCES, group_claims

__all__ = ["Erratum", "errata", "errata_markdown", "misprints", "shown_instance", "shown_side"]

Row = Mapping[str, Any]

# Instances with more numbers than this are for files, not for eyes.
_READABLE = 48
# Exact fractions longer than this are shown rounded.
_LONG = 14
_RUNS = ("expectation", "joint", "interacting")


@dataclass(frozen=True)
class Erratum:
    """One refuted claim.

    Attributes:
        claim: its row.
        section: heading of its place in the source.
        link: the (in)equality that fails, empty if the claim is a single one.
        instance: what the counterexample is, as names and texts.
        left, right: both sides there.
        repaired: row of the repaired claim; None if there is none, or if it was not looked at.
    """

    claim: Row
    section: str
    link: str
    instance: dict[str, str]
    left: str
    right: str
    repaired: Row | None


def errata(claims: Iterable[Row]) -> dict[str, list[Erratum]]:
    """Refuted claims of the paper and the talk by source, in the order of the source.

    Args:
        claims: rows as ``whynorm verify --json`` writes them.
    """
    rows = list(claims)
    by_id = {row["id"]: row for row in rows}
    found: dict[str, list[Erratum]] = {}
    for section in group_claims(rows):
        for row in section.claims:
            if row["source"] == "whynorm" or row["verdict"] != "refuted" or row["counterexample"] is None:
                continue
            example = row["counterexample"]
            erratum = Erratum(
                row,
                section.title,
                str(example.get("link", "")),
                shown_instance(example["instance"], row["scope"]),
                example["left"],
                example["right"],
                by_id.get(row["fixed_by"]),
            )
            found.setdefault(section.source, []).append(erratum)
    return found


def misprints(claims: Iterable[Row]) -> list[Row]:
    """Rows of the claims that are printed with a slip which their remark names, and that hold as they are meant."""
    return [row for section in group_claims(list(claims)) for row in section.claims if row.get("misprint")]


def shown_instance(instance: Row, scope: str) -> dict[str, str]:
    """What a claim of the scope looks at, by name: exact where short, rounded or left out where long."""
    features = instance["features"]
    shape = len(features), len(features[0]), len(features[0][0])
    shown = {"n": str(shape[0]), "K": str(shape[1]), "d": str(shape[2])}
    names = {"features": "features", "answers": "right outputs", "theta": "theta"}
    names |= {"direction": "y"} if scope in ("point", "ball", "step") else {}
    names |= {"displacement": "v"} if scope == "ball" else {}
    size = shape[0] * shape[1] * shape[2]
    if size > _READABLE:
        shown["features"] = f"{size} numbers, in verdicts.json"
    else:
        shown |= {name: _plain(instance[key]) for key, name in names.items()}
    if scope in _RUNS:
        shown["T"] = str(instance["steps"])
    if "least_constants" in instance:
        shown["M, R1, R2"] = f"at least {_plain(instance['least_constants'])}"
    if scope == "group":
        shown["G"] = str(instance.get("group", 2))
    return shown


def _plain(values: Any) -> str:
    """Nested lists of exact numbers; a long fraction becomes a decimal, marked as rounded."""
    if isinstance(values, list):
        return f"[{', '.join(_plain(value) for value in values)}]"
    text = str(values)
    if len(text) <= _LONG:
        return text
    above, _, below = text.partition("/")
    return f"~{int(above) / int(below or 1):.4g}"


def errata_markdown(claims: Iterable[Row]) -> str:
    """The errata as Markdown, formulas between dollar signs."""
    claims = list(claims)
    found = errata(claims)
    lines = ["# Errata", ""]
    if not found:
        return "\n".join([*lines, "No claim of the sources that was looked at is refuted.", "", *_slips(claims)])
    lines += [
        "Each claim below fails as printed, on an instance that is confirmed in ball arithmetic. Numbers marked ~ are",
        "rounded here; the exact ones are in what `whynorm verify --json` writes.",
        "",
    ]
    for source, entries in found.items():
        lines += [f"## {SOURCES.get(source, source)}", ""]
        for entry in entries:
            lines += _markdown(entry)
    return "\n".join(lines + _slips(claims))


def _slips(claims: list[Row]) -> list[str]:
    rows = misprints(claims)
    told = [f"- **{row['place']}** (`{row['id']}`): {' '.join(row['remark'].split())}" for row in rows]
    return ["**Misprints**, in displays that hold as they are meant:", "", *told, ""] if rows else []


def _markdown(entry: Erratum) -> list[str]:
    claim = entry.claim
    instance = ", ".join(f"{name} = {value}" for name, value in entry.instance.items())
    lines = [f"### {claim['place']}: {claim['title']} (`{claim['id']}`)", ""]
    lines += [f"- **As printed:** {_maths(claim['statement'])}"]
    if entry.link:
        lines += [f"- **What fails:** {entry.link}"]
    lines += [
        f"- **Counterexample:** {instance}: left side {shown_side(entry.left)}, right side {shown_side(entry.right)}"
    ]
    if entry.repaired is not None:
        fixed = entry.repaired
        lines += [f"- **Repaired** (`{fixed['id']}`, {fixed['verdict']}): {_maths(fixed['statement'])}"]
    elif claim["fixed_by"]:
        lines += [f"- **Repaired:** `{claim['fixed_by']}`, not looked at here"]
    if claim["remark"]:
        lines += [f"- **Note:** {' '.join(claim['remark'].split())}"]
    return [*lines, ""]


def _maths(latex: str) -> str:
    return f"${' '.join(latex.split())}$"


def shown_side(ball: str) -> str:
    """``[0.416147398783365 +/- 2.52e-16]`` as 0.416147, where that many digits are certain."""
    middle = re.fullmatch(r"\[?(-?[\d.]+(?:e[-+]?\d+)?)(?: \+/- [\d.e+-]+\])?", ball.strip())
    return f"{float(middle.group(1)):.6g}" if middle else ball
