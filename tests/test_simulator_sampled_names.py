"""Names of sampled rules, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from test_simulator_sampled import get_rule

from simulator.families import make_problem
from simulator.reference import simulate
from simulator.sampled import (
    DAPO_ATTEMPTS,
    RULE_FORMS,
    SampledRule,
    get_any_rule,
)
from theory.advantages import PRESETS
from theory.errors import InputError
from theory.rules import GRPO, Rule

FORMS: list[tuple[str, Callable[[Any], bool]]] = [
    ("grpo", lambda rule: rule is GRPO),
    ("power:0.3", lambda rule: isinstance(rule, Rule) and rule.name == "power:0.3"),
    ("trl:8", lambda rule: (rule.name, rule.convention, rule.group, rule.resample) == ("trl:8", PRESETS["trl"], 8, 0)),
    ("plain:1", lambda rule: rule.group == 1),
    ("dapo:4", lambda rule: (rule.convention, rule.resample) == (PRESETS["verl"], DAPO_ATTEMPTS - 1)),
]


@pytest.mark.parametrize(("name", "fits"), FORMS, ids=[name for name, _ in FORMS])
def test_names_of_rules(name: str, fits: Callable[[Any], bool]) -> None:
    assert fits(get_any_rule(name))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "trl",
        "trl:",
        "trl:x",
        "trl:-2",
        "trl:2.5",
        "ppo",
        "ppo:4",
        "dapo",
        "custom:",
        "custom:x,ddof=1",
        "group:4",
        ":4",
    ],
)
def test_unknown_rules_are_refused_with_all_forms(name: str) -> None:
    with pytest.raises(InputError) as caught:
        get_any_rule(name)
    assert all(form in str(caught.value) for form in RULE_FORMS)


@pytest.mark.parametrize("name", ["trl:1", "rloo:0", "plain:0", "no_std:1", "dapo:1", f"trl:{10**30}"])
def test_groups_of_unusable_size_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="group size G is"):
        get_any_rule(name)


def test_a_convention_can_be_spelled_out() -> None:
    rule = get_rule("custom:8,ddof=1,eps=1e-4,zero_variance=divide,resample=3")
    assert (rule.group, rule.resample) == (8, 3)
    assert replace(rule.convention, source="") == replace(PRESETS["trl"], source="")
    assert replace(get_rule("custom:4").convention, source="") == replace(PRESETS["paper"], source="")
    plain = get_rule("custom:1,baseline=none,scale=none").convention
    assert replace(plain, source="") == replace(PRESETS["plain"], source="")
    problem = make_problem("tabular", 2, 3, seed=1)
    record = simulate(problem, rule, 0.3, 20)
    assert (record.rule, record.step_bound, record.summary()["rule"]) == (rule.name, None, rule.name)


WRONG = ["ddof=2", "eps=x", "scale=prompt", "std=1", "ddof", "", "resample=-1", "eps=-1", "zero_variance=divide"]


@pytest.mark.parametrize("option", [*WRONG, "eps=nan", "eps=inf"])
def test_conventions_that_are_none_are_refused(option: str) -> None:
    with pytest.raises(InputError):
        get_any_rule(f"custom:4,{option}")


def test_a_rule_of_ones_own_has_no_bound() -> None:
    rule = SampledRule("mine", PRESETS["rloo"], 4)
    assert simulate(make_problem("tabular", 2, 3), rule, 0.3, 20).summary()["rule"] == "mine"


@pytest.mark.parametrize("name", ["power:2", "power:x", "grpo:4"])
def test_exact_rules_keep_their_own_errors(name: str) -> None:
    with pytest.raises(InputError):
        get_any_rule(name)
