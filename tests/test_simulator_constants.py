"""Constants of a record: each against its definition written anew, and the claims that cover a run."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from compare import assert_agree

from simulator import constants as module
from simulator.constants import geometry, mean_factor, run_constants
from simulator.expectations import expectation
from simulator.families import FAMILIES, make_problem, success_targets
from simulator.problems import Problem
from simulator.records import Record
from simulator.reference import simulate
from simulator.run_bounds import bounds, evaluate_record
from simulator.sampled import get_any_rule
from simulator.schedules import UNIFORM
from simulator.step_sizes import choose_step, resolve_step
from theory.claims import load_registry
from theory.errors import InputError
from theory.rules import GRPO, REINFORCE, power

REGISTRY = load_registry()


def _problem(name: str = "orthogonal", n: int = 3) -> Problem:
    return make_problem(name, n, 4, p0=success_targets(n, 0.1, 0.6), seed=2)


def _run(problem: Problem, rule: Any = GRPO, eta: str = "theorem", steps: int = 60, **options: Any) -> Record:
    return simulate(problem, rule, resolve_step(eta, rule, problem.x_max_sq), steps, seed=1, **options)


def test_the_mean_factor_is_c_of_t() -> None:
    problem = _problem()
    full = _run(problem, record="full")
    by_hand = sum(8 / 3 * full.std[t, i] for t in range(60) for i in range(3)) / (3 * 60)
    assert_agree(mean_factor(full), by_hand, 1e-13)
    for schedule in ("all", "minibatch:3"):
        both = [_run(problem, record=mode, schedule=schedule) for mode in ("full", "log")]
        assert_agree(mean_factor(both[1]), mean_factor(both[0]), 1e-13)


def test_drawn_prompts_estimate_the_mean_factor_without_bias() -> None:
    """Mean over 400 runs against the exact expectation over orders; 4.5 standard errors."""
    problem = _problem()
    eta = resolve_step("theorem", GRPO, problem.x_max_sq)
    found = [mean_factor(simulate(problem, GRPO, eta, 20, seed=3, replica=r)) for r in range(400)]
    exact = float(8 / 3 * expectation(problem, GRPO, eta, 20).std_mean[:-1].mean())
    error = np.std(found, ddof=1) / 20
    assert abs(np.mean(found) - exact) < 4.5 * error < 0.012


@pytest.mark.parametrize("name", ["shared-skill", "drifting", "gaussian"])
def test_interaction_constants_are_the_least_that_the_recorded_states_allow(name: str) -> None:
    problem = _problem(name)
    record = _run(problem, record="full")
    found = run_constants(record, problem)
    needed, first, second = [0.0], [], []
    for theta in record.theta:
        state = problem.at(theta)
        g, v = state.gradient, state.variance
        for i in range(3):
            for j in {0, 1, 2} - {i}:
                inner, size = g[i] @ g[j], np.linalg.norm(problem.features[i], 2) ** 2
                pushed = np.sum((problem.features[i] @ g[j]) ** 2) / size
                needed.append(pushed / inner if inner > 0 else np.inf)
                first.append(np.linalg.norm(g[i]) / np.linalg.norm(g[j]))
                second.append(np.sqrt(v[i] / v[j]))
    assert found["states"] == 61
    for key, values in (("M", needed), ("R1", first), ("R2", second)):
        if np.isinf(max(values)):
            assert found[key] is None
        else:
            assert_agree(found[key], max(1.0, *values), 3e-7, key)
    assert found["holds"]["A4"] == (found["M"] is not None)
    assert found["holds"]["A2"] is False
    factor = max(1, found["M"] / 2) if found["M"] else None
    assert found["step_sizes"]["3.3"] == (factor and pytest.approx(1 / (factor * problem.x_max_sq)))


def test_large_problems_go_without_interaction_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ENTRIES", 10)
    found = run_constants(_run(_problem()), _problem())
    assert (found["states"], found["M"], found["holds"]["A4"]) == (0, None, None)


def test_only_some_states_of_a_long_record_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_STATES", 7)
    assert run_constants(_run(_problem(), record="full"), _problem())["states"] == 7


COVERED = [
    (REINFORCE, "theorem", "uniform", {"P-T31-DESCENT-FIXED", "P-T31-SUM", "P-T31-MIN"}),
    (
        GRPO,
        "theorem",
        "uniform",
        {"P-T32-DESCENT-FIXED", "P-T32-SUM-FIXED", "P-T32-MIN", "X-GRPO-LATE", "X-GRPO-SUM-MEAN"},
    ),
    (REINFORCE, "best", "uniform", {f"X-SHARP-REINFORCE-{part}" for part in ("DESCENT", "SUM", "MIN")}),
    (GRPO, "best", "uniform", {f"X-SHARP-GRPO-{part}" for part in ("DESCENT", "SUM", "MIN")}),
    (REINFORCE, "theorem", "all", {f"S-REINFORCE-{part}-FIXED" for part in ("DESCENT", "SUM", "MIN")}),
    (GRPO, "theorem", "all", {f"S-GRPO-{part}-FIXED" for part in ("DESCENT", "SUM", "MIN")}),
]


@pytest.mark.parametrize(
    ("rule", "eta", "schedule", "ids"),
    COVERED,
    ids=lambda value: getattr(value, "name", value if isinstance(value, str) else "claims"),
)
def test_covered_runs_are_within_their_bounds(rule: Any, eta: str, schedule: str, ids: set[str]) -> None:
    problem = _problem()
    found, missing = bounds(_run(problem, rule, eta, schedule=schedule), problem)
    assert ({row["claim"] for row in found}, missing) == (ids, None)
    for row in found:
        assert 0 < row["largest_ratio"] <= 1
        gains = "DESCENT" in row["claim"] or "LATE" in row["claim"]
        assert row["left"] >= row["right"] if gains else row["left"] <= row["right"]


def test_a_claim_about_several_prompts_is_not_set_beside_a_run_of_one() -> None:
    problem = make_problem("tabular", 1, 3, p0=0.3, seed=1)
    found, missing = bounds(_run(problem, GRPO), problem)
    assert ({row["claim"] for row in found} & {"X-GRPO-SUM-MEAN", "X-GRPO-LATE"}, missing) == ({"X-GRPO-LATE"}, None)


def test_a_bound_is_the_theorems_formula_on_the_runs_own_sum() -> None:
    """Theorem 3.1: the expected sum, and ``2 n (1 - p0) X_max^2``."""
    problem = _problem()
    record = _run(problem, REINFORCE)
    row = next(row for row in bounds(record, problem)[0] if row["claim"] == "P-T31-SUM")
    exact = expectation(problem, REINFORCE, record.eta, 60).grad_sq[:-1].sum(axis=0)
    assert_agree(row["left"], exact[row["prompt"]], 1e-13)
    assert_agree(row["right"], 2 * 3 * record.q[0, row["prompt"]] * problem.x_max_sq, 1e-13)


@pytest.mark.parametrize(
    ("name", "rule", "options", "words"),
    [
        ("conflicting", GRPO, {}, "the assumptions of Theorem 3.4 fail on this run"),
        ("shared-skill", GRPO, {}, "asks for a step size of at most"),
        ("shared-skill", REINFORCE, {}, "ask for --record full"),
        ("shared-skill", REINFORCE, {"schedule": "all"}, "no theorem is about reinforce with schedule all"),
        ("orthogonal", GRPO, {"schedule": "cyclic"}, "this run is cyclic"),
        ("orthogonal", get_any_rule("trl:4"), {}, "no theorem is about trl:4"),
        ("orthogonal", power(0.3), {}, "no theorem is about power:0.3 with step size 0.1"),
    ],
)
def test_runs_that_no_theorem_covers_say_why(name: str, rule: Any, options: dict[str, str], words: str) -> None:
    problem = _problem(name)
    found, missing = bounds(simulate(problem, rule, 0.1, 30, **options), problem)
    assert found == []
    assert words in str(missing)


@pytest.mark.parametrize("rule", [REINFORCE, GRPO], ids=["reinforce", "grpo"])
def test_the_relaxed_theorems_are_set_beside_a_full_record(rule: Any) -> None:
    """``2 n (1 - p0) / eta``, and for GRPO ``n (1 - p0) / eta`` times ``8/3 max C``: the bounds with their own eta."""
    problem = _problem("shared-skill")
    eta = choose_step("relaxed", problem, rule, UNIFORM, 60, 1)
    record = simulate(problem, rule, eta, 60, seed=1, record="full")
    found, missing = bounds(record, problem)
    names = {"P-T33-SUM", "P-T33-MIN"} if rule is REINFORCE else {"P-T34-SUM-FIXED", "P-T34-MIN"}
    assert ({row["claim"] for row in found}, missing) == (names, None)
    row = next(row for row in found if "-SUM" in row["claim"])
    i = row["prompt"]
    assert_agree(row["left"], record.grad_sq[:-1, i].sum(), 1e-13)
    scale = 2 if rule is REINFORCE else 8 / 3 * record.std[:-1, i].max()
    assert_agree(row["right"], 3 * record.q[0, i] / eta * scale, 1e-12)
    assert all(row["of"] == "this order" and 0 < row["largest_ratio"] < 1 for row in found)


def test_the_power_family_is_covered_at_its_own_step() -> None:
    problem = _problem()
    step = REGISTRY["X-POWER-25"].step_size
    assert step is not None
    found, _ = bounds(simulate(problem, power(0.25), float(step(problem.x_max_sq)), 60), problem)
    assert [row["claim"] for row in found] == ["X-POWER-25"]
    assert found[0]["largest_ratio"] <= 1


@pytest.mark.parametrize("name", sorted(FAMILIES))
@pytest.mark.parametrize("n", [1, 3])
def test_every_record_gives_json(name: str, n: int) -> None:
    problem = make_problem(name, n, 5, p0=[1e-12, 0.5, 1 - 1e-12][:n], seed=1)
    with np.errstate(all="ignore"):
        found = evaluate_record(simulate(problem, GRPO, 0.5, 50), problem)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found.items() >= geometry(problem).items()


def test_features_of_zeros_have_constants_too() -> None:
    problem = Problem(np.zeros((2, 3, 4)), np.array([0, 1]), np.zeros(4))
    with np.errstate(all="ignore"):
        found = evaluate_record(simulate(problem, GRPO, 0.5, 10), problem)
    json.dumps(found, allow_nan=False)
    assert found["step_sizes"]["3.1"] is None
    assert found["bounds"] == []


def test_step_sizes_are_those_of_the_claims() -> None:
    assert resolve_step("theorem", REINFORCE, 4.0) == 0.25
    assert resolve_step("theorem", GRPO, 4.0) == 0.125
    assert_agree(resolve_step("best", REINFORCE, 4.0), 3 * 3**0.5 / 4, 1e-15)
    assert resolve_step("best", GRPO, 4.0) == 0.5
    assert resolve_step("1e-3", get_any_rule("trl:8"), 4.0) == 1e-3


@pytest.mark.parametrize(("rule", "theorem"), [(REINFORCE, "3.3"), (GRPO, "3.4")], ids=["reinforce", "grpo"])
def test_the_relaxed_step_is_that_of_constants_that_its_own_run_meets(rule: Any, theorem: str) -> None:
    problem = make_problem("shared-skill", 3, 4, p0=[0.05, 0.3, 0.5], seed=2, strength=3.0)
    eta = choose_step("relaxed", problem, rule, UNIFORM, 80, 1)
    found = run_constants(simulate(problem, rule, eta, 80, seed=1), problem)
    # The run needs no larger constants than those of its step, so the step they would give is no smaller.
    assert found["holds"]["A4"]
    assert eta <= found["step_sizes"][theorem] * (1 + 1e-12)
    assert eta < resolve_step("theorem", rule, problem.x_max_sq)


@pytest.mark.parametrize("rule", [REINFORCE, GRPO], ids=["reinforce", "grpo"])
def test_the_relaxed_step_of_a_single_prompt_is_the_theorems(rule: Any) -> None:
    problem = make_problem("tabular", 1, 3)
    assert choose_step("relaxed", problem, rule, UNIFORM, 20, 0) == resolve_step("theorem", rule, problem.x_max_sq)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "", "big"])
def test_other_step_sizes_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="eta is"):
        resolve_step(text, GRPO, 1.0)
