"""``whynorm verify``."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from theory.errors import expected
from whynorm.console import progress, ratio_text, say

__all__ = ["failures", "link_tables", "verdict_table", "verify"]

# Kinds of evidence by the short names that a narrow table has room for.
_COLUMNS = {
    "proof": "proof",
    "kept": "kept",
    "attained": "best",
    "property": "search",
    "trajectory": "runs",
    "sampled": "draws",
}
_OUTCOMES = {"holds": "ok", "violated": "fails", "undecided": "open", "vacuous": "void"}
_COLOURS = {"proved": "green", "supported": "cyan", "refuted": "red", "vacuous": "yellow", "undecided": "magenta"}


def verify(
    claim: Annotated[
        list[str] | None, typer.Option(help="Only this claim, or a family such as P-STEP; may be repeated.")
    ] = None,
    list_claims: Annotated[bool, typer.Option("--list", help="List all claims and exit.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Look much harder (minutes instead of seconds).")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the random instances.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes, all cores if left out; changes no result.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write verdicts and evidence to this file.")] = None,
    errata: Annotated[Path | None, typer.Option(help="Write the refuted claims, repaired, to this .md file.")] = None,
    claims_from: Annotated[Path | None, typer.Option(help="A Python file with further claims; it is executed.")] = None,
) -> int:
    """Give every claim a verdict, with evidence: proof, property search with exact recheck, simulated runs.

    Verdicts: proved (a certificate that an independent checker replayed), refuted (a counterexample confirmed in ball
    arithmetic), supported (checked without violation), vacuous (assumptions never held), undecided.

    Evidence: proof; kept, a counterexample of old, rechecked; best, an instance that attains the bound; search among
    random instances; simulated runs; draws, sampled prompt orders with confidence intervals. Outcomes: ok, fails, void
    (assumptions never held), open (undecided). Tight is the largest ratio of the two sides that was met: 1 is attained,
    0.5 means that the stated constant is twice what was needed. Of a chosen claim that is a chain, each link's own is
    shown as well.

    A claim whose evidence cannot be gathered is undecided; the reason goes to stderr, and the exit code is 1.
    """
    from theory.claims import load_claims
    from whynorm.outputs import created_directory
    from whynorm.verify import DEEP, QUICK
    from whynorm.verify import verify as run

    registry = load_claims(claims_from)
    claims = registry.select(claim) if claim else list(registry)
    if list_claims:
        typer.echo("\n".join(f"{each.id:22} {each.place:28} {each.title}" for each in claims))
        return 0
    _check_options(seed, workers, {"json": json_file, "errata": errata})
    count, effort = itertools.count(1), DEEP if deep else QUICK
    with created_directory(json_file and json_file.parent), created_directory(errata and errata.parent):
        with progress("verifying claims", len(claims)) as tick:
            verdicts = run(
                claims, effort, seed, processes=workers, more=claims_from, progress=lambda verdict: tick(next(count))
            )
        _write(verdicts, json_file, errata)
    Console().print(verdict_table(verdicts))
    for table in link_tables(verdicts) if claim else ():
        Console().print(table)
    typer.echo("\n".join(_closing_lines(verdicts)))
    for label, path in (("verdicts and evidence", json_file), ("errata", errata)):
        if path is not None:
            say(f"{label}: {path}")
    failed = failures(verdicts)
    for line in failed:
        say(line)
    return 1 if failed else 0


def _write(verdicts: Sequence[Any], json_file: Path | None, errata: Path | None) -> None:
    from simulator.files import write_json, write_text
    from whynorm.errata import errata_markdown

    rows = [verdict.to_json() for verdict in verdicts]
    if json_file is not None:
        write_json(json_file, {"claims": rows})
    if errata is not None:
        write_text(errata, errata_markdown(rows))


def failures(verdicts: Sequence[Any]) -> list[str]:
    """One line for each claim whose evidence could not be gathered."""
    return [
        f"whynorm: {verdict.claim.id} is undecided, its evidence could not be gathered: {item.summary}"
        for verdict in verdicts
        for item in verdict.evidence
        if item.kind == "error"
    ]


def _check_options(seed: int, workers: int | None, files: dict[str, Path | None]) -> None:
    from simulator.random import generator

    generator(seed)
    if workers is not None and workers < 1:
        raise expected("workers", workers, "at least 1", "leave it out to use every core")
    for name, path in files.items():
        if path is not None and path.is_dir():
            raise expected(name, str(path), "a file, not a directory", "add a file name")


def verdict_table(verdicts: Sequence[Any]) -> Table:
    """The verdicts as a table that fits a terminal of 80 columns: one line a claim, one column a kind of evidence."""
    table = Table(
        title="Verdicts",
        title_justify="left",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    kinds = dict.fromkeys(e.kind for verdict in verdicts for e in verdict.evidence if e.kind != "error")
    kinds = {k: name for k, name in _COLUMNS.items() if k in kinds} | {k: k for k in kinds if k not in _COLUMNS}
    for name in ("claim", "verdict", "tight", *kinds.values()):
        table.add_column(name, overflow="fold", justify="right" if name == "tight" else "left")
    for verdict in verdicts:
        shown = verdict.tightness is not None and verdict.verdict != "refuted"
        tightness = ratio_text(verdict.tightness) if shown else ""
        badge = Text(verdict.verdict, style=_COLOURS[verdict.verdict])
        found = {e.kind: _OUTCOMES.get(e.outcome, e.outcome) for e in verdict.evidence}
        table.add_row(verdict.claim.id, badge, tightness, *(found.get(kind, "") for kind in kinds))
    return table


def link_tables(verdicts: Sequence[Any]) -> list[Table]:
    """For each claim that is a chain: what each link has to spare, which is where a proof gives constants away."""
    tables = []
    for verdict in verdicts:
        if len(verdict.links) < 2:
            continue
        table = Table(title=Text(f"{verdict.claim.id}, link by link"), title_justify="left", box=box.SIMPLE_HEAD)
        for name in ("link", "relation", "tight", "slack"):
            table.add_column(name, overflow="fold", justify="right" if name in ("tight", "slack") else "left")
        for link in verdict.links:
            numbers = [ratio_text(link[key]) for key in ("tightness", "slack")]
            table.add_row(Text(link["name"]), link["relation"], *numbers)
        tables.append(table)
    return tables


def _closing_lines(verdicts: Sequence[Any]) -> list[str]:
    """How many claims got which verdict, and which claims repair the refuted ones."""
    counts = Counter(verdict.verdict for verdict in verdicts)
    lines = [", ".join(f"{counts[name]} {name}" for name in _COLOURS if counts[name])]
    for verdict in verdicts:
        if verdict.verdict == "refuted" and verdict.claim.fixed_by:
            lines.append(f"{verdict.claim.id} is refuted; repaired form: {verdict.claim.fixed_by}")
    return lines
