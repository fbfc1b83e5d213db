"""X-DIRECTIONAL: golden values on small prompts, both sides attained, and what the claims imply."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from compare import assert_agree

from simulator.checks import build_context
from theory.claims import load_registry
from theory.claims._setting import symmetric_pair
from theory.directional import output_range, wrong_range
from theory.exact import as_balls, as_floats
from theory.instances import Instance
from theory.judge import recheck
from theory.search import search

REGISTRY = load_registry()
NAMES = [f"X-DIRECTIONAL-{part}" for part in ("CURVATURE", "VAR", "GLOBAL", "RANGE", "ODDS", "REINFORCE", "GRPO")]


def _three(logits: list[float]) -> Instance:
    """One prompt, d = 3 with the unit vectors as features, so that theta holds the logits; y = (3, 1, 5)."""
    y = np.array([3.0, 1.0, 5.0])
    return Instance(np.eye(3)[None], np.array([0]), np.array(logits), y, np.zeros(3))


def test_ranges_of_outputs() -> None:
    u = np.array([[3.0, 1.0, 5.0], [0.0, 9.0, -1.0]])
    assert_agree(output_range(u), [4.0, 10.0], 0.0)
    assert_agree(wrong_range(u, np.array([2, 1])), [2.0, 1.0], 0.0)
    assert_agree(as_floats(output_range(as_balls(u))), [4.0, 10.0], 0.0)
    assert_agree(wrong_range(u[:, :2], np.array([0, 0])), [0.0, 0.0], 0.0)


@pytest.mark.parametrize(
    ("p", "factor"), [(0.25, 1 / 4), (0.5, 1 / 4), (0.6, 1 / 3.2), (0.75, 1 / 2), (0.8, 0.6), (0.99, 0.98)]
)
def test_the_factor_of_downward_curvature(p: float, factor: float) -> None:
    """1/4 up to p = 1/2, 1/(8 q) up to 3/4, 2p - 1 beyond; continuous."""
    claim = REGISTRY["X-DIRECTIONAL-CURVATURE"]
    context = build_context(claim, symmetric_pair(p))
    assert_agree(claim.links[0].right(context), [factor * p * (1 - p) * 4], 1e-12)


def test_downward_curvature_is_attained_below_one_half_by_wrong_outputs_at_both_ends() -> None:
    """u_a = 0 halfway between wrong outputs at +-1 of equal weight: the form is -V, and V R^2 / 4 = V."""
    y = np.array([1.0])
    instance = Instance(np.array([[[0.0], [1.0], [-1.0]]]), np.array([0]), np.zeros(1), y, np.zeros(1))
    claim = REGISTRY["X-DIRECTIONAL-CURVATURE"]
    context = build_context(claim, instance)
    assert_agree(claim.links[0].left(context), claim.links[0].right(context), 1e-14)


def test_log_odds_change_by_their_slope_minus_the_range() -> None:
    """Logits 0: slope 3 - 3 = 0, wrong outputs 1 and 5: bound -16/8; change 3 - log((e + e^5) / 2)."""
    claim = REGISTRY["X-DIRECTIONAL-ODDS"]
    context = build_context(claim, _three([0.0, 0.0, 0.0]))
    assert_agree(claim.right(context), [-2.0], 1e-14)
    assert_agree(claim.left(context), [3 - np.log((np.e + np.exp(5)) / 2)], 1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_a_vanishing_gradient_breaks_nothing(name: str) -> None:
    """All outputs alike: every side is 0."""
    instance = Instance(np.ones((1, 3, 2)), np.array([1]), np.ones(2), np.ones(2), np.zeros(2))
    with np.errstate(all="raise"):
        context = build_context(REGISTRY[name], instance)
        for link in REGISTRY[name].links:
            assert np.isfinite(link.left(context)).all()
            assert np.isfinite(link.right(context)).all()
    assert recheck(REGISTRY[name], build_context, instance) is True


@pytest.mark.parametrize("name", ["X-DIRECTIONAL-GRPO", "X-DIRECTIONAL-REINFORCE", "X-DIRECTIONAL-ODDS"])
def test_a_quarter_more_is_refuted(name: str) -> None:
    claim = REGISTRY[name]
    scale = 1.25 if name != "X-DIRECTIONAL-ODDS" else 0.8

    def more(point: object) -> object:
        return scale * np.asarray(claim.right(point))

    found = search(
        replace(claim, id=f"{name}-MORE", right=more, proof=None),
        build_context,
        examples=60,
        evaluations=60,
        seed=1,
        shrink=False,
    )
    assert found.counterexample is not None
