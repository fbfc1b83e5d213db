"""Searching for the worst instance of a claim: hypothesis draws and shrinks, scipy climbs from the best draws.

``property_check`` draws instances with hypothesis, steers them towards a large left/right ratio (``target``), and lets
hypothesis shrink whatever violates the claim. ``climb`` maximises the ratio over features, theta and direction. Both
hand anything that floats call a violation to the exact recheck, and report nothing else as one.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize

from theory.assumptions import INTERACTION
from theory.claim import Claim
from theory.exact import precision
from theory.instances import Instance
from theory.judge import EXACT_BITS, Build, Comparison, Counterexample, compare, failed_assumptions, recheck

if TYPE_CHECKING:
    from theory.strategies import Limits

__all__ = ["SearchResult", "climb", "limits_for", "property_check", "search"]


# How many of the best instances are kept, to climb from.
KEPT = 3
# The last of them is the best with at most so many features.
SMALL = 4


@dataclass
class SearchResult:
    """What a search saw.

    Attributes:
        instances: instances drawn.
        vacuous: of these, instances on which an assumption failed, or that have nothing to compare (one prompt alone).
        worst_ratio: largest left/right ratio on a non-vacuous instance, NaN if none.
        worst_error: largest relative error of an equality, NaN if none.
        worst: the instance with the largest ratio.
        link_ratios: largest ratio of each link of a chain, by its number.
        best: the instances with the largest ratios, by link.
        dismissed: instances that floats call violations and balls show to be none (rounding).
        undecided: instances that floats call violations and balls can neither confirm nor dismiss.
        counterexample: confirmed exactly, or None.
    """

    instances: int = 0
    vacuous: int = 0
    worst_ratio: float = float("nan")
    worst_error: float = float("nan")
    worst: Instance | None = None
    dismissed: int = 0
    undecided: int = 0
    counterexample: Counterexample | None = None
    link_ratios: dict[int, float] = field(default_factory=dict)
    best: dict[int, list[tuple[float, Instance]]] = field(default_factory=dict)

    def see(self, instance: Instance, comparison: Comparison) -> None:
        """Take note of a non-vacuous instance."""
        if np.isfinite(comparison.error).any():
            self.worst_error = float(np.fmax(self.worst_error, np.nanmax(comparison.error)))
        for link in np.unique(comparison.link):
            # A suspected violation counts only once it is confirmed; until then its ratio may be mere rounding.
            ratio = comparison.worst_of(int(link))
            if np.isfinite(ratio):
                self.note(int(link), ratio, instance)

    def note(self, link: int, ratio: float, instance: Instance) -> None:
        """Take note of a ratio that an instance attains in one link."""
        if not ratio <= self.worst_ratio:
            self.worst_ratio, self.worst = ratio, instance
        self.link_ratios[link] = max(ratio, self.link_ratios.get(link, ratio))
        found = sorted([*self.best.get(link, []), (ratio, instance)], key=lambda pair: -pair[0])
        # Extremal instances are mostly small, and a climb in few dimensions gets further.
        small = [pair for pair in found[KEPT - 1 :] if pair[1].features.size <= SMALL]
        self.best[link] = [*found[: KEPT - 1], *(small or found[KEPT - 1 :])[:1]]

    def settle(self, answer: Counterexample | bool, ratio: float) -> bool:
        """Take note of an exact recheck of an instance with this ratio; true if it confirmed a violation."""
        if isinstance(answer, Counterexample):
            self.counterexample = answer
            self.worst_ratio = float(np.fmax(self.worst_ratio, ratio))
            return True
        self.dismissed += answer
        self.undecided += not answer
        return False

    def add(self, other: SearchResult) -> None:
        """Take over what another search saw."""
        self.instances += other.instances
        self.vacuous += other.vacuous
        self.dismissed += other.dismissed
        self.undecided += other.undecided
        self.worst_error = float(np.fmax(self.worst_error, other.worst_error))
        if not other.worst_ratio <= self.worst_ratio and np.isfinite(other.worst_ratio):
            self.worst_ratio, self.worst = other.worst_ratio, other.worst
        for link, ratio in other.link_ratios.items():
            self.link_ratios[link] = max(ratio, self.link_ratios.get(link, ratio))
        self.counterexample = self.counterexample or other.counterexample


# Exact rechecks of ever smaller counterexamples; enough to make one readable.
SHRINKS = 300


class _Violation(Exception):
    pass


def limits_for(claim: Claim) -> Limits:
    """How large the instances of a claim may be: long runs, and many prompts where all of them share a step."""
    from theory.strategies import Limits

    interacting = INTERACTION in claim.assumptions
    return {
        "point": Limits(),
        "ball": Limits(),
        "several": Limits(),
        "group": Limits(group=9),
        "step": Limits(interacting=interacting),
        "expectation": Limits(steps=160),
        "joint": Limits(steps=160, copies=8),
        "interacting": Limits(steps=160, orders=130, interacting=True) if interacting else Limits(steps=8, orders=40),
    }[claim.scope]


def property_check(
    claim: Claim, build: Build, examples: int, seed: int, *, shrink: bool = True, limits: Limits | None = None
) -> SearchResult:
    """Draw ``examples`` instances with hypothesis; on a confirmed violation, shrink it (if asked to) and stop."""
    import hypothesis as hyp
    from hypothesis.configuration import set_hypothesis_home_dir

    from theory.strategies import instances, own_draws

    result = SearchResult()
    best_steering = [-np.inf]
    confirmed: set[str] = set()

    @hyp.seed(seed)
    @hyp.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        phases=[phase for phase in hyp.Phase if shrink or phase is not hyp.Phase.shrink],
        suppress_health_check=list(hyp.HealthCheck),
        verbosity=hyp.Verbosity.quiet,
    )
    @hyp.given(instances(limits or limits_for(claim)))
    def check(instance: Instance) -> None:
        comparison = _examine(claim, build, instance, result)
        if comparison is None:
            return
        if np.isfinite(comparison.worst) and comparison.worst > best_steering[0]:
            best_steering[0] = comparison.worst
            hyp.target(comparison.worst, label="ratio")
        if not comparison.violated.any():
            return
        key = json.dumps(instance.to_json())
        if key not in confirmed:
            # Shrinking stops after a number of exact rechecks (not after a time, which would vary).
            if len(confirmed) >= SHRINKS or not result.settle(recheck(claim, build, instance), comparison.worst):
                return
            confirmed.add(key)
        raise _Violation

    with tempfile.TemporaryDirectory() as home, warnings.catch_warnings(), own_draws():
        warnings.simplefilter("ignore", hyp.errors.HypothesisWarning)
        set_hypothesis_home_dir(home)
        try:
            check()
        except _Violation:
            pass
        finally:
            set_hypothesis_home_dir(None)
    return result


def _examine(claim: Claim, build: Build, instance: Instance, result: SearchResult) -> Comparison | None:
    result.instances += 1
    # An equality is only worth checking beyond the rounding of floats. As for the rest, extreme features overflow or
    # divide 0 by 0 in floats; such sides are not finite and count for nothing.
    exact = claim.needs_balls
    with np.errstate(all="ignore"), precision(EXACT_BITS if exact else 53):
        context = build(claim, instance.exact() if exact else instance)
        if failed_assumptions(claim, context):
            result.vacuous += 1
            return None
        comparison = compare(claim, context)
    if not len(comparison.left):
        result.vacuous += 1
        return None
    result.see(instance, comparison)
    return comparison


def climb(claim: Claim, build: Build, start: Instance, evaluations: int, link: int = 0) -> tuple[float, Instance, int]:
    """Maximise the ratio of one link from ``start`` over features (their zeros kept), theta and direction.

    By Nelder-Mead. Zero features stay zero, which keeps orthogonal prompts orthogonal.

    Returns:
        The largest ratio, its instance, and the number of evaluations made.
    """
    free = start.features != 0
    sizes = np.cumsum([int(free.sum()), start.theta.size, start.direction.size])

    def at(x: np.ndarray) -> Instance:
        features = start.features.copy()
        features[free] = x[: sizes[0]]
        return replace(
            start,
            features=features,
            theta=x[sizes[0] : sizes[1]],
            direction=x[sizes[1] : sizes[2]],
            displacement=x[sizes[2] :],
        )

    def loss(x: np.ndarray) -> float:
        with np.errstate(all="ignore"):
            context = build(claim, at(x))
            if failed_assumptions(claim, context):
                return 0.0
            comparison = compare(claim, context)
        ratios = comparison.ratio[comparison.link == link]
        return -float(np.nanmax(ratios)) if np.isfinite(ratios).any() else 0.0

    x = np.concatenate([start.features[free], start.theta, start.direction, start.displacement])
    best, made = np.inf, 0
    # A simplex that has collapsed is spread out anew, as long as that helps.
    while made < evaluations:
        result = minimize(loss, x, method="Nelder-Mead", options={"maxfev": evaluations - made, "adaptive": True})
        made += int(result.nfev)
        gained, best, x = best - result.fun, float(result.fun), result.x
        if gained < 1e-3 * abs(best):
            break
    return -best, at(x), made


def search(
    claim: Claim,
    build: Build,
    *,
    examples: int,
    evaluations: int,
    seed: int,
    shrink: bool = True,
    limits: Limits | None = None,
    progress: Callable[[str], Any] = lambda message: None,
) -> SearchResult:
    """Property check, then climb from the best draws of each link; anything found is rechecked exactly.

    Args:
        claim: any claim.
        build: from a claim and an instance to the context of its scope.
        examples: random instances.
        evaluations: evaluations per climb.
        seed: of the draws.
        shrink: whether to make a counterexample readable; False stops at the first confirmed one.
        limits: of the instances, those of the claim's scope if left out.
        progress: called with one line at each stage.
    """
    progress(f"{claim.id}: {examples} random instances")
    result = property_check(claim, build, examples, seed, shrink=shrink, limits=limits)
    if result.counterexample is not None:
        return result
    starts = [(link, start) for link, pairs in result.best.items() for _, start in pairs]
    # A chain has one budget, as a claim with a single link has.
    share = max(evaluations * KEPT // max(len(starts), 1), 20)
    for link, start in starts:
        progress(f"{claim.id}: climbing from {result.link_ratios[link]:.3g}")
        ratio, instance, made = climb(claim, build, start, min(share, evaluations), link)
        result.instances += made
        if ratio > 1:
            if result.settle(recheck(claim, build, instance), ratio):
                return result
        elif ratio > result.link_ratios[link]:
            result.note(link, ratio, instance)
    return result
