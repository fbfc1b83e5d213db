"""What ``whynorm simulate --replicas`` does and shows: many runs, their table, their files."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from theory.errors import expected
from whynorm.console import progress
from whynorm.outputs import usable_cores

__all__ = ["Runner", "ensemble_table", "run_ensemble", "runner"]


@dataclass(frozen=True)
class Runner:
    """How many runs, and what computes them.

    Attributes:
        replicas: number of runs.
        engine: name.
        options: of the engine.
    """

    replicas: int
    engine: str = "lanes"
    options: dict[str, Any] = field(default_factory=dict)


def runner(replicas: int, engine: str | None, threads: int | None, device: str | None) -> Runner | None:
    """What the options ask for; None for a single run by the reference, which leaves a record of its own.

    Raises:
        InputError: a value out of range, or an option of another engine.
    """
    if replicas < 1:
        raise expected("replicas", replicas, "a number above 0", "e.g. 1000")
    name = engine or ("lanes" if replicas > 1 else None)
    for option, value, owner in (("threads", threads, "lanes"), ("device", device, "torch")):
        if value is not None and name != owner:
            where = "a single run" if name is None else f"--engine {name}"
            raise expected(f"--{option}", value, f"nothing with {where}", f"add --engine {owner}, or leave it out")
    if threads is not None and threads < 1:
        raise expected("threads", threads, "an integer above 0", "leave it out for all cores")
    if name is None:
        return None
    from simulator.engines.run import ENGINES

    if name not in ENGINES:
        raise expected("engine", name, f"one of {', '.join(ENGINES)}", "lanes is the fastest on a CPU")
    if name == "lanes":
        return Runner(replicas, name, {"threads": threads or usable_cores()})
    options = {} if device is None else {"device": device}
    return Runner(replicas, name, options)


def run_ensemble(
    many: Runner,
    problem: Any,
    rule: Any,
    eta: float,
    steps: int,
    schedule: Any,
    seed: int,
    record: str,
    out: Path | None,
) -> dict[str, Any]:
    """Run, write what was asked for, and return the summary, with what the theorems say of the mean and the speed."""
    import numpy as np

    from simulator.engines.plan import make_plan
    from simulator.engines.run import simulate_many
    from simulator.engines.statistics import evaluate_ensemble

    asked: dict[str, Any] = {"replicas": many.replicas, "schedule": schedule, "seed": seed, "record": record}
    # What it refuses is refused before anything is compiled.
    make_plan(problem, rule, eta, steps, **asked)

    def run(length: int, **more: Any) -> Any:
        options = {"engine": many.engine, "engine_options": many.options, **asked, **more}
        return simulate_many(problem, rule, eta, length, **options)

    with np.errstate(all="ignore"):
        with progress(f"{many.replicas} runs of {rule.name}", many.replicas) as tick:
            begin = time.perf_counter()
            # One step of the same runs: what is compiled for them is then compiled.
            run(1)
            middle = time.perf_counter()
            result = run(steps, progress=tick)
            seconds = time.perf_counter() - middle
        if not result.finite.any():
            raise expected("eta", eta, "a step size at which some run stays finite", "lower --eta")
        summary = evaluate_ensemble(result, problem)
        summary["speed"] = {
            "seconds": seconds,
            "seconds_to_start": middle - begin,
            "runs_per_second": many.replicas / seconds,
            "ns_per_replica_step": seconds * 1e9 / (many.replicas * steps),
        }
        if out is not None:
            result.save(out, summary)
            _save_figure(problem, rule, result, out)
    return summary


def _save_figure(problem: Any, rule: Any, result: Any, out: Path) -> None:
    from whynorm.figures import save_png
    from whynorm.figures_ensemble import ensemble_figure
    from whynorm.simulation import exact_expectation

    expected_run = exact_expectation(problem, rule, float(result.eta[0]), result.steps, result.schedule)
    save_png(ensemble_figure(result, expected=expected_run), out / "curves.png")


def _interval(values: dict[str, float | None], digits: str) -> str:
    if values["low"] is None:
        return f"{values['mean']:{digits}} (one run: no interval)"
    return f"{values['mean']:{digits}} ({values['low']:{digits}} to {values['high']:{digits}})"


def _bound_rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for row in summary["bounds"]:
        if row["bound"] is None:
            rows.append((row["claim"], "undecided: it takes two runs, all of them finite"))
            continue
        where = {"below": "below the bound", "above": "above the bound", "undecided": "undecided"}[row["outcome"]]
        numbers = f"{_interval(row, '.3g')}, exact {row['exact']:.3g}, bound {row['bound']:.3g}"
        rows.append((row["claim"], f"{where}\nprompt {row['prompt']}: {numbers}"))
    if summary["bounds_missing"]:
        rows.append(("bounds", f"none: {summary['bounds_missing']}"))
    return rows


def ensemble_table(summary: dict[str, Any]) -> Table:
    """The summary of many runs as a table of two columns; in brackets 95% Student intervals over the runs."""
    title = f"{summary['rule']} on {summary['problem']}, {summary['replicas']} runs (in brackets 95% intervals)"
    table = Table(title=Text(title), title_justify="left", show_header=False)
    quantiles = summary["mean_J_end_quantiles"]
    speed = summary["speed"]
    rows = [
        ("steps", f"{summary['steps']}"),
        ("schedule", summary["schedule"]),
        ("step size eta", f"{summary['eta']:.6g}"),
        ("mean J, start", _interval(summary["mean_J_start"], ".4f")),
        ("mean J, end", _interval(summary["mean_J_end"], ".4f")),
        ("5%, 50%, 95% of the runs", ", ".join(f"{value:.4f}" for value in quantiles.values())),
        ("runs that are not finite", f"{summary['share_not_finite']:.2%}"),
        ("mean of ||grad J||^2", _interval(summary["mean_grad_sq"], ".4g")),
        *_bound_rows(summary),
        ("engine", summary["engine"]),
        ("runs a second", f"{speed['runs_per_second']:,.0f}, after {speed['seconds_to_start']:.0f} s to start"),
        ("time of a step of a run", f"{speed['ns_per_replica_step']:,.0f} ns"),
    ]
    for name, value in rows:
        table.add_row(name, Text(value))
    return table
