r"""What the runs of the normalisation experiment say, beside what the theory predicted.

Everything is paired: a seed's difference is std minus no_std on the same prompts, adapter and order, and intervals
are Student's over the seeds. Two predictions stand beside it, neither of them fitted: the linearised model (the bandit
with the model's own Gram matrix) run with the same rules, steps and orders, and the gradient flow of a single prompt
with two outputs, of which nothing but its success probability at the start is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from llm_bridge.experiments.normalisation import Key, Runs
from llm_bridge.experiments.normalisation_run import Curve
from llm_bridge.experiments.normalisation_settings import Experiment
from llm_bridge.measurement.intervals import Interval, student_interval
from llm_bridge.sampled.group_settings import question_order
from theory.claims.sharp_comparison import THRESHOLD
from theory.rules import GRPO, REINFORCE, Rule

__all__ = ["NO_LEAD", "completions", "flow_speed_up", "passage_times", "summarise", "verdict", "weighted_mean_std"]

Floats = npt.NDArray[np.float64]
# Differences of success probabilities below this are shown as 0.000, which is no lead.
NO_LEAD = 5e-4
# Gauss-Legendre on [-1, 1]: the integrands are sums of exponentials of the log-odds.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(200)


def flow_speed_up(p0: Any, p1: float, ratio: float, std: Rule = GRPO, no_std: Rule = REINFORCE) -> Floats:
    r"""Time of no_std over time of std from p0 to p1, for gradient flow of a prompt with two outputs.

    With the log-odds L and the weights w of a rule, ``dL/dt = ||gap||^2 w(p) p q`` with a constant gap, so the time is
    proportional to the integral of ``dL / (w(p) p q)``; for the exact rules the ratio is

        (2 (L1 - L0) + 2 (sinh L1 - sinh L0)) / (4 (sinh(L1 / 2) - sinh(L0 / 2))) / ratio.

    Args:
        p0: success probabilities at the start, ``(n,)``, below p1.
        p1: reached.
        ratio: step size of no_std over that of std.
        std, no_std: exact rules; of sampled ones their expected rules.

    Returns:
        Shape ``(n,)``.
    """
    start = np.atleast_1d(np.asarray(p0, dtype=np.float64))[:, None]
    ends = np.log(start) - np.log1p(-start), np.log(p1) - np.log1p(-p1)
    log_odds = (ends[0] + ends[1]) / 2 + (ends[1] - ends[0]) / 2 * _NODES
    p, q = 1 / (1 + np.exp(-log_odds)), 1 / (1 + np.exp(log_odds))
    slow, fast = (np.sum(_WEIGHTS / (rule.weight(p, q) * p * q), axis=1) for rule in (no_std, std))
    return np.asarray(slow / fast / ratio)


def passage_times(curve: Curve, threshold: float) -> float:
    """Steps until the mean success probability reaches the threshold, interpolated; infinity if it never does."""
    mean = curve.J.mean(axis=1)
    above = np.flatnonzero(mean >= threshold)
    if len(above) == 0:
        return float("inf")
    k = int(above[0])
    if k == 0:
        return 0.0
    share = (threshold - mean[k - 1]) / (mean[k] - mean[k - 1])
    return float(curve.t[k - 1] + share * (curve.t[k] - curve.t[k - 1]))


def weighted_mean_std(J: Floats, t: npt.NDArray[np.int64]) -> Floats:
    r"""What X-COMPARE compares with its threshold, with a run's own ``sqrt(V)`` in place of the bound C.

        sum_i (1 - p0_i) (1/T) sum_{t < T} sqrt(V_{i,t}) / sum_i (1 - p0_i)

    The steps before each update count, all of them alike and the end of the run not; between two looks sqrt(V) is taken
    to be linear. C bounds sqrt(V) on every realisation, so this is a low estimate.

    Args:
        J: success probabilities at the looks of every seed, ``(seeds, S, n)``.
        t: steps of the looks, from 0 to T, ``(S,)``.

    Returns:
        Shape ``(seeds,)``.
    """
    shares = np.array([np.interp(np.arange(t[-1]), t, look).mean() for look in np.eye(len(t))])
    mean = np.einsum("s,ksn->kn", shares, np.sqrt(np.clip(J * (1 - J), 0, None)))
    weight = 1 - J[:, 0]
    return np.asarray((weight * mean).sum(axis=1) / weight.sum(axis=1))


def verdict(difference: Interval) -> str:
    """Whichever is ahead by an interval that leaves out 0 and does not lie within ``NO_LEAD`` of it; or ``open``."""
    if difference.low is None or difference.high is None or max(-difference.low, difference.high) < NO_LEAD:
        return "open"
    return "std" if difference.low > 0 else "no_std" if difference.high < 0 else "open"


def summarise(runs: Runs, threshold: float = 0.8, group: int = 8) -> dict[str, Any]:
    """Everything that the table and the figure show, ready for JSON.

    Args:
        runs: all runs.
        threshold: of the mean success probability, for the speed-up.
        group: G for which the expected share of groups without variance is told, ``mean of p^G + q^G``.
    """
    experiment = runs.experiment
    return {
        "threshold": threshold,
        "group": group,
        "compare_threshold": THRESHOLD,
        "parts": {part: _part(runs, part, threshold, group) for part in experiment.parts},
    }


def _part(runs: Runs, part: str, threshold: float, group: int) -> dict[str, Any]:
    experiment = runs.experiment
    labels = ("std", *experiment.pairings)
    curves = {label: _stack(runs.curves, experiment, part, label) for label in labels}
    start, t = curves["std"][:, 0], runs.curves[part, "std", 0].t
    return {
        "seeds": experiment.seeds,
        "t": t.tolist(),
        "p0": {"mean": float(start.mean()), "least": float(start.min()), "most": float(start.max())},
        "accuracy": {label: _series(J.mean(axis=2)) for label, J in curves.items()},
        "zero_variance": {
            label: _numbers((J**group + (1 - J) ** group).mean(axis=(0, 2))) for label, J in curves.items()
        },
        "completions": completions(runs, part),
        "times_theorem": _times_theorem(runs, part),
        "weighted_mean_std": student_interval(weighted_mean_std(curves["std"], t)).to_json(),
        "pairings": {label: _pairing(runs, part, label, threshold) for label in experiment.pairings},
    }


def completions(runs: Runs, part: str) -> dict[str, Any] | None:
    """How often sampled completions were right, beside J, and how many groups had no variance; None in exact mode.

    ``right`` and ``zero_variance`` are measured, ``answer_set`` is the mean of J over the runs, and ``drawn`` that of
    the prompts drawn, linear between two looks. J and both predictions are about the policy among the answers of the
    set. A model that says other things samples from another policy.
    ``differ``: the rate is beyond four standard deviations and a factor of 2 from the mean of J.
    """
    seeds = range(runs.experiment.seeds)
    keys = [(part, label, seed) for label in ("std", *runs.experiment.pairings) for seed in seeds]
    curves = [runs.curves[key] for key in keys]
    rewards = np.concatenate([curve.reward for curve in curves])
    if not len(rewards):
        return None
    right = float(rewards.mean())
    J = float(np.mean([_mean_over_time(curve.J.mean(axis=1)[None], curve.t)[0] for curve in curves]))
    drawn = len(rewards) * runs.experiment.group * runs.experiment.batch
    noise = np.sqrt(max(J * (1 - J), 0) / drawn)
    differ = bool(abs(right - J) > 4 * noise and not J / 2 <= right <= 2 * J)
    idle = float(np.concatenate([curve.zero_share for curve in curves]).mean())
    drawn_J = _number(np.mean([_drawn(runs, key) for key in keys]))
    return {"right": right, "answer_set": _number(J), "drawn": drawn_J, "differ": differ, "zero_variance": idle}


def _drawn(runs: Runs, key: Key) -> float:
    """Mean J of the prompts that the steps of a sampled run drew, each as it stood then."""
    curve, (_, label, seed) = runs.curves[key], key
    order = question_order(runs.experiment.settings(label, runs.etas[key], seed), curve.J.shape[1])
    steps = np.arange(len(order))
    J = np.stack([np.interp(steps, curve.t, each) for each in curve.J.T], axis=1)
    return float(np.take_along_axis(J, order, axis=1).mean())


def _times_theorem(runs: Runs, part: str) -> list[float] | None:
    """Each seed's step size of std over its theorem's; None for sampled rules, which no theorem covers."""
    if runs.experiment.mode == "sampled":
        return None
    return [2 * runs.experiment.eta * runs.x_max_sq[part, seed] for seed in range(runs.experiment.seeds)]


def _stack(curves: Mapping[Any, Curve], experiment: Experiment, part: str, label: str) -> Floats:
    """Success probabilities of all seeds, ``(seeds, S, n)``."""
    return np.stack([curves[part, label, seed].J for seed in range(experiment.seeds)])


def _pairing(runs: Runs, part: str, label: str, threshold: float) -> dict[str, Any]:
    """One comparison: measured, and predicted by the linearised model and by the flow."""
    experiment = runs.experiment
    seeds = range(experiment.seeds)
    ratio = np.array([runs.etas[part, label, seed] / runs.etas[part, "std", seed] for seed in seeds])
    start = _stack(runs.curves, experiment, part, "std")[:, 0]
    below = [row[row < threshold] for row in start]
    rules = experiment.expected_rule("std"), experiment.expected_rule("no_std")
    pairs = [(row, r) for row, r in zip(below, ratio, strict=True) if len(row)]
    flow = [np.log(flow_speed_up(row, threshold, r, *rules)).mean() for row, r in pairs]
    moves = [[runs.curves[part, one, seed].move.mean() for seed in seeds] for one in ("std", label)]
    # Runs none of whose groups had variance never moved.
    with np.errstate(divide="ignore", invalid="ignore"):
        move_ratio = np.mean(moves[0]) / np.mean(moves[1])
    measured, predicted = (
        _compared(each, experiment, part, label, threshold) for each in (runs.curves, runs.predicted)
    )
    return {
        "step_ratio": float(ratio.mean()),
        "move_ratio": _number(move_ratio),
        "measured": measured,
        "linearised": predicted,
        "flow_speed_up": float(np.exp(np.mean(flow))) if flow else None,
        "prediction_error": _error(runs, part, label),
    }


def _compared(
    curves: Mapping[Any, Curve], experiment: Experiment, part: str, label: str, threshold: float
) -> dict[str, Any]:
    std, other = (_stack(curves, experiment, part, one).mean(axis=2) for one in ("std", label))
    difference = std - other
    t = curves[part, "std", 0].t
    areas = _mean_over_time(difference, t)
    area = student_interval(areas)
    times = np.array(
        [
            [passage_times(curves[part, one, seed], threshold) for seed in range(experiment.seeds)]
            for one in ("std", label)
        ]
    )
    capped = np.minimum(times, experiment.steps)
    speed = student_interval(np.log(capped[1] / capped[0]), shown=np.exp) if (capped > 0).all() else Interval(None)
    return {
        "mean": {name: _number(_mean_over_time(each, t).mean()) for name, each in (("std", std), ("no_std", other))},
        "difference": _series(difference),
        "mean_difference": area.to_json(),
        "seed_differences": _numbers(areas),
        "end_difference": student_interval(difference[:, -1]).to_json(),
        "ahead": verdict(area),
        "speed_up": speed.to_json(),
        "arrived": dict(zip(("std", "no_std"), np.isfinite(times).sum(axis=1).tolist(), strict=True)),
    }


def _mean_over_time(values: Floats, t: npt.NDArray[np.int64]) -> Floats:
    """Trapezoidal mean over the run, ``(seeds,)``."""
    return np.asarray(np.trapezoid(values, t, axis=1) / (t[-1] - t[0]))


def _error(runs: Runs, part: str, label: str) -> float | None:
    """Largest distance of a predicted success probability from the model's, mean over seeds of both rules."""
    keys = [(part, one, seed) for one in ("std", label) for seed in range(runs.experiment.seeds)]
    return _number(np.mean([np.abs(runs.curves[key].J - runs.predicted[key].J).max() for key in keys]))


def _series(values: Floats) -> dict[str, list[float | None]]:
    """Mean over seeds at every look, with intervals, from ``(seeds, S)``."""
    each = [student_interval(look) for look in values.T]
    return {name: [getattr(one, name) for one in each] for name in ("value", "low", "high")}


def _numbers(values: Floats) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: Any) -> float | None:
    """A number for JSON, which has no NaN."""
    return float(value) if np.isfinite(value) else None
