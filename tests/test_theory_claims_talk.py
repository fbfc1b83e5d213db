"""The talk's claims: gradients orthogonal at every theta do not decouple prompts, and how far the repairs reach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import combinations_with_replacement, product
from typing import Any

import numpy as np
import pytest

from simulator.checks import build_context
from theory.claims import load_registry
from theory.claims._setting import symmetric_pair
from theory.exact import precision
from theory.judge import EXACT_BITS, Counterexample, compare, recheck
from theory.known import kept_instance

REGISTRY = load_registry()
Vector = tuple[Fraction, ...]


def _dot(first: Vector, second: Vector) -> Fraction:
    return sum((a * b for a, b in zip(first, second, strict=True)), Fraction(0))


def _plus(first: Vector, second: Vector) -> Vector:
    return tuple(a + b for a, b in zip(first, second, strict=True))


def _coefficients(one: Sequence[Vector], other: Sequence[Vector]) -> dict[Vector, Fraction]:
    """Of each exponential ``e^{s . theta}`` in ``grad J_i . grad J_j``; features less that of the right output."""
    found: Counter[Any] = Counter()
    for y, z in product(one, other):
        found[_plus(y, z)] += _dot(y, z)
    return dict(found)


def _margins(features: Any) -> list[Vector]:
    exact = [tuple(Fraction(float(value)) for value in row) for row in features]
    return [_plus(row, tuple(-value for value in exact[0])) for row in exact[1:]]


def test_the_kept_gradients_are_orthogonal_at_every_theta() -> None:
    """Exactly, by the coefficients; two prompts that are orthogonal at theta = 0 only are no such case."""
    instance = kept_instance("S-ORTHO")
    assert instance is not None
    assert not instance.answers.any()
    one, other = (_margins(rows) for rows in instance.features)
    assert set(_coefficients(one, other).values()) == {Fraction(0)}
    assert any(_dot(y, z) for y, z in product(one, other))
    here = _margins([[1, 0], [0, 0], [0, 0]]), _margins([[0, 1], [1, 0], [-1, 0]])
    assert sum(_coefficients(*here).values()) == 0
    assert any(_coefficients(*here).values())


@pytest.mark.parametrize("outputs", [4, 5, 6, 9])
def test_from_four_outputs_on_orthogonality_everywhere_does_not_decouple(outputs: int) -> None:
    """At theta = 0 a step of i is a multiple of sum y; it moves margins of j whose mean stays, so that J_j changes."""
    many = outputs - 2
    r = Fraction(many**2)
    a, b = (1 / (r - 1), Fraction(1)), (-r / (r - 1), r / (r - 1) ** 2)
    e = (Fraction(1), Fraction(0))
    one, other = [a] * many + [_plus(a, e)], [b] + [_plus(b, e)] * many
    assert set(_coefficients(one, other).values()) == {Fraction(0)}
    step: Vector = (Fraction(0), Fraction(0))
    for y in one:
        step = _plus(step, y)
    moved = [_dot(z, step) for z in other]
    assert sum(moved) == 0
    assert any(moved)


def test_with_three_outputs_it_does() -> None:
    """All pairs of prompts with small integer features."""
    vectors = [tuple(map(Fraction, pair)) for pair in product((-1, 0, 1, 2), repeat=2)]
    pairs = list(combinations_with_replacement(vectors, 2))
    orthogonal = 0
    for one, other in product(pairs, repeat=2):
        if not any(_coefficients(one, other).values()):
            orthogonal += 1
            assert not any(_dot(y, z) for y, z in product(one, other))
    assert orthogonal > 100


def test_the_one_step_bound_holds_at_the_printed_index_with_little_room() -> None:
    """p = 0.835, features 1 and -1, one prompt: 3/8 holds with C(t), 0.39 does not; C(t-1) has more room."""
    claim = REGISTRY["S-GRPO-DESCENT-FIXED"]
    instance = replace(symmetric_pair(0.835), steps=1)
    with precision(EXACT_BITS):
        context = build_context(claim, instance.exact())
        assert 0.97 < compare(claim, context).worst < 0.98
        at_start = replace(claim, right=lambda run: 3 * run.grad_sq[:-1] / (8 * run.x_max_sq * run.std_bound[:-1]))
        assert compare(at_start, context).worst < 0.9
    more = replace(claim, right=lambda run: claim.right(run) * 104 / 100)
    assert isinstance(recheck(more, build_context, instance), Counterexample)


@pytest.mark.parametrize("rule", ["REINFORCE", "GRPO"])
@pytest.mark.parametrize("part", ["SUM", "MIN"])
def test_either_window_is_within_the_repaired_bound(rule: str, part: str) -> None:
    """t = 1..T, as printed, and t = 0..T-1; the printed bound fails with many prompts."""
    fixed, printed = REGISTRY[f"S-{rule}-{part}-FIXED"], REGISTRY[f"S-{rule}-{part}"]
    instance = kept_instance(printed.id if printed.id != "S-GRPO-SUM" else "S-GRPO-MIN")
    assert instance is not None
    context = build_context(fixed, instance)
    earlier = np.minimum.accumulate if part == "MIN" else np.add.accumulate
    assert compare(fixed, context).worst <= 1
    assert (earlier(context.grad_sq[:-1], axis=0) <= fixed.right(context)).all()
    assert compare(printed, context).worst > 1
