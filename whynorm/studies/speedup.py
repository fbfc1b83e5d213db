"""How many steps REINFORCE needs for each step of GRPO, over the start p0 and the strength of interaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure
from pydantic import Field
from pydantic.dataclasses import dataclass

from simulator.families import make_problem
from simulator.schedules import UNIFORM
from simulator.step_sizes import FORMS, choose_step
from theory.rules import RULES
from whynorm.figures import RULE_COLOURS, panel
from whynorm.studies.passage import Floats, Passages, finite, median_interval, passage_summary, times_to
from whynorm.studies.study import STRICT, Strength

__all__ = ["Spec", "figures", "paragraph", "run", "size", "speed_up"]

FAMILY = "shared-skill"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Spec(Passages):
    """What the study runs.

    Attributes:
        strengths: of the skill that the prompts share.
        step: ``best`` or ``theorem``, for both rules; see ``simulator.step_sizes.FORMS``.
    """

    strengths: Annotated[list[Strength], Field(min_length=1)]
    step: Literal["best", "theorem"]


def size(spec: Spec) -> int:
    """Cells of the map."""
    return len(spec.p0) * len(spec.strengths)


def speed_up(slow: Floats, fast: Floats, steps: int) -> dict[str, Any]:
    """Median of ``slow / fast`` over paired runs, with its interval.

    A run that did not arrive within ``steps`` counts as one that arrives then, so the ratio is a bound: ``at least`` if
    only slow ones are missing, ``at most`` if only fast ones are, ``unknown`` if both.
    """
    missing = bool(np.isinf(slow).any()), bool(np.isinf(fast).any())
    known = {(False, False): "equal", (True, False): "at least", (False, True): "at most", (True, True): "unknown"}
    ratio = np.minimum(slow, steps) / np.minimum(fast, steps)
    median, low, high = median_interval(ratio)
    return {"median": median, "low": low, "high": finite(high), "known": known[missing]}


def _cell(spec: Spec, p0: float, strength: float) -> dict[str, Any]:
    problem = make_problem(FAMILY, spec.n, spec.outputs, p0=p0, seed=spec.problem_seed, strength=strength)
    etas = {name: choose_step(spec.step, problem, rule, UNIFORM, spec.steps, spec.seed) for name, rule in RULES.items()}
    times = {name: times_to(spec, problem, rule, etas[name], spec.threshold) for name, rule in RULES.items()}
    return {
        "p0": p0,
        "strength": strength,
        "eta": etas,
        "steps": {name: passage_summary(values) for name, values in times.items()},
        "ratio": speed_up(times["reinforce"], times["grpo"], spec.steps),
    }


def run(spec: Spec, progress: Callable[[int], None]) -> dict[str, Any]:
    """Every cell of the map."""
    cells = []
    for strength in spec.strengths:
        for p0 in spec.p0:
            cells.append(_cell(spec, p0, strength))
            progress(len(cells))
    return {"family": FAMILY, "cells": cells}


def _side(cell: Mapping[str, Any]) -> str:
    """Which rule needs fewer steps, as far as the interval and the bound tell."""
    ratio = cell["ratio"]
    if ratio["low"] > 1 and ratio["known"] in ("equal", "at least"):
        return "grpo"
    if ratio["high"] < 1 and ratio["known"] in ("equal", "at most"):
        return "reinforce"
    return "open"


def _where(cell: Mapping[str, Any]) -> str:
    return f"p0 = {cell['p0']:g}, strength {cell['strength']:g}"


def paragraph(data: Mapping[str, Any]) -> str:
    """What the map shows, from its numbers."""
    spec, cells = data["spec"], data["cells"]
    side = {name: [cell for cell in cells if _side(cell) == name] for name in ("grpo", "reinforce", "open")}
    known = [cell for cell in cells if cell["ratio"]["known"] != "unknown"]
    text = (
        f"Steps that REINFORCE needs for each step of GRPO until the mean success probability is "
        f"{spec['threshold']:g}, {spec['n']} prompts with a shared skill, median over {spec['replicas']} "
        f"prompt orders, both rules by the same principle, {spec['step']}: {FORMS[spec['step']]}. These "
        f"step sizes are proved for prompts that do not interact; here they are a convention, the "
        f"closer to proved the weaker the skill. "
        f"GRPO needs fewer steps in "
        f"{len(side['grpo'])} of {len(cells)} cells, REINFORCE in {len(side['reinforce'])}; in {len(side['open'])} the "
        f"95% interval of the median reaches 1 or runs are missing."
    )
    if known:
        most, least = (pick(known, key=lambda cell: cell["ratio"]["median"]) for pick in (max, min))
        text += f" The ratio is largest, {_told(most)}, at {_where(most)},"
        text += f" and smallest, {_told(least)}, at {_where(least)}."
    if side["reinforce"]:
        starts = [cell["p0"] for cell in side["reinforce"]]
        text += f" It is below 1 at starts from p0 = {min(starts):g} to {max(starts):g}."
    hardest = [cell for cell in known if cell["p0"] == min(spec["p0"])]
    if len(hardest) > 1:
        ends = [pick(hardest, key=lambda cell: cell["strength"]) for pick in (min, max)]
        text += (
            f" At p0 = {ends[0]['p0']:g} it goes from {_told(ends[0])} at strength {ends[0]['strength']:g} to "
            f"{_told(ends[1])} at strength {ends[1]['strength']:g}."
        )
    return f"{text} Cells in which some run did not arrive: {sum(cell['ratio']['known'] != 'equal' for cell in cells)}."


def _told(cell: Mapping[str, Any]) -> str:
    ratio = cell["ratio"]
    bound = "" if ratio["known"] == "equal" else f"{ratio['known']} "
    return f"{bound}{ratio['median']:.3g} ({ratio['low']:.3g} to {ratio['high']:.3g})"


_MARKS = {"equal": "", "at least": "≥ ", "at most": "≤ ", "unknown": "? "}


def figures(data: Mapping[str, Any]) -> dict[str, Figure]:
    """The map: teal where GRPO needs fewer steps, orange where REINFORCE does."""
    spec = data["spec"]
    rows, columns = spec["strengths"], spec["p0"]
    ratio = np.full((len(rows), len(columns)), np.nan)
    for cell in data["cells"]:
        if cell["ratio"]["known"] != "unknown":
            ratio[rows.index(cell["strength"]), columns.index(cell["p0"])] = np.log(cell["ratio"]["median"])
    colours = LinearSegmentedColormap.from_list("rules", [RULE_COLOURS["reinforce"], "#f4f2ee", RULE_COLOURS["grpo"]])
    most = max(float(np.nanmax(np.abs(ratio), initial=0.0)), 0.1)
    title = f"steps of REINFORCE / steps of GRPO until mean J = {spec['threshold']:g} (step size: {spec['step']})"
    with panel(title, width=1.6 + 0.68 * max(len(columns), 6), height=1.6 + 0.42 * len(rows)) as (figure, axes):
        norm = TwoSlopeNorm(0.0, -most, most)
        axes.imshow(ratio, origin="lower", aspect="auto", cmap=colours, norm=norm, interpolation="nearest")
        for cell in data["cells"]:
            at = (columns.index(cell["p0"]), rows.index(cell["strength"]))
            text = f"{_MARKS[cell['ratio']['known']]}{cell['ratio']['median']:#.3g}"
            look: Any = {"alpha": 0.55, "style": "italic"} if _side(cell) == "open" else {}
            axes.text(*at, text, ha="center", va="center", fontsize=8.5, **look)
        axes.set_xticks(range(len(columns)), [f"{value:g}" for value in columns])
        axes.set_yticks(range(len(rows)), [f"{value:g}" for value in rows])
        axes.set(xlabel="success probability at the start, p0", ylabel="strength of the shared skill")
        figure.supxlabel(
            "teal: GRPO needs fewer steps; orange: REINFORCE does; italic: the 95% interval reaches 1", fontsize=8
        )
    return {"speedup": figure}
