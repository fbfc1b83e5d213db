"""What a search or a check of runs has seen: counts, worst ratios, and a sample of both sides for a plot."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from theory.claim import Claim
from theory.exact import precision
from theory.instances import Instance
from theory.judge import EXACT_BITS, Build, Comparison, Counterexample, compare

__all__ = ["KEPT", "SAMPLE", "SearchResult", "Sides"]

# How many of the best instances are kept, to climb from.
KEPT = 3
# The last of them is the best with at most so many features.
SMALL = 4
# Pairs of sides that a search keeps for a plot; a claim has two searches, and a page some hundred claims.
SAMPLE = 72
# Entries of one instance that enter the sample, evenly spaced: a long run must not crowd out the others.
_PER_INSTANCE = 3


@dataclass
class Sides:
    """A bounded sample of both sides of a claim, spread evenly over all that was seen; no randomness.

    Every ``stride``-th pair is kept. When there is no more room, every second one is dropped and the stride doubles.

    Attributes:
        pairs: ``(link, left, right)``.
        stride: of the pairs of a link that are seen, one in so many is kept.
    """

    pairs: list[tuple[int, float, float]] = field(default_factory=list)
    stride: dict[int, int] = field(default_factory=dict)
    _seen: dict[int, int] = field(default_factory=dict)

    def see(self, comparison: Comparison) -> None:
        """Sample the entries of a comparison that have a ratio; each link has an equal share of room."""
        larger, smaller = np.fmax(comparison.left, comparison.right), np.fmin(comparison.left, comparison.right)
        drawable = np.isfinite(comparison.ratio) & (larger < 1e300) & (smaller > 1e-300)
        for link in range(comparison.links):
            usable = np.flatnonzero((comparison.link == link) & drawable)
            if not len(usable):
                continue
            worst = usable[int(np.argmax(comparison.ratio[usable]))]
            spread = usable[np.linspace(0, len(usable) - 1, _PER_INSTANCE - 1).astype(int)]
            for index in np.unique([worst, *spread]):
                self._add(
                    link, float(comparison.left[index]), float(comparison.right[index]), SAMPLE // comparison.links
                )

    def _add(self, link: int, left: float, right: float, room: int) -> None:
        seen, stride = self._seen.get(link, 0), self.stride.get(link, 1)
        self._seen[link] = seen + 1
        if seen % stride:
            return
        self.pairs.append((link, left, right))
        own = [pair for pair in self.pairs if pair[0] == link]
        if len(own) > max(room, 2):
            self.pairs = [pair for pair in self.pairs if pair[0] != link] + own[::2]
            self.stride[link] = 2 * stride

    def add(self, other: Sides) -> None:
        """Take over another sample, as far as there is room."""
        self.pairs = [*self.pairs, *other.pairs][-SAMPLE:]

    def to_json(self) -> list[list[float]]:
        """``[link, left, right]`` with four digits, which is more than a plot shows."""
        return [[link, float(f"{left:.4g}"), float(f"{right:.4g}")] for link, left, right in self.pairs]


@dataclass
class SearchResult:
    """What a search saw.

    Attributes:
        instances: instances drawn.
        vacuous: of these, instances on which an assumption failed, or that have nothing to compare (one prompt alone).
        worst_ratio: largest left/right ratio on a non-vacuous instance, NaN if none.
        worst_error: largest relative error of an equality, NaN if none.
        largest: largest absolute value of a side.
        worst: the instance with the largest ratio.
        link_ratios: largest ratio of each link of a chain, by its number.
        best: the instances with the largest ratios, by link.
        dismissed: instances that floats call violations and balls show to be none (rounding).
        undecided: instances that floats call violations and balls can neither confirm nor dismiss.
        counterexample: confirmed exactly, or None.
        sides: a sample of both sides, of the entries that have a ratio.
        worst_sides: link, left and right side at the worst instance; see :meth:`locate`.
    """

    instances: int = 0
    vacuous: int = 0
    worst_ratio: float = float("nan")
    worst_error: float = float("nan")
    largest: float = 0.0
    worst: Instance | None = None
    dismissed: int = 0
    undecided: int = 0
    counterexample: Counterexample | None = None
    link_ratios: dict[int, float] = field(default_factory=dict)
    best: dict[int, list[tuple[float, Instance]]] = field(default_factory=dict)
    sides: Sides = field(default_factory=Sides)
    worst_sides: tuple[int, float, float] | None = None

    def see(self, instance: Instance, comparison: Comparison) -> None:
        """Take note of a non-vacuous instance."""
        if np.isfinite(comparison.error).any():
            self.worst_error = float(np.fmax(self.worst_error, np.nanmax(comparison.error)))
        sizes = np.abs(np.concatenate([comparison.left, comparison.right]))
        self.largest = max(self.largest, float(np.max(sizes[np.isfinite(sizes)], initial=0.0)))
        for link in np.unique(comparison.link):
            # A suspected violation counts only once it is confirmed; until then its ratio may be mere rounding.
            ratio = comparison.worst_of(int(link))
            if np.isfinite(ratio):
                self.note(int(link), ratio, instance)
        self.sides.see(comparison)

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
            if np.isfinite(answer.ratio):
                self.link_ratios[answer.number] = max(answer.ratio, self.link_ratios.get(answer.number, 0.0))
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
        self.largest = max(self.largest, other.largest)
        if not other.worst_ratio <= self.worst_ratio and np.isfinite(other.worst_ratio):
            self.worst_ratio, self.worst = other.worst_ratio, other.worst
        for link, ratio in other.link_ratios.items():
            self.link_ratios[link] = max(ratio, self.link_ratios.get(link, ratio))
        for link, pairs in other.best.items():
            both = [*self.best.get(link, []), *pairs]
            self.best[link] = sorted(both, key=lambda pair: -pair[0])[:KEPT]
        self.counterexample = self.counterexample or other.counterexample
        self.sides.add(other.sides)

    def locate(self, claim: Claim, build: Build) -> None:
        """Evaluate both sides at the worst instance, where its largest ratio is."""
        if self.worst is None:
            return
        exact = claim.needs_balls
        with np.errstate(all="ignore"), precision(EXACT_BITS if exact else 53):
            comparison = compare(claim, build(claim, self.worst.exact() if exact else self.worst))
        ratio = np.where(np.isfinite(comparison.ratio) & ~comparison.violated, comparison.ratio, -1.0)
        index = int(np.argmax(ratio))
        if ratio[index] < 0:
            return
        self.worst_sides = int(comparison.link[index]), float(comparison.left[index]), float(comparison.right[index])
