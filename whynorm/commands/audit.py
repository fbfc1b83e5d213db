"""``whynorm audit``: is the verifier any good? Mutants that must be refuted, and assumptions dropped in turn."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from theory.errors import expected
from whynorm.console import progress, say

__all__ = ["audit"]


def audit(
    claim: Annotated[
        list[str] | None, typer.Option(help="Only this claim, or a family such as P-STEP; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random instances.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes, all cores if left out; changes no result.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write mutants and assumptions to this file.")
    ] = None,
) -> int:
    """Put the verifier itself to the test, on claims that hold (two to three minutes for all of them).

    Mutation: a claim's constant, power of X, direction and step size are changed one at a time so that it becomes
    false; the search must find an exact counterexample to each. Ablation: each assumption is dropped; needed means
    that an instance without it violates the claim, not needed that the replayed certificates prove the claim without
    it. Where an assumption says several things, the last lines tell which of them the instance breaks. The exit code
    is 1 if a mutant survived that is not seen to be true, or if an instance contradicts a proof.
    """
    from simulator.files import write_json
    from simulator.random import generator
    from theory.claims import load_registry
    from whynorm.audit import audit as run
    from whynorm.audit import summary
    from whynorm.outputs import created_directory

    registry = load_registry()
    claims = registry.select(claim) if claim else list(registry)
    generator(seed)
    if workers is not None and workers < 1:
        raise expected("workers", workers, "at least 1", "leave it out to use every core")
    if json_file is not None and json_file.is_dir():
        raise expected("json", str(json_file), "a file, not a directory", "add a file name")
    holding = [c for c in claims if c.fixed_by is None]
    if not holding:
        raise expected("claim", claims[0].id, "a claim that is not known to be false", "name its repaired form")
    count = itertools.count(1)
    with created_directory(None if json_file is None else json_file.parent):
        with progress("auditing claims", len(holding)) as tick:
            found = run(claims, seed, processes=workers, progress=lambda each: tick(next(count)))
        counts = summary(found)
        if json_file is not None:
            write_json(json_file, {"format": 1, "summary": counts, "claims": [each.to_json() for each in found]})
    Console().print(_assumptions(found))
    typer.echo("\n".join(_closing_lines(found, counts)))
    if json_file is not None:
        say(f"mutants and assumptions: {json_file}")
    return 1 if counts["survived"] or counts.get("assumptions contradiction") else 0


def _assumptions(audits: Sequence[Any]) -> Table:
    """One line per claim: killed of all mutants, and what dropping each assumption did."""
    table = Table(title="Audit", title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("claim", "killed", "assumptions"):
        table.add_column(name, overflow="fold", justify="right" if name == "killed" else "left")
    for each in audits:
        killed = f"{sum(bool(k.by) for k in each.mutants)}/{len(each.mutants)}"
        table.add_row(each.claim, killed, ", ".join(f"{a.assumption} {a.outcome}" for a in each.assumptions))
    return table


def _closing_lines(audits: Sequence[Any], counts: dict[str, int]) -> list[str]:
    lines = [
        f"{counts['killed']} of {counts['mutants']} mutants killed ({counts['killed by search']} by search, the others "
        f"by the worst instance known); {counts['true']} seem to be true, {counts['survived']} survived"
    ]
    for each in audits:
        for killing in each.mutants:
            if not killing.by:
                link = f" ({killing.link})" if killing.link else ""
                lines.append(f"survived: {killing.claim}{link}, {killing.kind}: {killing.text}; {killing.reason}")
    dropped = [a for each in audits for a in each.assumptions]
    outcomes = {a.outcome: counts[f"assumptions {a.outcome}"] for a in dropped}
    told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    lines.append(f"{len(dropped)} assumptions dropped: {told or 'none'}")
    lines += [
        f"{a.outcome}: {a.claim} without {a.assumption}; {a.reason}"
        for a in dropped
        if a.outcome in ("unsettled", "contradiction")
    ]
    lines += [
        f"needed: {a.claim} without {a.assumption}, as it says that {a.part}; {a.reason}"
        for a in dropped
        if a.unbroken and a.outcome == "needed"
    ]
    return lines
