"""Figures of the plateau study: steps to escape against p0, and the tail of q."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from simulator.plateau_study import Study
from whynorm.figures import RULE_COLOURS, legend_below, panel

__all__ = ["escape_figure", "rule_label", "tail_figure"]

# Rules as the study names them: what the legend says, and a look.
_LOOKS: dict[str, tuple[str, dict[str, Any]]] = {
    "power:0.0": ("alpha = 0 (REINFORCE)", {"color": RULE_COLOURS["reinforce"]}),
    "power:0.25": ("alpha = 1/4", {"color": RULE_COLOURS["reinforce"], "alpha": 0.45}),
    "power:0.5": ("alpha = 1/2 (GRPO)", {"color": RULE_COLOURS["grpo"]}),
    "power:0.75": ("alpha = 3/4", {"color": RULE_COLOURS["grpo"], "alpha": 0.45}),
    "power:1.0": ("alpha = 1 (log-odds)", {"color": "#8a63c7"}),
}
_DASHES: tuple[Any, ...] = ((0, (4, 2.5)), (0, (1.5, 1.5)), (0, (6, 2, 1, 2)))
_GROUP, _POWER = "group:", "power:"


def rule_label(rule: str) -> str:
    """What a legend calls a rule of the study: exact rules by their alpha, groups by their size."""
    if rule.startswith(_GROUP):
        return f"GRPO, groups of {rule.removeprefix(_GROUP)}"
    return _LOOKS[rule][0] if rule in _LOOKS else f"alpha = {rule.removeprefix(_POWER)}"


def _looks(study: Study) -> dict[str, dict[str, Any]]:
    """A look for every rule of a study: groups dashed, alphas without a look of their own dotted shades of grey."""
    looks: dict[str, dict[str, Any]] = {}
    for rule in dict.fromkeys(escape.rule for escape in study.escapes):
        dash = _DASHES[len(looks.keys() - _LOOKS.keys()) % len(_DASHES)]
        if rule.startswith(_GROUP):
            looks[rule] = {"color": RULE_COLOURS["grpo"], "linestyle": dash}
        elif rule in _LOOKS:
            looks[rule] = _LOOKS[rule][1]
        else:
            looks[rule] = {"color": str(0.2 + 0.6 * float(rule.removeprefix(_POWER))), "linestyle": dash}
    return looks


def escape_figure(study: Study, title: str = "steps until a hard prompt is solved half of the time") -> Figure:
    """Steps to p = 1/2 against p0: lines from the enclosure (its two ends coincide here), dots where counted."""
    with panel(title, height=4.2) as (figure, axes):
        for rule, style in _looks(study).items():
            found = [escape for escape in study.escapes if escape.rule == rule]
            axes.plot([e.p0 for e in found], [(e.low * e.high) ** 0.5 for e in found], label=rule_label(rule), **style)
            counted = [e for e in found if e.counted is not None]
            dots = {**style, "linestyle": "", "marker": "o", "markersize": 3.5}
            axes.plot([e.p0 for e in counted], [e.counted or 0 for e in counted], **dots)
        axes.set(xscale="log", yscale="log", xlabel="success probability at the start, p0", ylabel="steps to p = 1/2")
        axes.invert_xaxis()
        legend_below(figure, axes)
    return figure


def tail_figure(study: Study, title: str = "failure probability after p = 1/2") -> Figure:
    """``q_t`` against t of the runs that start at p = 1/2."""
    looks = _looks(study)
    with panel(title, height=4.2) as (figure, axes):
        for tail in study.tails:
            seen = tail.log_q > -16
            axes.plot(tail.t[seen], 10 ** tail.log_q[seen], label=rule_label(tail.rule), **looks[tail.rule])
        axes.set(xscale="log", yscale="log", xlabel="step t", ylabel="failure probability q", ylim=(1e-16, 1))
        legend_below(figure, axes)
    return figure
