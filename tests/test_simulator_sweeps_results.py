"""What a sweep's rows say, and what is read from them: against single runs, numpy and pyarrow."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from compare import assert_agree
from sweeping import Inline, contents, plan_of

from simulator.families import make_problem, success_targets
from simulator.reference import simulate
from simulator.sweeps.coordinate import coordinate
from simulator.sweeps.pack import SCHEMA
from simulator.sweeps.plan import Plan
from simulator.sweeps.results import export, look, query
from simulator.sweeps.store import Store
from simulator.sweeps.summarise import summarise
from theory.errors import InputError
from theory.rules import GRPO

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


def rows_of(plan: Plan, store: Store) -> list[dict[str, Any]]:
    return [row for task in plan.tasks for row in store.table(task.id).to_pylist()]


def test_a_row_says_what_the_run_says(sweep: tuple[Plan, Store]) -> None:
    plan, store = sweep
    runs = plan.runs(0, len(plan))
    for index, row in enumerate(rows_of(plan, store)):
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


def test_exports_hold_a_row_per_run_in_order(sweep: tuple[Plan, Store], tmp_path: Path) -> None:
    plan, store = sweep
    found, rows = look(plan, store), rows_of(plan, store)
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
    found, rows, before = look(plan, store), rows_of(plan, store), contents(store.directory)
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
    rows = rows_of(plan, store)
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
