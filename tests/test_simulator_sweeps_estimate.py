"""What a dry run says a sweep will cost, and which of its runs will be refused: against what the sweep then does."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sweeping import Inline, contents, plan_of

from simulator.sweeps.coordinate import coordinate
from simulator.sweeps.estimate import estimate
from simulator.sweeps.execute import execute_many
from simulator.sweeps.store import Store
from whynorm.cli import main

SPEC: dict[str, Any] = {
    "pack": 5,
    "run": {"family": "gaussian", "n": 2, "k": 2, "steps": 30, "engine": "reference"},
    "grid": {"rule": ["grpo", "reinforce"], "p0": [0.1, "0.2:0.6"]},
    "repeat": {"seeds": 4},
}
# n K d of 2.5e8 is the most.
LARGE = {
    "run": {"steps": 5, "engine": "reference", "family": "orthogonal"},
    "grid": {"n": [2, 40_000], "eta": [0.1, 1]},
}


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
    assert dataclasses.astuple(estimate(plan, [])) == (0, 0, 0, 0.0, 0, 0, 0.0, {}, {})


def _refused(plan: Any) -> Counter[str]:
    """What the sweep itself refuses."""
    return Counter(row["error"] for row in execute_many(plan.runs(0, len(plan))) if row["status"] == "refused")


@pytest.mark.parametrize("large", [[2, 40_000], [40_000]])
def test_problems_that_are_too_large_are_told_and_take_no_time(large: list[int]) -> None:
    plan = plan_of({**LARGE, "grid": {**LARGE["grid"], "n": large}})
    cost = estimate(plan, plan.tasks)
    assert cost.refused == _refused(plan)
    ((error, runs),) = cost.refused.items()
    assert (runs, error.startswith("n K d is 102400000000; expected at most 250000000")) == (2, True)
    # Twice as many runs of which half are refused are as long as the others alone.
    assert cost.samples == len(plan) - 2
    assert (cost.seconds > 0) == (len(large) > 1)
    assert cost.refused_samples == {}


def test_records_that_are_too_large_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.engines.plan.LARGEST_RECORD", 8 * (5 * 2 * 31 + 2 * 8))
    # Or runs would share calls that record more than this.
    monkeypatch.setattr("simulator.sweeps.execute._RECORDED", 1)
    run = {"n": 2, "k": 2, "d": 8, "family": "gaussian", "record": "full"}
    plan = plan_of({"run": run, "grid": {"steps": [31, 30]}, "repeat": {"replicas": 2}})
    cost = estimate(plan, plan.tasks)
    assert cost.refused == _refused(plan)
    assert (sum(cost.refused.values()), cost.compiled) == (2, 1)


def test_what_only_a_run_can_tell_is_told_of_those_that_were_measured() -> None:
    """The step size of Theorem 3.3 needs prompts that help one another."""
    run = {"family": "conflicting", "n": 2, "k": 2, "steps": 5, "eta": "relaxed", "engine": "reference"}
    plan = plan_of({"run": run, "repeat": {"seeds": 2}})
    cost = estimate(plan, plan.tasks)
    assert cost.refused == {}
    assert cost.refused_samples == _refused(plan)
    assert sum(cost.refused_samples.values()) == 2


def test_the_dry_run_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "spec.toml"
    spec.write_text('[run]\nsteps = 5\nengine = "reference"\n[grid]\nn = [2, 40000]\n')
    assert main(["sweep", "run", str(spec), "--dry-run"]) == 0
    assert "refused         1 of the runs to do: n K d is 102400000000; expected" in capsys.readouterr().out
