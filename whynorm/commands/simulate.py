"""``whynorm simulate``: one run on a bandit, with plots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from theory.errors import expected
from whynorm.console import progress, say

__all__ = ["simulate"]

# Prompts that the table names one by one.
_SHOWN = 12


def simulate(
    rule: Annotated[str | None, typer.Option(help="reinforce, grpo or power:ALPHA.  [default: grpo]")] = None,
    family: Annotated[
        str, typer.Option(help="Problem family: orthogonal, shared-skill, tabular or gaussian.")
    ] = "orthogonal",
    n: Annotated[int, typer.Option("--n", help="Number of prompts.")] = 4,
    k: Annotated[int, typer.Option("--k", help="Outputs per prompt.")] = 8,
    d: Annotated[int | None, typer.Option("--d", help="Number of features; n times K if left out.")] = None,
    p0: Annotated[str, typer.Option(help="Success probability at the start: 0.2, or LOW:HIGH.")] = "0.05:0.6",
    problem: Annotated[Path | None, typer.Option(help="An .npz or counterexample file instead of a family.")] = None,
    eta: Annotated[float | None, typer.Option(help="Step size; the theorem's own if left out.")] = None,
    steps: Annotated[int | None, typer.Option(help="Number of updates T.  [default: 1000]")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the features and the prompt order.")] = 0,
    record: Annotated[str, typer.Option(help="log (about 20 snapshots a decade) or full.")] = "log",
    out: Annotated[Path | None, typer.Option(help="Write record.npz, summary.json and plots here.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> int:
    """Run one update rule on a log-linear softmax bandit and set it against its theorem.

    --problem reads features (n, K, d), answers (n,), theta0 (d,) and optionally order (T,). On orthogonal prompts the
    plots show the exact expectation over prompt orders as well, and at the theorem's step size its cumulative bound.

    --problem also reads a counterexample: a .json file of `whynorm refute --out` or `whynorm verify --json`, or FILE:ID
    where it holds several. Rule, step size and steps are then the claim's, unless given.
    """
    from simulator.options import build_problem, resolve_eta
    from simulator.problems import load_problem
    from theory.rules import get_rule
    from whynorm.counterexamples import is_json
    from whynorm.outputs import output_directory

    if record not in ("log", "full"):
        raise expected("record", record, "log or full", "log keeps about 20 snapshots a decade")
    if problem is not None and is_json(problem):
        bandit, rule, eta, steps = _refuting(problem, rule, eta, steps)
    else:
        bandit = build_problem(family, n, k, d, p0, seed) if problem is None else load_problem(problem)
    chosen = get_rule(rule or "grpo")
    step_size = resolve_eta(eta, chosen, bandit.x_max_sq)
    with output_directory(out):
        summary = _run(bandit, chosen, step_size, 1000 if steps is None else steps, seed, record, out)
    if json_output:
        typer.echo(json.dumps(summary, indent=2, allow_nan=False))
    else:
        Console().print(_table(summary))
    if out is not None:
        say(f"record, summary and plots: {out}")
    return 0


def _run(problem: Any, rule: Any, eta: float, steps: int, seed: int, record: str, out: Path | None) -> dict[str, Any]:
    """Run, write what was asked for, and return the summary."""
    import numpy as np

    from simulator.reference import simulate as run

    # A prompt may become solved or hopeless to the last digit; ratios of its bounds are then NaN and left out.
    with np.errstate(all="ignore"):
        with progress(f"simulating {rule.name}", steps) as tick:
            result = run(problem, rule, eta, steps, seed=seed, record=record, progress=tick)
        if not np.isfinite(result.J).all():
            raise expected("eta", eta, "a step size at which the run stays finite", "lower --eta")
        if out is not None:
            result.save(out)
            _plots(problem, rule, eta, result, out)
        return result.summary()


def _refuting(path: Path, rule: str | None, eta: float | None, steps: int | None) -> tuple[Any, Any, Any, Any]:
    """Problem, rule, step size and steps of a counterexample; what is given wins."""
    from simulator.checks import build_context
    from simulator.problems import Problem
    from theory.claims import load_registry
    from theory.exact import as_floats
    from whynorm.counterexamples import read_counterexample

    claim_id, instance = read_counterexample(path)
    claim = load_registry()[claim_id]
    bandit = Problem(instance.features, instance.answers, instance.theta, name=f"counterexample to {claim_id}")
    if claim.rule is None:
        return bandit, rule, eta, steps
    if eta is None and rule in (None, claim.rule.name):
        eta = float(as_floats(build_context(claim, instance).eta))
    if claim.scope == "joint":
        say(f"{claim_id} moves all prompts at every step; this run draws one of them")
    return bandit, rule or claim.rule.name, eta, instance.steps if steps is None else steps


def _plots(problem: Any, rule: Any, eta: float, result: Any, out: Path) -> None:
    from simulator.expectations import expectation
    from theory.assumptions import orthogonality_defect
    from whynorm.figures import bound_figure, curves_figure, gain_figure, save_png

    # The exact expectation costs T^2; beyond this it would take longer than the run itself.
    exact = len(result.order) <= 5000 and problem.order is None and orthogonality_defect(problem.features) < 1e-12
    expected_run = expectation(problem, rule, eta, len(result.order)) if exact else None
    save_png(curves_figure(result, expected=expected_run), out / "curves.png")
    # The theorem bounds runs at its own step size, and says nothing of others.
    covered = rule.step_size is not None and problem.x_max_sq > 0 and eta == rule.step_size(problem.x_max_sq)
    if expected_run is not None and covered:
        save_png(bound_figure(expected_run, rule.name), out / "bound.png")
    if result.step_bound is not None:
        save_png(gain_figure([result]), out / "gain.png")


def _table(summary: dict[str, Any]) -> Table:
    table = Table(title=Text(f"{summary['rule']} on {summary['problem']}"), title_justify="left", show_header=False)
    shown = ", ".join(f"{value:.3f}" for value in summary["J_end"][:_SHOWN])
    more = f", and {summary['prompts'] - _SHOWN} more" if summary["prompts"] > _SHOWN else ""
    rows = [
        ("steps", f"{summary['steps']}"),
        ("step size eta", f"{summary['eta']:.6g}"),
        ("X_max^2", f"{summary['x_max_sq']:.6g}"),
        ("mean J, start to end", f"{summary['mean_J_start']:.4f} to {summary['mean_J_end']:.4f}"),
        ("J per prompt, end", shown + more),
        ("steps that lowered the drawn J", f"{summary['descending_steps']}"),
    ]
    if summary.get("gain_over_bound_min") is not None:
        low, median = summary["gain_over_bound_min"], summary["gain_over_bound_median"]
        rows.append(("one-step gain / guarantee", f"least {low:.3g}, median {median:.3g}"))
    for name, value in rows:
        table.add_row(name, value)
    return table
