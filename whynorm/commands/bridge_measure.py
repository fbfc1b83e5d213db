"""``whynorm bridge measure``: the theory's constants on a language model, at one checkpoint or along an exact run."""

from __future__ import annotations

import json
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
    LoraAlpha,
    LoraRank,
    ModelName,
    PresetName,
    lora_settings,
    memory_errors,
    model_options,
)
from whynorm.commands.bridge_settings import Number, Prompts, Range, StepScale, bridge_settings, check_run
from whynorm.console import progress, say

__all__ = ["measure"]

_PARTS = "gram, interactions, sampling, hidden, fisher, curvature, gains"


# What measures.json says besides the geometry.
_ABOUT = ("measures", "machine", "versions", "command", "form", "model", "weights")


def measure(
    model: ModelName = None,
    prompts: Prompts = "",
    n: Number = 6,
    p0: Range = "0.03:0.9",
    only: Annotated[str, typer.Option(help=f"Some of: {_PARTS}; separated by commas.  [default: all]")] = "",
    adapter: Annotated[
        Path | None, typer.Option(help="Measure (and choose prompts) with this adapter: a checkpoint's folder.")
    ] = None,
    along: Annotated[int, typer.Option(help="Train this many exact steps and measure along them.")] = 0,
    every: Annotated[int | None, typer.Option(help="Steps between checkpoints.  [default: a tenth]")] = None,
    rule: Annotated[str, typer.Option(help="Rule of --along: reinforce, grpo or power:ALPHA.")] = "grpo",
    eta: Annotated[float | None, typer.Option(help="Step size of --along; the theorem's own if left out.")] = None,
    eta_scale: StepScale = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of prompt order, resamples and everything else.")] = 0,
    method: Annotated[str, typer.Option(help="How rows are kept: auto, memory, disk, recompute or sketch.")] = "auto",
    memory: Annotated[float, typer.Option(help="GiB of rows held at most.")] = 2.0,
    curved: Annotated[int, typer.Option(help="How many prompts' Hessians to measure.")] = 1,
    ball: Annotated[int, typer.Option(help="Points of Lemma 3.3's ball at which to measure them too.")] = 2,
    resamples: Annotated[int, typer.Option(help="Resamples of an interval; more where its level needs it.")] = 999,
    preset: PresetName = None,
    dtype: Dtype = "auto",
    device: Device = "cpu",
    form: Form = "auto",
    lora_r: LoraRank = None,
    lora_alpha: LoraAlpha = None,
    checkpointing: Checkpointing = False,
    out: Annotated[
        Path | None, typer.Option(help="Write measures, arrays, the linearised problem and figures.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print the measurements as JSON.")] = False,
) -> int:
    """Measure the theory's constants on a model: X_max, cosines, M, R1, R2, Fisher information, curvature, gains.

    With --along, the model is trained in exact mode and measured at checkpoints: Tables 1 and 3 of the paper, C(T), and
    the phases of the run, if there are any. With --out, problem.npz is the bandit with the model's Gram matrix, for
    `whynorm simulate --problem`.
    """
    from whynorm.outputs import output_directory

    _check(along, every, min(curved, ball), memory, resamples)
    check_run(rule, eta, eta_scale, along or 1, seed)
    name, loading = model_options(model, preset, dtype, device, form, checkpointing)
    loading["lora"] = lora_settings(loading["lora"], lora_r, lora_alpha)
    run = {"rule": rule, "eta": eta, "eta_scale": eta_scale, "steps": along, "seed": seed}
    settings = bridge_settings(name, prompts, n, p0, adapter=adapter, **run, **loading)
    from llm_bridge.measurement.measuring import MeasureOptions, parse_parts

    options = MeasureOptions(
        parts=parse_parts(only if only or not along else "gram,interactions,fisher"),
        method=method,
        memory=memory * 2**30,
        curved=curved,
        ball=ball,
        resamples=resamples,
        seed=seed,
    )
    with memory_errors(), output_directory(out):
        content = _measure(settings, options, every, out)
    if json_output:
        typer.echo(json.dumps(content, indent=2, allow_nan=False))
    else:
        from whynorm.measure_tables import measure_tables

        for table in measure_tables(content, name):
            Console().print(table)
    if out is not None:
        say(f"measurements and linearised problem: {out}")
    return 0


def _check(along: int, every: int | None, curved: int, memory: float, resamples: int) -> None:
    if along < 0:
        raise expected("along", along, "a number of steps, 0 or more", "0 measures the model as it stands")
    if every is not None and not 1 <= every <= max(along, 1):
        raise expected("every", every, f"from 1 to the {along} steps of --along", "e.g. a tenth of the steps")
    if curved < 0:
        raise expected("curved or ball", curved, "0 or more", "each prompt takes about 60 products")
    if not 0 < memory < float("inf"):
        raise expected("memory", memory, "a positive number of GiB", "e.g. 2")
    if resamples < 1:
        raise expected("resamples", resamples, "at least 1", "use for example 999")


def _measure(settings: Any, options: Any, every: int | None, out: Path | None) -> dict[str, Any]:
    """Measure, and write what was asked for."""
    import numpy as np

    from llm_bridge.experiment import prepare
    from llm_bridge.provenance import provenance
    from whynorm.given import command_line

    loaded, chosen, batch = prepare(settings)
    record = None
    with np.errstate(all="ignore"):
        if settings.steps:
            measures, record = _run_along(settings, options, every, loaded, chosen, batch)
        else:
            measures = _run_once(options, loaded, chosen, batch)
    geometry = measures.content.get("gram", measures.content.get("checkpoints", [{}])[0].get("gram", {}))
    flat = {key: value for key, value in geometry.items() if key not in ("features", "sketch")}
    content = {
        "prompts": [prompt.question for prompt in chosen],
        **flat,
        "measures": measures.content,
        "form": batch.form,
        **provenance(command_line(), settings.model),
    }
    if out is not None:
        _write(out, content, measures, record, loaded.name)
    return content


def _run_once(options: Any, loaded: Any, chosen: Any, batch: Any) -> Any:
    from llm_bridge.measurement.measuring import measure as measure_once

    total = {"gram": len(chosen), "curvature": min(options.curved, len(chosen))}
    with progress("parts and prompts", sum(total.values()) + len(options.parts)) as tick:
        done: dict[str, int] = {}

        def count(part: str, number: int) -> None:
            done[part] = number
            tick(sum(done.values()))

        return measure_once(loaded, chosen, batch, options, count)


def _run_along(settings: Any, options: Any, every: int | None, loaded: Any, chosen: Any, batch: Any) -> Any:
    import numpy as np

    from llm_bridge.measurement.along import measure_along
    from theory.rules import get_rule

    rule = get_rule(settings.rule)
    with progress(f"{settings.rule} on {settings.model}", settings.steps) as tick:
        measures, record = measure_along(
            loaded,
            chosen,
            batch,
            rule,
            lambda x_max_sq: settings.step_size(rule, x_max_sq),
            settings.steps,
            every or max(1, settings.steps // 10),
            options,
            tick,
        )
    if not np.isfinite(record.J).all():
        raise expected("eta", record.eta, "a step size at which the run stays finite", "lower the step size")
    return measures, record


def _write(out: Path, content: dict[str, Any], measures: Any, record: Any, name: str) -> None:
    from simulator.files import write_json, write_npz
    from whynorm.figures import save_png
    from whynorm.figures_measures import measure_figures

    write_json(out / "measures.json", content)
    write_npz(out / "measures.npz", **measures.arrays)
    if measures.gram is not None:
        flat = {k: v for k, v in content.items() if k not in _ABOUT}
        write_json(out / "geometry.json", flat)
        measures.gram.problem(f"{name} linearised").save(out / "problem.npz")
    if record is not None:
        record.save(out)
    for key, figure in measure_figures(measures.content, measures.arrays, name).items():
        save_png(figure, out / f"{key}.png")
