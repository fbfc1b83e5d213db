"""What a sweep's rows say, and what is read from them: against single runs, numpy and pyarrow."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from compare import assert_agree
from sweeping import Inline, contents, plan_of

import simulator.sweeps.execute as execute_module
from simulator.engines.run import simulate_many
from simulator.families import make_problem, success_targets
from simulator.options import build_problem
from simulator.records import Record
from simulator.reference import simulate
from simulator.sampled import get_any_rule
from simulator.schedules import get_schedule
from simulator.step_sizes import choose_step
from simulator.sweeps.coordinate import coordinate
from simulator.sweeps.estimate import estimate
from simulator.sweeps.execute import ENGINE_VERSION, RESULTS, execute, execute_many
from simulator.sweeps.pack import SCHEMA
from simulator.sweeps.plan import Plan
from simulator.sweeps.results import export, look, query, status
from simulator.sweeps.runspec import ENGINES
from simulator.sweeps.store import Store
from simulator.sweeps.summarise import summarise
from theory.errors import InputError
from theory.rules import GRPO

GOLDEN = [0.5, 0.2, 0.9631528748356915, 2.424966576290919, 0.02671784837046807]
SPEC: dict[str, Any] = {
    "pack": 5,
    "run": {"family": "gaussian", "n": 2, "k": 2, "steps": 30, "engine": "reference"},
    "grid": {"rule": ["grpo", "reinforce"], "p0": [0.1, "0.2:0.6"]},
    "repeat": {"seeds": 4},
}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    plan = plan_of(SPEC)
    store = Store(tmp_path_factory.mktemp("sweep") / "out", plan.engine)
    assert coordinate(plan, store, Inline) == {}
    return plan, store


def _rows(plan: Plan, store: Store) -> list[dict[str, Any]]:
    return [row for task in plan.tasks for row in store.table(task.id).to_pylist()]


def test_a_row_says_what_the_run_says(sweep: tuple[Plan, Store]) -> None:
    plan, store = sweep
    runs = plan.runs(0, len(plan))
    for index, row in enumerate(_rows(plan, store)):
        run = runs[index]
        assert {key: row[key] for key in run} == run
        assert row["run_id"] == plan.ids[index]
        if run["rule"] != "grpo" or run["p0"] != "0.2:0.6":
            continue
        problem = make_problem("gaussian", 2, 2, p0=success_targets(2, 0.2, 0.6), seed=run["seed"])
        record = simulate(problem, GRPO, 1 / (2 * problem.x_max_sq), 30, seed=run["seed"])
        summary = record.summary()
        mean = record.J.mean(axis=1)
        sizes = simulate(problem, GRPO, record.eta, 30, seed=run["seed"], record="full").grad_sq[:-1]
        assert_agree(np.array(row["mean_grad_sq"]), sizes.mean(), 1e-14, "mean_grad_sq")
        for name in ("x_max_sq", "mean_J_start", "mean_J_end", "descending_steps", "gain_over_bound_min"):
            assert row[name] == summary[name], name
        assert (row["status"], row["error"], row["step_size"]) == ("ok", None, record.eta)
        assert row["t"] == record.t.tolist()
        assert row["mean_J"] == mean.tolist()
        reached = record.t[mean >= 0.5]
        assert row["steps_to_50"] == (reached[0] if len(reached) else None)
        assert row["steps_to_99"] is None


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


@pytest.mark.parametrize(("rule", "record"), [("grpo", "log"), ("grpo", "full"), ("trl:2", "full")])
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
    diverged, fine, refused = _rows(plan, store)
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


def test_exports_hold_a_row_per_run_in_order(sweep: tuple[Plan, Store], tmp_path: Path) -> None:
    plan, store = sweep
    found, rows = look(plan, store), _rows(plan, store)
    assert export(plan, store, found, tmp_path / "runs.parquet") == len(plan)
    assert pq.read_table(tmp_path / "runs.parquet").to_pylist() == rows
    assert export(plan, store, found, tmp_path / "runs.csv") == len(plan)
    with (tmp_path / "runs.csv").open() as handle:
        table = list(csv.DictReader(handle))
    assert list(table[0]) == SCHEMA.names
    for told, row in zip(table, rows, strict=True):
        assert told["run_id"] == row["run_id"]
        assert float(told["mean_J_end"]) == row["mean_J_end"]
        assert [float(text) for text in told["mean_J"].split(";")] == row["mean_J"]
        assert [int(text) for text in told["t"].split(";")] == row["t"]
        assert told["steps_to_99"] == ""
    with pytest.raises(InputError, match=r"ends in \.parquet or \.csv"):
        export(plan, store, found, tmp_path / "runs.txt")


def test_queries_answer_and_change_nothing(sweep: tuple[Plan, Store], tmp_path: Path) -> None:
    plan, store = sweep
    found, rows, before = look(plan, store), _rows(plan, store), contents(store.directory)
    answer = query(store, found, "SELECT rule, count(*) AS runs, avg(mean_J_end) FROM runs GROUP BY rule ORDER BY rule")
    assert answer.columns == ("rule", "runs", "avg(mean_J_end)")
    for rule, count, mean in answer.rows:
        desired = [row["mean_J_end"] for row in rows if row["rule"] == rule]
        assert count == len(desired)
        assert_agree(np.array(mean), np.mean(desired), 1e-14, rule)
    victim = store.path(plan.tasks[0].id)
    refused = (
        "DELETE FROM runs",
        "DROP VIEW nothing",
        f"COPY (SELECT 1) TO '{tmp_path}/new.csv'",
        f"COPY (SELECT 1) TO '{victim}'",
        f"SELECT * FROM '{victim}'",
        f"ATTACH '{tmp_path}/new.db'",
        "SET enable_external_access = true",
        "SELECT nothing FROM runs",
        "SELECT",
        "",
        "-- nothing",
        "INSTALL httpfs",
    )
    for sql in refused:
        with pytest.raises(InputError) as caught:
            query(store, found, sql)
        assert str(caught.value).startswith("query is ")
        assert "\n" not in str(caught.value)
    assert contents(store.directory) == before
    assert not list(tmp_path.iterdir())


def test_intervals_are_students(sweep: tuple[Plan, Store]) -> None:
    plan, store = sweep
    rows = _rows(plan, store)
    groups = summarise(store, look(plan, store), "mean_J_end", ("p0", "rule"))
    assert sorted(group.at for group in groups) == sorted({(row["p0"], row["rule"]) for row in rows})
    for group in groups:
        values = np.array([row["mean_J_end"] for row in rows if (row["p0"], row["rule"]) == group.at])
        assert (group.count, group.missing) == (4, 0)
        assert_agree(np.array(group.mean), values.mean(), 1e-13, "mean")
        # The 97.5% point of Student's t with three degrees of freedom.
        assert group.half is not None
        assert_agree(np.array(group.half), 3.182446305284263 * np.std(values, ddof=1) / 2, 1e-10, "half width")


def test_means_over_different_settings_are_refused(sweep: tuple[Plan, Store]) -> None:
    plan, store = sweep
    found = look(plan, store)
    with pytest.raises(InputError, match="runs that differ in p0"):
        summarise(store, found, "mean_J_end", ("rule",))
    assert len(summarise(store, found, "mean_J_end", ("rule",), "p0 = '0.1'")) == 2
    for y, columns in (("rule", ("p0",)), ("mean_J", ("p0",)), ("nothing", ("p0",)), ("mean_J_end", ("t",))):
        with pytest.raises(InputError, match="expected one of"):
            summarise(store, found, y, columns)
    with pytest.raises(InputError, match="number of runs to plot is 0"):
        summarise(store, found, "steps_to_99", ("p0", "rule"))


def test_the_estimate_counts_and_comes_close(tmp_path: Path) -> None:
    """Bytes within a factor of two, whatever is recorded; times are for the benchmark."""
    for more in ({}, {"record": "full", "steps": 400}):
        plan = plan_of({**SPEC, "run": {**SPEC["run"], **more}})
        store = Store(tmp_path / str(len(more)), plan.engine)
        cost = estimate(plan, plan.tasks)
        assert (cost.runs, cost.tasks) == (16, 4)
        assert cost.seconds > 0
        coordinate(plan, store, Inline)
        size = sum(map(len, contents(store.directory).values()))
        assert 0.5 * size < cost.bytes < 2 * size
    assert dataclasses.astuple(estimate(plan, [])) == (0, 0, 0, 0.0, 0, 0, 0.0)
