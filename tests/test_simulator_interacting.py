"""Prompts that interact: all orders, one step, sampled orders, and the constants M, R1 and R2."""

from __future__ import annotations

import itertools
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from compare import assert_agree
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import interacting
from simulator.checks import build_context
from simulator.conflict import conflict
from simulator.families import make_problem, shared_skill_bound, success_targets
from simulator.interacting import InteractingRun, node_states
from simulator.problems import Problem
from simulator.reference import simulate
from simulator.sampling import sample_run, sampled_check
from simulator.steps import Step
from theory.assumptions import INTERACTION, ORTHOGONAL, SCALE
from theory.claims import load_registry
from theory.claims.relaxed import grpo_step, reinforce_step
from theory.errors import InputError
from theory.exact import precision, spectral_norm_sq
from theory.instances import Instance
from theory.interaction import Constants, measure_constants, orders_that_fit
from theory.rules import GRPO, REINFORCE
from theory.strategies import Limits, instances

REGISTRY = load_registry()


def _skill(n: int = 3, low: float = 0.1, high: float = 0.5, seed: int = 0) -> Problem:
    return make_problem("shared-skill", n, 3, p0=success_targets(n, low, high), seed=seed)


def _instance(problem: Problem, steps: int) -> Instance:
    zeros = np.zeros(problem.d)
    return Instance(problem.features, problem.answers, problem.theta0, np.ones(problem.d), zeros, steps)


def test_expectations_are_means_over_the_reference_engines_runs() -> None:
    problem, steps = _skill(), 4
    run = InteractingRun(_instance(problem, steps), GRPO, grpo_step)
    orders = itertools.product(range(3), repeat=steps)
    records = [simulate(problem.with_order(order), GRPO, float(run.eta), steps, record="full") for order in orders]
    assert_agree(run.J, np.mean([r.J for r in records], axis=0), 1e-12, "J")
    assert_agree(run.grad_sq, np.mean([r.grad_sq for r in records], axis=0), 1e-11, "||grad J||^2")
    assert_agree(run.gain, np.diff(run.J, axis=0), 1e-9, "gain")
    stds = np.max([np.sqrt(r.J * r.q) for r in records], axis=0)
    assert_agree(run.std_sup, stds, 1e-12, "sup of the deviation")


def test_too_many_orders_are_refused() -> None:
    with pytest.raises(InputError, match=r"steps is 30; expected at most 8 with 3 different prompts"):
        InteractingRun(_instance(_skill(), 30), GRPO, grpo_step)
    assert [orders_that_fit(n, 130) for n in (2, 3, 4)] == [6, 4, 3]


def _copies(*numbers: int) -> Instance:
    """Prompts of these numbers, the same where the numbers are, four steps."""
    problem, picked = _skill(2), list(numbers)
    features, answers = problem.features[picked], problem.answers[picked]
    return replace(_instance(problem, 4), features=features, answers=answers)


@pytest.mark.parametrize(("numbers", "followed"), [((0, 0), 1), ((0, 1, 1, 0), 2), ((0, 1, 1), 3)])
def test_identical_prompts_are_followed_once(numbers: tuple[int, ...], followed: int) -> None:
    """Where they come equally often; the numbers are those of all orders."""
    n = len(numbers)
    run = InteractingRun(_copies(*numbers), GRPO, grpo_step)
    assert [len(level.p) for level in run.levels] == [followed**t for t in range(5)]
    with patch.object(interacting, "_draws", lambda *_: ([*range(n)], [*range(n)])):
        every = InteractingRun(_copies(*numbers), GRPO, grpo_step)
    assert len(every.levels[-1].p) == n**4
    assert run.constants == every.constants
    for name in ("J", "q", "grad_sq", "weighted_grad_sq", "total_grad_sq", "std_sup", "std_mean", "gain"):
        assert_agree(getattr(run, name), getattr(every, name), 1e-12, name)
    for few, all_ in zip(run.drawn_gain, every.drawn_gain, strict=True):
        assert few.shape == (len(few), n, n)
        once, often = (np.sort(change.reshape(-1, n * n), axis=0) for change in (few, all_))
        assert_agree(np.repeat(once, len(all_) // len(few), axis=0), often, 1e-9, "gain of each draw", atol=1e-14)


def test_prompts_that_differ_in_the_right_output_are_not_identical() -> None:
    other = replace(_copies(0, 0), answers=np.array([0, 1]))
    assert len(InteractingRun(other, GRPO, grpo_step).levels[-1].p) == 2**4


def test_one_prompt_many_times_has_no_orders_to_be_too_many() -> None:
    run = InteractingRun(replace(_copies(0, 0, 0), steps=200), GRPO, grpo_step)
    assert run.J.shape == (201, 3)


@pytest.mark.parametrize("seed", range(3))
def test_the_constant_of_a_shared_skill_is_known_in_closed_form(seed: int) -> None:
    problem = _skill(4, 0.01, 0.9, seed)
    state = problem.at(problem.theta0)
    x_sq = np.array([float(spectral_norm_sq(x)) for x in problem.features])
    states = node_states(problem.features, problem.answers, problem.theta0[None, :])
    found = measure_constants(states, x_sq, x_sq.max())
    assert_agree(found.M, max(1.0, shared_skill_bound(problem, state, 0.5)), 2e-7, "M")
    assert_agree(found.R2, np.sqrt(state.variance.max() / state.variance.min()), 2e-7, "R2")
    norms = np.sqrt(state.grad_sq)
    assert_agree(found.R1, norms.max() / norms.min(), 2e-7, "R1")


@given(instances(Limits(steps=6, orders=60, interacting=True)))
@settings(max_examples=40)
def test_chosen_constants_satisfy_the_assumptions_on_their_own_run(instance: Instance) -> None:
    """The circle closes: the step size comes from the constants, the run from the step size, and the constants hold."""
    for rule, step_size in ((REINFORCE, reinforce_step), (GRPO, grpo_step)):
        with np.errstate(all="ignore"):
            run = InteractingRun(instance, rule, step_size)
            if run.constants is None:
                assert INTERACTION.measure(run).holds is False or SCALE.measure(run).holds is False
                continue
            assert run.eta == step_size(run.constants)
            assert INTERACTION.measure(run).holds
            assert SCALE.measure(run).holds


def test_prompts_in_conflict_have_no_constant() -> None:
    run = InteractingRun(conflict(0.8, 3), REINFORCE, reinforce_step)
    assert run.constants is None
    assert INTERACTION.measure(run).holds is False


def test_smaller_constants_do_not_pass_as_an_assumption() -> None:
    run = InteractingRun(_instance(_skill(2, 0.01, 0.5), 4), GRPO, grpo_step)
    assert run.constants is not None
    for name, assumption in (("R1", SCALE), ("R2", SCALE)):
        value = getattr(run.constants, name)
        assert value > 1
        run.constants = replace(run.constants, **{name: value * 0.99})
        assert assumption.measure(run).holds is False
        run.constants = replace(run.constants, **{name: value})
    gauss = make_problem("gaussian", 2, 3, p0=0.3, seed=1)
    run = InteractingRun(_instance(gauss, 2), REINFORCE, reinforce_step)
    assert run.constants is not None
    assert run.constants.M > 1
    run.constants = replace(run.constants, M=run.constants.M * 0.8)
    assert INTERACTION.measure(run).holds is False


@pytest.mark.parametrize("claim_id", ["P-T33-DESCENT-FIXED", "P-T34-MIN"])
def test_in_balls_the_assumptions_are_decided_and_the_sides_narrow(claim_id: str) -> None:
    claim = REGISTRY[claim_id]
    with precision(512):
        run = build_context(claim, _instance(_skill(2), 4).exact())
        assert [a.measure(run).holds for a in claim.assumptions] == [True] * len(claim.assumptions)
        for side in (claim.left(run), claim.right(run)):
            assert all(float(ball.rad()) < 1e-100 for ball in np.ravel(side))


def test_one_step_is_the_first_step_of_the_run() -> None:
    instance = _instance(_skill(), 1)
    step, run = Step(instance, GRPO, grpo_step), InteractingRun(instance, GRPO, grpo_step)
    step_like = replace(step.constants, x_max_sq=run.x_max_sq)
    assert isinstance(run.constants, Constants)
    # The run's constants hold at t = 1 too, so they may be larger; with the same step size all numbers agree.
    run = InteractingRun(instance, GRPO, lambda constants: grpo_step(step_like))
    assert_agree(step.gain.mean(axis=0), run.gain[0], 1e-12, "gain")
    assert_agree(step.after.p, run.levels[1].p, 1e-14, "p")
    moves = step.after.p - step.state.p
    assert_agree(step.gain, moves, 1e-9, "gain of each pair")


def test_taylors_remainder_is_what_the_first_order_leaves() -> None:
    with precision(256):
        step = Step(_instance(_skill(), 1).exact(), REINFORCE, reinforce_step)
        rest = step.gain - step.slopes - step.remainders
        assert all(entry.contains(0) and float(entry.rad()) < 1e-60 for entry in rest.ravel())
        assert any(float(abs(entry)) > 1e-6 for entry in step.remainders.ravel())


def test_sampled_means_approach_the_exact_ones() -> None:
    claim, problem = REGISTRY["P-T33-MIN"], _skill(2)
    exact = InteractingRun(_instance(problem, 6), REINFORCE, reinforce_step)
    sampled = sample_run(problem, claim, 6, 4000, seed=3)
    assert_agree(sampled.eta, exact.eta, 1e-6, "eta")
    for name in ("J", "grad_sq", "gain", "std_mean"):
        assert_agree(getattr(sampled, name), getattr(exact, name), 0.01, name)


def test_sampling_confirms_is_vacuous_or_stays_undecided_but_never_refutes() -> None:
    problem = _skill(3)
    assert sampled_check(REGISTRY["P-T34-MIN"], problem, 20).outcome == "holds"
    clash = conflict(0.8, 20)
    against = Problem(clash.features, clash.answers, clash.theta)
    assert sampled_check(REGISTRY["P-T33-SUM"], against, 20).outcome == "vacuous"
    false = sampled_check(REGISTRY["P-T33-DESCENT"], problem, 20)
    assert (false.outcome, false.exceeds) == ("undecided", True)


def test_x_order_needs_orthogonal_prompts() -> None:
    claim = REGISTRY["X-ORDER"]
    assert not ORTHOGONAL.measure(build_context(claim, _instance(_skill(), 2))).holds


@given(st.integers(2, 4), st.integers(1, 400))
def test_orders_fit_exactly(n: int, nodes: int) -> None:
    steps = orders_that_fit(n, nodes)
    size = sum(n**t for t in range(steps + 1))
    assert size <= nodes
    assert size + n ** (steps + 1) > nodes
