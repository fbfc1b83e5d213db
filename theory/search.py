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
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize

from theory.assumptions import INTERACTION
from theory.claim import Claim
from theory.exact import precision
from theory.found import KEPT, SearchResult
from theory.instances import Instance
from theory.judge import EXACT_BITS, Build, Comparison, compare, failed_assumptions, recheck

if TYPE_CHECKING:
    from theory.strategies import Limits

__all__ = ["SearchResult", "climb", "limits_for", "property_check", "search"]


# Exact rechecks of ever smaller counterexamples; enough to make one readable.
SHRINKS = 300


class _Violation(Exception):
    pass


def limits_for(claim: Claim) -> Limits:
    """How large the instances of a claim may be: long runs, and many prompts where all of them share a step."""
    from theory.strategies import Limits

    interacting = INTERACTION in claim.assumptions
    return {
        "point": Limits(displacement=False),
        "ball": Limits(),
        "several": Limits(),
        "group": Limits(group=9),
        "step": Limits(interacting=interacting, constants=interacting),
        "expectation": Limits(steps=120, direction=False, displacement=False),
        "joint": Limits(steps=120, copies=8, direction=False, displacement=False),
        "interacting": Limits(
            steps=160 if interacting else 8,
            orders=130 if interacting else 40,
            interacting=interacting,
            constants=interacting,
            direction=False,
            displacement=False,
        ),
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

    By Nelder-Mead. Zero features stay zero, which keeps orthogonal prompts orthogonal; what the claim does not look at
    stays as it is.

    Returns:
        The largest ratio, its instance, and the number of evaluations made.
    """
    limits, free = limits_for(claim), start.features != 0
    named = {"theta": True, "direction": limits.direction, "displacement": limits.displacement}
    vectors = [name for name, moves in named.items() if moves]
    first = int(free.sum())

    def at(x: np.ndarray) -> Instance:
        features = start.features.copy()
        features[free] = x[:first]
        moved: dict[str, Any] = dict(zip(vectors, x[first:].reshape(len(vectors), -1), strict=True))
        return replace(start, features=features, **moved)

    def loss(x: np.ndarray) -> float:
        with np.errstate(all="ignore"):
            context = build(claim, at(x))
            if failed_assumptions(claim, context):
                return 0.0
            comparison = compare(claim, context)
        ratios = comparison.ratio[comparison.link == link]
        return -float(np.nanmax(ratios)) if np.isfinite(ratios).any() else 0.0

    x = np.concatenate([start.features[free], *(getattr(start, name) for name in vectors)])
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
    if result.counterexample is None:
        _climb_all(claim, build, evaluations, result, progress)
    result.locate(claim, build)
    return result


def _climb_all(
    claim: Claim, build: Build, evaluations: int, result: SearchResult, progress: Callable[[str], Any]
) -> None:
    starts = [(link, start) for link, pairs in result.best.items() for _, start in pairs]
    # A chain has one budget, as a claim with a single link has.
    share = max(evaluations * KEPT // max(len(starts), 1), 20)
    for link, start in starts:
        progress(f"{claim.id}: climbing from {result.link_ratios[link]:.3g}")
        ratio, instance, made = climb(claim, build, start, min(share, evaluations), link)
        result.instances += made
        if ratio > 1:
            if result.settle(recheck(claim, build, instance), ratio):
                return
        elif ratio > result.link_ratios[link]:
            result.note(link, ratio, instance)
