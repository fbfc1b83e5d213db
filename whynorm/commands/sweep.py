"""``whynorm sweep``: many runs from one specification, on any number of workers, killed and resumed at any moment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from theory.errors import expected
from whynorm.commands import sweep_results
from whynorm.commands.sweep_results import Json, Out, Spec, open_sweep, results_directory, size_text, time_text
from whynorm.console import progress, say

__all__ = ["app"]

app = typer.Typer(help="Many runs from one file; killed at any moment, nothing is lost.", no_args_is_help=True)

Workers = Annotated[int | None, typer.Option(help="Processes on this machine; one per core if left out.")]
On = Annotated[str, typer.Option(help="Where: local, dask:ADDRESS, slurm, or slurm:local to try that out here.")]
Slurm = Annotated[
    list[str] | None, typer.Option("--slurm", help="NAME=VALUE for submitit, e.g. slurm_partition=cpu; repeatable.")
]


@app.command("init", short_help="Write an example specification to start from.")
def init(
    path: Annotated[Path, typer.Argument(help="TOML file to write; it must not exist.")] = Path("sweep.toml"),
) -> int:
    """Write a small commented specification, which `whynorm sweep run` takes seconds for."""
    from importlib.resources import files

    from simulator.files import write_text

    if path.exists():
        raise expected("specification", str(path), "a file that does not exist yet", "choose another name")
    write_text(path, files("simulator.sweeps").joinpath("example.toml").read_text())
    say(f"written: {path}; next: whynorm sweep run {path}")
    return 0


@app.command("run", short_help="Do the runs that are not done yet.")
def run(
    spec: Spec,
    out: Out = None,
    workers: Workers = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many runs, bytes and hours it takes.")
    ] = False,
    on: On = "local",
    slurm: Slurm = None,
    json_output: Json = False,
) -> int:
    """Do all runs of a specification that are not done yet.

    Results go to one file per task, many short runs to a task. They are the same bytes on any number of workers, and
    every run has an id made of its settings and the engine's version: a longer specification with the same --out
    reuses what is there. Stop it as you like: `whynorm sweep resume` goes on.

    Exit code 1 means that some tasks were given up, after three attempts each; the others are done.
    """
    return _run(spec, out, workers, dry_run, on, slurm or [], json_output)


@app.command("resume", short_help="Go on with a sweep that was stopped or killed.")
def resume(
    spec: Spec,
    out: Out = None,
    workers: Workers = None,
    on: On = "local",
    slurm: Slurm = None,
    json_output: Json = False,
) -> int:
    """Go on with a sweep: verify the results that are there, set damaged files aside, do what is missing.

    As `whynorm sweep run`, but the results directory must exist, so that a slip in --out does not start anew.
    """
    directory = results_directory(spec, out)
    if not (directory / "results").is_dir():
        raise expected("results directory", str(directory), "an existing one", "use `whynorm sweep run` to start")
    return _run(spec, out, workers, False, on, slurm or [], json_output)


app.command("status", short_help="Say what is done, failed, pending or damaged.")(sweep_results.status)
app.command("export", short_help="Write one table of all runs, Parquet or CSV.")(sweep_results.export)
app.command("plot", short_help="Draw a result over one or two of the axes.")(sweep_results.plot)
app.command("query", short_help="Ask SQL about the runs.")(sweep_results.query)


def _run(
    spec: Path, out: Path | None, workers: int | None, dry_run: bool, on: str, slurm: list[str], json_output: bool
) -> int:
    from simulator.sweeps.clusters import choose_executor
    from simulator.sweeps.coordinate import coordinate
    from whynorm.outputs import usable_cores

    processes = usable_cores() if workers is None else workers
    if processes < 1:
        raise expected("workers", workers, "at least 1", "leave it out for one per core")
    settings = dict(_pair(text) for text in slurm)
    plan, store = open_sweep(spec, out)
    executor = choose_executor(on, processes, store.directory, settings)
    if plan.duplicates:
        say(f"{plan.duplicates} runs are in the specification more than once: each is done once")
    if dry_run:
        return _dry_run(plan, store, processes, json_output)
    with progress("runs", len(plan)) as tick:
        errors = coordinate(plan, store, executor, say=say, progress=tick)
    return sweep_results.report(plan, store, errors, json_output)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise expected("slurm", text, "NAME=VALUE", "e.g. slurm_partition=cpu")
    return name, value


def _dry_run(plan: Any, store: Any, workers: int, json_output: bool) -> int:
    """What is not done yet, and what it costs."""
    from dataclasses import asdict

    from simulator.sweeps.estimate import estimate
    from simulator.sweeps.results import look

    done = look(plan, store).done
    cost = estimate(plan, [task for task in plan.tasks if task.id not in done])
    told = {**asdict(cost), "all_runs": len(plan), "all_tasks": len(plan.tasks), "workers": workers}
    told["wall_seconds"] = cost.wall_seconds(workers)
    if json_output:
        typer.echo(json.dumps(told, indent=2))
        return 0
    typer.echo(f"runs to do      {cost.runs} of {len(plan)}")
    typer.echo(f"tasks (files)   {cost.tasks} of {len(plan.tasks)}")
    typer.echo(f"bytes           about {size_text(cost.bytes)}")
    processes = "1 process" if workers == 1 else f"{workers} processes"
    typer.echo(f"time            about {time_text(told['wall_seconds'])} with {processes}")
    if cost.compiled:
        each = time_text(cost.compile_seconds)
        typer.echo(
            f"compilation     about {each} of it for each of {cost.compiled} kinds of runs, once in each process"
        )
    for error, runs in cost.refused.items():
        typer.echo(f"refused         {runs} of the runs to do: {error}")
    for error, runs in cost.refused_samples.items():
        typer.echo(f"refused         {runs} of the {cost.samples} runs that were measured: {error}")
    typer.echo(f"The time was measured on this machine, on the first steps of {cost.samples} of the runs.")
    return 0
