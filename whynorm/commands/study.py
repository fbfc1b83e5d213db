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


@app.command("plateau", short_help="How long a hard prompt takes, and how the tail falls.")
def plateau(
    out: Annotated[Path | None, typer.Option(help="Directory for plateau.json, escape.png and tail.png.")] = None,
) -> int:
    """Steps that a hard prompt takes to p = 1/2, for p0 from 1e-1 to 1e-12, with fitted exponents (X-PLATEAU).

    Up to 100,000 steps are counted one by one; beyond, two integrals enclose their number. Rules: the power family
    and GRPO with sampled groups, by their expected update.
    """
    from simulator.files import write_json
    from simulator.plateau import plateau_study
    from whynorm.figures import save_png
    from whynorm.figures_plateau import escape_figure, tail_figure
    from whynorm.outputs import output_directory

    with output_directory(out):
        study = plateau_study()
        if out is not None:
            write_json(out / "plateau.json", study.to_json())
            save_png(escape_figure(study), out / "escape.png")
            save_png(tail_figure(study), out / "tail.png")
    table = Table(title="Exponents", title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("rule", "of", "fitted", "95% interval", "predicted"):
        table.add_column(name, justify="left" if name in ("rule", "of") else "right")
    for fit in study.fits:
        interval = f"{fit.low:.5g} to {fit.high:.5g}"
        table.add_row(fit.rule, fit.of, f"{fit.slope:.5g}", interval, f"{fit.predicted:.5g}")
    Console().print(table)
    if out is not None:
        say(f"written: {out}")
    return 0


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
