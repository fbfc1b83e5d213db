"""What the engines make of a run of a sweep: every column, in any company, also where runs cannot be run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare import assert_agree
from sweeping import Inline, plan_of
from test_simulator_sweeps_results import SPEC, rows_of

import simulator.sweeps.execute as execute_module
from simulator.engines.run import simulate_many
from simulator.options import build_problem
from simulator.records import Record
from simulator.reference import simulate
from simulator.sampled import get_any_rule
from simulator.schedules import get_schedule
from simulator.step_sizes import choose_step
from simulator.sweeps.coordinate import coordinate
from simulator.sweeps.execute import ENGINE_VERSION, RESULTS, execute, execute_many
from simulator.sweeps.results import status
from simulator.sweeps.runspec import ENGINES
from simulator.sweeps.store import Store

GOLDEN = [0.5, 0.2, 0.9631528748356915, 2.424966576290919, 0.02671784837046807]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_engines_answer_as_their_version_says(engine: str) -> None:
    """Where this fails an engine has changed: raise ENGINE_VERSION, then write the new values here."""
    more = {"engine": engine, "record": "full"}
    run = plan_of({"run": {"family": "tabular", "n": 2, "k": 3, "steps": 40, "seed": 5, "p0": "0.1:0.3", **more}})
    row = execute(run.runs(0, 1)[0])
    assert ENGINE_VERSION == "engines-2"
    names = ("step_size", "mean_J_start", "mean_J_end", "gain_over_bound_min", "mean_grad_sq")
    # Processors may round differently; that one of them gives the same bits again is for the other tests.
    assert_agree(np.array([row[name] for name in names]), np.array(GOLDEN), 1e-12, "golden")
    assert row["descending_steps"] == 0


@pytest.mark.parametrize(
    ("rule", "record"), [("grpo", "log"), ("grpo", "full"), pytest.param("trl:2", "full", marks=pytest.mark.deep)]
)
def test_lanes_and_reference_agree_on_every_column(rule: str, record: str) -> None:
    """Replicas with a gap, each with several step sizes."""
    given = {"rule": rule, "family": "gaussian", "n": 2, "k": 3, "steps": 30, "record": record}
    grid = {"eta": [0.1, 0.5, 2], "engine": list(ENGINES)}
    plan = plan_of({"run": given, "grid": grid, "repeat": {"replicas": [4, 0, 1, 7]}})
    runs = plan.runs(0, len(plan))
    rows = execute_many(runs)
    half = len(rows) // 2
    assert [run["engine"] for run in runs] == [name for name in ENGINES for _ in range(half)]
    for lanes, reference in zip(rows[:half], rows[half:], strict=True):
        for name in ("status", "error", "t", "steps_to_50", "steps_to_90", "steps_to_99"):
            assert lanes[name] == reference[name], name
        for name in ("step_size", "x_max_sq", "mean_J_start", "mean_J_end", "mean_grad_sq", "mean_J"):
            assert_agree(np.array(lanes[name]), np.array(reference[name]), 1e-11, name)
        every = [lanes[name] for name in ("descending_steps", "gain_over_bound_min")]
        assert reference["descending_steps"] is not None
        if record == "log":
            assert every == [None, None]
            continue
        assert every[0] == reference["descending_steps"]
        if rule == "grpo":
            assert_agree(np.array(every[1]), np.array(reference["gain_over_bound_min"]), 1e-8, "gain")
        else:
            assert every[1] is reference["gain_over_bound_min"] is None


def test_a_run_by_lanes_has_the_same_bits_in_any_company(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, among many, in another order, beside other step sizes, and where little may be recorded at a time."""
    given = {"family": "gaussian", "n": 2, "k": 2, "steps": 60, "p0": "0.1:0.4"}
    runs = plan_of({"run": given, "grid": {"eta": [0.2, 0.3]}, "repeat": {"replicas": 80}}).runs(0, 160)
    rows = execute_many(runs)
    assert len({row["mean_J_end"] for row in rows}) == 160
    for index in (0, 17, 159):
        assert execute(runs[index]) == rows[index]
    assert execute_many(runs[::-3]) == rows[::-3]
    calls: list[int] = []

    def count(*args: Any, **options: Any) -> Any:
        calls.append(len(options["replicas"]))
        return simulate_many(*args, **options)

    monkeypatch.setattr(execute_module, "simulate_many", count)
    assert execute_many(runs) == rows
    assert calls == [80, 80]
    monkeypatch.setattr(execute_module, "_RECORDED", 20 * 8 * (5 * 2 * len(rows[0]["t"]) + 2 * runs[0]["d"]))
    assert execute_many(runs) == rows
    assert calls[2:] == [20] * 8


def test_a_run_that_records_too_much_is_refused_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.engines.plan.LARGEST_RECORD", 8 * (5 * 2 * 31 + 2 * 8))
    run = {"n": 2, "k": 2, "d": 8, "family": "gaussian", "record": "full"}
    plan = plan_of({"run": run, "grid": {"steps": [31, 30]}, "repeat": {"replicas": 2}})
    monkeypatch.setattr(execute_module, "_RECORDED", 1)
    rows = execute_many(plan.runs(0, 4))
    assert [row["status"] for row in rows] == ["refused", "refused", "ok", "ok"]
    assert rows[0]["error"].startswith("size of the records is 2688; expected at most 2608 bytes (1 replicas")


def test_runs_that_cannot_be_run_and_runs_that_diverge_are_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bad run of a task must not take the others with it."""

    def diverge(*args: Any, **kwargs: Any) -> Record:
        record = simulate(*args, **kwargs)
        if record.eta == 7.0:
            record.J[-2:] = np.nan
        return record

    monkeypatch.setattr(execute_module, "simulate", diverge)
    plan = plan_of(
        {"run": {"n": 1, "k": 2, "steps": 3, "engine": "reference"}, "lists": [{"eta": 7}, {"n": 90_000}, {"eta": 0.1}]}
    )
    store = Store(tmp_path, plan.engine)
    assert coordinate(plan, store, Inline) == {}
    diverged, fine, refused = rows_of(plan, store)
    assert (diverged["status"], diverged["mean_J_end"], diverged["mean_J"][-2:]) == ("diverged", None, [None, None])
    assert refused["status"] == "refused"
    assert refused["error"].startswith("n K d is ")
    assert [refused[name] for name in RESULTS if name not in ("status", "error")] == [None] * (len(RESULTS) - 2)
    assert fine["status"] == "ok"
    now = status(plan, store)
    assert (now.done, now.diverged, now.refused) == (3, 1, 1)


@pytest.mark.parametrize(
    ("rule", "schedule", "eta", "family"),
    [
        ("trl:4", "minibatch:2", "0.1", "drifting"),
        ("reinforce", "all", "theorem", "gaussian"),
        ("grpo", "cyclic", "best", "shared-skill"),
        ("reinforce", "uniform", "relaxed", "shared-skill"),
    ],
)
def test_every_key_reaches_the_engine(rule: str, schedule: str, eta: str, family: str) -> None:
    given = {"rule": rule, "schedule": schedule, "eta": eta, "family": family, "strength": 0.25, "p0": "beta:2,5"}
    given["engine"] = "reference"
    (run,) = plan_of({"run": {**given, "n": 3, "k": 4, "steps": 12, "seed": 2, "replica": 1}}).runs(0, 1)
    row = execute(run)
    problem = build_problem(family, 3, 4, None, "beta:2,5", 2, 0.25)
    update, plan = get_any_rule(rule), get_schedule(schedule)
    size = choose_step(eta, problem, update, plan, 12, 2)
    record = simulate(problem, update, size, 12, schedule=plan, seed=2, replica=1)
    assert (row["status"], row["step_size"]) == ("ok", size)
    assert row["mean_J"] == record.J.mean(axis=1).tolist()


def test_many_are_the_same_as_one_by_one() -> None:
    runs = plan_of({**SPEC, "repeat": {"seeds": 2, "replicas": 2}}).runs(0, 16)
    assert execute_many(runs) == [execute(run) for run in runs]
    assert execute_many(runs[::-1]) == [execute(run) for run in runs][::-1]
