"""Figures of the plateau study: steps to escape against p0, and the tail of q."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from simulator.plateau import Study
from whynorm.figures import RULE_COLOURS, legend_below, panel

__all__ = ["escape_figure", "tail_figure"]

# Rules as the study names them: what the legend says, and a look.
_LOOKS: dict[str, tuple[str, dict[str, Any]]] = {
    "power:0.0": ("exact p, alpha = 0 (REINFORCE)", {"color": RULE_COLOURS["reinforce"]}),
    "power:0.25": ("alpha = 1/4", {"color": RULE_COLOURS["reinforce"], "alpha": 0.45}),
    "power:0.5": ("alpha = 1/2 (GRPO)", {"color": RULE_COLOURS["grpo"]}),
    "power:0.75": ("alpha = 3/4", {"color": RULE_COLOURS["grpo"], "alpha": 0.45}),
    "power:1.0": ("alpha = 1 (log-odds)", {"color": "#8a63c7"}),
}
_DASHES: tuple[Any, ...] = ((0, (4, 2.5)), (0, (1.5, 1.5)), (0, (6, 2, 1, 2)))


def _look(rule: str, groups: list[str]) -> tuple[str, dict[str, Any]]:
    if rule in _LOOKS:
        return _LOOKS[rule]
    style = {"color": RULE_COLOURS["grpo"], "linestyle": _DASHES[groups.index(rule) % len(_DASHES)]}
    return f"GRPO, groups of {rule.partition(':')[2]}", style


def _rules(study: Study) -> tuple[list[str], list[str]]:
    rules = list(dict.fromkeys(escape.rule for escape in study.escapes))
    return rules, [rule for rule in rules if rule not in _LOOKS]


def escape_figure(study: Study, title: str = "steps until a hard prompt is solved half of the time") -> Figure:
    """Steps to p = 1/2 against p0: lines from the enclosure (its two ends coincide here), dots where counted."""
    rules, groups = _rules(study)
    with panel(title, height=4.2) as (figure, axes):
        for rule in rules:
            label, style = _look(rule, groups)
            found = [escape for escape in study.escapes if escape.rule == rule]
            axes.plot([e.p0 for e in found], [(e.low * e.high) ** 0.5 for e in found], label=label, **style)
            counted = [e for e in found if e.counted is not None]
            dots = {**style, "linestyle": "", "marker": "o", "markersize": 3.5}
            axes.plot([e.p0 for e in counted], [e.counted or 0 for e in counted], **dots)
        axes.set(xscale="log", yscale="log", xlabel="success probability at the start, p0", ylabel="steps to p = 1/2")
        axes.invert_xaxis()
        legend_below(figure, axes)
    return figure


def tail_figure(study: Study, title: str = "failure probability after p = 1/2") -> Figure:
    """``q_t`` against t of the runs that start at p = 1/2."""
    _, groups = _rules(study)
    with panel(title, height=4.2) as (figure, axes):
        for tail in study.tails:
            label, style = _look(tail.rule, groups)
            seen = tail.log_q > -16
            axes.plot(tail.t[seen], 10 ** tail.log_q[seen], label=label, **style)
        axes.set(xscale="log", yscale="log", xlabel="step t", ylabel="failure probability q", ylim=(1e-16, 1))
        legend_below(figure, axes)
    return figure
