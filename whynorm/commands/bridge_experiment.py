"""``whynorm bridge experiment``: std against no_std, paired over seeds, beside what the theory predicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from theory.errors import expected
from whynorm.commands.bridge_options import MODEL_HELP, AsJson, BaseDtype, Form, memory_errors, require_llm
from whynorm.console import progress, say

__all__ = ["experiment", "experiment_notes", "experiment_rows"]

_COLUMNS = {
    "part": "part (success at the start)",
    "pairing": "step of no_std / step of std",
    "std": "mean success, std",
    "no_std": "no_std",
    "std - no_std": "difference",
    "predicted": "predicted by the linearised model",
    "speed-up": "steps of no_std / steps of std",
    "linearised": "by the linearised model",
    "flow": "by the flow of one prompt",
    "ahead": "ahead",
}
# What fits a terminal of 80 columns; all columns are in table.md.
_SHOWN = ("part", "pairing", "std - no_std", "predicted", "ahead")


def experiment(
    part: Annotated[list[str], typer.Option(help="NAME=TASK, a task with finite answer sets; repeat it.")],
    out: Annotated[Path, typer.Option(help="Directory of the runs; a second call goes on, or adds seeds or pairings.")],
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = "tiny",
    mode: Annotated[Literal["exact", "sampled"], typer.Option(help="Algorithms 1 and 2, or G completions.")] = "exact",
    n: Annotated[int, typer.Option("--n", help="Prompts drawn from the part for each seed.")] = 8,
    steps: Annotated[int, typer.Option(help="Number of updates.")] = 120,
    every: Annotated[int, typer.Option(help="Steps between two looks at the success probabilities.")] = 5,
    eta: Annotated[float, typer.Option(help="Step size of std; those of no_std follow from the pairings.")] = 4e-3,
    seeds: Annotated[int, typer.Option(help="Number of seeds: prompts, adapter and order.")] = 10,
    pairings: Annotated[
        str | None, typer.Option(help="Some of same, theorem, best, matched; sampled: same, matched.  [default: all]")
    ] = None,
    threshold: Annotated[float, typer.Option(help="Mean success probability by which steps are counted.")] = 0.8,
    group: Annotated[int, typer.Option(help="Completions G, in sampled mode.")] = 8,
    batch: Annotated[int, typer.Option(help="Prompts of a step, in sampled mode.")] = 1,
    max_new_tokens: Annotated[int, typer.Option(help="Longest completion, in sampled mode.")] = 6,
    form: Form = "auto",
    dtype: BaseDtype = "float32",
    json_output: AsJson = False,
) -> int:
    """Does normalisation help, where, and is it where the theory says? std against no_std on each part.

    No_std runs once for each pairing, a ratio of step sizes: same (1), theorem (2), best (2.6) or matched (equally long
    first steps); theorem and best in exact mode only, as no step size of sampled groups is proved. Two predictions
    stand beside: the linearised model's, and that of the flow of a single prompt.
    """
    if not 0 < threshold < 1:
        raise expected("threshold", threshold, "between 0 and 1", "e.g. 0.8")
    named = _named(part)
    require_llm(model)
    from llm_bridge.experiments.normalisation_settings import Experiment, pairings_of
    from llm_bridge.models import DTYPES

    if dtype not in DTYPES:
        raise expected("dtype", dtype, f"one of {', '.join(DTYPES)}", "pick one")
    chosen = Experiment(
        model=model,
        parts=named,
        n=n,
        steps=steps,
        every=every,
        eta=eta,
        seeds=seeds,
        pairings=pairings_of(mode) if pairings is None else tuple(pairings.split()),
        dtype=dtype,
        mode=mode,
        group=group,
        batch=batch,
        max_new_tokens=max_new_tokens,
        form=form,
    )
    with memory_errors():
        summary = _run(chosen, out, threshold)
    if json_output:
        typer.echo(json.dumps(summary, indent=2, allow_nan=False))
    else:
        console = Console()
        console.print(_table(summary, f"std against no_std: {model}, {mode} mode, {seeds} seeds"))
        for note in experiment_notes(summary):
            console.print(Text(note))
    say(f"runs, summary.json, table.md and normalisation.png: {out}")
    return 0


def _named(parts: list[str]) -> dict[str, str]:
    """Names and tasks of ``NAME=TASK`` arguments."""
    named: dict[str, str] = {}
    for text in parts:
        name, equals, task = text.partition("=")
        if not equals or not task or not name.replace("-", "").replace("_", "").isalnum() or name in named:
            raise expected("part", text, "NAME=TASK with a name of its own", "e.g. hard=arithmetic:product")
        named[name] = task
    return named


def _run(chosen: Any, out: Path, threshold: float) -> dict[str, Any]:
    """Run, summarise, and write summary and figure."""
    from llm_bridge.experiments.normalisation import run_experiment
    from llm_bridge.experiments.normalisation_summary import summarise
    from simulator.files import write_json, write_text
    from whynorm.figures import save_png
    from whynorm.figures_normalisation import normalisation_figure
    from whynorm.outputs import output_directory

    total = chosen.seeds * len(chosen.parts) * (1 + len(chosen.pairings))
    with output_directory(out), progress(f"std and no_std on {chosen.model}", total) as tick:
        runs = run_experiment(chosen, out, tick)
    summary = summarise(runs, threshold, chosen.group)
    write_json(out / "summary.json", summary)
    write_text(out / "table.md", _markdown(summary))
    title = f"{chosen.model}, {chosen.mode} mode: mean of {chosen.seeds} seeds with 95% intervals; dashed: predicted"
    save_png(normalisation_figure(summary, title), out / "normalisation.png")
    return summary


def experiment_rows(summary: dict[str, Any]) -> list[dict[str, str]]:
    """The table, a row for each part and pairing; success is the mean over the run, brackets are 95% intervals."""
    rows = []
    for part, content in summary["parts"].items():
        foreign = _other_policy(content)
        for label, pairing in content["pairings"].items():
            measured, predicted, flow = pairing["measured"], pairing["linearised"], pairing["flow_speed_up"]
            cells = (
                f"{part} ({content['p0']['mean']:.2f})",
                f"{label} x{pairing['step_ratio']:.2f}",
                *(_interval([measured["mean"][one], None, None], ".3f") for one in ("std", "no_std")),
                _interval(measured["mean_difference"], "+.3f"),
                "-" if foreign else _interval([predicted["mean_difference"][0], None, None], "+.3f"),
                _speed_up(measured, content["seeds"]),
                "-" if foreign else _speed_up(predicted, content["seeds"]),
                "-" if foreign or flow is None else f"{flow:.2f}",
                measured["ahead"],
            )
            rows.append(dict(zip(_COLUMNS, cells, strict=True)))
    return rows


def experiment_notes(summary: dict[str, Any]) -> list[str]:
    """What must be known to read the table in sampled mode: whether completions are those of the answer set."""
    return [
        _note(part, content["completions"], _other_policy(content))
        for part, content in summary["parts"].items()
        if content.get("completions")
    ]


def _note(part: str, found: dict[str, Any], other_policy: bool) -> str:
    said, idle = "-" if found["answer_set"] is None else f"{found['answer_set']:.1%}", found.get("zero_variance")
    note = f"{part}: {found['right']:.1%} of the completions were right, where the answer set says {said}"
    if other_policy:
        note += (
            ": the model says other things than the answers, so neither these success probabilities nor predictions, "
            "which are left out, are about what was sampled"
        )
    # Summaries of earlier versions do not tell.
    return f"{note}." if idle is None else f"{note}. {idle:.1%} of the groups were without variance."


def _other_policy(content: dict[str, Any]) -> bool:
    found = content.get("completions")
    return bool(found and found["differ"])


def _speed_up(compared: dict[str, Any], seeds: int) -> str:
    """The ratio of steps; a bound where some run did not arrive, as that counts as arriving at the end.

    Nothing where no run arrived at all.
    """
    if not any(compared["arrived"].values()):
        return "-"
    late = tuple(compared["arrived"][one] < seeds for one in ("std", "no_std"))
    mark = {(False, False): "", (False, True): "\u2265 ", (True, False): "\u2264 ", (True, True): "? "}[late]
    return mark + _interval(compared["speed_up"], ".2f")


def _interval(values: list[float | None], form: str) -> str:
    value, low, high = values
    if value is None:
        return "-"
    return f"{value:{form}}" if low is None or high is None else f"{value:{form}} [{low:{form}}, {high:{form}}]"


def _table(summary: dict[str, Any], title: str) -> Table:
    table = Table(title=Text(title), title_justify="left")
    for column in _SHOWN:
        table.add_column(column, justify="left" if column in ("part", "ahead") else "right")
    for row in experiment_rows(summary):
        table.add_row(*(Text(row[column]) for column in _SHOWN))
    return table


def _markdown(summary: dict[str, Any]) -> str:
    lines = [list(_COLUMNS.values()), ["---"] * len(_COLUMNS)]
    lines += [list(row.values()) for row in experiment_rows(summary)]
    return "".join(
        [*(f"| {' | '.join(cells)} |\n" for cells in lines), *(f"\n{n}\n" for n in experiment_notes(summary))]
    )
