"""std against no_std on a language model: learning curves, and paired differences beside their prediction."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from whynorm.figures import DASHED, INK, RULE_COLOURS, panel

__all__ = ["normalisation_figure"]

# Of the title in one line above a part.
_LETTERS = 46
_COLOURS = {"same": RULE_COLOURS["reinforce"], "theorem": "#8a63c7", "best": "#b0407a", "matched": "#6b8f2a"}
_TOLD = {
    "same": "same step",
    "theorem": "theorems' steps",
    "best": "best proved steps",
    "matched": "matched first steps",
}


def normalisation_figure(summary: Mapping[str, Any], title: str) -> Figure:
    """A column for each part. Above: success of std, and of no_std at each step-size ratio, with intervals over seeds.

    Below: paired difference std - no_std with its interval, and dashed what the linearised model predicts.

    Args:
        summary: from ``llm_bridge.experiments.normalisation_summary.summarise``.
        title: of the figure.
    """
    parts = summary["parts"]
    with panel("", width=3.5 * len(parts) + 0.4, height=5.6) as (figure, axes):
        # The page's style holds within; its one panel makes room for several.
        figure.delaxes(axes)
        lines = textwrap.fill(title, _LETTERS * len(parts))
        figure.suptitle(lines, fontsize=10.5, x=0.01, ha="left", parse_math=False)
        grid = figure.subplots(2, len(parts), sharex="col", sharey="row", squeeze=False)
        for (part, content), above, below in zip(parts.items(), grid[0], grid[1], strict=True):
            _accuracy(above, part, content)
            _differences(below, content)
        grid[0, 0].set_ylabel("success probability")
        grid[1, 0].set_ylabel("std − no_std")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 2 * len(parts)), fontsize=8.5)
    return figure


def _accuracy(axes: Axes, part: str, content: Mapping[str, Any]) -> None:
    _band(axes, content["t"], content["accuracy"]["std"], RULE_COLOURS["grpo"], "std (GRPO)")
    for label in content["pairings"]:
        _band(axes, content["t"], content["accuracy"][label], _COLOURS[label], f"no_std, {_TOLD[label]}")
    axes.set_title(f"{part}: {content['p0']['mean']:.2f} at the start", parse_math=False)
    axes.set_ylim(0, 1)


def _differences(axes: Axes, content: Mapping[str, Any]) -> None:
    axes.axhline(0, color=INK, linewidth=0.7)
    for label, pairing in content["pairings"].items():
        _band(axes, content["t"], pairing["measured"]["difference"], _COLOURS[label], label)
        # What the linearised model says of the answer set is no prediction where completions are others.
        if not (content["completions"] and content["completions"]["differ"]):
            predicted = _floats(pairing["linearised"]["difference"]["value"])
            axes.plot(content["t"], predicted, color=_COLOURS[label], linestyle=DASHED, linewidth=1.1)
    axes.set_xlabel("step")


def _band(axes: Axes, t: list[int], series: Mapping[str, Any], colour: str, label: str) -> None:
    value, low, high = (_floats(series[name]) for name in ("value", "low", "high"))
    axes.plot(t, value, color=colour, label=label)
    axes.fill_between(t, low, high, color=colour, alpha=0.15, linewidth=0)


def _floats(values: list[float | None]) -> Any:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
