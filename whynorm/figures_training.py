"""Figures of a sampled run: reward against steps, and what the theory looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from whynorm.figures import INK, RULE_COLOURS, legend_below, panel

__all__ = ["column", "reward_figure", "theory_figure"]

Rows = Sequence[Mapping[str, Any]]
# Steps over which noisy curves are averaged for the strong line, as a share of the run.
_WINDOW = 0.05


def column(rows: Rows, name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Steps and values of one metric, where it has a value."""
    pairs = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def reward_figure(rows: Rows, title: str) -> Figure:
    """Mean reward of each step, its running mean, the share of groups without variance, and held-out accuracy."""
    with panel(title, height=3.6) as (figure, axes):
        steps, reward = column(rows, "reward")
        axes.plot(steps, reward, color=RULE_COLOURS["grpo"], alpha=0.35, linewidth=1.0, label="reward of the step")
        axes.plot(*_smooth(steps, reward), color=RULE_COLOURS["grpo"], label="its running mean")
        steps, zero = column(rows, "frac_reward_zero_std")
        smooth = _smooth(steps, zero)
        axes.plot(*smooth, color=RULE_COLOURS["reinforce"], linewidth=1.2, label="groups without variance")
        steps, held_out = column(rows, "eval_reward")
        if len(steps):
            axes.plot(steps, held_out, color=INK, marker="o", markersize=3.5, linewidth=0.9, label="held out")
        axes.set(xlabel="step", ylabel="share", ylim=(-0.02, 1.02))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend_below(figure, axes)
    return figure


def theory_figure(rows: Rows, title: str) -> Figure:
    """One small panel for the gradient's norm and each metric under ``theory/``, against steps."""
    names = ["grad_norm", *dict.fromkeys(name for row in rows for name in row if name.startswith("theory/"))]
    names = [name for name in names if len(column(rows, name)[0])]
    across = 3
    down = -(-len(names) // across)
    with panel(title, width=3.0 * across, height=2.1 * down + 0.4) as (figure, whole):
        figure.suptitle(whole.get_title("left"), x=0.01, ha="left", fontsize=10.5, parse_math=False)
        whole.remove()
        grid = figure.subplots(down, across, squeeze=False, sharex=True)
        for axes in grid.flat[len(names) :]:
            axes.remove()
        for axes, name in zip(grid.flat, names, strict=False):
            steps, values = column(rows, name)
            axes.plot(steps, values, color=RULE_COLOURS["grpo"], alpha=0.35, linewidth=0.9)
            axes.plot(*_smooth(steps, values), color=RULE_COLOURS["grpo"], linewidth=1.5)
            axes.set_title(name.removeprefix("theory/").replace("_", " "), fontsize=9)
            axes.tick_params(labelsize=8)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            # M spans orders of magnitude.
            if (values > 0).all() and values.max() > 100 * values.min():
                axes.set_yscale("log")
    return figure


def _smooth(
    steps: npt.NDArray[np.float64], values: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Means over a sliding window, each at the mean of its steps."""
    width = max(1, round(_WINDOW * len(values)))
    if width == 1:
        return steps, values
    kernel = np.ones(width) / width
    return np.convolve(steps, kernel, mode="valid"), np.convolve(values, kernel, mode="valid")
