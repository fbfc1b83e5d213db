"""Tables of ``whynorm bridge compare`` for the terminal, from its plain results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from whynorm.measure_tables import cost_table

__all__ = ["compare_tables"]

Content = Mapping[str, Any]


def compare_tables(content: Content) -> Iterator[Table]:
    """Predictions, gaps, step rules, the evidence, and what it all cost."""
    yield _predictions(content["comparison"])
    for gap in content["gaps"]:
        yield _gap(gap)
    if content["step_rules"]:
        yield _step_rules(content["step_rules"])
    yield _evidence(content["evidence"])
    if "cost" in content:  # Earlier versions did not keep it.
        yield cost_table(content["cost"])


def _table(title: str, *columns: str) -> Table:
    table = Table(title=Text(title), title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    return table


def _predictions(found: Content) -> Table:
    title = f"{found['rule']}: predicted J against the model's, step size {found['eta']:.3g}"
    table = _table(title, "bandit anchored", "largest error", "mean error", "skill", "first break")
    for each in found["predictions"]:
        name = "at the start" if each["period"] is None else f"every {each['period']} steps"
        broken = "never" if each["first_break"] is None else f"after {each['first_break']}"
        skill = "none" if each["skill"] is None else f"{each['skill']:.3f}"
        table.add_row(name, f"{each['largest_error']:.2g}", f"{each['mean_error']:.2g}", skill, broken)
    return table


def _gap(gap: Content) -> Table:
    title = f"largest safe step over the theorem's {gap['eta']:.3g}, at step {gap['step']}"
    factors = list(gap["prompts"][0]["factors"])
    table = _table(title, "prompt", "p", "model", "linear", "peak", "directional", *factors)
    for each in gap["prompts"]:
        linear = "no limit" if each["linear"] is None else f"{each['linear']:.3g}"
        sizes = (each["peak"], each["directional"], *each["factors"].values())
        table.add_row(
            Text(each["prompt"]),
            f"{each['p']:.3f}",
            f"{each['own']['value']:.3g}",
            linear,
            *(f"{value:.3g}" for value in sizes),
        )
    return table


def _step_rules(runs: list[Content]) -> Table:
    table = _table("state-dependent step sizes", "step size", "times the theorem's", "steps that fell", "mean J")
    for each in runs:
        fell = f"{each['steps_that_lowered_the_drawn_J']} of {each['steps']}"
        moved = f"{each['mean_J_start']:.3f} to {each['mean_J_end']:.3f}"
        table.add_row(each["step"], f"{each['times_theorem_median']:.3g}", fell, moved)
    return table


def _evidence(rows: list[Content]) -> Table:
    table = Table(title=Text("claim or constant, on this model"), title_justify="left", show_lines=True)
    for column in ("claim", "verdict", "statement, and what was found"):
        table.add_column(column)
    for row in rows:
        told = (row["statement"], *(f"{name}: {row[key]}" for key, name in _FOUND.items() if row[key] not in ("", "–")))
        table.add_row(
            Text(row["id"]), Text("\n".join(filter(None, (row["verdict"], row["here"])))), Text("\n".join(told))
        )
    return table


_FOUND = {"printed": "printed", "simulator": "simulator", "model": "this model", "remark": "note"}
