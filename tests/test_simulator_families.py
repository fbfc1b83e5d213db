"""Families: what their summaries promise about features, the asked start, seeds and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compare import assert_agree
from hypothesis import given
from hypothesis import strategies as st

from simulator.families import FAMILIES, make_problem, success_targets
from simulator.random import generator, uniform_order
from simulator.recipes import EARLY, LATE
from theory.cosines import orthogonality_defect
from theory.errors import InputError

SIZES = [(1, 2, None), (3, 2, None), (4, 5, None), (3, 4, 17), (2, 3, 40)]
NAMES = sorted(FAMILIES)


@pytest.mark.parametrize("name", ["orthogonal", "tabular"])
@pytest.mark.parametrize("sizes", SIZES)
def test_prompts_are_orthogonal_to_the_last_bit(name: str, sizes: tuple[int, int, int | None]) -> None:
    features = make_problem(name, *sizes, seed=3).features
    assert all((a @ b.T == 0).all() for i, a in enumerate(features) for b in features[:i])
    assert all((np.abs(x).sum(axis=1) > 0).all() for x in features)


def test_gaussian_prompts_are_not_orthogonal() -> None:
    assert orthogonality_defect(make_problem("gaussian", 3, 4, seed=1).features) > 0.01


@pytest.mark.parametrize("sizes", SIZES)
def test_tabular_has_one_free_logit_per_output(sizes: tuple[int, int, int | None]) -> None:
    problem = make_problem("tabular", *sizes)
    assert problem.x_max_sq == 1.0
    flat = problem.features.reshape(problem.n * problem.outputs, -1)
    assert (flat @ flat.T == np.eye(len(flat))).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("p0", [1e-300, 1e-12, 0.2, 0.5, 0.999, 1 - 1e-12])
def test_the_start_has_the_asked_success_probability(name: str, p0: float) -> None:
    problem = make_problem(name, 3, 4, p0=p0, seed=5)
    state = problem.at(problem.theta0)
    assert_agree(state.p, np.full(3, p0), 1e-9, "p")
    assert_agree(state.q, np.full(3, 1 - p0), 1e-9, "q")
    if name == "drifting":
        assert_agree(np.sort(state.odds.wrong, axis=1), np.tile([0, LATE, EARLY, 1 - EARLY - LATE], (3, 1)), 1e-9)
        return
    wrong = np.sort(state.odds.wrong, axis=1)[:, 1:]
    assert_agree(wrong, np.full((3, 3), 1 / 3), 1e-9, "wrong outputs are equally likely")


@given(seed=st.integers(0, 2**64 - 1), name=st.sampled_from(NAMES), n=st.integers(1, 5), outputs=st.integers(2, 6))
def test_every_seed_gives_a_problem_of_the_asked_sizes_and_start(seed: int, name: str, n: int, outputs: int) -> None:
    p0, outputs = np.linspace(0.01, 0.99, n), max(outputs, FAMILIES[name].least_outputs)
    problem = make_problem(name, n, outputs, p0=p0, seed=seed)
    more = {"shared-skill": 1, "conflicting": n, "drifting": 2}.get(name, 0)
    assert problem.features.shape == (n, outputs, n * outputs + more)
    assert problem.name == name
    assert_agree(problem.at(problem.theta0).p, p0, 1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_names_a_problem(name: str) -> None:
    one, same, other = (make_problem(name, 8, 5, seed=seed) for seed in (7, 7, 8))
    for array in ("features", "answers", "theta0"):
        assert getattr(one, array).tobytes() == getattr(same, array).tobytes()
    assert (one.answers != other.answers).any()


def test_the_answer_is_any_output() -> None:
    answers = make_problem("tabular", 200, 4, seed=0).answers
    assert np.bincount(answers, minlength=4).min() > 30


BAD: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    (("nonsense", 2, 3), {}, "family is 'nonsense'; expected one of orthogonal, tabular, shared-skill, gaussian"),
    (("tabular", 0, 3), {}, "n is 0"),
    (("tabular", 2, 1), {}, "K is 1"),
    (("orthogonal", 2, 3, 5), {}, "d is 5; expected at least n K = 6"),
    (("tabular", 2, 3, 0), {}, "d is 0"),
    (("gaussian", 2, 3, 0), {}, "d is 0"),
    (("gaussian", 2, 3, -4), {}, "d is -4"),
    (("gaussian", 4, 3, 2), {}, "d is 2; expected at least n K = 12"),
    (("shared-skill", 2, 3, 6), {}, "d is 6; expected at least n K + 1 = 7"),
    (("conflicting", 2, 3, 7), {}, "d is 7; expected at least n K + 2 = 8"),
    (("drifting", 2, 3), {}, "K is 3; expected at least 4"),
    (("tabular", 2, 3), {"strength": 0.5}, "strength is 0.5; expected nothing for tabular"),
    (("gaussian", 2, 3), {"strength": 1.0}, "strength is 1.0; expected from 0 to below 1"),
    (("conflicting", 2, 3), {"strength": -0.5}, "strength is -0.5"),
    (("drifting", 2, 4), {"strength": float("nan")}, "strength is nan"),
    (("tabular", 2, 3), {"p0": 0.0}, "p0 is 0.0"),
    (("tabular", 2, 3), {"p0": [0.5, 1.0]}, "p0 is [0.5, 1.0]"),
    (("tabular", 2, 3), {"p0": float("nan")}, "p0 is nan"),
    (("tabular", 2, 3), {"p0": [0.1, 0.2, 0.3]}, "p0 is [0.1, 0.2, 0.3]; expected a probability, or 2 of them"),
    (("tabular", 2, 3), {"p0": "half"}, "p0 is 'half'"),
    (("tabular", 2, 3), {"seed": -1}, "seed is -1"),
    (("tabular", 2, 3), {"seed": 2**64}, f"seed is {2**64}"),
]


@pytest.mark.parametrize(("arguments", "options", "text"), BAD, ids=[case[2][:30] for case in BAD])
def test_bad_requests_are_refused_with_name_and_value(arguments: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError) as caught:
        make_problem(*arguments, **options)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@given(low=st.floats(1e-300, 0.5), high=st.floats(0.5, 1 - 1e-12), n=st.integers(2, 30))
def test_targets_run_evenly_in_log_odds_from_low_to_high(low: float, high: float, n: int) -> None:
    targets = success_targets(n, low, high)
    assert targets.shape == (n,)
    # The log-odds carry one rounding of their size, which p feels as a relative error.
    assert_agree(targets[[0, -1]], [low, high], 1e-12)
    inner = targets[(targets > 1e-290) & (targets < 0.9)]
    steps = np.diff(np.log(inner) - np.log1p(-inner))
    even = (np.log(high / (1 - high)) - np.log(low / (1 - low))) / (n - 1)
    assert_agree(steps, np.full_like(steps, even), 1e-12, "steps of the log-odds", atol=3e-12)


def test_one_target_is_the_lower_end() -> None:
    assert_agree(success_targets(1, 0.2, 0.9), [0.2], 1e-15)


def test_targets_reach_denormal_probabilities() -> None:
    targets = success_targets(3, 1e-310, 0.5)
    assert_agree(targets[0], 1e-310, 1e-12)
    assert targets[2] == 0.5


@pytest.mark.parametrize("ends", [(0.0, 0.5), (0.5, 1.0), (0.6, 0.5), (float("nan"), 0.5), (0.5, float("inf"))])
def test_targets_outside_the_open_interval_are_refused(ends: tuple[float, float]) -> None:
    with pytest.raises(InputError, match=f"p0 is '{ends[0]}:{ends[1]}'; expected 0 < LOW"):
        success_targets(3, *ends)


def test_streams_of_one_seed_differ() -> None:
    keys = [(run, replica, stream) for run in range(3) for replica in range(3) for stream in range(3)]
    draws = {generator(5, *key).integers(2**63) for key in keys}
    assert len(draws) == len(keys)


@given(seed=st.integers(0, 2**64 - 1), n=st.integers(1, 9), steps=st.integers(1, 50))
def test_a_longer_order_extends_a_shorter_one(seed: int, n: int, steps: int) -> None:
    order = uniform_order(n, steps, seed)
    assert (order == uniform_order(n, steps + 13, seed)[:steps]).all()
    assert ((order >= 0) & (order < n)).all()


def test_orders_are_uniform_and_independent_from_step_to_step() -> None:
    order = uniform_order(5, 50_000, seed=1)
    pairs = np.bincount(order[:-1] * 5 + order[1:], minlength=25)
    # Five standard deviations of a binomial count with chance 1/25.
    assert np.abs(pairs - 2000).max() < 5 * np.sqrt(50_000 / 25)
