"""Figures of ``whynorm bridge compare``, from its plain results: predicted and measured, error, gap, step rules."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from whynorm.figures import DASHED, INK, STYLE, legend_below, panel, rule_colour

__all__ = ["gap_figure", "horizon_figure", "multiples_figure", "sampled_figure"]

Content = Mapping[str, Any]
# From the anchor at the start to the shortest period.
_PERIODS = ("#8b8f98", "#8a63c7", "#c28a1c", "#2f7d3a", "#3f6fb5")
_FACTORS = ("#b9c6d6", "#8fb0cf", "#5f93c4", "#c9a3d6", "#e3b27d")


def _name(period: int | None) -> str:
    return "anchored at the start" if period is None else f"every {period} steps"


def multiples_figure(found: Content) -> Figure:
    """One panel a prompt: the model's J, the bandit from the start, and the bandit with the shortest period."""
    curves, prompts = found["curves"], found["prompts"]
    measured, columns = np.array(curves["measured"]), min(3, len(prompts))
    rows = ceil(len(prompts) / columns)
    shown = [0, len(curves["predicted"]) - 1] if len(curves["predicted"]) > 1 else [0]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.7 * columns + 0.4, 1.9 * rows + 0.6), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, name, i in zip(grid.flat, prompts, range(len(prompts)), strict=False):
            axes.plot(measured[:, i], color=rule_colour(found["rule"]), label="the model")
            for number, style, colour in zip(shown, (DASHED, "-"), (INK, _PERIODS[3]), strict=False):
                label = f"predicted, {_name(found['predictions'][number]['period'])}"
                line = np.array(curves["predicted"][number])[:, i]
                axes.plot(line, color=colour, linewidth=0.9, linestyle=style, label=label)
            axes.set_title(name, parse_math=False, fontsize=9)
            axes.set_ylim(-0.03, 1.03)
        for axes in grid.flat[len(prompts) :]:
            axes.set_axis_off()
        for axes in grid[-1]:
            axes.set_xlabel("step t", fontsize=9)
        figure.supylabel("success probability", fontsize=9)
        legend_below(figure, grid[0, 0])
    return figure


def horizon_figure(found: Content) -> Figure:
    """Mean error over anchors and prompts against the steps since the anchor, by period; thin: nothing moves."""
    with panel("how far ahead the linear picture sees", height=3.6) as (figure, axes):
        for each, colour in zip(found["predictions"], _PERIODS, strict=False):
            table = each["by_horizon"]
            h = np.arange(1, len(table["mean"]) + 1)
            axes.plot(h, np.maximum(table["mean"], 1e-12), color=colour, label=_name(each["period"]))
            axes.plot(h, np.maximum(table["still"], 1e-12), color=colour, linewidth=0.7, linestyle=":")
        axes.plot([], [], color=INK, linewidth=0.7, linestyle=":", label="if nothing moved")
        axes.axhline(found["tolerance"], color=INK, linewidth=0.7, linestyle=DASHED, label="tolerance")
        axes.set(xlabel="steps since the anchor", ylabel="mean error in J", yscale="log")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend_below(figure, axes)
    return figure


def gap_figure(gap: Content) -> Figure:
    """One bar a prompt: the largest step on the model over the theorem's as a product; and where step rules lie."""
    prompts = gap["prompts"]
    title = f"{gap['rule']}, step {gap['step']}: largest safe step over the theorem's"
    with panel(title, width=6.4, height=0.42 * len(prompts) + 2.1) as (figure, axes):
        for row, each in enumerate(prompts):
            left = 1.0
            for (name, factor), colour in zip(each["factors"].items(), _FACTORS, strict=True):
                if factor <= 0:
                    continue
                low, high = sorted((left, left * factor))
                hatch = "////" if factor < 1 else None
                label = name if row == 0 else None
                axes.barh(row, high - low, left=low, height=0.62, color=colour, hatch=hatch, label=label)
                left *= factor
            for key, marker in (("directional", "|"), ("peak", "x"), ("linear", ">")):
                if each[key] is not None:
                    label = _MARKS[key] if row == 0 else None
                    axes.plot(each[key], row, marker, color=INK, markersize=8, label=label)
        if all(each["linear"] is None for each in prompts[:1]):
            axes.plot([], [], ">", color=INK, markersize=8, label=_MARKS["linear"])
        axes.set(xscale="log", xlabel="times the theorem's step size", yticks=range(len(prompts)))
        axes.set_yticklabels([f"{each['prompt']} ({each['p']:.2f})" for each in prompts], parse_math=False)
        axes.invert_yaxis()
        axes.set_xlim(left=1.0)
        legend_below(figure, axes)
    return figure


_MARKS = {"directional": "directional step", "peak": "peak step", "linear": "limit of the linear picture"}


def sampled_figure(sampled: Content) -> Figure:
    """Mean success over prompts and seeds with its interval, and what the expected weight says."""
    with panel(f"{sampled['rule']}: {sampled['seeds']} seeds", height=3.6) as (figure, axes):
        measured, half = np.array(sampled["measured"]), np.array(sampled["measured_half_width"])
        t, colour = np.arange(len(measured)), rule_colour("grpo")
        axes.fill_between(t, measured - half, measured + half, color=colour, alpha=0.18, linewidth=0)
        axes.plot(t, measured, color=colour, label="the model, mean and 95% interval")
        axes.plot(t, sampled["bandit"], color=_PERIODS[1], linewidth=1.1, label="its bandit, the same draws")
        label = "by the expected weight"
        axes.plot(t, sampled["expected_rule"], color=INK, linewidth=0.9, linestyle=DASHED, label=label)
        axes.set(xlabel="step t", ylabel="mean success probability")
        legend_below(figure, axes)
    return figure
