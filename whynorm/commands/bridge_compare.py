"""``whynorm bridge compare``: does the theory predict the model?"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from theory.errors import expected
from whynorm.commands.bridge_options import (
    Checkpointing,
    Device,
    Dtype,
    Form,
    ModelName,
    PresetName,
    memory_errors,
    model_options,
)
from whynorm.commands.bridge_settings import (
    Number,
    Prompts,
    Range,
    RuleName,
    StepScale,
    StepSize,
    bridge_settings,
    check_run,
)
from whynorm.console import progress, say

__all__ = ["compare"]


def compare(
    model: ModelName = None,
    rule: RuleName = "grpo",
    prompts: Prompts = "",
    n: Number = 6,
    p0: Range = "0.03:0.9",
    eta: StepSize = None,
    eta_scale: StepScale = 100.0,
    steps: Annotated[int, typer.Option(help="Number of updates.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed of the prompt order and of all intervals.")] = 0,
    anchors: Annotated[str, typer.Option(help="Steps between two anchors, several with commas.")] = "20,10,5",
    tolerance: Annotated[float, typer.Option(help="Error in J from which a prediction is called broken.")] = 0.05,
    checkpoints: Annotated[int, typer.Option(help="Step-size gaps: 0 none, 1 start, 2 and end, 3 and middle.")] = 3,
    whole: Annotated[bool, typer.Option(help="Gaps also of the mean over prompts and of whole epochs.")] = True,
    step_rules: Annotated[int, typer.Option(help="Updates of runs under state-dependent step sizes; 0: none.")] = 24,
    sampled: Annotated[str, typer.Option(help="Also groups of sampled answers by this rule, e.g. paper:8.")] = "",
    seeds: Annotated[int, typer.Option(help="Runs with sampled answers.")] = 6,
    experiment: Annotated[
        Path | None, typer.Option(help="Summary of `whynorm bridge experiment`, for the rows on accuracy.")
    ] = None,
    preset: PresetName = None,
    dtype: Dtype = "auto",
    device: Device = "cpu",
    form: Form = "auto",
    checkpointing: Checkpointing = False,
    out: Annotated[Path | None, typer.Option(help="Write comparison.json, the record and figures here.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> int:
    """Set the theory beside the model: predicted and measured curves, the step-size gap, and a table of all claims.

    The bandit with the model's Gram matrix runs ahead of the model, anchored at the start and anew every few steps. The
    gap is the largest step for which descent holds over the theorem's own, with what it is made of.
    """
    from whynorm.given import command_line
    from whynorm.outputs import output_directory

    _check_out(out)
    check_run(rule, eta, eta_scale, steps, seed)
    periods = _periods(anchors)
    accuracy = _read_experiment(experiment)
    name, loading = model_options(model, preset, dtype, device, form, checkpointing)
    settings = bridge_settings(
        name, prompts, n, p0, rule=rule, eta=eta, eta_scale=eta_scale, steps=steps, seed=seed, **loading
    )
    from llm_bridge.comparing.headline import CompareOptions
    from whynorm.comparison import compare_content, units

    options = CompareOptions(
        periods=periods,
        tolerance=tolerance,
        checkpoints=checkpoints,
        whole=whole,
        step_rule_steps=step_rules,
        sampled=sampled,
        seeds=seeds,
    )
    with memory_errors(), output_directory(out), progress("comparing", units(settings, options)) as tick:
        content = compare_content(settings, options, experiment=accuracy, out=out, command=command_line(), tick=tick)
    if json_output:
        typer.echo(json.dumps(content, indent=2, allow_nan=False))
    else:
        from whynorm.compare_tables import compare_tables

        for table in compare_tables(content):
            Console().print(table)
    if out is not None:
        say(f"comparison, record and figures: {out}")
    return 0


def _check_out(out: Path | None) -> None:
    """Refuse a directory that holds a comparison: what took hours would be lost, its figures mixed with others."""
    # Unlike Path.exists, lexists takes a directory that may not be entered for one to be told of later.
    if out is not None and os.path.lexists(out / "comparison.json"):
        remedy = "choose another directory, or remove that one"
        raise expected("out", str(out), "a directory without a comparison.json", remedy)


def _periods(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isascii() and part.isdigit() and len(part) < 10 and int(part) > 0 for part in parts):
        raise expected("anchors", text, "numbers of steps from 1 to 999999999, separated by commas", "e.g. 20,10,5")
    return tuple(int(part) for part in parts)


def _read_experiment(path: Path | None) -> Any:
    if path is None:
        return None
    try:
        content = json.loads(path.read_text())
        for part in content["parts"].values():
            # What the rows on accuracy will take from it, hours later.
            same = part["pairings"].get("same")
            for found in () if same is None else (same["measured"], same["linearised"]):
                for name in ("end_difference", "mean_difference"):
                    value, low, high = found[name]
                    [float(number) for number in (value, low, high) if number is not None]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        told = "the summary that `whynorm bridge experiment --out` writes"
        raise expected("experiment", str(path), told, "check the path") from None
    return content
