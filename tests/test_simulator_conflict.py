"""The walk of two prompts in conflict: its enclosures hold what following every order gives."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.conflict import RATIO, ConflictRun, conflict, conflict_steps
from simulator.interacting import InteractingRun
from theory.assumptions import BOUNDED_STD, SCALE
from theory.claims.relaxed import grpo_step, reinforce_step
from theory.exact import precision
from theory.interaction import Constants
from theory.rules import GRPO, REINFORCE, Rule


@pytest.mark.parametrize(("rule", "step", "p0"), [(REINFORCE, reinforce_step, 0.8), (GRPO, grpo_step, 0.95)])
def test_every_order_lies_within_the_enclosures(rule: Rule, step: object, p0: float) -> None:
    instance = conflict(p0, 9)
    with precision(128):
        walk = ConflictRun(instance.exact(), rule, step)
        tree = InteractingRun(instance, rule, lambda constants: float(walk.eta))
        for ours, theirs in zip(walk.grad_sq.flat, tree.grad_sq.flat, strict=True):
            assert float(ours.lower()) < theirs < float(ours.upper())
            assert float(ours.upper()) - float(ours.lower()) < 0.02
        for ours, theirs in zip(walk.std_sup.flat, tree.std_sup.flat, strict=True):
            assert float(ours.lower()) <= theirs <= float(ours.upper())
        assert BOUNDED_STD.measure(walk).holds
        assert SCALE.measure(walk).holds


def test_the_step_size_is_that_of_constants_that_hold() -> None:
    steps = conflict_steps(GRPO, grpo_step)
    run = ConflictRun(conflict(0.8, steps).exact(), GRPO, grpo_step)
    assert run.constants == Constants(run.x_max_sq, 1.0, RATIO, RATIO)
    assert float(run.eta) == pytest.approx(1 / (4 * RATIO**2))
    assert 70 < steps < 100


def test_only_for_prompts_in_conflict() -> None:
    instance = conflict(0.8, 3)
    instance.features[1] *= -1
    with pytest.raises(ValueError, match="only for the two prompts"):
        ConflictRun(instance.exact(), REINFORCE, reinforce_step)


def test_a_rule_with_longer_steps_elsewhere_is_refused() -> None:
    uneven = Rule("uneven", lambda p, q: (p * q) ** -1.5, "", "")
    run = ConflictRun(conflict(0.8, 2).exact(), uneven, lambda constants: 0.01 / constants.x_max_sq)
    with pytest.raises(ValueError, match="might leave the grid"):
        _ = run.grad_sq


def test_the_start_is_at_the_stated_probability() -> None:
    run = InteractingRun(conflict(0.95, 1), REINFORCE, reinforce_step)
    np.testing.assert_allclose(run.levels[0].p, [[0.95, 0.05]], rtol=1e-14)
