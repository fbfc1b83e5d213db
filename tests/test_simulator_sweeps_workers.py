"""Workers that cannot start, die, lie, or have another engine; and tasks that are done twice."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from sweeping import (
    Inline,
    Sweep,
    assert_whole,
    contents,
    finish,
    plan_of,
    run_inline,
    write_spec,
)

import simulator.sweeps.executors as executors
import simulator.sweeps.perform as perform_module
from simulator.sweeps.coordinate import ATTEMPTS
from simulator.sweeps.executors import Outcome
from simulator.sweeps.manifest import Manifest
from simulator.sweeps.pack import pack
from simulator.sweeps.perform import perform
from simulator.sweeps.results import look, query, status
from simulator.sweeps.store import Store


def test_workers_that_cannot_start_end_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sweep: Sweep) -> None:
    plan, _, _ = sweep
    monkeypatch.setattr(executors, "_WORKER", "no.such.module")
    errors = finish(plan, tmp_path / "new")
    assert len(errors) == len(plan.tasks)
    assert set(errors.values()) == {"its worker died (exit code 1)"}


def test_results_of_another_engine_are_kept_and_not_used(sweep: Sweep) -> None:
    plan, directory, desired = sweep
    older = Store(directory, "reference-0")
    older.results.mkdir()
    for task in plan.tasks[:3]:
        rows = Store(directory, plan.engine).table(task.id).to_pylist()
        older.write(task.id, pack(task.id, "reference-0", rows))
    said: list[str] = []
    run_inline(plan, directory, said=said)
    assert said == ["6 runs of another engine version (reference-0) are kept, not used"]
    store = Store(directory, plan.engine)
    assert status(plan, store).other_engines == {"reference-0": 6}
    assert query(store, look(plan, store), "SELECT count(*) FROM runs").rows == [(16,)]
    assert {path.name: path.read_bytes() for path in store.results.iterdir()} == desired


def test_a_worker_with_another_engine_is_refused(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, directory, _ = sweep
    monkeypatch.setattr(perform_module, "ENGINE_VERSION", "other-1")
    message = {"task": "t", "engine": plan.engine, "directory": str(directory), "runs": [], "known": {}}
    outcome = Outcome(**perform(message))
    assert outcome.fatal
    assert f"a worker has engine other-1, the sweep needs {plan.engine}" in outcome.error


def test_a_task_that_kills_its_workers_is_given_up_and_the_others_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sweep: Sweep
) -> None:
    plan, _, desired = sweep
    monkeypatch.setattr(executors, "_WORKER", "dying_worker")
    directory = tmp_path / "new"
    errors = finish(plan, directory, workers=2)
    fatal = [task for task in plan.tasks if any(run["seed"] == 3 for run in plan.runs(task.start, task.stop))]
    assert sorted(errors) == sorted(task.id for task in fatal)
    assert set(errors.values()) == {f"its worker died (exit code {-signal.SIGKILL})"}
    now = status(plan, Store(directory, plan.engine))
    assert (now.done, now.failed, now.pending) == (8, 8, 0)
    assert set(now.errors) == set(errors)
    monkeypatch.undo()
    assert finish(plan, directory) == {}
    assert_whole(plan, directory, desired)


@pytest.mark.parametrize("lie", [False, True])
def test_a_task_is_tried_three_times_and_only_its_file_counts(lie: bool, sweep: Sweep, tmp_path: Path) -> None:
    plan, _, desired = sweep
    victim, asked = plan.tasks[1].id, list[str]()

    def before(message: dict[str, Any]) -> Outcome | None:
        asked.append(message["task"])
        return Outcome(victim, error="" if lie else "a bug") if message["task"] == victim else None

    errors = run_inline(plan, tmp_path / "new", Inline(before))
    assert list(errors) == [victim]
    assert errors[victim].startswith("its file is not there" if lie else "a bug")
    assert asked.count(victim) == ATTEMPTS
    assert len(asked) == len(plan.tasks) - 1 + ATTEMPTS
    assert len(contents(tmp_path / "new")) == len(plan.tasks) - 1
    assert Manifest.peek(tmp_path / "new")[victim].state == "failed"
    # The executor may also report a death for a task that was done: that is found, and nothing is computed again.
    assert run_inline(plan, tmp_path / "new") == {}
    assert_whole(plan, tmp_path / "new", desired)


def test_an_executor_that_runs_tasks_twice_changes_nothing(sweep: Sweep, tmp_path: Path) -> None:
    plan, _, desired = sweep

    def twice(message: dict[str, Any]) -> None:
        assert not perform(message)["error"]

    run_inline(plan, tmp_path / "new", Inline(twice))
    assert_whole(plan, tmp_path / "new", desired)


def test_a_longer_specification_reuses_what_is_there(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the runs of a task lie in several files of the shorter one; files are as if computed anew."""
    _, directory, _ = sweep
    longer = plan_of(write_spec(directory.parent / "longer.toml", seeds=5, pack=3))
    executed: list[Any] = []
    execute = perform_module.execute_many

    def count(runs: Any) -> Any:
        executed.extend(runs)
        return execute(runs)

    monkeypatch.setattr(perform_module, "execute_many", count)
    run_inline(longer, directory)
    assert len(executed) == 4
    assert {run["seed"] for run in executed} == {4}
    run_inline(longer, directory.parent / "anew")
    found, desired = contents(directory), contents(directory.parent / "anew")
    assert {name: found[name] for name in desired} == desired
    store = Store(directory, longer.engine)
    assert query(store, look(longer, store), "SELECT count(*), count(DISTINCT run_id) FROM runs").rows == [(20, 20)]
