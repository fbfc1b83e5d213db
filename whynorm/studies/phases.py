"""The paper's three phases, found in runs whose gradients lose their orthogonality."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from matplotlib.figure import Figure
from pydantic import Field
from pydantic.dataclasses import dataclass

from simulator.engines.ensemble import Ensemble
from simulator.families import make_problem
from simulator.interacting import node_states
from simulator.problems import Problem
from simulator.sampling import student_margin
from simulator.schedules import UNIFORM
from simulator.step_sizes import choose_step
from theory.rules import RULES
from whynorm.figures import DASHED, RULE_COLOURS, legend_below, panel
from whynorm.studies.passage import CONFIDENCE, Floats, study_runs
from whynorm.studies.study import STRICT, Probability, Runs, Strength

__all__ = ["Spec", "cosines", "figures", "find_phases", "paragraph", "run", "size"]

FAMILY = "drifting"
_SHADES = {"I": "#8fb4e3", "II": "#9cd29c", "III": "#e8a29a"}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Spec(Runs):
    """What the study runs.

    Attributes:
        p0: success probability of every prompt at the start.
        strength: of the directions that the prompts share.
        step: ``theorem`` or ``best``, for both rules.
        near, share: see :func:`find_phases`.
    """

    p0: Probability
    strength: Strength
    step: Literal["theorem", "best"]
    near: Probability
    share: Probability
    n: Annotated[int, Field(ge=2)]
    outputs: Annotated[int, Field(ge=4)]


def size(spec: Spec) -> int:
    """Rules."""
    return len(RULES)


def cosines(problem: Problem, theta: Floats) -> Floats:
    """Cosines between the gradients of all pairs of prompts, ``(N, n (n - 1) / 2)``, at N parameter vectors."""
    states = node_states(problem.features, problem.answers, theta)
    # The gradients are positive multiples of the gaps, which do not vanish where a prompt is solved.
    length = np.linalg.norm(states.gap, axis=2)
    cosine = states.inner / (length[:, :, None] * length[:, None, :])
    return np.asarray(cosine[:, *np.triu_indices(problem.n, 1)])


def find_phases(small: Floats, positive: Floats, share: float) -> list[str]:
    """The phase at each time.

    Phase I lasts while at least ``share`` of the pairs have a small cosine; from the first time on at which fewer than
    ``share`` are positive it is phase III, but not before phase I has ended; between the two it is phase II.

    Args:
        small: share of the pairs whose cosine is near 0, ``(S,)``.
        positive: share of the pairs whose inner product is positive, ``(S,)``.
        share: in (0, 1).
    """
    phase, found = "I", []
    for few, many in zip(small < share, positive >= share, strict=True):
        if phase == "I" and few:
            phase = "II"
        if phase == "II" and not many:
            phase = "III"
        found.append(phase)
    return found


def _curves(spec: Spec, problem: Problem, runs: Ensemble) -> dict[str, Any]:
    values = cosines(problem, runs.theta.reshape(-1, problem.d)).reshape(*runs.theta.shape[:2], -1)
    J = runs.J.mean(axis=2)
    small, positive = (np.abs(values) < spec.near).mean(axis=(0, 2)), (values > 0).mean(axis=(0, 2))
    curves = {
        "mean_cosine": values.mean(axis=(0, 2)),
        "std_cosine": values.std(axis=(0, 2)),
        "share_near": small,
        "share_positive": positive,
        "mean_J": J.mean(axis=0),
        "margin_J": student_margin(J, CONFIDENCE, 2),
    }
    told: dict[str, Any] = {name: [float(v) for v in curve] for name, curve in curves.items()}
    return {"eta": float(runs.eta[0]), "phases": find_phases(small, positive, spec.share), **told}


def run(spec: Spec, progress: Callable[[int], None]) -> dict[str, Any]:
    """Both rules."""
    problem = make_problem(FAMILY, spec.n, spec.outputs, p0=spec.p0, seed=spec.problem_seed, strength=spec.strength)
    rules, times = {}, []
    for done, (name, rule) in enumerate(RULES.items(), 1):
        eta = choose_step(spec.step, problem, rule, UNIFORM, spec.steps, spec.seed)
        runs = study_runs(spec, problem, rule, eta, record="log", keep_theta=True)
        rules[name], times = _curves(spec, problem, runs), runs.t.tolist()
        progress(done)
    return {"family": FAMILY, "t": times, "rules": rules}


def _start(data: Mapping[str, Any], rule: str, phase: str) -> int | None:
    """Place of the first recorded time of a phase."""
    phases = data["rules"][rule]["phases"]
    return phases.index(phase) if phase in phases else None


def _lead(data: Mapping[str, Any], at: int) -> str:
    ahead, behind = (data["rules"][name] for name in ("grpo", "reinforce"))
    lead = ahead["mean_J"][at] - behind["mean_J"][at]
    # The runs of both rules share their prompt orders; the margins are added all the same, which is wider.
    return f"{lead:+.3f} (within {ahead['margin_J'][at] + behind['margin_J'][at]:.3f})"


def paragraph(data: Mapping[str, Any]) -> str:
    """What the curves show, from their numbers."""
    spec, times, text = data["spec"], data["t"], []
    for rule, curves in data["rules"].items():
        starts = {phase: _start(data, rule, phase) for phase in ("II", "III")}
        told = [
            f"phase {phase} {'never begins' if at is None else f'begins at step {times[at]}'}"
            for phase, at in starts.items()
        ]
        text.append(
            f"Under {rule} (step size {curves['eta']:.3g}) the mean cosine between two prompts' gradients goes from "
            f"{curves['mean_cosine'][0]:.3f} to {curves['mean_cosine'][-1]:.3f} at step {times[-1]}, at most "
            f"{max(curves['mean_cosine']):.3f}; its spread (std) from {curves['std_cosine'][0]:.3f} to "
            f"{curves['std_cosine'][-1]:.3f}; the share of positive pairs from {curves['share_positive'][0]:.2f} to "
            f"{curves['share_positive'][-1]:.2f}. Of the phases, {' and '.join(told)}."
        )
    marks = [(f"phase {p} of GRPO begins", at) for p in ("II", "III") if (at := _start(data, "grpo", p)) is not None]
    gap = np.subtract(data["rules"]["grpo"]["mean_J"], data["rules"]["reinforce"]["mean_J"])
    leads = ", ".join(f"{_lead(data, at)} where {name}" for name, at in marks)
    best, worst = int(np.argmax(gap)), int(np.argmin(gap))
    return (
        f"Phase I: at least {spec['share']:.0%} of the pairs have |cos| < {spec['near']:g}; phase III: fewer than "
        f"{spec['share']:.0%} have a positive inner product, so Assumption 4 fails; phase II: between. "
        f"{' '.join(text)} GRPO's lead in mean J: {f'{leads}, ' if leads else ''}{_lead(data, -1)} at the end; largest "
        f"{_lead(data, best)} at step {times[best]}, smallest {_lead(data, worst)} at step {times[worst]}. The family "
        f"was built so that the gradients turn in this way; what is measured is when, and what it does to the rules."
    )


def _shaded(axes: Any, data: Mapping[str, Any], rule: str) -> None:
    times, phases = data["t"], data["rules"][rule]["phases"]
    for phase, colour in _SHADES.items():
        if phase in phases:
            first, last = phases.index(phase), len(phases) - phases[::-1].index(phase)
            axes.axvspan(max(times[first], 1), times[min(last, len(times) - 1)], color=colour, alpha=0.18, linewidth=0)
            middle = np.sqrt(max(times[first], 1) * times[min(last, len(times) - 1)])
            axes.text(middle, 1.0, phase, transform=axes.get_xaxis_transform(), ha="center", va="top", fontsize=10)


def figures(data: Mapping[str, Any]) -> dict[str, Figure]:
    """Cosines with the phases of GRPO's runs, and J of both rules."""
    times = np.array(data["t"])
    with panel("cosines between prompts' gradients; shaded: phases of GRPO", width=5.8, height=4.2) as (first, axes):
        _shaded(axes, data, "grpo")
        for rule, curves in data["rules"].items():
            mean, std = np.array(curves["mean_cosine"]), np.array(curves["std_cosine"])
            axes.plot(times[1:], mean[1:], color=RULE_COLOURS[rule], label=f"{rule}: mean, band: std over pairs")
            axes.fill_between(times[1:], (mean - std)[1:], (mean + std)[1:], color=RULE_COLOURS[rule], alpha=0.15)
            axes.plot(
                times[1:],
                curves["share_positive"][1:],
                color=RULE_COLOURS[rule],
                linestyle=DASHED,
                label=f"{rule}: share above 0",
            )
        axes.set(xscale="log", xlabel="step t", ylabel="cosine; share of pairs")
        legend_below(first, axes)
    title = f"mean success probability, {data['spec']['step']} step sizes; shaded: phases of GRPO"
    with panel(title, width=5.8, height=3.8) as (second, axes):
        _shaded(axes, data, "grpo")
        for rule, curves in data["rules"].items():
            mean, margin = np.array(curves["mean_J"]), np.array(curves["margin_J"])
            axes.plot(times[1:], mean[1:], color=RULE_COLOURS[rule], label=rule)
            axes.fill_between(times[1:], (mean - margin)[1:], (mean + margin)[1:], color=RULE_COLOURS[rule], alpha=0.2)
        axes.set(xscale="log", xlabel="step t", ylabel="mean success probability", ylim=(-0.02, 1.08))
        legend_below(second, axes)
    return {"phases_cosines": first, "phases_success": second}
