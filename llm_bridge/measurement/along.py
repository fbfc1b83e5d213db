"""Measurements along an exact run: Table 3 at checkpoints, Table 1 at equal and different iterations, C(T), phases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from llm_bridge.measurement.fisher import fisher_against_variance
from llm_bridge.measurement.measuring import MeasureOptions, Measures, measure
from llm_bridge.measurement.phases import find_phases
from llm_bridge.models import LoadedModel
from llm_bridge.policies import AnswerBatch
from llm_bridge.tasks import Prompt
from llm_bridge.training import train
from simulator.constants import cumulative_share, mean_factor
from simulator.records import Record
from theory.errors import expected
from theory.rules import Rule

__all__ = ["measure_along", "run_measures"]

Floats = npt.NDArray[np.float64]


def measure_along(
    loaded: LoadedModel,
    prompts: Sequence[Prompt],
    batch: AnswerBatch,
    rule: Rule,
    step_size: Callable[[float], float],
    steps: int,
    every: int,
    options: MeasureOptions | None = None,
    progress: Callable[[int], Any] = lambda step: None,
) -> tuple[Measures, Record]:
    """Train in exact mode, and measure at step 0, at every ``every``-th and at the last one.

    Args:
        loaded: the model; its adapter is trained in place.
        prompts: what is asked.
        batch: the same, tokenised.
        rule: the update rule.
        step_size: from ``X_max^2`` at the start to eta.
        steps: number of updates.
        every: steps from one checkpoint to the next.
        options: what is measured at a checkpoint; ``gram`` and ``fisher`` always are.
        progress: called with the number of steps done.

    Returns:
        The measures, with ``checkpoints`` (a list, each with its ``t``), ``table1``, ``run`` and ``phases``; and the
        record of the run. Arrays have one row for each checkpoint.

    Raises:
        InputError: steps, every or the step size out of range.
    """
    if not 1 <= every <= steps:
        raise expected("every", every, f"from 1 to the {steps} steps of the run", "e.g. a tenth of the steps")
    options = options or MeasureOptions()
    options = replace(options, parts=tuple(dict.fromkeys(("gram", *options.parts, "fisher"))))
    found: list[tuple[int, Measures]] = []

    def look(t: int) -> None:
        if t % every == 0 or t == steps:
            found.append((t, measure(loaded, prompts, batch, options)))
        if t:
            progress(t)

    look(0)
    x_max_sq = found[0][1].content["gram"]["features"]["raw"]["x_max_sq"]
    eta = step_size(x_max_sq)
    record = train(loaded, batch, rule, eta, steps, x_max_sq=x_max_sq, seed=options.seed, progress=look)
    checkpoints = [{"t": t, **each.content} for t, each in found]
    names = [name for name in found[0][1].arrays if name not in ("gram", "answers")]
    arrays = {name: np.stack([each.arrays[name] for _, each in found]) for name in names}
    arrays |= {"t": np.array([t for t, _ in found]), "J": record.J, "all_cosines": record.extra["cosines"]}
    table = fisher_against_variance(
        arrays["fisher"], arrays["variance"], resamples=options.resamples, seed=options.seed
    )
    content = {"checkpoints": checkpoints, "table1": table, "run": run_measures(record), "phases": _phases(record)}
    return Measures(content, arrays, found[-1][1].gram), record


def run_measures(record: Record) -> dict[str, Any]:
    """Assumption 3 and the bounds of Theorems 3.1 and 3.2 over a run that holds every state.

    Returns:
        ``C(T)``: ``8 / (3 n T) sum_i sum_t sqrt(V_i)``; ``C(i,T)``, the same of each prompt; ``C(T)_weighted``, the
        mean of ``C(i,T)`` with weights ``1 - p_i(0)``, below 1 where the sum of GRPO's bounds is the smaller (the
        printed condition leaves the weights out); ``C_max``, the largest ``sqrt(V)``; ``C_t``: the mean over prompts at
        each step; ``cumulative_share``: ``sum_t ||grad J_i||^2`` over the bound of Theorem 3.1, largest of all prompts.
    """
    each = 8 / 3 * record.std[:-1].mean(axis=0)
    weights = record.q[0]
    return {
        "C(T)": mean_factor(record),
        "C(i,T)": each.tolist(),
        "C(T)_weighted": float(np.average(each, weights=weights)) if weights.sum() > 0 else None,
        "C_max": float(record.std.max()),
        "C_t": record.std.mean(axis=1).tolist(),
        "cumulative_share": cumulative_share(record),
        **record.summary(),
    }


def _phases(record: Record) -> dict[str, Any] | None:
    """Phases in reward variance and in mean and spread of the cosines; None for fewer than two prompts or 12 steps."""
    cosines = record.extra["cosines"]
    if cosines.shape[1] == 0 or len(record.t) < 12:
        return None
    with np.errstate(all="ignore"):
        curves = np.stack([(record.std**2).mean(axis=1), cosines.mean(axis=1), cosines.std(axis=1)], axis=1)
    good = np.isfinite(curves).all(axis=1)
    if good.sum() < 12:
        return None
    found = find_phases(record.t[good], curves[good])
    return {"curves": ["mean reward variance", "mean cosine", "std of cosines"], **found.to_json()}
