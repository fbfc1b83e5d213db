"""Ensembles: chunks, files, records of single runs, statistics, and the bounds they are held against."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare import assert_agree
from scipy import stats

from simulator.engines.chunks import CHUNKS, in_chunks
from simulator.engines.ensemble import Ensemble
from simulator.engines.plan import make_plan
from simulator.engines.run import ENGINES, simulate_many
from simulator.engines.statistics import ensemble_bounds, evaluate_ensemble, summarise
from simulator.expectations import expectation
from simulator.families import make_problem, success_targets
from simulator.problems import Problem
from simulator.reference import simulate
from simulator.sampled import get_any_rule
from simulator.sampling import student_margin
from simulator.step_sizes import resolve_step
from theory.errors import InputError
from theory.rules import GRPO, REINFORCE

ARRAYS = ("eta", "replicas", "t", "J", "q", "grad_sq", "sum_J", "sum_grad_sq", "theta")
STEPS = 40
PROBLEM = make_problem("orthogonal", 3, 4, p0=success_targets(3, 0.05, 0.6), seed=4)


def _runs(rule: str = "grpo", replicas: Any = 5, *, problem: Problem = PROBLEM, steps: int = STEPS, **more: Any) -> Any:
    options = {"engine": "reference", "seed": 3} | more
    eta = options.pop("eta", 0.4 / max(problem.x_max_sq, 1e-9))
    return simulate_many(problem, get_any_rule(rule), eta, steps, replicas=replicas, **options)


def _assert_same(found: Ensemble, wanted: Ensemble) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)


@pytest.mark.parametrize("size", [1, 33, 64, 150])
@pytest.mark.parametrize("rule", [pytest.param("grpo", marks=pytest.mark.deep), "trl:3"])
def test_results_do_not_depend_on_the_chunks(rule: str, size: int) -> None:
    """The same bits in chunks of any size, with vectors of another width or of prompts, and step sizes of their own."""
    etas = np.linspace(0.1, 0.3, 150)
    plan = make_plan(PROBLEM, get_any_rule(rule), etas, STEPS, replicas=range(7, 157), seed=3)
    done: list[int] = []
    whole = ENGINES["lanes"](plan)
    _assert_same(in_chunks(ENGINES["lanes"], plan, size, {}, done.append), whole)
    assert done[-1] == 150
    assert done == sorted(set(done))


@pytest.mark.deep
def test_large_problems_do_not_depend_on_the_chunks_either() -> None:
    """Rows beyond the cache: replicas of a chunk are grouped by prompt, a run alone is not."""
    rng = np.random.default_rng(0)
    problem = Problem(rng.standard_normal((60, 8, 30)), rng.integers(0, 8, 60), 0.1 * rng.standard_normal(30))
    plan = make_plan(problem, GRPO, 0.01, STEPS, replicas=70, space="gram")
    assert plan.layout.steps.nbytes > 1 << 20
    _assert_same(in_chunks(ENGINES["lanes"], plan, 32, {"threads": 2}), ENGINES["lanes"](plan))


def test_torch_in_chunks_agrees_to_rounding() -> None:
    plan = make_plan(PROBLEM, GRPO, 0.1, STEPS, replicas=20)
    found, whole = in_chunks(ENGINES["torch"], plan, 3, {}), ENGINES["torch"](plan)
    assert_agree(found.J, whole.J, 1e-12)
    np.testing.assert_array_equal(found.replicas, whole.replicas)


@pytest.mark.parametrize("engine", list(ENGINES))
def test_longer_runs_come_in_smaller_chunks(engine: str) -> None:
    sizes = [
        CHUNKS[engine](make_plan(PROBLEM, get_any_rule("trl:8"), 0.1, steps, replicas=100_000), {"threads": 2}, 8)
        for steps in (10, 100_000)
    ]
    assert sizes[0] >= sizes[1] >= 1
    if engine == "lanes":
        assert sizes[0] > sizes[1]
        assert sizes[1] % 128 == 0


@pytest.mark.parametrize("schedule", ["uniform", pytest.param("all", marks=pytest.mark.deep), "cyclic", "minibatch:2"])
@pytest.mark.parametrize("engine", list(ENGINES))
def test_a_row_is_the_record_of_its_replica(engine: str, schedule: str) -> None:
    many = _runs("grpo", range(2, 6), engine=engine, record="full", keep_theta=True, schedule=schedule)
    found = many.record(1)
    wanted = simulate(PROBLEM, GRPO, 0.4 / PROBLEM.x_max_sq, STEPS, schedule=schedule, seed=3, replica=3, record="full")
    np.testing.assert_array_equal(found.order, wanted.order)
    np.testing.assert_array_equal(found.t, wanted.t)
    assert_agree(found.theta, wanted.theta, 1e-11, "theta", atol=1e-13)
    for name in ("J", "q", "grad_sq", "step_grad_sq", "step_std"):
        assert_agree(getattr(found, name), getattr(wanted, name), 1e-12, name)
    assert_agree(found.step_gain, wanted.step_gain, 0.0, "step_gain", atol=1e-15)
    same = ("origin", "problem", "rule", "eta", "x_max_sq", "schedule")
    assert [getattr(found, name) for name in same] == [getattr(wanted, name) for name in same]


def test_a_record_follows_the_problems_own_order_and_goes_without_theta() -> None:
    problem = PROBLEM.with_order([2, 0, 1, 1, 2, 0, 0])
    many = _runs(problem=problem, steps=6, replicas=2, record="full")
    wanted = simulate(problem, GRPO, 0.4 / PROBLEM.x_max_sq, 6, record="full")
    found = many.record(1)
    assert found.order.tolist() == [2, 0, 1, 1, 2, 0]
    assert found.schedule == wanted.schedule == "given"
    assert found.theta.shape == (7, 0)
    assert found.summary() == wanted.summary()


def test_records_that_cannot_be_had_are_refused() -> None:
    with pytest.raises(InputError, match="row is 5"):
        _runs(record="full").record(5)
    with pytest.raises(InputError, match="full"):
        _runs(steps=300, replicas=1).record(0)


@pytest.mark.parametrize(
    "options", [{}, {"record": "full", "keep_theta": True}, {"problem": PROBLEM.with_order([0] * STEPS)}]
)
def test_files_give_the_ensemble_back(options: dict[str, Any], tmp_path: Path) -> None:
    many = _runs(seed=2**64 - 1, **options)
    many.save(tmp_path / "deep" / "down", {"more": 1})
    found = Ensemble.load(tmp_path / "deep" / "down")
    _assert_same(found, many)
    if many.order is not None:
        np.testing.assert_array_equal(found.order, many.order)
    scalars = ("problem", "rule", "schedule", "engine", "x_max_sq", "seed")
    assert [getattr(found, name) for name in scalars] == [getattr(many, name) for name in scalars]
    assert json.loads((tmp_path / "deep" / "down" / "summary.json").read_text())["more"] == 1
    assert {path.name for path in (tmp_path / "deep" / "down").iterdir()} == {"ensemble.npz", "summary.json"}


DAMAGES: dict[str, tuple[str, Any]] = {
    "too few runs": ("array", {"J": np.zeros((2, 3, 3))}),
    "integers": ("array", {"eta": np.arange(5)}),
    "snapshots of theta": ("array", {"theta": np.zeros((5, 1, 12))}),
    "an order that nobody gave": ("array", {"order": np.zeros(STEPS, np.int64)}),
    "a seed of text": ("scalar", {"seed": "1"}),
    "a negative seed": ("scalar", {"seed": -1}),
    "a rule of numbers": ("scalar", {"rule": 3}),
    "a size of nothing": ("scalar", {"x_max_sq": None}),
    "a schedule given without its order": ("scalar", {"schedule": "given"}),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_files_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    _runs().save(tmp_path)
    kind, change = DAMAGES[name]
    if kind == "array":
        with np.load(tmp_path / "ensemble.npz") as arrays:
            kept = dict(arrays)
        np.savez(tmp_path / "ensemble.npz", **(kept | change))
    else:
        summary = json.loads((tmp_path / "summary.json").read_text())
        (tmp_path / "summary.json").write_text(json.dumps(summary | change))
    with pytest.raises(InputError, match="run directory") as error:
        Ensemble.load(tmp_path)
    assert "\n" not in str(error.value)


def test_the_summary_is_numpys_and_scipys() -> None:
    many = _runs(replicas=9)
    summary = summarise(many)
    ends = many.J[:, -1].mean(axis=1)
    low, high = stats.t.interval(0.95, 8, ends.mean(), stats.sem(ends))
    assert summary["mean_J_end"] == pytest.approx({"mean": ends.mean(), "low": low, "high": high}, rel=1e-12)
    assert list(summary["mean_J_end_quantiles"].values()) == np.quantile(ends, [0.05, 0.5, 0.95]).tolist()
    full = _runs(replicas=9, record="full")
    assert summary["mean_grad_sq"]["mean"] == pytest.approx(full.grad_sq[:, :-1].mean(), rel=1e-12)
    assert (summary["replicas"], summary["steps"], summary["share_not_finite"]) == (9, STEPS, 0.0)


def test_a_single_run_has_no_interval() -> None:
    summary = evaluate_ensemble(_runs(replicas=1, eta=resolve_step("theorem", GRPO, PROBLEM.x_max_sq)), PROBLEM)
    assert summary["mean_J_end"]["low"] is None
    assert [row["outcome"] for row in summary["bounds"]] == ["undecided"] * 2
    json.dumps(summary, allow_nan=False)


def test_bonferronis_margin_covers_together_as_often_as_it_says() -> None:
    """2000 times 6 samples of 5 means: all ten ends hold about 95 times in a hundred, and not always."""
    samples = np.random.default_rng(0).standard_normal((6, 2000, 5))
    misses = (np.abs(samples.mean(axis=0)) > student_margin(samples, 0.95, 10)).any(axis=1).mean()
    assert 0.03 < misses < 0.06


def test_runs_that_are_not_finite_are_counted_and_kept_out() -> None:
    many = _runs(replicas=4)
    broken = replace(many, sum_J=np.where(np.arange(4)[:, None, None] == 2, np.nan, many.sum_J))
    assert broken.finite.tolist() == [True, True, False, True]
    summary = evaluate_ensemble(broken, PROBLEM)
    assert summary["share_not_finite"] == 0.25
    assert summary["mean_J_end"]["mean"] == pytest.approx(many.J[[0, 1, 3], -1].mean(), rel=1e-14)
    none = evaluate_ensemble(replace(many, J=many.J * np.nan), PROBLEM)
    assert (none["share_not_finite"], none["J_end"], none["mean_J_end"]["mean"]) == (1.0, None, None)
    json.dumps([summary, none], allow_nan=False)


@pytest.mark.parametrize(
    ("rule", "claim"), [(REINFORCE, "P-T31-SUM"), (GRPO, "P-T32-SUM-FIXED"), (GRPO, "X-GRPO-SUM-MEAN")]
)
def test_the_mean_lies_below_the_theorems_bound(rule: Any, claim: str) -> None:
    eta = resolve_step("theorem", rule, PROBLEM.x_max_sq)
    many = _runs(rule.name, 200, engine="lanes", eta=eta)
    rows, missing = ensemble_bounds(many, PROBLEM)
    row = next(row for row in rows if row["claim"] == claim)
    assert (len(rows), row["outcome"], missing) == (2 if rule is GRPO else 1, "below", None)
    exact = expectation(PROBLEM, rule, eta, STEPS)
    i = row["prompt"]
    of_several = np.mean if claim.endswith("MEAN") else np.max
    factor = 1.0 if rule is REINFORCE else 8 / 3 * of_several(exact.std_bound[:-1, i])
    assert row["bound"] == pytest.approx(2 * 3 * exact.q[0, i] * PROBLEM.x_max_sq * factor / STEPS, rel=1e-12)
    assert row["exact"] == pytest.approx(exact.grad_sq[:-1, i].mean(), rel=1e-12)
    assert row["low"] <= row["exact"] <= row["high"]
    assert row["mean"] == pytest.approx(many.mean_over_steps(many.sum_grad_sq, many.grad_sq)[:, i].mean(), rel=1e-12)


def test_negative_control_a_mean_above_its_bound_and_one_too_noisy_to_tell() -> None:
    many = _runs("reinforce", 20, eta=resolve_step("theorem", REINFORCE, PROBLEM.x_max_sq))
    (row,), _ = ensemble_bounds(many, PROBLEM)
    large = replace(many, sum_grad_sq=many.sum_grad_sq * 2 * row["bound"] / row["low"])
    assert ensemble_bounds(large, PROBLEM)[0][0]["outcome"] == "above"
    noise = np.random.default_rng(0).standard_normal((20, 1, 1)) * 100 * row["bound"]
    assert ensemble_bounds(replace(many, sum_grad_sq=many.sum_grad_sq + noise), PROBLEM)[0][0]["outcome"] == "undecided"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"schedule": "cyclic"}, "cyclic"),
        ({"schedule": "all"}, "one order"),
        ({"eta": 0.01}, "no theorem"),
        ({"eta": np.linspace(0.01, 0.02, 5)}, "differ in their step size"),
        ({"rule": "trl:4"}, "no theorem"),
        ({"problem": make_problem("gaussian", 3, 4, seed=1)}, "interact"),
        ({"problem": Problem(np.zeros((2, 3, 4)), np.array([0, 1]), np.zeros(4))}, "all features are 0"),
    ],
)
def test_runs_that_no_bound_covers_say_why(options: dict[str, Any], words: str) -> None:
    found, missing = ensemble_bounds(_runs(**options), options.get("problem", PROBLEM))
    assert found == []
    assert words in str(missing)
