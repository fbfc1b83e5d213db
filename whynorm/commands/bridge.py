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
from whynorm.commands.bridge_fetch import fetch
from whynorm.commands.bridge_options import (
    MODEL_HELP,
    Checkpointing,
    Device,
    Dtype,
    Form,
    PresetName,
    memory_errors,
    model_options,
    require_llm,
    require_packages,
)
from whynorm.console import progress, say

__all__ = ["app", "require_llm", "require_packages"]

app = typer.Typer(help="Run and measure the update rules on a LoRA language model.", no_args_is_help=True)
app.command("fetch", short_help="Bring a model into the cache: smollm2, or one of the hub.")(fetch)

Model = Annotated[str, typer.Option(help=MODEL_HELP)]
Prompts = Annotated[str, typer.Option(help="Prompts such as '3+5 17+26 6*7'; chosen by difficulty if left out.")]
Number = Annotated[int, typer.Option("--n", help="How many prompts to choose.")]
Range = Annotated[str, typer.Option(help="Range of success probabilities to choose from, LOW:HIGH.")]

_LABELS = {
    "parameters": "trainable parameters",
    "x_max_sq": "X_max^2",
    "x_max_sq_centred": "X_max^2, prompts centred",
    "orthogonality_defect": "orthogonality defect",
    "cosine_mean": "gradient cosines, mean",
    "cosine_std": "gradient cosines, std",
    "cosine_small_share": "share of |cosine| < 0.1",
    "cosine_positive_share": "share of cosine > 0",
    "p": "success probabilities",
}


@app.command(short_help="Train the model, and its linearisation beside it.")
def run(
    model: Annotated[str | None, typer.Option(help=f"{MODEL_HELP}  [default: tiny, or the preset's]")] = None,
    rule: Annotated[str, typer.Option(help="reinforce, grpo or power:ALPHA.")] = "grpo",
    prompts: Prompts = "",
    n: Number = 6,
    p0: Range = "0.03:0.9",
    eta: Annotated[float | None, typer.Option(help="Step size; the theorem's own if left out.")] = None,
    eta_scale: Annotated[float, typer.Option(help="Multiplies the step size.")] = 1.0,
    steps: Annotated[int, typer.Option(help="Number of updates.")] = 60,
    seed: Annotated[int, typer.Option(help="Seed of the prompt order.")] = 0,
    preset: PresetName = None,
    dtype: Dtype = "auto",
    device: Device = "cpu",
    form: Form = "auto",
    checkpointing: Checkpointing = False,
    out: Annotated[Path | None, typer.Option(help="Write records, geometry.json and plots here.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> int:
    """Run Algorithm 1 or 2 exactly on a language model, and its linearisation beside it.

    Each prompt has a finite answer set, so success probabilities and gradients are exact. The linearisation is the
    bandit with the model's own Gram matrix; it gets the same rule, step size and prompt order.
    """
    from whynorm.outputs import output_directory

    _check_run(rule, eta, eta_scale, steps, seed)
    name, options = model_options(model, preset, dtype, device, form, checkpointing)
    settings = _settings(
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
    from simulator.files import write_json
    from whynorm.figures import curves_figure, save_png

    # At large steps a prompt may become solved to the last digit; ratios of its bounds are then NaN and left out.
    with np.errstate(all="ignore"):
        with progress(f"{settings.rule} on {settings.model}", settings.steps) as tick:
            result = run_bridge(settings, tick)
        for record in (result.model, result.surrogate):
            if not np.isfinite(record.J).all():
                raise expected("eta", record.eta, "a step size at which the run stays finite", "lower the step size")
        if out is not None:
            result.model.save(out)
            result.surrogate.save(out / "linearised")
            write_json(
                out / "geometry.json",
                {"prompts": list(result.prompts), "form": result.form, **result.geometry.to_json()},
            )
            save_png(curves_figure(result.model, predicted=result.surrogate), out / "curves.png")
    return result


def _check_run(rule: str, eta: float | None, eta_scale: float, steps: int, seed: int) -> None:
    """Find out what is wrong with a run's options before a model is loaded."""
    from simulator.problems import check_step
    from simulator.random import generator
    from simulator.step_sizes import resolve_step
    from theory.rules import get_rule

    if not 0 < eta_scale < float("inf"):
        raise expected("eta-scale", eta_scale, "a finite number above 0", "1 is the theorem's step size")
    check_step(resolve_step("theorem", get_rule(rule), 1.0) if eta is None else eta, steps)
    generator(seed)


@app.command(short_help="Measure X_max, orthogonality and gradient cosines.")
def measure(
    model: Model = "tiny",
    prompts: Prompts = "",
    n: Number = 6,
    p0: Range = "0.03:0.9",
    out: Annotated[Path | None, typer.Option(help="Write geometry.json and the linearised problem.npz here.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print the measurements as JSON.")] = False,
) -> int:
    """Measure the theory's constants on a model as it stands: X_max, orthogonality, gradient cosines.

    With --out, problem.npz is the bandit with the model's Gram matrix, for `whynorm simulate --problem`.
    """
    from whynorm.outputs import output_directory

    settings = _settings(model, prompts, n, p0)
    with memory_errors(), output_directory(out):
        content = _measure(settings, out)
    if json_output:
        typer.echo(json.dumps(content, indent=2, allow_nan=False))
    else:
        table = Table(title=Text(f"{model}: constants at the start"), title_justify="left", show_header=False)
        for key, value in content.items():
            table.add_row(_LABELS.get(key, key.replace("_", " ")), _show(value))
        Console().print(table)
    if out is not None:
        say(f"measurements and linearised problem: {out}")
    return 0


def _measure(settings: Any, out: Path | None) -> dict[str, Any]:
    """Measure, and write what was asked for."""
    from llm_bridge.experiment import prepare
    from llm_bridge.measures import measure_geometry
    from simulator.files import write_json

    loaded, chosen, batch = prepare(settings)
    with progress("per-answer gradients", batch.shape[0] * batch.shape[1]) as tick:
        geometry = measure_geometry(loaded, batch, tick)
    content = {"prompts": [prompt.question for prompt in chosen], **geometry.to_json()}
    if out is not None:
        write_json(out / "geometry.json", content)
        geometry.surrogate.save(out / "problem.npz")
    return content


def _settings(model: str, prompts: str, n: int, p0: str, **rest: Any) -> Any:
    from llm_bridge.tasks import prompts_from_names
    from simulator.difficulty import parse_range

    low, high = parse_range(p0)
    if not 0 < low < high < 1:
        raise expected("p0", p0, "LOW:HIGH with 0 < LOW < HIGH < 1", "e.g. 0.03:0.9")
    if n < 1:
        raise expected("n", n, "at least 1", "choose how many prompts to take")
    names = tuple(prompts.split())
    if names:
        prompts_from_names(names)
    require_llm(model)
    from llm_bridge.experiment import BridgeSettings

    return BridgeSettings(model=model, prompts=names, n=n, low=low, high=high, **rest)


def _show(value: Any) -> str:
    if value is None:
        return "none (one prompt)"
    if isinstance(value, list):
        return ", ".join(_show(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _run_table(result: Any) -> Table:
    title = f"{result.model.rule} on {result.model.problem}, step size {result.model.eta:.3g}"
    table = Table(title=Text(title), title_justify="left")
    for column in ("prompt", "J at start", "J at end", "linearised model"):
        table.add_column(column, justify="left" if column == "prompt" else "right")
    rows = zip(result.prompts, result.model.J[0], result.model.J[-1], result.surrogate.J[-1], strict=True)
    for prompt, start, end, predicted in rows:
        table.add_row(prompt, f"{start:.4f}", f"{end:.4f}", f"{predicted:.4f}")
    return table
