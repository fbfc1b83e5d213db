"""``whynorm verify`` and ``whynorm recheck``."""

from __future__ import annotations

import itertools
import json
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
from whynorm.console import progress, say

__all__ = ["recheck", "verdict_table", "verify"]

# Kinds of evidence by the short names that a narrow table has room for.
_COLUMNS = {
    "proof": "proof",
    "kept": "kept",
    "attained": "attain",
    "property": "search",
    "trajectory": "runs",
    "sampled": "sampled",
}
_COLOURS = {"proved": "green", "supported": "cyan", "refuted": "red", "vacuous": "yellow", "undecided": "magenta"}


def verify(
    claim: Annotated[list[str] | None, typer.Option(help="Only this claim; may be given several times.")] = None,
    list_claims: Annotated[bool, typer.Option("--list", help="List all claims and exit.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Look much harder (minutes instead of seconds).")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the random instances.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes, all cores if left out; changes no result.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write verdicts and evidence to this file.")] = None,
) -> int:
    """Give every claim a verdict, with evidence: proof, property search with exact recheck, simulated runs.

    Verdicts: proved (a certificate that an independent checker replayed), refuted (a counterexample confirmed in ball
    arithmetic), supported (checked without violation), vacuous (assumptions never held), undecided.

    Evidence: proof; kept, a counterexample of old, rechecked; search among random instances; simulated runs. Tight is
    the largest ratio of the two sides that was met: 1 is attained, 0.5 means that the stated constant is twice what
    was needed.
    """
    from simulator.files import write_json
    from theory.claims import load_registry
    from whynorm.outputs import output_directory
    from whynorm.verify import DEEP, QUICK
    from whynorm.verify import verify as run

    registry = load_registry()
    claims = [registry[c] for c in dict.fromkeys(claim)] if claim else list(registry)
    if list_claims:
        typer.echo("\n".join(f"{each.id:22} {each.place:28} {each.title}" for each in claims))
        return 0
    _check_options(seed, workers, json_file)
    count, effort = itertools.count(1), DEEP if deep else QUICK
    with output_directory(None if json_file is None else json_file.parent):
        with progress("verifying claims", len(claims)) as tick:
            verdicts = run(claims, effort, seed, processes=workers, progress=lambda verdict: tick(next(count)))
        if json_file is not None:
            write_json(json_file, {"claims": [verdict.to_json() for verdict in verdicts]})
    Console().print(verdict_table(verdicts))
    typer.echo("\n".join(_closing_lines(verdicts)))
    if json_file is not None:
        say(f"verdicts and evidence: {json_file}")
    return 0


def _check_options(seed: int, workers: int | None, json_file: Path | None) -> None:
    from simulator.random import generator

    generator(seed)
    if workers is not None and workers < 1:
        raise expected("workers", workers, "at least 1", "leave it out to use every core")
    if json_file is not None and json_file.is_dir():
        raise expected("json", str(json_file), "a file, not a directory", "add a file name")


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
    kinds = dict.fromkeys(e.kind for verdict in verdicts for e in verdict.evidence)
    kinds = {kind: name for kind, name in _COLUMNS.items() if kind in kinds} | {
        k: k for k in kinds if k not in _COLUMNS
    }
    for name in ("claim", "verdict", "tight", *kinds.values()):
        table.add_column(name, no_wrap=True, justify="right" if name == "tight" else "left")
    for verdict in verdicts:
        tightness = "" if verdict.tightness is None else f"{verdict.tightness:.3g}"
        badge = Text(verdict.verdict, style=_COLOURS[verdict.verdict])
        found = {e.kind: e.outcome for e in verdict.evidence}
        table.add_row(verdict.claim.id, badge, tightness, *(found.get(kind, "") for kind in kinds))
    return table


def _closing_lines(verdicts: Sequence[Any]) -> list[str]:
    """How many claims got which verdict, and which claims repair the refuted ones."""
    counts = Counter(verdict.verdict for verdict in verdicts)
    lines = [", ".join(f"{counts[name]} {name}" for name in _COLOURS if counts[name])]
    for verdict in verdicts:
        if verdict.verdict == "refuted" and verdict.claim.fixed_by:
            lines.append(f"{verdict.claim.id} is refuted; repaired form: {verdict.claim.fixed_by}")
    return lines


def recheck(
    files: Annotated[list[Path], typer.Argument(help="JSON files that `whynorm verify --json` wrote.")],
) -> int:
    """Replay the certificates and counterexamples that files hold; exit code 1 if any does not check out.

    `whynorm reproduce` writes such a file too: verdicts.json.
    """
    from whynorm.recheck import recheck_claim

    contents = [_claims(path) for path in files]
    checked = failures = 0
    for rows in contents:
        for row in rows:
            for finding in recheck_claim(row):
                typer.echo(finding.text)
                checked += 1
                failures += not finding.holds
    typer.echo(f"{checked} checked, {failures} rejected")
    return 1 if failures else 0


def _claims(path: Path) -> list[dict[str, Any]]:
    remedy = "write one with `whynorm verify --json FILE`"
    try:
        rows = json.loads(path.read_text())["claims"]
        usable = bool(rows) and all(
            {"id", "verdict", "evidence", "counterexample"} <= set(row)
            and all(isinstance(item, dict) for item in row["evidence"])
            for row in rows
        )
        if not usable:
            raise KeyError("claims")
        return list(rows)
    except OSError as error:
        raise expected("file", str(path), f"a readable file ({error.strerror})", remedy) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise expected("file", str(path), "JSON with a list of claims", remedy) from None
