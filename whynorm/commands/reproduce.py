"""``whynorm reproduce`` and ``whynorm report``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from whynorm.console import progress, say

__all__ = ["report", "reproduce"]


def reproduce(
    out: Annotated[Path, typer.Option(help="Directory for results and report, created if need be.")] = Path("out"),
    config: Annotated[Path | None, typer.Option(help="TOML file, e.g. with the lines steps = 100 and n = 4.")] = None,
    model: Annotated[str | None, typer.Option(help="tiny (ships with whynorm) or a local model folder.")] = None,
    steps: Annotated[int | None, typer.Option(help="Updates of each language-model run.  [default: 60]")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.  [default: 0]")] = None,
) -> int:
    """Verify the claims, simulate, train a real LoRA language model, and write report.html, report.json and errata.md.

    Settings for --config: model, steps (of each language-model run), simulator_steps, n (prompts), outputs (of each
    simulated prompt), low and high (range of success probabilities at the start), big_step (times the theorem's step
    size), seed. Options given on the command line win.
    """
    from whynorm.commands.bridge import require_llm
    from whynorm.commands.verify import failures
    from whynorm.report import write_report
    from whynorm.reproduce import reproduce as run
    from whynorm.settings import load_settings, parse_settings

    values = load_settings(config) if config is not None else {}
    parse_settings(values, f"in {config}")
    given = {key: value for key, value in (("model", model), ("steps", steps), ("seed", seed)) if value is not None}
    settings = parse_settings({**values, **given}, "on the command line")
    require_llm(settings.model)
    start = time.monotonic()
    verdicts = run(out, settings, say=say, progress=progress)
    _, page = write_report(out)
    say(f"done in {time.monotonic() - start:.0f} s")
    typer.echo(f"report: {page}")
    failed = failures(verdicts)
    for line in failed:
        say(line)
    return 1 if failed else 0


def report(
    directory: Annotated[Path, typer.Argument(help="A directory that `whynorm reproduce` filled.")],
) -> int:
    """Write report.html and report.json anew from the results in a directory."""
    from whynorm.report import write_report

    _, page = write_report(directory)
    typer.echo(f"report: {page}")
    return 0
