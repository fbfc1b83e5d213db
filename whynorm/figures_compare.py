"""Where GRPO's best bound is the better one: the map of X-COMPARE."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from theory.claims.sharp_comparison import THRESHOLD, flow_mean_std
from whynorm.figures import RULE_COLOURS, panel

__all__ = ["compare_figure"]

# The printed theorems' threshold: 8/3 C < 1.
PRINTED = 3 / 8
_LEVELS = (0.05, 0.1, 0.2, 0.3)


def compare_figure(title: str = "whose best bound is the better one") -> Figure:
    """Mean standard deviation of GRPO's flow from p0 to p, with the thresholds; axes are log-odds.

    For one prompt with two outputs the mean is known in closed form (``flow_mean_std``). Within the thick line the
    bound of REINFORCE is the better one, both with their best constants; dashed: where the printed constants put it.
    """
    log_odds = np.linspace(-9.0, 9.0, 361)
    p = 1 / (1 + np.exp(-log_odds))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(log_odds[:, None] > log_odds[None, :], flow_mean_std(p[None, :], p[:, None]), np.nan)
    with panel(title, height=4.2) as (figure, axes):
        axes.contourf(log_odds, log_odds, mean, levels=[0, THRESHOLD], colors=[RULE_COLOURS["grpo"]], alpha=0.18)
        axes.contourf(log_odds, log_odds, mean, levels=[THRESHOLD, 1], colors=[RULE_COLOURS["reinforce"]], alpha=0.18)
        thin = axes.contour(log_odds, log_odds, mean, levels=list(_LEVELS), colors="#8b8f98", linewidths=0.6)
        axes.clabel(thin, fmt="%g", fontsize=7)
        axes.contour(log_odds, log_odds, mean, levels=[THRESHOLD], colors=[RULE_COLOURS["grpo"]], linewidths=2)
        axes.contour(log_odds, log_odds, mean, levels=[PRINTED], colors="#8b8f98", linewidths=1, linestyles="dashed")
        ticks = np.array([1e-3, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999])
        places, names = np.log(ticks / (1 - ticks)), [f"{tick:g}" for tick in ticks]
        axes.set_xticks(places, names)
        axes.set_yticks(places, names)
        axes.set(xlabel="success probability at the start, p0", ylabel="success probability reached, p")
        axes.text(-6.2, 5.2, "GRPO's", fontsize=10, ha="center")
        axes.text(0.0, 1.15, "REINFORCE's", fontsize=7.5, ha="center")
    return figure
