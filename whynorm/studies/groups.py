"""Sampled groups of G outputs: the mean update beside its exact weight ``w_G(p)``, and how fast the runs are.

The update of a prompt expects ``w_G(p) grad J`` (``X-GROUP``). With all prompts a step and orthogonal features, one
step from theta0 moves by ``(eta / n) sum_i u_i``, so ``w_i = n (theta_1 - theta_0) . grad J_i / (eta ||grad J_i||^2)``
is an unbiased measurement of every prompt's weight at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, StrMethodFormatter
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from simulator.families import make_problem
from simulator.problems import Problem
from simulator.sampled import SampledRule, get_any_rule
from simulator.sampling import student_margin
from theory.advantages import get_convention
from theory.errors import expected
from theory.groups import group_weight
from theory.rules import GRPO, REINFORCE
from whynorm.figures import DASHED, INK, RULE_COLOURS, legend_below, panel
from whynorm.studies.passage import CONFIDENCE, passage_summary, study_runs, times_to
from whynorm.studies.study import STRICT, Probability, Runs, Strength

__all__ = ["Spec", "figures", "paragraph", "run", "size"]

FAMILY = "tabular"
_COLOURS = (RULE_COLOURS["grpo"], RULE_COLOURS["reinforce"], "#8a63c7", "#5b8c3a")
_MARKERS = ("o", "s", "^", "D")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Spec(Runs):
    """What the study runs.

    Attributes:
        groups: sizes G.
        conventions: names of ``theory.advantages.PRESETS`` that are not scaled by batch, at most four.
        p0: n success probabilities at which the mean update is measured.
        updates: number of updates that are averaged.
        start: success probability at which the runs start, below the threshold.
        threshold: of the mean success probability.
        eta: step size.
    """

    groups: Annotated[list[Annotated[int, Field(ge=2, le=1000)]], Field(min_length=1)]
    conventions: Annotated[list[str], Field(min_length=1, max_length=4)]
    p0: list[Probability]
    updates: Annotated[int, Field(ge=2)]
    start: Probability
    threshold: Probability
    eta: Strength

    @model_validator(mode="after")
    def _fits(self) -> Spec:
        if len(self.p0) != self.n:
            raise expected("p0", self.p0, f"n = {self.n} probabilities", "give one for each prompt")
        if self.start >= self.threshold:
            raise expected("start", self.start, f"below the threshold {self.threshold:g}", "lower it")
        for name in self.conventions:
            if get_convention(name).scale == "batch":
                raise expected("conventions", name, "none that is scaled by batch", "its prompts share a divisor")
        return self


def size(spec: Spec) -> int:
    """Rules."""
    return len(spec.groups) * len(spec.conventions)


def _weights(spec: Spec, problem: Problem, rule: SampledRule) -> dict[str, list[float]]:
    """Measured weight of every prompt, the margin of its 95% interval, and the exact one."""
    first = study_runs(
        spec, problem, rule, spec.eta, steps=1, replicas=spec.updates, schedule="all", record="ends", keep_theta=True
    )
    state = problem.at(problem.theta0)
    moves = (first.theta[:, 1] - first.theta[:, 0]) @ state.gradient.T
    samples = problem.n * moves / (spec.eta * np.sum(state.gradient**2, axis=1))
    exact = group_weight(state.p, state.q, rule.group, rule.convention)
    columns = {
        "measured": samples.mean(axis=0),
        "margin": student_margin(samples, CONFIDENCE, 2),
        "exact": exact,
    }
    return {name: [float(v) for v in values] for name, values in columns.items()}


def run(spec: Spec, progress: Callable[[int], None]) -> dict[str, Any]:
    """Every convention with every G; beside them the exact rules."""
    at = make_problem(FAMILY, spec.n, spec.outputs, p0=spec.p0, seed=spec.problem_seed)
    start = make_problem(FAMILY, spec.n, spec.outputs, p0=spec.start, seed=spec.problem_seed)
    cells = []
    for name in spec.conventions:
        for count in spec.groups:
            rule = get_any_rule(f"{name}:{count}")
            assert isinstance(rule, SampledRule)
            times = times_to(spec, start, rule, spec.eta, spec.threshold)
            told = {"weights": _weights(spec, at, rule), "steps": passage_summary(times)}
            cells.append({"convention": name, "G": count, **told})
            progress(len(cells))
    exact = {
        rule.name: passage_summary(times_to(spec, start, rule, spec.eta, spec.threshold)) for rule in (REINFORCE, GRPO)
    }
    return {"family": FAMILY, "cells": cells, "exact": exact}


def _told(summary: Mapping[str, Any]) -> str:
    if summary["median"] is None:
        return f"more than allowed (only {summary['reached']:.0%} of the runs arrived)"
    ends = [f"{summary[end]:.0f}" if summary[end] is not None else "?" for end in ("low", "high")]
    return f"{summary['median']:.0f} ({ends[0]} to {ends[1]})"


def paragraph(data: Mapping[str, Any]) -> str:
    """What the weights and the times show, from their numbers."""
    spec, cells = data["spec"], data["cells"]
    weights = [cell["weights"] for cell in cells]
    measured, margin, exact = (np.array([w[name] for w in weights]) for name in ("measured", "margin", "exact"))
    inside = np.abs(measured - exact) <= margin
    parts = []
    for name in spec["conventions"]:
        own = sorted((cell for cell in cells if cell["convention"] == name), key=lambda cell: cell["G"])
        ends = [f"{_told(cell['steps'])} with G = {cell['G']}" for cell in (own[0], own[-1])]
        hard = [cell["weights"]["exact"][int(np.argmin(spec["p0"]))] for cell in (own[0], own[-1])]
        parts.append(
            f"{name} needs {ends[0]} and {ends[1]}; its weight at p = {min(spec['p0']):g} goes from {hard[0]:.3g} to "
            f"{hard[1]:.3g}."
        )
    rules = ", ".join(f"{name} {_told(summary)}" for name, summary in data["exact"].items())
    return (
        f"Measured over {spec['updates']} updates, the mean update is w_G(p) grad J: {int(inside.sum())} of "
        f"{inside.size} weights lie in the 95% interval of their measurement (about 95% should; fewer where mixed "
        f"groups are rare). Steps from p = "
        f"{spec['start']:g} to a mean success probability of {spec['threshold']:g}, all with step size "
        f"{spec['eta']:g}, median over {spec['replicas']} runs: {' '.join(parts)} Exact expectations: {rules}."
    )


def figures(data: Mapping[str, Any]) -> dict[str, Figure]:
    """Weights against G, a panel of curves per convention and p0; and steps against G."""
    spec = data["spec"]
    with panel("weight of the mean update; lines: exact w_G(p)", width=5.8, height=4.6) as (first, axes):
        for row, name in enumerate(spec["conventions"]):
            own = sorted((cell for cell in data["cells"] if cell["convention"] == name), key=lambda cell: cell["G"])
            sizes = [cell["G"] for cell in own]
            for i, p0 in enumerate(spec["p0"]):
                look: Any = {"color": _COLOURS[row], "alpha": 1 - 0.6 * i / max(len(spec["p0"]) - 1, 1)}
                at = {key: np.array([cell["weights"][key][i] for cell in own]) for key in own[0]["weights"]}
                axes.plot(sizes, at["exact"], linewidth=1.2, **look)
                axes.errorbar(sizes, at["measured"], at["margin"], linestyle="", marker=_MARKERS[row], ms=3.5, **look)
                if row == 0:
                    axes.annotate(f"p = {p0:g}", (sizes[-1], at["exact"][-1]), (4, 0), textcoords="offset points",
                                  fontsize=8, va="center")  # fmt: skip
            axes.plot([], [], color=_COLOURS[row], marker=_MARKERS[row], markersize=4, label=name)
        axes.set(xscale="log", yscale="log", xlabel="outputs per group, G", ylabel="weight w of E[update] = w grad J")
        axes.set_xticks(spec["groups"], [str(count) for count in spec["groups"]], minor=False)
        axes.xaxis.set_minor_locator(NullLocator())
        for which in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            which(StrMethodFormatter("{x:g}"))
        legend_below(first, axes)
    title = f"steps from p = {spec['start']:g} to mean J = {spec['threshold']:g}, step size {spec['eta']:g}"
    with panel(title, width=5.8, height=4.0) as (second, axes):
        for row, name in enumerate(spec["conventions"]):
            own = [c for c in data["cells"] if c["convention"] == name and None not in c["steps"].values()]
            own.sort(key=lambda cell: cell["G"])
            middle, low, high = (np.array([cell["steps"][key] for cell in own]) for key in ("median", "low", "high"))
            sizes = [cell["G"] for cell in own]
            axes.errorbar(sizes, middle, [middle - low, high - middle], color=_COLOURS[row], marker=_MARKERS[row],
                          markersize=4, capsize=2, label=name)  # fmt: skip
        for (name, summary), dash in zip(data["exact"].items(), (DASHED, ":"), strict=True):
            if summary["median"] is not None:
                axes.axhline(summary["median"], color=INK, linewidth=1, linestyle=dash, label=f"exact {name}")
        axes.set(xscale="log", yscale="log", xlabel="outputs per group, G", ylabel="steps (median, 95% interval)")
        axes.set_xticks(spec["groups"], [str(count) for count in spec["groups"]], minor=False)
        axes.xaxis.set_minor_locator(NullLocator())
        for which in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            which(StrMethodFormatter("{x:g}"))
        legend_below(second, axes)
    return {"groups_weights": first, "groups_steps": second}
