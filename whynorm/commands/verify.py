"""``whynorm verify`` and ``whynorm recheck``."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from theory.errors import expected
from whynorm.console import progress, say

__all__ = ["recheck", "verdict_table", "verify"]

_COLOURS = {"proved": "green", "supported": "cyan", "refuted": "red", "vacuous": "yellow", "undecided": "magenta"}


def verify(
    claim: Annotated[list[str] | None, typer.Option(help="Only this claim; may be given several times.")] = None,
    list_claims: Annotated[bool, typer.Option("--list", help="List all claims and exit.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Look much harder (minutes instead of seconds).")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the random instances.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes; results do not depend on it.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write verdicts and evidence to this file.")] = None,
) -> int:
    """Give every claim a verdict, with evidence: proof, property search with exact recheck, simulated runs.

    Verdicts: proved (a certificate that an independent checker replayed), refuted (a counterexample confirmed in ball
    arithmetic), supported (checked without violation), vacuous (assumptions never held), undecided.
    """
    from simulator.files import prepare_directory, write_json
    from simulator.random import generator
    from theory.claims import load_registry
    from whynorm.verify import DEEP, QUICK
    from whynorm.verify import verify as run

    registry = load_registry()
    claims = [registry[c] for c in dict.fromkeys(claim)] if claim else list(registry)
    if list_claims:
        for each in claims:
            typer.echo(f"{each.id:22} {each.place:28} {each.title}")
        return 0
    generator(seed)
    if workers is not None and workers < 1:
        raise expected("workers", workers, "at least 1", "leave it out to use every core")
    if json_file is not None:
        prepare_directory(json_file.parent)
    count = itertools.count(1)
    with progress("verifying claims", len(claims)) as tick:
        verdicts = run(
            claims, DEEP if deep else QUICK, seed, processes=workers, progress=lambda verdict: tick(next(count))
        )
    Console().print(verdict_table(verdicts))
    if json_file is not None:
        write_json(json_file, {"claims": [verdict.to_json() for verdict in verdicts]})
        say(f"verdicts and evidence: {json_file}")
    return 0


def verdict_table(verdicts: Sequence[Any]) -> Table:
    """The verdicts as a table for a terminal."""
    table = Table(title="Verdicts", title_justify="left", header_style="bold")
    table.add_column("claim", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("tightness", justify="right")
    table.add_column("where")
    table.add_column("evidence")
    for verdict in verdicts:
        fixed = f"; repaired: {verdict.claim.fixed_by}" if verdict.claim.fixed_by else ""
        kinds = ", ".join(f"{e.kind} {e.outcome}" for e in verdict.evidence)
        tightness = "" if verdict.tightness is None else f"{verdict.tightness:.3g}"
        colour = _COLOURS[verdict.verdict]
        name = f"[{colour}]{verdict.verdict}[/]"
        table.add_row(verdict.claim.id, name, tightness, verdict.claim.place, kinds + fixed)
    return table


def recheck(
    files: Annotated[list[Path], typer.Argument(help="JSON files that `whynorm verify --json` wrote.")],
) -> int:
    """Replay the certificates and counterexamples that files hold; exit code 1 if any does not check out."""
    from simulator.checks import build_context
    from theory.checker import CertificateError, check
    from theory.claims import load_registry
    from theory.instances import Instance
    from theory.judge import Counterexample
    from theory.judge import recheck as confirm

    failures = 0
    for path in files:
        for row in _claims(path):
            for evidence in row["evidence"]:
                if "certificate" in evidence:
                    try:
                        typer.echo(f"{row['id']}: certificate holds, {check(evidence['certificate'])} steps")
                    except CertificateError as error:
                        failures += 1
                        typer.echo(f"{row['id']}: certificate REJECTED: {error}")
            if row["counterexample"]:
                instance = Instance.from_json(row["counterexample"]["instance"])
                found = confirm(load_registry()[row["id"]], build_context, instance)
                if isinstance(found, Counterexample):
                    typer.echo(f"{row['id']}: counterexample holds, {found.left} against {found.right}")
                else:
                    failures += 1
                    typer.echo(f"{row['id']}: counterexample REJECTED")
    typer.echo(f"{failures} failures")
    return 1 if failures else 0


def _claims(path: Path) -> list[dict[str, Any]]:
    remedy = "write one with `whynorm verify --json FILE`"
    try:
        content = json.loads(path.read_text())
        rows = content["claims"]
        if not all({"id", "evidence", "counterexample"} <= set(row) for row in rows):
            raise KeyError("claims")
        return list(rows)
    except OSError as error:
        raise expected("file", str(path), f"a readable file ({error.strerror})", remedy) from None
    except (ValueError, KeyError, TypeError):
        raise expected("file", str(path), "JSON with a list of claims", remedy) from None
