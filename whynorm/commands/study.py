"""``whynorm study``: what follows from the claims, as a table and a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from whynorm.console import say

__all__ = ["app"]

app = typer.Typer(help="Studies that follow from the claims: a table and figures.", no_args_is_help=True)


@app.command("compare", short_help="Where GRPO's best bound beats that of REINFORCE.")
def compare(
    out: Annotated[Path | None, typer.Option(help="Directory for compare.png.")] = None,
) -> int:
    """Mean standard deviation along GRPO's run from p0 to p, against the threshold 2 / (3 sqrt 3) of X-COMPARE.

    Below the threshold GRPO's best bound is the better one. For one prompt with two outputs, in closed form.
    """
    from theory.claims.sharp_comparison import THRESHOLD, flow_mean_std
    from whynorm.figures import save_png
    from whynorm.figures_compare import compare_figure
    from whynorm.outputs import output_directory

    with output_directory(out):
        if out is not None:
            save_png(compare_figure(), out / "compare.png")
    starts, ends = (0.001, 0.01, 0.1, 0.2, 0.45), (0.5, 0.9, 0.99, 0.999)
    title = f"Mean of sqrt(V) from p0 to p; GRPO's bound is better below {THRESHOLD:.4f}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("p0", *(f"p = {p:g}" for p in ends)):
        table.add_column(name, justify="right")
    for p0 in starts:
        means = [float(flow_mean_std(p0, p)) for p in ends]
        table.add_row(f"{p0:g}", *(f"{mean:.3f}{'' if mean < THRESHOLD else ' *'}" for mean in means))
    Console().print(table)
    typer.echo("* here the bound of REINFORCE is the better one")
    if out is not None:
        say(f"written: {out}")
    return 0


Out = Annotated[Path | None, typer.Option(help="Directory for results.json, paragraph.txt and figures.")]
SpecFile = Annotated[
    Path | None, typer.Option("--spec", help="TOML file in place of the specification that is shipped.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print all results as JSON in place of the paragraph.")]


@app.command("speedup", short_help="Steps of REINFORCE for each step of GRPO, over p0 and interaction.")
def speedup(out: Out = None, spec: SpecFile = None, as_json: AsJson = False) -> int:
    """How many steps REINFORCE needs for each step of GRPO, until prompts succeed nine times in ten.

    A map over p0, the success probability at the start, and the strength of a skill that all prompts share. Both rules
    take the step size that is best for them by the same principle. Above 1 GRPO needs fewer steps.
    """
    return _study("speedup", out, spec, as_json)


@app.command("alpha", short_help="Which power of the variance to divide by, over p0.")
def alpha(out: Out = None, spec: SpecFile = None, as_json: AsJson = False) -> int:
    """Steps eta V^(-alpha) grad J for alpha from 0 (REINFORCE) over 1/2 (GRPO) to 1: which arrives first.

    Once every alpha takes the step size that is proved for it, and once all take the same first step in log-odds.
    """
    return _study("alpha", out, spec, as_json)


@app.command("groups", short_help="What sampled groups of G outputs do: weights and speed.")
def groups(out: Out = None, spec: SpecFile = None, as_json: AsJson = False) -> int:
    """Groups of G = 2 to 64 sampled outputs, with and without the standard deviation.

    The measured mean update of each convention beside its exact weight w_G(p), and the steps that runs need.
    """
    return _study("groups", out, spec, as_json)


@app.command("phases", short_help="Three phases, from gradients that lose their orthogonality.")
def phases(out: Out = None, spec: SpecFile = None, as_json: AsJson = False) -> int:
    """Runs on prompts whose gradients start nearly orthogonal, grow a common part, then parts that conflict.

    Cosines between the prompts' gradients along the run, the phases that they show, and J of GRPO and REINFORCE.
    """
    return _study("phases", out, spec, as_json)


@app.command("rates", short_help="Measured rates against every bound of Theorems 3.1 to 3.4.")
def rates(out: Out = None, spec: SpecFile = None, as_json: AsJson = False) -> int:
    """The gradients' mean squares over many runs, beside every bound of Theorems 3.1 to 3.4, printed or repaired.

    As bound / measured: below 1 the statement is false, far above it is loose.
    """
    return _study("rates", out, spec, as_json)


@app.command("plateau", short_help="How long a hard prompt takes, and how the tail falls.")
def plateau(out: Out = None, spec: SpecFile = None, as_json: AsJson = False) -> int:
    """Steps that a hard prompt takes to p = 1/2, for p0 from 1e-1 to 1e-12, with fitted exponents (X-PLATEAU).

    Up to 100,000 steps are counted one by one; beyond, two integrals enclose their number. Rules: the power family
    and GRPO with sampled groups, by their expected update.
    """
    return _study("plateau", out, spec, as_json)


def _study(name: str, out: Path | None, spec: Path | None, as_json: bool) -> int:
    import json

    from simulator.files import atomic, write_json
    from whynorm.console import progress
    from whynorm.figures import save_png
    from whynorm.outputs import output_directory
    from whynorm.studies.study import load_spec, perform, study_module

    module, chosen = study_module(name), load_spec(name, spec)
    with output_directory(out):
        with progress(f"study {name}", module.size(chosen)) as report:
            data = perform(name, chosen, report)
        if out is not None:
            write_json(out / "results.json", data)
            with atomic(out / "paragraph.txt") as handle:
                handle.write(f"{data['paragraph']}\n".encode())
            for label, figure in module.figures(data).items():
                save_png(figure, out / f"{label}.png")
    typer.echo(json.dumps(data, allow_nan=False) if as_json else data["paragraph"])
    if out is not None:
        say(f"written: {out}")
    return 0
