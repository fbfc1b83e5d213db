"""Holding a claim against data: one comparison for floats and balls, and the exact recheck of what floats suggest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flint
import numpy as np
import numpy.typing as npt

from theory.claim import Claim, Link
from theory.exact import as_balls, as_floats, is_exact, precision
from theory.instances import Instance

__all__ = ["EXACT_BITS", "Build", "Comparison", "Counterexample", "compare", "failed_assumptions", "recheck"]

# Floats may suggest a violation; only balls decide. The margin keeps rounding from causing a recheck at every step.
FLOAT_MARGIN = 1e-9
EXACT_BITS = 512
# A bound that is attained leaves two balls that overlap at any precision; narrower than this, relatively, settles it.
ATTAINED = 1e-100

Build = Callable[[Claim, Instance], Any]


@dataclass(frozen=True)
class Comparison:
    """Both sides of a claim on one context, flattened, link after link.

    Attributes:
        link: which link of the claim an entry belongs to.
        left: left-hand sides as floats.
        right: right-hand sides as floats.
        violated: where the claim fails; for balls only where that is certain.
        ratio: left / right for ``<=`` and right / left for ``>=`` where both sides are positive, else NaN. At most 1
            where the claim holds; 1 where it is tight.
        error: for ``==``, ``|left - right|`` (for balls, the most it can be) relative to the larger side, else NaN.
        links: how many links the claim has.
    """

    link: npt.NDArray[np.int64]
    left: npt.NDArray[np.float64]
    right: npt.NDArray[np.float64]
    violated: npt.NDArray[np.bool_]
    ratio: npt.NDArray[np.float64]
    error: npt.NDArray[np.float64]
    links: int = 1

    @property
    def worst(self) -> float:
        """Largest ratio, NaN if there is none."""
        return float(np.nanmax(self.ratio)) if np.isfinite(self.ratio).any() else float("nan")

    def worst_of(self, link: int) -> float:
        """Largest ratio of one link among the entries that are not suspected of a violation, NaN if there is none.

        At most 1: what exceeds it without being a suspect is rounding.
        """
        ratios = self.ratio[(self.link == link) & ~self.violated]
        return min(float(np.nanmax(ratios)), 1.0) if np.isfinite(ratios).any() else float("nan")


def compare(claim: Claim, context: Any) -> Comparison:
    """Evaluate both sides of every link of the claim on a context of its scope."""
    parts = [_compare(link, *_sides(link, context)) for link in claim.links]
    index = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    left, right, violated, ratio, error = (np.concatenate([part[c] for part in parts]) for c in range(5))
    return Comparison(index, left, right, violated, ratio, error, len(parts))


def _sides(link: Link, context: Any) -> tuple[Any, Any]:
    left, right = np.ravel(link.left(context)), np.ravel(link.right(context))
    if is_exact(left) or is_exact(right):
        return _balls(left), _balls(right)
    return left, right


def _balls(side: Any) -> Any:
    return side if is_exact(side) else as_balls(side)


def _compare(link: Link, left: Any, right: Any) -> tuple[Any, ...]:
    exact = is_exact(left)
    lf, rf = as_floats(left), as_floats(right)
    # A bound of 0 for a value of 0 is an equality of empty content, not a tight instance.
    small, large = (lf, rf) if link.relation == "<=" else (rf, lf)
    ordered = link.relation in ("<=", ">=")
    usable = (small > 0) & (large > 0) & np.isfinite(small) & np.isfinite(large) & ordered
    ratio = np.divide(small, large, out=np.full(len(lf), np.nan), where=usable)
    size = np.maximum(np.abs(lf), np.abs(rf))
    error = np.full(len(lf), np.nan)
    if link.relation == "==":
        distance = _distance(left, right) if exact else np.abs(lf - rf)
        error = np.divide(distance, size, out=np.array(distance), where=size > 0)
    violated = _violated_balls(link, left, right) if exact else _violated_floats(link, lf, rf, size)
    return lf, rf, violated, ratio, error


def _distance(left: Any, right: Any) -> Any:
    """The most that the two sides can differ by; 0 where both are narrow enclosures of 0 (terms that cancel)."""

    def most(a: Any, b: Any) -> float:
        widest = max(abs(a).upper(), abs(b).upper()) if a.is_finite() and b.is_finite() else flint.arb("inf")
        if a.contains(0) and b.contains(0) and widest < 1e-100:
            return 0.0
        return float(abs(a - b).upper())

    return np.array([most(a, b) for a, b in zip(left, right, strict=True)])


def _violated_floats(link: Link, left: Any, right: Any, size: Any) -> npt.NDArray[np.bool_]:
    margin = FLOAT_MARGIN * size
    result = {
        "<=": left - right > margin,
        ">=": right - left > margin,
        "==": np.abs(left - right) > margin,
        "iff": (left > margin) != (right > margin),
    }[link.relation]
    return np.asarray(result, dtype=bool)


def _violated_balls(link: Link, left: Any, right: Any) -> npt.NDArray[np.bool_]:
    test: dict[str, Callable[[Any, Any], bool]] = {
        "<=": lambda a, b: bool(a > b),
        ">=": lambda a, b: bool(a < b),
        "==": lambda a, b: bool(a != b),
        "iff": lambda a, b: bool((a > 0 and b < 0) or (a < 0 and b > 0)),
    }
    certain = test[link.relation]
    return np.array([certain(a, b) for a, b in zip(left, right, strict=True)], dtype=bool)


def failed_assumptions(claim: Claim, context: Any) -> tuple[str, ...]:
    """Ids of the claim's assumptions that are not known to hold on the context."""
    return tuple(a.id for a in claim.assumptions if not a.measure(context).holds)


@dataclass(frozen=True)
class Counterexample:
    """An instance on which the claim certainly fails, all its assumptions holding; sides as rigorous decimals.

    ``link`` names the link that fails if the claim is a chain, ``index`` the entry of its flattened sides. ``number``
    counts the links, and ``ratio`` is the largest of those that certainly exceed 1, NaN if there is none.
    """

    claim: str
    instance: Instance
    index: int
    left: str
    right: str
    bits: int
    link: str = ""
    number: int = 0
    ratio: float = float("nan")

    def to_json(self) -> dict[str, Any]:
        """Plain data, the instance as exact rationals."""
        return {
            "format": 1,
            "claim": self.claim,
            "instance": self.instance.to_json(),
            "index": self.index,
            "left": self.left,
            "right": self.right,
            "bits": self.bits,
            "link": self.link,
        }


def recheck(claim: Claim, build: Build, instance: Instance, bits: int = EXACT_BITS) -> Counterexample | bool:
    """Decide in ball arithmetic whether the instance violates the claim.

    The floats of the instance are taken as the rationals they are, every assumption must hold exactly, and the two
    sides are enclosed with ``bits`` of working precision.

    Returns:
        The counterexample if the claim certainly fails; True if it certainly holds here (or is vacuous); False if the
        enclosures are too wide to tell.
    """
    with precision(bits):
        context = build(claim, instance.exact())
        holds = [assumption.measure(context).holds for assumption in claim.assumptions]
        if not all(holds):
            return False in holds
        answers = [_settle(link, *map(_balls, _sides(link, context))) for link in claim.links]
        found = [(number, *answer) for number, answer in enumerate(answers) if not isinstance(answer, bool)]
        if not found:
            return all(answers)
        number, index, left, right, ratio = found[0]
        return Counterexample(claim.id, instance, index, left, right, bits, claim.links[number].name, number, ratio)


def _settle(link: Link, left: Any, right: Any) -> tuple[int, str, str, float] | bool:
    """The worst entry that certainly violates the link, its sides, the largest ratio; else whether the link holds."""
    found = np.flatnonzero(_violated_balls(link, left, right))
    if not len(found):
        return _certainly_holds(link, left, right)
    gaps = [abs(float(left[i]) - float(right[i])) for i in found]
    worst = int(found[int(np.argmax(gaps))])
    ratio = _compare(link, left[found], right[found])[3]
    largest = float(np.nanmax(ratio)) if np.isfinite(ratio).any() else float("nan")
    return worst, left[worst].str(15, radius=True), right[worst].str(15, radius=True), largest


def _certainly_holds(link: Link, left: Any, right: Any) -> bool:
    if link.relation == "==":
        # Two balls cannot certify an equality of reals; that they overlap at this precision is all there is.
        return all(a.overlaps(b) for a, b in zip(left, right, strict=True))
    test: dict[str, Callable[[Any, Any], bool]] = {
        "<=": lambda a, b: bool(a <= b),
        ">=": lambda a, b: bool(a >= b),
        "iff": lambda a, b: bool((a > 0 and b > 0) or (a <= 0 and b <= 0)),
    }
    certain = test[link.relation]
    ordered = link.relation != "iff"
    return all(certain(a, b) or (ordered and _attained(a, b)) for a, b in zip(left, right, strict=True))


def _attained(a: Any, b: Any) -> bool:
    """Whether two overlapping balls are so narrow that the bound is attained, as far as anyone could tell."""
    return bool(a.overlaps(b) and abs(a - b).upper() <= ATTAINED * max(abs(a).upper(), abs(b).upper()))
