"""What ``whynorm sweep`` does with results: status, export, plot, query. None of these changes a sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from theory.errors import expected
from whynorm.console import say

__all__ = [
    "Json",
    "Out",
    "Spec",
    "export",
    "open_sweep",
    "plot",
    "query",
    "report",
    "results_directory",
    "size_text",
    "status",
    "time_text",
]


def _directory(text: str | Path) -> Path:
    """The path that ``--out`` names; of an empty text, such as an unset variable's, Path would make this directory."""
    if not str(text):
        raise typer.BadParameter(str(expected("out", text, "a directory", "write . for the one you are in")))
    return Path(text)


Spec = Annotated[Path, typer.Argument(help="TOML file; `whynorm sweep init` writes an example.", metavar="SPEC.toml")]
Out = Annotated[
    Path | None,
    typer.Option(help="Directory of the results; SPEC without .toml if left out.", parser=_directory, metavar="<path>"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
# Errors that are named one by one.
_SHOWN = 5


def open_sweep(spec: Path, out: Path | None) -> tuple[Any, Any]:
    """The plan of a specification and the store of its results.

    Raises:
        InputError: what is wrong with the specification.
    """
    from simulator.sweeps.plan import make_plan
    from simulator.sweeps.spec import load_sweep
    from simulator.sweeps.store import Store

    plan = make_plan(load_sweep(spec))
    return plan, Store(results_directory(spec, out), plan.engine)


def results_directory(spec: Path, out: Path | None) -> Path:
    """``out``, or the name of the specification without its suffix.

    Raises:
        InputError: there is neither.
    """
    if out is None and not spec.suffix:
        raise expected("out", None, f"a directory, as {spec} has no suffix to leave out", "pass --out")
    return spec.with_suffix("") if out is None else out


def status(spec: Spec, out: Out = None, json_output: Json = False) -> int:
    """Say what is done, failed, pending or damaged, after verifying every result file; changes nothing.

    Exit code 1 if tasks failed or files are damaged.
    """
    plan, store = open_sweep(spec, out)
    return report(plan, store, {}, json_output)


def report(plan: Any, store: Any, errors: dict[str, str], json_output: bool) -> int:
    """Print where a sweep stands; 1 if something failed or is damaged.

    Args:
        plan: of the sweep.
        store: of its results.
        errors: of tasks that have just failed, by task.
        json_output: whether to print JSON.
    """
    from dataclasses import asdict

    from simulator.sweeps.results import status as count
    from whynorm.outputs import usable_cores

    now = count(plan, store)
    told = {**asdict(now), "directory": str(store.directory)}
    if json_output:
        typer.echo(json.dumps(told, indent=2, allow_nan=False))
    else:
        typer.echo(f"runs      {now.done} of {now.runs} done, {now.pending} pending, {now.failed} failed")
        if now.refused or now.diverged:
            typer.echo(
                f"          of those done, {now.diverged} diverged and {now.refused} could not be run (column error)"
            )
        typer.echo(f"files     {size_text(now.bytes)} in {store.directory}, {now.damaged_files} damaged")
        if now.seconds is not None and now.done < now.runs:
            left = now.seconds / usable_cores()
            typer.echo(f"left      about {time_text(left)} on {usable_cores()} cores, by the tasks that are done")
        for engine, runs in now.other_engines.items():
            typer.echo(f"kept      {runs} runs of another engine version ({engine}), not used")
    found = {**now.errors, **errors}
    for task, error in list(found.items())[:_SHOWN]:
        say(f"task {task}: {error}")
    if len(found) > _SHOWN:
        say(f"and {len(found) - _SHOWN} more tasks")
    return 1 if found else 0


def export(
    spec: Spec,
    to: Annotated[Path, typer.Option(help="File to write: NAME.parquet or NAME.csv.")] = Path("runs.parquet"),
    out: Out = None,
) -> int:
    """Write one table with a row per run: its settings, its results, and mean success probabilities over time.

    Runs that are not done are left out, and their number is said. In CSV, lists are numbers separated by semicolons.
    """
    from simulator.sweeps.results import export as write

    plan, store, found = _look(spec, out)
    rows = write(plan, store, found, to)
    say(f"written: {to}, {rows} runs")
    return 1 if found.damaged else 0


def query(
    spec: Spec,
    sql: Annotated[str, typer.Argument(help="For example: SELECT rule, avg(mean_J_end) FROM runs GROUP BY rule")],
    out: Out = None,
    json_output: Json = False,
) -> int:
    """Ask SQL (DuckDB's) about the table `runs`, which has one row per run that is done; it cannot change anything.

    Columns: the keys of the specification; status, step_size, x_max_sq, mean_J_start, mean_J_end, mean_grad_sq (of
    ||grad J||^2 over prompts and steps), steps_to_50, steps_to_90, steps_to_99 (first snapshot at which the mean
    success probability is that high); descending_steps and gain_over_bound_min (only with engine = "reference" or
    record = "full"); and the lists t and mean_J.
    """
    from simulator.sweeps.results import query as ask
    from whynorm.answers import answer_json, print_answer

    _, store, found = _look(spec, out)
    answer = ask(store, found, sql)
    if json_output:
        typer.echo(answer_json(answer))
    else:
        print_answer(answer)
    return 0


def plot(
    spec: Spec,
    x: Annotated[str, typer.Option("--x", help="Column of the horizontal axis.")],
    y: Annotated[str, typer.Option("--y", help="Column to draw.")] = "mean_J_end",
    by: Annotated[str | None, typer.Option(help="Column that tells the lines apart.")] = None,
    over: Annotated[str | None, typer.Option(help="Column of a second axis: draws a map instead of lines.")] = None,
    where: Annotated[str, typer.Option(help='Only these runs: a condition in SQL, e.g. "k = 4".')] = "",
    to: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("sweep.png"),
    out: Out = None,
) -> int:
    """Draw a result over one axis (lines, with 95% intervals of the mean over repeated seeds) or over two (a map).

    A point is a mean over seeds and replicas alone: where other keys vary too, name them with --by or --over, or choose
    among them with --where.
    """
    from simulator.sweeps.spec import load_sweep
    from simulator.sweeps.summarise import summarise
    from whynorm.figures import save_png
    from whynorm.figures_sweep import line_figure, map_figure

    if by is not None and over is not None:
        raise expected("over", over, "not both --by and --over", "remove one")
    if to.suffix != ".png":
        raise expected("to", str(to), "a name that ends in .png", "rename it")
    _, store, found = _look(spec, out)
    columns = tuple(column for column in (x, by, over) if column is not None)
    groups = summarise(store, found, y, columns, where, say)
    title = load_sweep(spec).title or spec.stem
    figure = line_figure(groups, x, y, by, title) if over is None else map_figure(groups, x, y, over, title)
    save_png(figure, to)
    say(f"written: {to}")
    return 0


def _look(spec: Path, out: Path | None) -> tuple[Any, Any, Any]:
    """Plan, store, and what is there; says what is not."""
    from simulator.sweeps.results import look

    plan, store = open_sweep(spec, out)
    found = look(plan, store)
    done = sum(entry.runs for entry in found.done.values())
    if not done:
        raise expected("runs done", 0, f"results in {store.directory}", "use `whynorm sweep run` first")
    if done < len(plan):
        say(f"{len(plan) - done} of {len(plan)} runs are not done and left out")
    if found.damaged:
        say(f"{len(found.damaged)} result files are damaged: `whynorm sweep resume` does their runs again")
    return plan, store, found


def size_text(count: int) -> str:
    """Bytes as a person reads them."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def time_text(seconds: float) -> str:
    """A time as a person reads it."""
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
