"""``whynorm simulate``: one run on a bandit, or many, with plots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from theory.errors import expected
from whynorm.console import progress, say

__all__ = ["simulate"]


def simulate(
    rule: Annotated[
        str | None,
        typer.Option(
            help="Exact: reinforce, grpo, power:ALPHA. Sampled: PRESET:G, G outputs a prompt, e.g. trl:8, rloo:4, "
            "plain:8, dapo:8.  [default: grpo]"
        ),
    ] = None,
    family: Annotated[
        str, typer.Option(help="Where the prompts come from, e.g. orthogonal, shared-skill, drifting; see --list.")
    ] = "orthogonal",
    n: Annotated[int, typer.Option("--n", help="Number of prompts.")] = 4,
    k: Annotated[int, typer.Option("--k", help="Outputs per prompt.")] = 8,
    d: Annotated[int | None, typer.Option("--d", help="Number of features; the family's own if left out.")] = None,
    strength: Annotated[
        float | None, typer.Option(help="How strongly the family's prompts act on one another, its rho.")
    ] = None,
    p0: Annotated[
        str,
        typer.Option(
            help="Success probability at the start: 0.2, LOW:HIGH, easy, hard, beta:A,B, loguniform:LOW,HIGH."
        ),
    ] = "0.05:0.6",
    problem: Annotated[Path | None, typer.Option(help="An .npz or counterexample file instead of a family.")] = None,
    schedule: Annotated[
        str | None,
        typer.Option(help="Which prompts move at a step: uniform, all, cyclic or minibatch:B.  [default: uniform]"),
    ] = None,
    eta: Annotated[
        str | None,
        typer.Option(help="Step size: theorem, best, relaxed, directional, peak or a number.  [default: theorem]"),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Number of updates T.  [default: 1000]")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the features, the prompt order and the samples.")] = 0,
    record: Annotated[str, typer.Option(help="log (about 20 snapshots a decade) or full.")] = "log",
    replicas: Annotated[int, typer.Option(help="Number of independent runs, numbered from 0 under the seed.")] = 1,
    engine: Annotated[
        str | None, typer.Option(help="What computes many runs: lanes, torch or reference.  [default: lanes]")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of the engine lanes.  [default: all cores]")] = None,
    device: Annotated[
        str | None, typer.Option(help="Device of the engine torch, e.g. cpu, cuda.  [default: a GPU if there is one]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write record.npz (ensemble.npz of many runs), summary.json and plots here.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="List families, rules, schedules and the like.")] = False,
) -> int:
    """Run one update rule on a log-linear softmax bandit and set it against its theorem.

    --problem reads features (n, K, d), answers (n,), theta0 (d,) and optionally order (T,), or a Gram matrix: gram
    (nK, nK), logits (n, K), answers. On orthogonal prompts the plots show the exact expectation over prompt orders as
    well, and at the theorem's step size its cumulative bound. The constants of the theorems are measured on every run.

    --problem also reads a counterexample: a .json file of `whynorm refute --out` or `whynorm verify --json`, or FILE:ID
    where it holds several. Rule, step size, steps and schedule are then the claim's, unless given.

    --replicas R shows the mean over R runs with 95% intervals, and on orthogonal prompts whether the mean of
    ||grad J||^2 lies below the theorem's bound. Results do not depend on --threads. The first run of a kind takes some
    seconds to compile; --engine reference needs none of that, and is slow.
    """
    from simulator.directional import STATE_FORMS, step_rule
    from simulator.options import build_problem
    from simulator.problems import load_problem
    from simulator.sampled import get_any_rule
    from simulator.schedules import get_schedule
    from simulator.step_sizes import choose_step
    from whynorm.counterexamples import is_json
    from whynorm.ensembles import ensemble_table, run_ensemble, runner
    from whynorm.outputs import output_directory
    from whynorm.simulation import choices, choices_text, run_table

    if listing:
        typer.echo(json.dumps(choices(), indent=2) if json_output else choices_text(choices()))
        return 0

    if record not in ("log", "full"):
        raise expected("record", record, "log or full", "log keeps about 20 snapshots a decade")
    many = runner(replicas, engine, threads, device)
    if problem is not None and is_json(problem):
        bandit, rule, eta, steps, schedule = _refuting(problem, rule, eta, steps, schedule)
    else:
        bandit = load_problem(problem) if problem else build_problem(family, n, k, d, p0, seed, strength)
    if bandit.order is not None and schedule is not None:
        raise expected("--schedule", schedule, "nothing, as the problem brings its own order", "leave it out")
    chosen = get_any_rule("grpo" if rule is None else rule)
    plan = get_schedule("uniform" if schedule is None else schedule)
    length = 1000 if steps is None else steps
    if eta is not None and eta in STATE_FORMS and many is None:
        step_size: Any = step_rule(eta, chosen)
    else:
        step_size = choose_step("theorem" if eta is None else eta, bandit, chosen, plan, length, seed)
    with output_directory(out):
        if many is None:
            summary = _run(bandit, chosen, step_size, length, plan, seed, record, out)
        else:
            summary = run_ensemble(many, bandit, chosen, step_size, length, plan, seed, record, out)
    if json_output:
        typer.echo(json.dumps(summary, indent=2, allow_nan=False))
    else:
        Console().print(run_table(summary) if many is None else ensemble_table(summary))
    if out is not None:
        say(f"{'record' if many is None else 'ensemble'}, summary and plots: {out}")
    return 0


def _run(
    problem: Any, rule: Any, eta: Any, steps: int, schedule: Any, seed: int, record: str, out: Path | None
) -> dict[str, Any]:
    """Run, write what was asked for, and return the summary with its constants."""
    import numpy as np

    from simulator.reference import simulate as run
    from simulator.run_bounds import evaluate_record
    from whynorm.simulation import save_plots

    # A prompt may become solved or hopeless to the last digit; ratios of its bounds are then NaN and left out.
    with np.errstate(all="ignore"):
        with progress(f"simulating {rule.name}", steps) as tick:
            result = run(problem, rule, eta, steps, schedule=schedule, seed=seed, record=record, progress=tick)
        if not np.isfinite(result.J).all():
            raise expected("eta", eta, "a step size at which the run stays finite", "lower --eta")
        constants = {"constants": evaluate_record(result, problem)}
        if out is not None:
            result.save(out, constants)
            save_plots(problem, rule, result, out)
        return {**result.summary(), **constants}


def _refuting(
    path: Path, rule: str | None, eta: str | None, steps: int | None, schedule: str | None
) -> tuple[Any, Any, Any, Any, Any]:
    """Problem, rule, step size, steps and schedule of a counterexample; what is given wins."""
    from simulator.checks import build_context
    from simulator.problems import Problem
    from theory.claims import load_registry
    from theory.exact import as_floats
    from whynorm.counterexamples import read_counterexample

    claim_id, instance = read_counterexample(path)
    claim = load_registry()[claim_id]
    bandit = Problem(instance.features, instance.answers, instance.theta, name=f"counterexample to {claim_id}")
    if claim.rule is None:
        return bandit, rule, eta, steps, schedule
    if eta is None and rule in (None, claim.rule.name):
        eta = repr(float(as_floats(build_context(claim, instance).eta)))
    if schedule is None and claim.scope == "joint":
        schedule = "all"
    return bandit, claim.rule.name if rule is None else rule, eta, instance.steps if steps is None else steps, schedule
