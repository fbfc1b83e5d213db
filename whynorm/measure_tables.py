"""What ``whynorm bridge measure`` prints: tables of at most 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table
from rich.text import Text

__all__ = ["cost_table", "measure_tables", "show"]

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
_TABLE3 = {
    "cosine_mean": "mean",
    "cosine_std": "std",
    "cosine_positive_share": "> 0",
    "cosine_small_share": "small",
    "no_m_share": "no M",
    "m": "M",
    "r1": "R1",
    "r2": "R2",
}


def show(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return "none (one prompt)"
    if isinstance(value, list):
        return ", ".join(show(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def measure_tables(content: dict[str, Any], name: str) -> Iterator[Table]:
    """The tables of a content of ``measures.json``."""
    measures = content["measures"]
    flat = {key: value for key, value in content.items() if key == "prompts" or key in _LABELS}
    table = _table(f"{name}: constants at the start")
    for key, value in flat.items():
        table.add_row(_LABELS.get(key, key), show(value))
    yield table
    if "checkpoints" in measures:
        yield from _along(measures)
    else:
        yield from _once(measures)


def _once(measures: dict[str, Any]) -> Iterator[Table]:
    if "interactions" in measures:
        yield _interactions(measures["interactions"])
    rest = _table("further measures [95% interval over prompts]")
    for row in (
        row for part in ("gram", "hidden", "fisher", "sampling", "curvature", "gains") for row in _rows(part, measures)
    ):
        rest.add_row(*row)
    if rest.row_count:
        yield rest
    yield cost_table(measures["cost"])


def _rows(part: str, measures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    told = measures.get(part)
    if told is None:
        return
    if part == "gram":
        for kind in ("layer", "module", "part"):
            shares = list(told["features"]["raw"]["shares"][kind].items())[:4]
            yield f"X_max^2 by {kind}", ", ".join(f"{key} {share:.0%}" for key, share in shares)
    elif part == "hidden":
        for pooling, by in told.items():
            for kind, each in by.items():
                yield f"hidden states, {pooling}, {kind}: |cos|", _interval(each["mean"])
    elif part == "fisher":
        for kind in ("pearson", "spearman"):
            yield f"Fisher against variance, {kind}", _tested(told[kind]["same"])
        yield from _orders(told)
    elif part == "sampling":
        for group, each in told.items():
            told_error = f"raw {_short(each['error_raw'])}, split halves {_short(each['error_corrected'])}"
            yield f"cosine error of groups of {group}", f"{told_error}, undefined {_short(each['undefined_share'])}"
    elif part == "curvature":
        for each in told:
            parts = f"{each['eigenvalue']:.3g} (softmax {each['softmax']:.3g}, network {each['network']:.3g})"
            yield f"curvature of {each['prompt']}", parts if each.get("converged", True) else f"{parts}, not converged"
            of_bounds = (f"{key.split(',')[0]}: {_short(value, 2)}" for key, value in each["lemmas"].items())
            yield "  share of its bound", ", ".join(of_bounds)
    else:
        for rule, each in told.items():
            yield f"least gain over bound, {rule}", _short(each["minimum_ratio"])


def _interactions(parts: dict[str, Any]) -> Table:
    table = Table(title=Text("gradients of the prompts (Table 3)"), title_justify="left", padding=(0, 1, 0, 0))
    for column in ("part", *_TABLE3.values()):
        table.add_column(column, justify="left" if column == "part" else "right")
    for name, each in parts.items():
        table.add_row(name, *(_short(each[key]) for key in _TABLE3))
        intervals = each["intervals"]
        if intervals:
            table.add_row("", *(_bounds(intervals.get(key)) for key in _TABLE3), style="dim")
    return table


def _along(measures: dict[str, Any]) -> Iterator[Table]:
    table = Table(title=Text("gradients of the prompts (Table 3)"), title_justify="left", padding=(0, 1, 0, 0))
    for column in ("step", *_TABLE3.values()):
        table.add_column(column, justify="right")
    for each in measures["checkpoints"]:
        if "interactions" in each:
            told = each["interactions"]["all"]
            table.add_row(str(each["t"]), *(_short(told[key]) for key in _TABLE3))
    if table.row_count:
        yield table
    rest = _table("along the run")
    for kind in ("pearson", "spearman"):
        found = measures["table1"][kind]
        rest.add_row(f"Fisher against variance, {kind}: same step", _tested(found["same"]))
        rest.add_row("  different steps, same prompts", _tested(found["different"]))
        rest.add_row("  different steps, other prompts", _short(found["other_prompts"]))
    for row in _orders(measures["table1"]):
        rest.add_row(*row)
    run = measures["run"]
    rest.add_row("C(T)", _short(run["C(T)"]))
    rest.add_row("C(T), weighted by 1 - p0", _short(run["C(T)_weighted"]))
    rest.add_row("least gain over bound", _short(run.get("gain_over_bound_min")))
    phases = measures["phases"]
    if phases is not None:
        starts = ", ".join(f"{at:g}" for at in phases["breaks"])
        rest.add_row("phases", phases["verdict"] + (f", beginning at 0, {starts}" if starts else ""))
    yield rest


def cost_table(costs: dict[str, Any]) -> Table:
    """Seconds and passes by part, see ``llm_bridge.costs``."""
    table = Table(title=Text("cost"), title_justify="left", padding=(0, 1, 0, 0))
    for column in ("part", "seconds", "forward", "backward"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for part, cost in costs.items():
        table.add_row(part, f"{cost['seconds']:.2f}", str(cost.get("forward", 0)), str(cost.get("backward", 0)))
    return table


def _table(title: str) -> Table:
    return Table(title=Text(title), title_justify="left", show_header=False)


def _short(value: Any, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}g}"


def _bounds(interval: Any) -> str:
    return "" if interval is None else f"{interval[0]:.2g}..{interval[1]:.2g}"


def _interval(values: Any) -> str:
    value, low, high = values
    return _short(value) if low is None else f"{value:.3g} [{low:.3g}, {high:.3g}]"


def _orders(table: dict[str, Any]) -> Iterator[tuple[str, str]]:
    from llm_bridge.measurement.fisher import orders_in_words

    if words := orders_in_words(table):
        yield "  p over", f"{words} of the prompts"


def _tested(found: Any) -> str:
    if found is None:
        return "-"
    return f"{_interval([found['value'], found['low'], found['high']])}, p = {found['p']:.2g}"
