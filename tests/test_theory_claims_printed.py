"""What the remarks say of printed claims beyond their verdicts: where else they fail, and which of their parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.checks import build_context
from simulator.interacting import node_states
from theory.claim import Claim
from theory.claims import load_registry
from theory.claims.relaxed import appendix_factor, grpo_factor, grpo_step, reinforce_step
from theory.instances import Instance
from theory.interaction import Constants, measure_constants, pair_constants
from theory.judge import Build, Counterexample, recheck
from theory.known import kept_instance, recheck_kept
from theory.search import limits_for, search

REGISTRY = load_registry()
SUM, APPENDIX = REGISTRY["P-T34-SUM"], REGISTRY["P-T34-APPENDIX"]


def _identical(n: int, steps: int, p0: float = 0.5) -> Instance:
    """The same prompt n times, two outputs, features 1 and -1."""
    features, zeros = np.tile([[1.0], [-1.0]], (n, 1, 1)), np.zeros(1)
    theta = np.array([np.log(p0 / (1 - p0)) / 2])
    return Instance(features, np.zeros(n, dtype=int), theta, np.ones(1), zeros, steps)


def _refuted(claim: Claim, instance: Instance, build: Build = build_context) -> bool:
    """Certainly; where not, it certainly holds there."""
    found = recheck(claim, build, instance)
    assert found is not False
    return isinstance(found, Counterexample)


@pytest.mark.parametrize(("n", "first"), [(2, 94), (3, 160), (5, 305)])
def test_the_sum_of_theorem_3_4_fails_with_several_prompts(n: int, first: int) -> None:
    assert _refuted(SUM, _identical(n, first))
    assert not _refuted(SUM, _identical(n, first - 1))
    assert not _refuted(REGISTRY["P-T34-SUM-FIXED"], _identical(n, first))


def test_the_sum_of_theorem_3_4_fails_with_one_prompt_as_theorem_3_2_does() -> None:
    kept = kept_instance("P-T32-SUM")
    assert kept is not None
    assert _refuted(SUM, kept)


def test_identical_prompts_act_on_one_another_with_unit_constants() -> None:
    run = build_context(SUM, _identical(2, 94))
    assert min(run.constants.M, run.constants.R1, run.constants.R2) >= 1
    assert max(run.constants.M, run.constants.R1, run.constants.R2) < 1 + 1e-6
    # They are not orthogonal, so what is proved of Theorem 3.2's sum does not speak of them.
    assert not all(a.measure(run).holds for a in REGISTRY["X-GRPO-SUM-MEAN"].assumptions)


def _link(number: int, claim: Claim = APPENDIX) -> Claim:
    return replace(claim, chain=(claim.chain[number],), proof=None)


# A single prompt, and two that act on one another: there R1 is a little more than the ratio 1, for balls to see.
@pytest.mark.parametrize(
    ("n", "steps", "chosen"),
    [(1, 102, (16.0, 1.0, 8.0)), (1, 1954, (200.0, 1.0, 100.0)), (2, 4426, (225.0, 1.125, 100.0))],
)
def test_both_displays_of_the_appendix_fail_with_constants_larger_than_need_be(
    n: int, steps: int, chosen: tuple[float, ...]
) -> None:
    p0 = 0.5 if steps == 102 else 0.3
    short, long = (replace(_identical(n, t, p0), least_constants=chosen) for t in (1, steps))
    run = build_context(APPENDIX, short)
    assert chosen == (run.constants.M, run.constants.R1, run.constants.R2)
    assert _refuted(_link(0), short)
    assert _refuted(_link(1), long)
    assert not _refuted(REGISTRY["P-T34-APPENDIX-FIXED"], long)


def test_the_rate_of_the_appendix_holds_there_before_and_with_small_constants() -> None:
    larger = replace(_identical(1, 101), least_constants=(16.0, 1.0, 8.0))
    assert not _refuted(_link(1), larger)
    assert not _refuted(_link(1), _identical(1, 102))


def test_the_kept_instance_of_the_appendix_is_one_of_both_displays() -> None:
    kept, result = kept_instance("P-T34-APPENDIX"), recheck_kept(APPENDIX, build_context)
    assert kept is not None
    assert result is not None
    assert (len(kept.answers), kept.steps, kept.least_constants) == (1, 102, (16.0, 1.0, 8.0))
    assert _refuted(_link(0), kept)
    assert _refuted(_link(1), kept)
    assert [round(result.link_ratios[number], 3) for number in (0, 1)] == [3.753, 1.005]


def test_its_one_step_display_fails_with_the_least_constants_too() -> None:
    found = search(
        _link(0),
        build_context,
        examples=200,
        evaluations=0,
        seed=1,
        limits=replace(limits_for(APPENDIX), constants=False),
    )
    assert found.counterexample is not None
    assert found.counterexample.instance.least_constants == (1.0, 1.0, 1.0)


def test_no_m_below_1_changes_a_step_or_a_bound() -> None:
    for form in (reinforce_step, grpo_step, grpo_factor, appendix_factor):
        assert form(Constants(2.0, M=0.25)) == form(Constants(2.0, M=1.0)) != form(Constants(2.0, M=8.0))
    # All outputs have 3 in a coordinate that no gradient has: M = 1/9 would do.
    features = np.tile([[1.0, 3.0], [-1.0, 3.0]], (2, 1, 1))
    state = node_states(features, np.zeros(2, dtype=int), np.zeros((1, 2)))
    assert pair_constants(state.inner, state.projection_sq / 18)[0, 0, 1] == pytest.approx(1 / 9)
    assert 1 <= measure_constants(state, np.full(2, 18.0), 18.0).M < 1 + 1e-6


def test_the_comparison_fails_in_the_direction_that_the_source_has() -> None:
    """Where C(T) < 1, GRPO's bound need not be better."""
    kept, claim = kept_instance("P-T32-COMPARE"), REGISTRY["P-T32-COMPARE"]
    assert kept is not None
    found = recheck(claim, build_context, kept)
    assert isinstance(found, Counterexample)
    run = build_context(claim, kept)
    assert claim.right(run)[found.index] > 0 > claim.left(run)[found.index]


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("factor", [1 + 1e-12, -1.0, 0.5])
def test_each_equality_of_5_with_a_wrong_factor_is_refuted(number: int, factor: float) -> None:
    claim = REGISTRY["P-EQ5"]
    link = claim.chain[number]
    wrong = replace(claim, chain=(replace(link, right=lambda point: link.right(point) * factor),), proof=None)
    assert search(wrong, build_context, examples=40, evaluations=40, seed=3, shrink=False).counterexample is not None
