r"""Which alpha of the family ``theta + eta V^(-alpha) grad J`` arrives first, over the start p0.

Two ways to make step sizes comparable; a step moves the log-odds by ``eta V^(1 - alpha) |gap|^2``:

    guaranteed:  eta = 4^(-alpha) / X_max^2, the step of X-POWER, whose claims are at the quarters 0 to 1.
                 All alphas then move the log-odds equally at p = 1/2.
    same start:  eta = V_0^(alpha - 1) / (4 X_max^2). All alphas then move the log-odds equally at p0, as alpha = 1 does
                 everywhere. For alpha < 1 and p0 other than 1/2 it is above the guaranteed step: nothing is proved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from pydantic import Field
from pydantic.dataclasses import dataclass

from simulator.families import make_problem
from theory.rules import power
from whynorm.figures import legend_below, panel
from whynorm.studies.passage import Passages, passage_summary, times_to
from whynorm.studies.study import STRICT

__all__ = ["SCALINGS", "Spec", "figures", "paragraph", "run", "size", "step_of"]

FAMILY = "tabular"
SCALINGS = {
    "guaranteed": "every alpha takes the step size of X-POWER, 4^(-alpha)/X^2 (claims at 0, 1/4, 1/2, 3/4 and 1; "
    "between them the same formula), which gives equal log-odds steps at p = 1/2",
    "same start": "every alpha takes the same first log-odds step, that of alpha = 1; nothing is proved for alpha < 1",
}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Spec(Passages):
    """What the study runs.

    Attributes:
        alphas: exponents, from 0 to 1.
    """

    alphas: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1)]


def size(spec: Spec) -> int:
    """Settings of alpha and p0."""
    return len(spec.alphas) * len(spec.p0)


def step_of(scaling: str, alpha: float, p0: float, x_max_sq: float) -> float:
    """The step size of a scaling; see the module."""
    from theory.claims.power import power_step

    if scaling == "guaranteed":
        return float(power_step(alpha, x_max_sq))
    return float((p0 * (1 - p0)) ** (alpha - 1) * power_step(1.0, x_max_sq))


def run(spec: Spec, progress: Callable[[int], None]) -> dict[str, Any]:
    """Every alpha at every p0, by both scalings."""
    cells, done = [], 0
    for alpha in spec.alphas:
        rule = power(float(alpha))
        for p0 in spec.p0:
            problem = make_problem(FAMILY, spec.n, spec.outputs, p0=p0, seed=spec.problem_seed)
            for scaling in SCALINGS:
                eta = step_of(scaling, alpha, p0, problem.x_max_sq)
                times = times_to(spec, problem, rule, eta, spec.threshold)
                cells.append(
                    {"scaling": scaling, "alpha": alpha, "p0": p0, "eta": eta, "steps": passage_summary(times)}
                )
            done += 1
            progress(done)
    return {"family": FAMILY, "cells": cells}


def _row(data: Mapping[str, Any], scaling: str, p0: float) -> list[Mapping[str, Any]]:
    """Cells of one curve, by alpha."""
    chosen = [cell for cell in data["cells"] if cell["scaling"] == scaling and cell["p0"] == p0]
    return sorted(chosen, key=lambda cell: cell["alpha"])


def _best(row: list[Mapping[str, Any]]) -> tuple[Mapping[str, Any] | None, list[float]]:
    """The cell with the least median, and the alphas whose interval does not lie above that cell's."""
    arrived = [cell for cell in row if cell["steps"]["median"] is not None]
    if not arrived:
        return None, []
    best = min(arrived, key=lambda cell: cell["steps"]["median"])
    most = best["steps"]["high"]
    return best, [c["alpha"] for c in arrived if most is None or c["steps"]["low"] <= most]


def _told(row: list[Mapping[str, Any]], p0: float) -> str:
    best, ties = _best(row)
    if best is None:
        return f"none arrives from p0 = {p0:g}"
    others = f" (not told apart: {min(ties):g} to {max(ties):g})" if len(ties) > 1 else ""
    ends = []
    for cell in (row[0], row[-1]):
        steps = "not reached" if cell["steps"]["median"] is None else f"{cell['steps']['median']:.0f}"
        ends.append(f"alpha = {cell['alpha']:g}: {steps}")
    return f"p0 = {p0:g}: {best['alpha']:g}{others}, {best['steps']['median']:.0f} steps ({', '.join(ends)})"


def paragraph(data: Mapping[str, Any]) -> str:
    """What the curves show, from their numbers."""
    spec, parts = data["spec"], []
    for scaling, words in SCALINGS.items():
        told = "; ".join(_told(_row(data, scaling, p0), p0) for p0 in spec["p0"])
        parts.append(f"Where {words}, the first alpha to arrive is, at {told}.")
    best = [[_best(_row(data, scaling, p0)) for scaling in SCALINGS] for p0 in spec["p0"]]
    apart = [p0 for p0, ways in zip(spec["p0"], best, strict=True) if not set.intersection(*(set(t) for _, t in ways))]
    agree = "the two ways have an alpha in common among their first at every p0"
    differ = f"the two ways have no alpha in common among their first at p0 = {', '.join(f'{p0:g}' for p0 in apart)}"
    return (
        f"Steps until the mean success probability of {spec['n']} prompts is {spec['threshold']:g}, median over "
        f"{spec['replicas']} prompt orders. {' '.join(parts)} Up to what the intervals tell apart, "
        f"{differ if apart else agree}."
    )


def figures(data: Mapping[str, Any]) -> dict[str, Figure]:
    """Steps against alpha, a line for each p0, a figure for each scaling; rings where it is least."""
    titles = {
        "guaranteed": "steps at each alpha's guaranteed step size",
        "same start": "steps, same first log-odds step",
    }
    made = {}
    for scaling, title in titles.items():
        with panel(f"{title}, until mean J = {data['spec']['threshold']:g}", width=5.8, height=4.4) as (figure, axes):
            starts = data["spec"]["p0"]
            for p0, shade in zip(starts, np.linspace(1.0, 0.3, len(starts)), strict=True):
                row = [cell for cell in _row(data, scaling, p0) if None not in cell["steps"].values()]
                at = {key: np.array([cell["steps"][key] for cell in row]) for key in ("median", "low", "high")}
                alphas = [cell["alpha"] for cell in row]
                axes.plot(alphas, at["median"], color="#8a63c7", alpha=shade)
                axes.fill_between(alphas, at["low"], at["high"], color="#8a63c7", alpha=0.12, linewidth=0)
                best, _ = _best(row)
                if best is not None:
                    look: Any = {"marker": "o", "markersize": 7, "fillstyle": "none", "linestyle": ""}
                    axes.plot([best["alpha"]], [best["steps"]["median"]], color="#8a63c7", **look)
                    axes.annotate(f"p0 = {p0:g}", (alphas[-1], at["median"][-1]), (5, 0), textcoords="offset points",
                                  fontsize=8, va="center")  # fmt: skip
            axes.set(yscale="log", xlabel="alpha (0: REINFORCE, 1/2: GRPO, 1: log-odds)", ylabel="steps (median)")
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.plot([], [], color="#8a63c7", marker="o", fillstyle="none", linestyle="", label="least")
            legend_below(figure, axes)
        made[f"alpha_{scaling.replace(' ', '_')}"] = figure
    return made
