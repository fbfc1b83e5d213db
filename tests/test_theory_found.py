"""What searches keep of what they saw: a sample of both sides that is bounded, spread out and deterministic."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.checks import trajectory_check
from theory.claims import load_registry
from theory.found import SAMPLE, Sides
from theory.judge import Comparison


def _comparison(values: list[float], links: int = 1) -> Comparison:
    left = np.array(values)
    nan, ratio = np.full(len(left), np.nan), np.full(len(left), 0.5)
    link = np.arange(len(left)) % links
    return Comparison(link, left, 2 * left, np.zeros(len(left), dtype=bool), ratio, nan, links)


def _seen(count: int, links: int = 1) -> Sides:
    sides = Sides()
    for number in range(1, count + 1):
        sides.see(_comparison([float(number)] * links, links))
    return sides


@pytest.mark.parametrize("count", [1, SAMPLE, SAMPLE + 1, 1000, 5000])
def test_the_sample_is_bounded_and_reaches_from_the_first_to_the_last(count: int) -> None:
    pairs = _seen(count).pairs
    assert min(count, SAMPLE // 2) <= len(pairs) <= SAMPLE
    values = sorted(left for _, left, _ in pairs)
    assert values[0] == 1
    assert values[-1] > count * 0.9
    assert max(np.diff(values), default=0) <= 2 * count / len(values) + 1
    assert pairs == _seen(count).pairs


def test_links_share_the_room() -> None:
    pairs = _seen(500, links=4).pairs
    counts = [sum(pair[0] == link for pair in pairs) for link in range(4)]
    assert sum(counts) <= SAMPLE
    assert min(counts) >= SAMPLE // 8


def test_a_long_run_enters_with_few_entries() -> None:
    sides = Sides()
    sides.see(_comparison([float(k) for k in range(1, 1001)]))
    assert 2 <= len(sides.pairs) <= 3


def test_what_cannot_be_drawn_is_left_out() -> None:
    sides = Sides()
    comparison = _comparison([1e-310, 1e301, 3.0])
    sides.see(comparison)
    assert sides.to_json() == [[0, 3.0, 6.0]]


def test_claims_that_share_contexts_are_checked_as_if_alone() -> None:
    """Shared contexts hold what an earlier claim has computed; that must not change what a later one finds."""
    claim = load_registry()["P-T31-MIN"]
    trajectory_check(load_registry()["P-T31-SUM"], 9)
    shared = trajectory_check(claim, 9)
    from simulator import checks

    checks._CONTEXTS.clear()
    alone = trajectory_check(claim, 9)
    assert (shared.worst_ratio, shared.sides.pairs) == (alone.worst_ratio, alone.sides.pairs)
    assert shared.worst_sides == alone.worst_sides is not None
