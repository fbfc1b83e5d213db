"""What many runs say together: means with Student's intervals, quantiles, and the sources' cumulative bounds."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from simulator.constants import ORTHOGONAL_UP_TO
from simulator.engines.ensemble import Ensemble
from simulator.problems import Problem
from simulator.run_bounds import not_covered, orthogonal_claims
from simulator.sampling import student_margin
from theory.cosines import orthogonality_defect

__all__ = ["CONFIDENCE", "ensemble_bounds", "evaluate_ensemble", "summarise"]

Floats = npt.NDArray[np.float64]

# Of each interval that is reported, and of all those together that a bound is held against.
CONFIDENCE = 0.95
_QUANTILES = (0.05, 0.5, 0.95)


def summarise(ensemble: Ensemble) -> dict[str, Any]:
    """Scalars of the runs, ready for JSON; statistics are over the runs whose numbers are all finite.

    Means over prompts are taken within each run; ``mean``, ``low`` and ``high`` are the mean over the runs and the ends
    of Student's interval, the ends None if fewer than two runs are finite, and all three if none is.
    """
    used = ensemble.finite
    start, end = (ensemble.J[used, at].mean(axis=1) for at in (0, -1))
    grad_sq = ensemble.mean_over_steps(ensemble.sum_grad_sq, ensemble.grad_sq)[used].mean(axis=1)
    etas = ensemble.eta
    return {
        "problem": ensemble.problem,
        "rule": ensemble.rule,
        "schedule": ensemble.schedule,
        "engine": ensemble.engine,
        "eta": float(etas[0]) if (etas == etas[0]).all() else [float(etas.min()), float(etas.max())],
        "x_max_sq": ensemble.x_max_sq,
        "seed": ensemble.seed,
        "replicas": len(used),
        "first_replica": int(ensemble.replicas[0]),
        "prompts": int(ensemble.J.shape[2]),
        "steps": ensemble.steps,
        "share_not_finite": float(1 - used.mean()),
        "confidence": CONFIDENCE,
        "mean_J_start": _interval(start),
        "mean_J_end": _interval(end),
        "mean_J_end_quantiles": {f"{q:g}": float(np.quantile(end, q)) for q in _QUANTILES if len(end)},
        "J_end": [float(value) for value in ensemble.J[used, -1].mean(axis=0)] if len(end) else None,
        "mean_grad_sq": _interval(grad_sq),
    }


def _interval(samples: Floats) -> dict[str, float | None]:
    if len(samples) == 0:
        return {"mean": None, "low": None, "high": None}
    mean, margin = float(samples.mean()), float(student_margin(samples, CONFIDENCE, 2))
    known = np.isfinite(margin)
    return {"mean": mean, "low": mean - margin if known else None, "high": mean + margin if known else None}


def ensemble_bounds(ensemble: Ensemble, problem: Problem) -> tuple[list[dict[str, Any]], str | None]:
    """The cumulative bounds that cover the runs, each beside the mean over the runs.

    On orthogonal prompts Theorems 3.1 and 3.2 (and the sharp and power forms of them) bound, for every prompt i,
    ``(1/T) sum_{t<T} E ||grad J_i(theta_t)||^2`` by the right side of the claim, over T; E is over prompt orders, of
    which the runs are independent samples.

    Args:
        ensemble: runs on the problem, from its own start.
        problem: the bandit.

    Returns:
        For each claim its id and title; for the prompt that comes closest to its bound the ``bound``, the ``exact``
        expectation, and the ``mean``, ``low`` and ``high`` end over the runs; and the ``outcome``: ``below`` if the
        intervals of all prompts lie below their bounds, ``above`` if that of some prompt lies above, else
        ``undecided``. All ends together cover with 95% confidence. If there is no claim, why.
    """
    if (missing := not_covered(ensemble.schedule, problem)) is not None:
        return [], missing
    if ensemble.schedule != "uniform":
        return [], "the theorems bound means over random prompt orders; with all prompts a step there is one order"
    if orthogonality_defect(problem.features) >= ORTHOGONAL_UP_TO:
        return [], "prompts interact: the constants of Theorems 3.3 and 3.4 would have to hold on every prompt order"
    if (ensemble.eta != ensemble.eta[0]).any():
        return [], "the runs differ in their step size"
    claims, context, missing = orthogonal_claims(
        ensemble.rule, ensemble.schedule, float(ensemble.eta[0]), ensemble.steps, problem
    )
    sums = [claim for claim in claims if re.search(r"-SUM(-FIXED|-MEAN)?$", claim.id)]
    if not sums:
        return [], missing or "no cumulative bound is about these runs"
    means = ensemble.mean_over_steps(ensemble.sum_grad_sq, ensemble.grad_sq)
    with np.errstate(all="ignore"):
        sides = [(np.asarray(c.left(context))[-1], np.asarray(c.right(context))[-1]) for c in sums]
    return [
        {"claim": claim.id, "title": claim.title, **_held(means, left / ensemble.steps, right / ensemble.steps)}
        for claim, (left, right) in zip(sums, sides, strict=True)
    ], None


def _held(samples: Floats, exact: Floats, bound: Floats) -> dict[str, Any]:
    """Means of ``samples (R, n)`` against the bounds of the prompts, ``(n,)``."""
    mean = samples.mean(axis=0)
    margin = student_margin(samples, CONFIDENCE, 2 * samples.shape[1])
    if not np.isfinite([mean, margin, bound]).all():
        return {"outcome": "undecided", **dict.fromkeys(("prompt", "bound", "exact", "mean", "low", "high"))}
    low, high = mean - margin, mean + margin
    outcome = "below" if (high <= bound).all() else "above" if (low > bound).any() else "undecided"
    worst = int(np.argmax(np.where(bound > 0, high / np.where(bound > 0, bound, 1.0), high)))
    columns = {"bound": bound, "exact": exact, "mean": mean, "low": low, "high": high}
    return {"outcome": outcome, "prompt": worst, **{name: float(values[worst]) for name, values in columns.items()}}


def evaluate_ensemble(ensemble: Ensemble, problem: Problem) -> dict[str, Any]:
    """:func:`summarise`, the ``bounds`` that cover the runs and why there are none (``bounds_missing``), for JSON."""
    # A run may have left the finite numbers; it is counted, and kept out of the means.
    with np.errstate(all="ignore"):
        found, missing = ensemble_bounds(ensemble, problem)
        return {**summarise(ensemble), "bounds": found, "bounds_missing": missing}
