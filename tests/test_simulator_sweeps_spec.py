"""Specifications: what they expand to, and that what is wrong with one is said with the key's name."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sweeping import plan_of

from simulator.families import FAMILIES
from simulator.sweeps import plan as plan_module
from simulator.sweeps.runspec import KEYS, RunSpec
from simulator.sweeps.spec import load_sweep
from theory.errors import InputError

EXAMPLE = Path(plan_module.__file__).parent / "example.toml"
U = "uniform"

# What is wrong, and the beginning of the message.
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"gird": {}}, "key in x is 'gird'; expected one of title, pack, run, grid, zip, lists, distributions, repeat"),
    ({"run": {"stepz": 3}}, "key in [run] in x is 'stepz'; expected one of family, n, k"),
    ({"grid": {"stepz": [3]}}, "key in [grid] in x is 'stepz'"),
    ({"distributions": {"samples": 2, "stepz": {"kind": U}}}, "key in [distributions] in x is 'stepz'"),
    ({"run": 3}, "run in x is 3"),
    ({"grid": {"n": 3}}, "grid.n in x is 3; expected a valid list"),
    ({"grid": {"n": []}}, "n in [grid] in x is []; expected at least one value"),
    ({"grid": {"n": [2, "3"]}}, "n in [grid] in x is '3'; expected a valid integer"),
    ({"grid": {"n": [2.0]}}, "n in [grid] in x is 2.0"),
    ({"run": {"n": True}}, "n in [run] in x is True"),
    ({"run": {"n": 0}}, "n in [run] in x is 0; expected a number greater than or equal to 1"),
    ({"run": {"k": 1}}, "k in [run] in x is 1"),
    ({"run": {"steps": 0}}, "steps in [run] in x is 0"),
    ({"run": {"seed": -1}}, "seed in [run] in x is -1"),
    ({"run": {"seed": 2**63}}, "seed in [run] in x is"),
    ({"run": {"family": "cubic"}}, "family in [run] in x: problem family is 'cubic'; expected one of orthogonal"),
    (
        {"run": {"family": ["tabular"]}},
        "family in [run] in x: problem family is ['tabular']; expected one of orthogonal",
    ),
    ({"run": {"eta": 10**400}}, "eta in [run] in x: eta is 1000"),
    ({"grid": {"n": [16**5000]}}, "n in [grid] in x is an integer of thousands of digits; expected a number less than"),
    ({"run": {"p0": 16**5000}}, "p0 in [run] in x"),
    ({"run": {"rule": "adam"}}, "rule in [run] in x: rule is 'adam'; expected one of reinforce, grpo"),
    ({"run": {"rule": 3}}, "rule in [run] in x is 3"),
    ({"run": {"p0": 1.0}}, "p0 in [run] in x: p0 is '1.0:1.0'; expected 0 < LOW <= HIGH < 1"),
    ({"run": {"p0": "0.5:0.2"}}, "p0 in [run] in x: p0 is '0.5:0.2'"),
    ({"run": {"p0": "x"}}, "p0 in [run] in x: p0 is 'x'"),
    ({"run": {"p0": [0.2]}}, "p0 in [run] in x is [0.2]"),
    ({"run": {"eta": 0}}, "eta in [run] in x: eta is 0.0; expected a finite number above 0"),
    ({"run": {"eta": "big"}}, "eta in [run] in x: eta is 'big'; expected a number above 0 or one of theorem, best"),
    ({"run": {"eta": float("nan")}}, "eta in [run] in x: eta is nan"),
    ({"run": {"record": "some"}}, "record in [run] in x: record is 'some'; expected log, full or ends"),
    ({"run": {"p0": "beta:2"}}, "p0 in [run] in x: p0 is 'beta:2'"),
    ({"run": {"schedule": "some"}}, "schedule in [run] in x: schedule is 'some'"),
    ({"run": {"schedule": "minibatch:5"}}, "orthogonal with n = 4, k = 8, d = 32 in x: minibatch size B is 5"),
    ({"run": {"strength": 0.5}}, "orthogonal with n = 4, k = 8, d = 32 in x: strength is 0.5; expected nothing"),
    ({"run": {"strength": float("inf")}}, "strength in [run] in x is inf"),
    ({"run": {"rule": "trl:8"}}, "eta in x, for rule trl:8 and schedule uniform: eta is 'theorem'"),
    ({"run": {"schedule": "all", "eta": "best"}}, "eta in x, for rule grpo and schedule all: eta is 'best'"),
    ({"pack": 0}, "pack in x is 0"),
    ({"zip": {"n": [1, 2], "k": [2]}}, "lengths in [zip] in x is 'n: 2, k: 1'; expected lists of one length"),
    ({"lists": [{"n": 2}, {"n": 0}]}, "n in [[lists]] number 2 in x is 0"),
    ({"run": {"n": 2}, "grid": {"n": [3]}}, "n in x is 'run and grid'; expected in one section"),
    ({"grid": {"n": [2]}, "zip": {"n": [3]}}, "n in x is 'grid and zip'"),
    ({"grid": {"seed": [2]}, "repeat": {"seeds": 3}}, "seed in x is 'grid and repeat'"),
    ({"repeat": {"seed": 3}}, "key in [repeat] in x is 'seed'; expected one of seeds, replicas"),
    ({"repeat": {"seeds": 0}}, "seeds in [repeat] in x: seeds is 0; expected how many, or a list"),
    ({"repeat": {"replicas": "3"}}, "replicas in [repeat] in x: replicas is '3'"),
    ({"repeat": {"replicas": []}}, "replica in [repeat] in x is []; expected at least one value"),
    ({"repeat": {"seeds": [1, -1]}}, "seed in [repeat] in x is -1"),
    ({"distributions": {"n": {"kind": U}}}, "keys in [distributions] in x is 'n'; expected samples"),
    ({"distributions": {"samples": 3}}, "keys in [distributions] in x is 'samples'"),
    ({"distributions": {"samples": 0, "eta": {"kind": U}}}, "samples in [distributions] in x is 0"),
    ({"distributions": {"samples": 2, "eta": 3}}, "eta in [distributions] in x is 3; expected a table"),
    ({"distributions": {"samples": 2, "eta": {"kind": "beta"}}}, "kind of eta in [distributions] in x is 'beta'"),
    ({"distributions": {"samples": 2, "eta": {"kind": U}}}, "eta in [distributions] in x is None; expected low and hi"),
    ({"distributions": {"samples": 2, "eta": {"kind": U, "low": 2, "high": 1}}}, "low, high of eta"),
    ({"distributions": {"samples": 2, "eta": {"kind": "loguniform", "low": 0, "high": 1}}}, "low, high of eta"),
    ({"distributions": {"samples": 2, "eta": {"kind": "choice", "values": []}}}, "values of eta"),
    ({"distributions": {"samples": 2, "k": {"kind": "integers", "low": 2.5, "high": 3}}}, "low, high of k"),
    ({"distributions": {"samples": 9, "n": {"kind": U, "low": 2, "high": 3}}}, "n in [distributions] in x is 2."),
    ({"grid": {"n": [1, 2], "d": [3]}, "run": {"k": 3}}, "orthogonal with n = 2, k = 3, d = 3 in x: d is 3"),
    ({"grid": {"rule": ["grpo", "power:0.3"]}}, "eta in x, for rule power:0.3 and schedule uniform: eta is"),
    ({"repeat": {"seeds": 5_000_000, "replicas": 5_000_000}}, "number of runs in x is 25000000000000; expected at mo"),
    ({"grid": {"n": [1] * 2000, "k": [2] * 3000}}, "number of runs in x is 6000000; expected at most"),
    ({"repeat": {"seeds": 4000, "replicas": 4000}}, "number of runs in x is 16000000; expected at most"),
]


@pytest.mark.parametrize(("values", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_what_is_wrong_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        plan_of(values)
    text = str(caught.value)
    assert text.startswith(message), text
    assert "\n" not in text


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="readable TOML file"):
        load_sweep(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[grid\n")
    with pytest.raises(InputError, match="is not TOML"):
        load_sweep(tmp_path / "bad.toml")
    (tmp_path / "deep.toml").write_text("x = " + "[" * 5000)
    with pytest.raises(InputError, match="nested too deeply"):
        load_sweep(tmp_path / "deep.toml")


def test_left_out_keys_have_the_defaults_of_one_run() -> None:
    (run,) = plan_of({}).runs(0, 1)
    fields = RunSpec.__dataclass_fields__
    assert run == {key: 32 if key == "d" else fields[key].default for key in KEYS}


def test_axes_are_multiplied_and_the_last_varies_fastest() -> None:
    values = {
        "grid": {"rule": ["grpo", "reinforce"], "n": [1, 2]},
        "zip": {"k": [2, 3], "steps": [5, 6]},
        "lists": [{"p0": 0.1}, {"eta": 0.5, "p0": "0.2:0.3"}],
        "repeat": {"seeds": [7, 9], "replicas": 2},
    }
    plan = plan_of(values)
    parts = itertools.product(
        ["grpo", "reinforce"], [1, 2], [(2, 5), (3, 6)], [("0.1", "theorem"), ("0.2:0.3", "0.5")], [7, 9], [0, 1]
    )
    desired = [
        {"rule": rule, "n": n, "k": k, "steps": steps, "p0": p0, "eta": eta, "seed": seed, "replica": replica}
        for rule, n, (k, steps), (p0, eta), seed, replica in parts
    ]
    found = plan.runs(0, len(plan))
    assert [{key: run[key] for key in desired[0]} for run in found] == desired
    assert all(run["d"] == run["n"] * run["k"] for run in found)


def test_runs_that_are_compiled_alike_are_neighbours() -> None:
    """Whatever the order of the axes and of the points on them; for the rest it is as written."""
    drawn = {"samples": 30, "k": {"kind": "integers", "low": 2, "high": 4}}
    plan = plan_of({"grid": {"p0": [0.3, 0.1], "rule": ["grpo", "reinforce"]}, "distributions": drawn})
    runs = plan.runs(0, len(plan))
    kinds = [kind for kind, _ in itertools.groupby((run["rule"], run["k"]) for run in runs)]
    assert len(kinds) == len(set(kinds)) == 6
    assert plan.compiled(np.arange(len(plan))) == 6
    assert plan.compiled(np.arange(2)) == 1
    assert [rule for rule, _ in kinds] == ["grpo"] * 3 + ["reinforce"] * 3
    assert list(dict.fromkeys(run["p0"] for run in runs)) == ["0.3", "0.1"]


def test_a_slow_run_is_more_work() -> None:
    more = {"fast": {}, "slow": {"engine": "reference"}, "full": {"record": "full"}, "wide": {"n": 32, "d": 256}}
    work = {name: plan_of({"run": {"steps": 10, **given}}).work for name, given in more.items()}
    assert work == {"fast": 10, "slow": 400, "full": 50, "wide": 640}
    assert plan_of({"run": {"engine": "reference"}}).compiled(np.arange(1)) == 0


def test_a_familys_strength_is_filled_in() -> None:
    plan = plan_of({"run": {"n": 2, "k": 4}, "grid": {"family": list(FAMILIES)}})
    for run in plan.runs(0, len(plan)):
        assert run["strength"] == FAMILIES[run["family"]].default_strength
        assert run["d"] == FAMILIES[run["family"]].default_d(2, 4)


def test_values_are_drawn_by_seed_and_each_key_has_its_own() -> None:
    eta = {"kind": "loguniform", "low": 0.01, "high": 10}
    many = {
        "samples": 400,
        "eta": eta,
        "p0": {"kind": "logituniform", "low": 0.001, "high": 0.5},
        "k": {"kind": "integers", "low": 2, "high": 4},
        "rule": {"kind": "choice", "values": ["grpo", "reinforce"]},
    }
    plan = plan_of({"distributions": many})
    runs = plan.runs(0, len(plan))
    assert {run["k"] for run in runs} == {2, 3, 4}
    assert {run["rule"] for run in runs} == {"grpo", "reinforce"}
    etas = sorted(float(run["eta"]) for run in runs)
    assert etas[0] >= 0.01
    assert etas[-1] <= 10
    # The median of the logarithm is in the middle, within four standard deviations.
    assert 0.16 < etas[200] < 0.62
    assert all(0.001 <= float(run["p0"]) <= 0.5 for run in runs)
    alone = plan_of({"distributions": {"samples": 400, "eta": eta}})
    assert sorted(run["eta"] for run in alone.runs(0, 400)) == sorted(run["eta"] for run in runs)
    other = plan_of({"distributions": {"samples": 400, "samples_seed": 1, "eta": eta}})
    assert [run["eta"] for run in other.runs(0, 400)] != [run["eta"] for run in runs]
    normal = {"kind": "lognormal", "median": 0.5, "sigma": 0.1}
    drawn = plan_of({"distributions": {"samples": 400, "eta": normal}})
    values = sorted(float(run["eta"]) for run in drawn.runs(0, 400))
    assert 0.48 < values[200] < 0.52
    assert 0.3 < values[0] < values[-1] < 0.8


def test_the_example_is_a_specification() -> None:
    plan = plan_of(EXAMPLE)
    assert len(plan) == 2 * 5 * 6
    assert len(plan.tasks) > 8
