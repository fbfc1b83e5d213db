"""Learning curves of many runs: their mean and the band of most of them."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from simulator.engines.ensemble import Ensemble
from simulator.expectations import ExpectedRun
from whynorm.figures import DASHED, INK, legend_below, panel, rule_colour, shades

__all__ = ["ensemble_figure"]

# Prompts that get a curve each; of more, the mean over the prompts is drawn.
_MOST = 12


def ensemble_figure(ensemble: Ensemble, *, expected: ExpectedRun | None = None, title: str | None = None) -> Figure:
    """Mean and 5% to 95% band over the runs, one line a prompt up to 12 of them, else of the mean over prompts.

    Args:
        ensemble: of which the finite runs are drawn.
        expected: exact mean over prompt orders, drawn dashed.
        title: of the figure.
    """
    J = ensemble.J[ensemble.finite]
    exact = None if expected is None else expected.J
    own = J.shape[2] <= _MOST
    if not own:
        J, exact = J.mean(axis=2, keepdims=True), None if exact is None else exact.mean(axis=1, keepdims=True)
    shown = title or f"{ensemble.rule} on {ensemble.problem}, {ensemble.J.shape[2]} prompts, {len(J)} runs"
    with panel(shown, height=3.6) as (figure, axes):
        colour = rule_colour(ensemble.rule)
        for i, alpha in shades(J.shape[2]) if len(J) else ():
            low, high = np.quantile(J[:, :, i], [0.05, 0.95], axis=0)
            axes.fill_between(ensemble.t, low, high, color=colour, alpha=0.16, linewidth=0)
            axes.plot(ensemble.t, J[:, :, i].mean(axis=0), color=colour, alpha=alpha)
            if exact is not None:
                axes.plot(exact[:, i], color=INK, linewidth=0.9, linestyle=DASHED)
        what = "success probability of each prompt" if own else "mean success probability"
        axes.set(xlabel="step t", ylabel=what, ylim=(-0.02, 1.02))
        axes.plot([], [], color=colour, label="mean over the runs")
        axes.fill_between([], [], [], color=colour, alpha=0.16, linewidth=0, label="5% to 95% of the runs")
        if exact is not None:
            axes.plot([], [], color=INK, linewidth=0.9, linestyle=DASHED, label="exact mean over prompt orders")
        legend_below(figure, axes)
    return figure
