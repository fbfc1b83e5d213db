"""Expectations over the prompt order estimated from sampled orders, with confidence intervals that may say `undecided`.

For prompts that interact and runs too long to follow every order. The replicas are split into batches, a claim's two
sides are computed on each, and Student's interval of their difference over the batches must lie on the right side. The
mean over the next draw is taken exactly, which removes the largest part of the noise of a one-step gain.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from scipy import stats

from simulator.interacting import LevelMeans, gains, node_states
from simulator.problems import Problem
from simulator.random import MANY_ORDERS_STREAM, generator
from simulator.reference import update_direction
from theory.claim import Claim
from theory.exact import spectral_norm_sq
from theory.interaction import Constants, States, consistent_constants
from theory.judge import failed_assumptions
from theory.policy import Array
from theory.rules import Rule

__all__ = ["SampledRun", "SampledVerdict", "sample_run", "sampled_check", "student_margin"]


def student_margin(samples: Array, confidence: float, ends: int) -> Array:
    """Distance from the mean over the first axis to an end of Student's interval, in the shape of an entry.

    Where ``ends`` ends are looked at, all of them cover together with at least this confidence (Bonferroni): two for an
    interval, one for a bound. Of a single sample the distance is infinite.

    Args:
        samples: independent, ``(R, ...)``.
        confidence: in (0, 1).
        ends: their number, above 0.
    """
    count = len(samples)
    if count < 2:
        return np.full(np.shape(samples)[1:], np.inf)
    quantile = stats.t.ppf(1 - (1 - confidence) / ends, count - 1)
    return np.asarray(quantile * np.std(samples, axis=0, ddof=1) / count**0.5)


class SampledRun(LevelMeans):
    """Means over sampled prompt orders; the same attributes as ``InteractingRun``.

    Attributes:
        features, answers, n, x_sq, x_max_sq: of the problem.
        rule: the update rule.
        constants: consistent on all replicas, or None.
        eta: step size.
        levels: states of the replicas at t = 0..T.
        drawn_gain: ``J_l(theta_t) - J_l(theta_{t-1})`` for every prompt that may be drawn, for t = 1..T:
            ``(replicas, n, n)`` each, as ``InteractingRun`` has it.
    """

    def __init__(
        self,
        problem: Problem,
        rule: Rule,
        constants: Constants | None,
        eta: float,
        levels: list[States],
        drawn_gain: list[Array],
    ) -> None:
        """Take what was sampled."""
        self.features, self.answers, self.n, self.rule = problem.features, problem.answers, problem.n, rule
        self.x_sq = np.array([float(spectral_norm_sq(x)) for x in problem.features])
        self.x_max_sq = float(self.x_sq.max())
        self.constants, self.eta, self.levels, self.drawn_gain = constants, eta, levels, drawn_gain

    @property
    def gain(self) -> Array:
        """``E J_i(theta_t) - E J_i(theta_{t-1})``, ``(T, n)``."""
        return np.array([change.mean(axis=(0, 1)) for change in self.drawn_gain])

    def batch(self, problem: Problem, rows: slice) -> SampledRun:
        """The replicas of some rows, with the constants and the step size of all."""
        levels = [level.map(lambda values: values[rows]) for level in self.levels]
        drawn = [change[rows] for change in self.drawn_gain]
        return SampledRun(problem, self.rule, self.constants, self.eta, levels, drawn)


def sample_run(problem: Problem, claim: Claim, steps: int, replicas: int, seed: int = 0) -> SampledRun:
    """Run the claim's rule with its step size on sampled prompt orders.

    Args:
        problem: the bandit.
        claim: of scope ``interacting``.
        steps: T.
        replicas: number of sampled orders.
        seed: names the orders.
    """
    rule, step_size = claim.rule, claim.step_size
    assert rule is not None
    assert step_size is not None
    orders = generator(seed, stream=MANY_ORDERS_STREAM).integers(0, problem.n, size=(steps, replicas))
    x_sq = np.array([float(spectral_norm_sq(x)) for x in problem.features])

    def run(constants: Constants) -> tuple[list[States], list[Array]]:
        return _run(problem, rule, step_size(constants), orders)

    constants = consistent_constants(lambda chosen: States.joined(run(chosen)[0]), x_sq, float(x_sq.max()))
    used = constants or Constants(float(x_sq.max()))
    return SampledRun(problem, rule, constants, step_size(used), *run(used))


def _run(problem: Problem, rule: Rule, eta: float, orders: Array) -> tuple[list[States], list[Array]]:
    """The states of all replicas at t = 0..T, and the gains of every next draw at t = 0..T - 1."""
    replicas, rows = orders.shape[1], np.arange(orders.shape[1])
    thetas = np.repeat(problem.theta0[None, :], replicas, axis=0)
    levels, drawn = [node_states(problem.features, problem.answers, thetas)], []
    for order in orders:
        moves = eta * update_direction(rule, levels[-1])
        children = thetas[:, None, :] + moves
        after = node_states(problem.features, problem.answers, children.reshape(-1, problem.d))
        change = gains(problem.features, problem.answers, levels[-1], moves, after)
        drawn.append(change.reshape(replicas, problem.n, problem.n))
        thetas = children[rows, order]
        picked = rows * problem.n + order
        levels.append(after.map(partial(np.take, indices=picked, axis=0)))
    return levels, drawn


@dataclass(frozen=True)
class SampledVerdict:
    """What sampled orders say about a claim.

    Attributes:
        outcome: ``holds`` if every interval lies on the side that the claim wants, ``vacuous`` if an assumption failed,
            else ``undecided``: samples alone never refute.
        replicas: sampled orders.
        confidence: of all intervals together (Bonferroni).
        worst_ratio: largest ratio of the two sides' means.
        closest: the interval's end nearest to violation, relative to the right side, over all entries; below 0 where
            the claim holds.
        exceeds: whether some interval lies wholly on the wrong side. That is a refutation with the stated confidence
            and not an exact one, so it makes no verdict.
    """

    outcome: Literal["holds", "vacuous", "undecided"]
    replicas: int
    confidence: float
    worst_ratio: float
    closest: float
    exceeds: bool = False


def sampled_check(
    claim: Claim,
    problem: Problem,
    steps: int,
    replicas: int = 200,
    batches: int = 10,
    confidence: float = 0.99,
    seed: int = 0,
) -> SampledVerdict:
    """Hold the claim against means over sampled prompt orders.

    Args:
        claim: of scope ``interacting``, with the relation <= or >= in every link.
        problem: the bandit.
        steps: T.
        replicas: sampled orders, a multiple of ``batches``.
        batches: number of batches whose spread gives the intervals, at least 2.
        confidence: that all intervals cover, together.
        seed: of the orders.
    """
    run = sample_run(problem, claim, steps, replicas, seed)
    if failed_assumptions(claim, run):
        return SampledVerdict("vacuous", replicas, confidence, float("nan"), float("nan"))
    size = replicas // batches
    parts = [run.batch(problem, slice(b * size, (b + 1) * size)) for b in range(batches)]
    sides = [_sides(link, run) for link in claim.links]
    scale = np.concatenate([np.maximum(np.abs(small), np.abs(large)) for small, large in sides])
    if not len(scale):
        return SampledVerdict("vacuous", replicas, confidence, float("nan"), float("nan"))
    excess = np.array([_excess(claim, part) for part in parts])
    if excess.shape[1] == len(scale):
        mean, width = excess.mean(axis=0), student_margin(excess, confidence, len(scale))
    else:
        # Its sides are those of single states, not means: there is nothing to estimate.
        mean, width = _excess(claim, run), np.zeros(len(scale))
    ends = mean + width
    with np.errstate(all="ignore"):
        ratios, closest = np.concatenate([small / large for small, large in sides]), float(np.nanmax(ends / scale))
    outcome: Literal["holds", "undecided"] = "holds" if (ends <= 1e-12 * scale).all() else "undecided"
    exceeds = bool((mean - width > 1e-12 * scale).any())
    return SampledVerdict(outcome, replicas, confidence, float(np.nanmax(ratios)), closest, exceeds)


def _sides(link: Any, run: SampledRun) -> tuple[Array, Array]:
    """The side that must be small and the side that must be large, flattened."""
    left, right = np.ravel(link.left(run)), np.ravel(link.right(run))
    return (left, right) if link.relation == "<=" else (right, left)


def _excess(claim: Claim, run: SampledRun) -> Array:
    """By how much the small side exceeds the large one, all links."""
    return np.concatenate([small - large for small, large in (_sides(link, run) for link in claim.links)])
