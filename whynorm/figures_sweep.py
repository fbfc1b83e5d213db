"""Figures of a sweep: a quantity over one axis, as lines with intervals, or over two, as a map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from simulator.sweeps.summarise import Group
from whynorm.figures import RULE_COLOURS, legend_below, panel

__all__ = ["line_figure", "map_figure"]

_COLOURS = ("#1a94a3", "#d9733a", "#8a63c7", "#5b8c3a", "#c2476b", "#4a6fa5", "#a08020", "#6b6f78")
# Beyond this ratio of largest to smallest an axis is logarithmic.
_WIDE = {"x": 10.0, "y": 100.0}
# So many values of a logarithmic axis are each given a tick.
_TICKS = 7
# Cells of a map that have room for their number.
_NUMBERED = 60

_NAMES = {
    "mean_J_end": "mean success probability at the end",
    "mean_J_start": "mean success probability at the start",
    "steps_to_50": "steps until the mean success probability is 0.5",
    "steps_to_90": "steps until the mean success probability is 0.9",
    "steps_to_99": "steps until the mean success probability is 0.99",
    "descending_steps": "steps that lowered the drawn success probability",
    "gain_over_bound_min": "least one-step gain / guarantee",
    "p0": "success probability at the start, p0",
    "n": "prompts n",
    "k": "outputs per prompt K",
    "d": "features d",
    "eta": "step size",
    "step_size": "step size",
    "steps": "steps T",
}


def line_figure(groups: Sequence[Group], x: str, y: str, by: str | None, title: str) -> Figure:
    """Mean of y against x, one line per value of ``by``, with the 95% interval of the mean over repeated seeds.

    Args:
        groups: settings ``(x,)`` or ``(x, by)``.
        x, y, by: names of the columns.
        title: of the figure.
    """
    places, names = _positions([group.at[0] for group in groups])
    series = list(dict.fromkeys(group.at[1] for group in groups)) if by else [None]
    with panel(title, height=3.6 + 0.08 * len(series)) as (figure, axes):
        for index, value in enumerate(series):
            chosen = [group for group in groups if by is None or group.at[1] == value]
            chosen.sort(key=lambda group: places[group.at[0]])
            at = [places[group.at[0]] for group in chosen]
            mean = np.array([group.mean for group in chosen])
            half = np.array([group.half or 0.0 for group in chosen])
            colour = RULE_COLOURS.get(str(value), _COLOURS[index % len(_COLOURS)])
            # With many values, each of a single run, dots show more than a line through them.
            alone = len(chosen) > 12 and not half.any()
            look: Any = {"linestyle": ""} if alone else {}
            axes.plot(
                at, mean, color=colour, marker="o", markersize=3.5, label=f"{by} = {value}" if by else None, **look
            )
            axes.fill_between(at, mean - half, mean + half, color=colour, alpha=0.18, linewidth=0)
        _scale(axes, "x", list(places.values()), names)
        if not y.startswith("mean_J"):
            _scale(axes, "y", [group.mean for group in groups], None)
        low, high = axes.get_ylim()
        # Intervals of a mean know nothing of where the quantity ends.
        least, most = (-0.02, 1.02) if y.startswith("mean_J") else (0.0 if y.startswith("steps_to") else low, high)
        axes.set(xlabel=_NAMES.get(x, x), ylabel=_wrapped(_NAMES.get(y, y)), ylim=(max(low, least), min(high, most)))
        legend_below(figure, axes)
    return figure


def map_figure(groups: Sequence[Group], x: str, y: str, over: str, title: str) -> Figure:
    """Mean of y over x and ``over``, as a grid of coloured cells; settings that were not run stay white.

    Args:
        groups: settings ``(x, over)``.
        x, over: names of the columns of the two axes.
        y: name of the coloured one.
        title: of the figure.
    """
    columns, rows = (sorted({group.at[axis] for group in groups}, key=_order) for axis in (0, 1))
    values = np.full((len(rows), len(columns)), np.nan)
    for group in groups:
        values[rows.index(group.at[1]), columns.index(group.at[0])] = group.mean
    width, height = (min(max(least, unit * count + 2), 9.0) for least, unit, count in _sizes(columns, rows))
    with panel(title, width=width, height=height) as (figure, axes):
        image = axes.imshow(values, origin="lower", aspect="auto", cmap="viridis", interpolation="nearest")
        figure.colorbar(image, ax=axes, label=_wrapped(_NAMES.get(y, y)))
        axes.set_xticks(
            range(len(columns)), [_short(value) for value in columns], rotation=45 if len(columns) > 8 else 0
        )
        axes.set_yticks(range(len(rows)), [_short(value) for value in rows])
        axes.set(xlabel=_NAMES.get(x, x), ylabel=_NAMES.get(over, over))
        if values.size <= _NUMBERED:
            low, high = np.nanmin(values), np.nanmax(values)
            for (row, column), value in np.ndenumerate(values):
                if np.isfinite(value):
                    ink = "black" if value > (low + high) / 2 else "white"
                    axes.text(column, row, f"{value:.3g}", ha="center", va="center", fontsize=8, color=ink)
    return figure


def _sizes(columns: Sequence[Any], rows: Sequence[Any]) -> tuple[tuple[float, float, int], ...]:
    return (4.8, 0.55, len(columns)), (3.0, 0.35, len(rows))


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _order(value: Any) -> tuple[bool, float, str]:
    """Numbers by size, then words."""
    number = _number(value)
    return number is None, number or 0.0, str(value)


def _short(value: Any) -> str:
    number = _number(value)
    return str(value) if number is None else f"{number:.4g}"


def _positions(values: Sequence[Any]) -> tuple[dict[Any, float], list[str] | None]:
    """Where each value stands on the axis: by its size if all are numbers, else one after the other, with names."""
    ordered = sorted(set(values), key=_order)
    numbers = [_number(value) for value in ordered]
    if all(number is not None for number in numbers):
        return {value: float(number or 0.0) for value, number in zip(ordered, numbers, strict=True)}, None
    return {value: float(i) for i, value in enumerate(ordered)}, [str(value) for value in ordered]


def _scale(axes: Any, which: str, values: Sequence[float], names: Sequence[str] | None) -> None:
    axis = getattr(axes, f"{which}axis")
    distinct = sorted(set(values))
    if names is not None:
        axis.set_ticks(range(len(names)), names)
    elif distinct[0] > 0 and distinct[-1] / distinct[0] >= _WIDE[which]:
        axes.set(**{f"{which}scale": "log"})
        axis.set_major_formatter("{x:g}")
        if which == "x" and len(distinct) <= _TICKS:
            axis.set_ticks(distinct)
        axis.set_minor_formatter(NullFormatter())


def _wrapped(text: str) -> str:
    """A label of an upright axis, on two lines if it is long."""
    middle = text.find(" ", len(text) // 2)
    return f"{text[:middle]}\n{text[middle + 1 :]}" if len(text) > 36 and middle > 0 else text
