"""Ids of runs and tasks: equal settings are one run however they are spelled, and an id is what it was."""

from __future__ import annotations

import hashlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweeping import plan_of

from simulator.sweeps.plan import PACK_RUNS, PACK_STEPS, make_plan, task_id
from simulator.sweeps.runspec import run_id, validate_value
from simulator.sweeps.spec import parse_sweep
from theory.errors import InputError

VALUES = {
    "rule": st.sampled_from(["grpo", "reinforce"]),
    "p0": st.sampled_from([0.1, "0.1", "0.10", 0.25, "0.1:0.3"]),
    "eta": st.sampled_from(["theorem", 1, 1.0, "1e0", 0.5]),
    "n": st.integers(1, 3),
    "k": st.integers(2, 3),
    "steps": st.integers(1, 1_200_000),
}


@given(st.data())
def test_ids_and_packing_of_any_grid(data: st.DataObject) -> None:
    """Ids are those of single runs, equal settings are one run, tasks hold all runs in order and are not too large."""
    keys = data.draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True))
    grid = {key: data.draw(st.lists(VALUES[key], min_size=1, max_size=3)) for key in keys}
    pack = data.draw(st.none() | st.integers(1, 5))
    plan = plan_of({"grid": grid, "repeat": {"seeds": 2}} | ({} if pack is None else {"pack": pack}))
    runs = plan.runs(0, len(plan))
    assert plan.ids == [run_id(run, plan.engine) for run in runs]
    assert len(set(plan.ids)) == len(plan.ids)
    assert len(plan) + plan.duplicates == 2 * len(list(itertools.product(*grid.values())))
    assert [i for task in plan.tasks for i in range(task.start, task.stop)] == list(range(len(plan)))
    for task in plan.tasks:
        assert task.id == task_id(plan.ids[task.start : task.stop])
        steps = sum(run["steps"] for run in runs[task.start : task.stop])
        assert task.work == steps
        assert task.runs <= (pack or PACK_RUNS)
        assert pack or steps <= PACK_STEPS or task.runs == 1


def test_spelling_does_not_matter_and_the_engine_does() -> None:
    one = plan_of({"run": {"p0": 0.2, "eta": 1, "n": 2, "k": 2}})
    other = plan_of({"run": {"k": 2, "n": 2, "d": 4, "eta": "1.0", "p0": "0.20:0.2", "family": "orthogonal"}})
    assert one.ids == other.ids
    sweep = parse_sweep({}, "in x")
    assert make_plan(sweep, "a-1").ids != make_plan(sweep, "a-2").ids


def test_every_way_to_say_a_value_has_one_spelling() -> None:
    def spelled(key: str, values: list[object]) -> list[object]:
        return [validate_value(key, value, "in x") for value in values]

    assert spelled("p0", [0.2, "0.20", "0.2:0.2", "0.1:0.50", "hard", "beta:2,5", "loguniform:1e-12,.5"]) == [
        "0.2",
        "0.2",
        "0.2",
        "0.1:0.5",
        "0.2",
        "beta:2.0,5.0",
        "loguniform:1e-12,0.5",
    ]
    assert spelled("eta", [1, "1e0", 0.25, "theorem", "best", "relaxed"]) == [
        "1.0",
        "1.0",
        "0.25",
        "theorem",
        "best",
        "relaxed",
    ]


def test_a_rule_that_is_spelled_out_has_one_spelling() -> None:
    same = ["custom:4,eps=1e-3", "custom:4,eps=0.001", "custom:04,eps=0.001", "custom:4,ddof=0,eps=.001,resample=0"]
    assert {validate_value("rule", rule, "in x") for rule in same} == {"custom:4,eps=0.001"}
    plan = plan_of({"run": {"n": 2, "k": 2, "eta": 0.1}, "grid": {"rule": same}})
    assert (len(plan), plan.duplicates) == (1, 3)
    for rule, desired in (
        ("custom:8,resample=3,eps=1e-4,ddof=1", "custom:8,ddof=1,eps=0.0001,resample=3"),
        ("custom:8,zero_variance=divide,eps=1", "custom:8,eps=1.0,zero_variance=divide"),
        ("custom:2,eps=-0.0,baseline=mean,scale=group,zero_variance=zero", "custom:2"),
        ("custom:1,scale=none,baseline=none", "custom:1,baseline=none,scale=none"),
    ):
        assert validate_value("rule", rule, "in x") == desired
        assert validate_value("rule", desired, "in x") == desired
    for rule in ("custom:4,eps=1,eps=2", "custom:4,ddof=0,ddof=0"):
        with pytest.raises(InputError, match="each once; correct"):
            validate_value("rule", rule, "in x")


def test_an_id_is_what_it_was() -> None:
    """Ids name results that people keep: they change with an engine's version or a key more, not by accident."""
    text = (
        'an-engine\n{"d":32,"engine":"lanes","eta":"theorem","family":"orthogonal","k":8,"n":4,"p0":"0.05:0.6","record":"log",'
        '"replica":0,"rule":"grpo","schedule":"uniform","seed":0,"steps":1000,"strength":null}'
    )
    desired = hashlib.sha256(text.encode()).hexdigest()[:32]
    assert make_plan(parse_sweep({}, "in x"), "an-engine").ids == [desired]
