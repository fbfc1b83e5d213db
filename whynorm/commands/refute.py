"""``whynorm refute``: look for counterexamples for as long as you like."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from theory.errors import expected
from whynorm.console import progress, say

__all__ = ["refute"]

# Each round draws and climbs anew from another seed; a round is what a budget is counted in.
_EXAMPLES, _EVALUATIONS = 100, 200
# Instances with more numbers than this are for files, not for eyes.
_READABLE = 48
_ARRAYS = ("features", "answers", "theta")


def refute(
    claim: Annotated[
        list[str] | None, typer.Argument(help="Ids, or families such as P-STEP; all claims if left out.")
    ] = None,
    budget: Annotated[
        float, typer.Option(help="Seconds to look, for each claim; the round under way is finished.")
    ] = 30.0,
    seed: Annotated[int, typer.Option(help="Seed of the first round.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write the counterexample, or what was found instead, here.")] = None,
    claims_from: Annotated[Path | None, typer.Option(help="A Python file with further claims; it is executed.")] = None,
) -> int:
    """Search for counterexamples: random instances, hill climbing, shrinking, exact recheck.

    What is found is exact: its numbers are rationals, and the claim certainly fails there in ball arithmetic. The file
    of --out can be given to `whynorm recheck`. Finding nothing proves nothing.
    """
    from simulator.files import write_json
    from simulator.random import generator
    from theory.claims import load_claims
    from theory.verdicts import decide, search_evidence
    from whynorm.outputs import created_directory

    registry = load_claims(claims_from)
    targets = registry.select(claim) if claim else list(registry)
    generator(seed)
    if not 0 < budget < float("inf"):
        raise expected("budget", budget, "a finite number of seconds above 0", "e.g. 30")
    if out is not None and out.is_dir():
        raise expected("out", str(out), "a file, not a directory", "add a file name")
    rows = []
    with created_directory(None if out is None else out.parent):
        for target in targets:
            result, rounds = _hunt(target, budget, seed)
            evidence = search_evidence("property", result)
            rows.append(decide(target, [evidence]).to_json())
            if out is not None:
                # After each claim, so that an interrupted search over many leaves what it found.
                write_json(out, {"claims": rows})
            typer.echo(f"{target.id}: {evidence.summary} ({rounds} round{'s' if rounds > 1 else ''})")
            if result.counterexample is not None:
                _show(result.counterexample)
    if out is not None:
        say(f"written: {out}")
    return 0


def _hunt(claim: Any, budget: float, seed: int) -> tuple[Any, int]:
    """Rounds of search until one finds a counterexample or the time is up; all rounds added up."""
    from simulator.checks import build_context
    from theory.search import SearchResult, search

    total, start, rounds = SearchResult(), time.monotonic(), 0
    with progress(f"looking for a counterexample to {claim.id}", max(1, round(budget))) as tick:
        while rounds == 0 or (total.counterexample is None and time.monotonic() - start < budget):
            found = search(claim, build_context, examples=_EXAMPLES, evaluations=_EVALUATIONS, seed=seed + rounds)
            total.add(found)
            rounds += 1
            tick(min(round(time.monotonic() - start), round(budget)))
    return total, rounds


def _show(example: Any) -> None:
    content = example.instance.to_json()
    if example.instance.features.size > _READABLE:
        content |= {name: f"of shape {getattr(example.instance, name).shape}, see --out" for name in _ARRAYS}
    typer.echo(f"left side   {example.left}")
    typer.echo(f"right side  {example.right}")
    for name in ("features", "answers", "theta", "steps"):
        typer.echo(f"{name:11} {content[name]}")
    if "least_constants" in content:
        typer.echo(f"M, R1, R2   at least {content['least_constants']}")
