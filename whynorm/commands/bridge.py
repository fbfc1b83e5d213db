"""``whynorm bridge``: the rules on a real language model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from theory.errors import expected
from whynorm.commands.bridge_compare import compare
from whynorm.commands.bridge_experiment import experiment
from whynorm.commands.bridge_fetch import fetch, models
from whynorm.commands.bridge_measure import measure
from whynorm.commands.bridge_options import (
    AsJson,
    Checkpointing,
    Device,
    Dtype,
    Form,
    ModelName,
    PresetName,
    memory_errors,
    model_options,
    require_llm,
    require_packages,
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
from whynorm.commands.bridge_split import split, tasks
from whynorm.commands.bridge_train import train
from whynorm.console import progress, say

__all__ = ["app", "require_llm", "require_packages"]

app = typer.Typer(help="Run and measure the update rules on a LoRA language model.", no_args_is_help=True)
app.command("fetch", short_help="Bring a model into the cache: smollm2, or one of the hub.")(fetch)
app.command("models", short_help="List the models that are ready here.")(models)
app.command("tasks", short_help="List what a model can be asked.")(tasks)
app.command("split", short_help="Partition a task into easy and hard questions.")(split)
app.command("experiment", short_help="std against no_std, where does it help.")(experiment)
app.command("train", short_help="Train on sampled completions; killed, it resumes.")(train)
app.command("compare", short_help="Set predicted against measured, and find the step-size gap.")(compare)
app.command("measure", short_help="Measure the theory's constants, once or along a run.")(measure)


@app.command(short_help="Train the model, and its linearisation beside it.")
def run(
    model: ModelName = None,
    rule: RuleName = "grpo",
    prompts: Prompts = "",
    n: Number = 6,
    p0: Range = "0.03:0.9",
    eta: StepSize = None,
    eta_scale: StepScale = 1.0,
    steps: Annotated[int, typer.Option(help="Number of updates.")] = 60,
    seed: Annotated[int, typer.Option(help="Seed of the prompt order.")] = 0,
    preset: PresetName = None,
    dtype: Dtype = "auto",
    device: Device = "cpu",
    form: Form = "auto",
    checkpointing: Checkpointing = False,
    out: Annotated[Path | None, typer.Option(help="Write records, geometry.json and plots here.")] = None,
    json_output: AsJson = False,
) -> int:
    """Run Algorithm 1 or 2 exactly on a language model, and its linearisation beside it.

    Each prompt has a finite answer set, so success probabilities and gradients are exact. The linearisation is the
    bandit with the model's own Gram matrix; it gets the same rule, step size and prompt order.
    """
    from whynorm.outputs import output_directory

    check_run(rule, eta, eta_scale, steps, seed)
    name, options = model_options(model, preset, dtype, device, form, checkpointing)
    settings = bridge_settings(
        name, prompts, n, p0, rule=rule, eta=eta, eta_scale=eta_scale, steps=steps, seed=seed, **options
    )
    with memory_errors(), output_directory(out):
        result = _run(settings, out)
    if json_output:
        summary = {
            "prompts": list(result.prompts),
            "form": result.form,
            "geometry": result.geometry.to_json(),
            "model": result.model.summary(),
            "linearised": result.surrogate.summary(),
            "largest_prediction_error": float(abs(result.model.J - result.surrogate.J).max()),
        }
        typer.echo(json.dumps(summary, indent=2, allow_nan=False))
    else:
        Console().print(_run_table(result))
    if out is not None:
        say(f"record, linearised run, geometry and plot: {out}")
    return 0


def _run(settings: Any, out: Path | None) -> Any:
    """Run, and write what was asked for."""
    import numpy as np

    from llm_bridge.experiment import run_bridge
    from llm_bridge.provenance import provenance
    from simulator.files import write_json
    from whynorm.figures import curves_figure, save_png
    from whynorm.given import command_line

    # At large steps a prompt may become solved to the last digit; ratios of its bounds are then NaN and left out.
    with np.errstate(all="ignore"):
        result = run_bridge(settings, progress)
        for record in (result.model, result.surrogate):
            if not np.isfinite(record.J).all():
                raise expected("eta", record.eta, "a step size at which the run stays finite", "lower the step size")
        if out is not None:
            result.model.save(out)
            result.surrogate.save(out / "linearised")
            write_json(
                out / "geometry.json",
                {
                    "prompts": list(result.prompts),
                    "form": result.form,
                    **result.geometry.to_json(),
                    **provenance(command_line(), settings.model),
                },
            )
            save_png(curves_figure(result.model, predicted=result.surrogate), out / "curves.png")
    return result


def _run_table(result: Any) -> Table:
    form = "" if result.form == "plain" else f", {result.form} prompts"
    title = f"{result.model.rule} on {result.model.problem}{form}, step size {result.model.eta:.3g}"
    table = Table(title=Text(title), title_justify="left")
    for column in ("prompt", "J at start", "J at end", "linearised model"):
        table.add_column(column, justify="left" if column == "prompt" else "right")
    rows = zip(result.prompts, result.model.J[0], result.model.J[-1], result.surrogate.J[-1], strict=True)
    for prompt, start, end, predicted in rows:
        table.add_row(prompt, f"{start:.4f}", f"{end:.4f}", f"{predicted:.4f}")
    return table
