"""``whynorm reproduce`` and ``whynorm report``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from whynorm.console import progress, say

__all__ = ["report", "reproduce"]


def reproduce(
    out: Annotated[Path, typer.Option(help="Directory for results and report.")] = Path("out"),
    model: Annotated[str, typer.Option(help="tiny (ships with whynorm) or a local model folder.")] = "tiny",
    steps: Annotated[int, typer.Option(help="Updates of each language-model run.")] = 60,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
) -> int:
    """Verify the claims, simulate, train a real LoRA language model, and write report.html and report.json.

    Takes one to two minutes on two cores.
    """
    from simulator.problems import check_step
    from simulator.random import generator
    from whynorm.commands.bridge import require_llm
    from whynorm.reproduce import Settings
    from whynorm.reproduce import reproduce as run
    from whynorm.report import write_report

    check_step(1.0, steps)
    generator(seed)
    require_llm(model)
    start = time.monotonic()
    run(out, Settings(model=model, steps=steps, seed=seed), say=say, progress=progress)
    _, page = write_report(out)
    say(f"done in {time.monotonic() - start:.0f} s")
    typer.echo(f"report: {page}")
    return 0


def report(
    directory: Annotated[Path, typer.Argument(help="A directory that `whynorm reproduce` filled.")],
) -> int:
    """Write report.html and report.json anew from the results in a directory."""
    from whynorm.report import write_report

    _, page = write_report(directory)
    typer.echo(f"report: {page}")
    return 0
