"""``whynorm bridge``: the rules on a real language model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from theory.errors import expected
from whynorm.commands.simulate import parse_range
from whynorm.console import progress, say

__all__ = ["app", "require_llm"]

app = typer.Typer(help="Run and measure the update rules on a LoRA language model.", no_args_is_help=True)

Model = Annotated[str, typer.Option(help="tiny (ships with whynorm) or a local model folder.")]
Prompts = Annotated[str, typer.Option(help="Prompts such as '3+5 17+26 6*7'; chosen by difficulty if left out.")]
Number = Annotated[int, typer.Option("--n", help="How many prompts to choose.")]
Range = Annotated[str, typer.Option(help="Range of success probabilities to choose from, LOW:HIGH.")]


@app.command()
def run(
    model: Model = "tiny",
    rule: Annotated[str, typer.Option(help="reinforce, grpo or power:ALPHA.")] = "grpo",
    prompts: Prompts = "",
    n: Number = 6,
    p0: Range = "0.03:0.9",
    eta: Annotated[float | None, typer.Option(help="Step size; the theorem's own if left out.")] = None,
    eta_scale: Annotated[float, typer.Option(help="Multiplies the step size.")] = 1.0,
    steps: Annotated[int, typer.Option(help="Number of updates.")] = 60,
    seed: Annotated[int, typer.Option(help="Seed of the prompt order.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write records, geometry.json and plots here.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> int:
    """Run Algorithm 1 or 2 exactly on a language model, and its linearisation beside it.

    Each prompt has a finite answer set, so success probabilities and gradients are exact. The linearisation is the
    bandit with the model's own Gram matrix; it gets the same rule, step size and prompt order.
    """
    from simulator.files import prepare_directory, write_json
    from simulator.problems import check_step

    check_step(1.0 if eta is None else eta, steps)
    if out is not None:
        prepare_directory(out)
    settings = _settings(model, prompts, n, p0, rule=rule, eta=eta, eta_scale=eta_scale, steps=steps, seed=seed)
    from llm_bridge.experiment import run_bridge

    with progress(f"{rule} on {model}", steps) as tick:
        result = run_bridge(settings, tick)
    summary = {
        "prompts": list(result.prompts),
        "geometry": result.geometry.to_json(),
        "model": result.model.summary(),
        "linearised": result.surrogate.summary(),
        "largest_prediction_error": float(abs(result.model.J - result.surrogate.J).max()),
    }
    if json_output:
        typer.echo(json.dumps(summary, indent=2))
    else:
        Console().print(_run_table(result))
    if out is not None:
        from whynorm.figures import curves_figure, save_png

        result.model.save(out)
        result.surrogate.save(out / "linearised")
        write_json(out / "geometry.json", {"prompts": list(result.prompts), **result.geometry.to_json()})
        save_png(curves_figure(result.model, predicted=result.surrogate), out / "curves.png")
        say(f"record, linearised run, geometry and plot: {out}")
    return 0


@app.command()
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
    from simulator.files import prepare_directory, write_json

    if out is not None:
        prepare_directory(out)
    settings = _settings(model, prompts, n, p0)
    from llm_bridge.experiment import prepare
    from llm_bridge.measures import measure_geometry

    loaded, chosen, batch = prepare(settings)
    with progress("per-answer gradients", batch.shape[0] * batch.shape[1]) as tick:
        geometry = measure_geometry(loaded, batch, tick)
    content = {"prompts": [prompt.question for prompt in chosen], **geometry.to_json()}
    if json_output:
        typer.echo(json.dumps(content, indent=2))
    else:
        table = Table(title=f"{model}: constants at the start", title_justify="left", show_header=False)
        for key, value in content.items():
            table.add_row(key.replace("_", " "), _show(value))
        Console().print(table)
    if out is not None:
        write_json(out / "geometry.json", content)
        geometry.surrogate.save(out / "problem.npz")
        say(f"measurements and linearised problem: {out}")
    return 0


def require_llm(model: str) -> None:
    """Check that the packages and the model's files are there, before any work is done.

    Raises:
        InputError: the extra ``llm`` is not installed, or there is no such model.
    """
    from importlib.util import find_spec

    missing = [name for name in ("torch", "transformers", "peft") if find_spec(name) is None]
    if missing:
        raise expected("missing packages", missing, "the extra llm", "run pip install 'whynorm[llm]'")
    from llm_bridge.models import model_folder

    model_folder(model)


def _settings(model: str, prompts: str, n: int, p0: str, **rest: Any) -> Any:
    from theory.rules import get_rule

    low, high = parse_range(p0)
    if "rule" in rest:
        get_rule(rest["rule"])
    require_llm(model)
    from llm_bridge.experiment import BridgeSettings

    return BridgeSettings(model=model, prompts=tuple(prompts.split()), n=n, low=low, high=high, **rest)


def _show(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_show(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _run_table(result: Any) -> Table:
    title = f"{result.model.rule} on {result.model.problem}, step size {result.model.eta:.3g}"
    table = Table(title=title, title_justify="left")
    for column in ("prompt", "J at start", "J at end", "linearised model"):
        table.add_column(column, justify="left" if column == "prompt" else "right")
    rows = zip(result.prompts, result.model.J[0], result.model.J[-1], result.surrogate.J[-1], strict=True)
    for prompt, start, end, predicted in rows:
        table.add_row(prompt, f"{start:.4f}", f"{end:.4f}", f"{predicted:.4f}")
    return table
