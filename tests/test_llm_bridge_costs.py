"""Seconds and passes by part: counted where they happen, each once, as formulas for them say."""

from __future__ import annotations

import pytest
import torch
from tiny_case import PROMPTS, case

import llm_bridge.costs
from llm_bridge.comparing.headline import CompareOptions, compare
from llm_bridge.costs import Costs, cost_part, count_passes, counted_as
from llm_bridge.experiment import BridgeSettings
from llm_bridge.gradients import logit_features
from llm_bridge.measurement.measuring import MeasureOptions, measure
from theory.rules import RULES


def test_what_a_part_within_a_part_takes_is_not_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(llm_bridge.costs.time, "perf_counter", lambda: now[0])
    costs, z = Costs(), torch.ones(2, 3, requires_grad=True)
    count_passes(z * 1)
    with costs.part("outer"):
        now[0] += 2
        outer = count_passes(z * 1)
        with cost_part("inner"):
            now[0] += 40
            inner = count_passes(z * 1)
            # A gradient belongs to the part that asks for it.
            (outer + inner).sum().backward(retain_graph=True)
            with counted_as(forward=5, backward=7):
                count_passes(z * 1).sum().backward()
        now[0] += 1
        with torch.no_grad():
            count_passes(z * 1)
        # One forward pass may serve several backward ones.
        for k in range(3):
            outer[0, k].backward(retain_graph=True)
    now[0] += 100
    outer.sum().backward()
    told = costs.to_json()
    assert list(told) == ["outer", "inner"]
    passes = {name: (cost["forward"], cost["backward"]) for name, cost in told.items()}
    assert passes == {"outer": (4, 6), "inner": (2 + 5, 4 + 7)}
    assert [cost["seconds"] for cost in told.values()] == [3, 40]
    with cost_part("nobody asks"), counted_as(forward=1):
        count_passes(z)
    assert costs.to_json() == told


def test_measured_parts_take_the_passes_that_their_formulas_say() -> None:
    loaded, batch, _ = case()
    n, rules, ball = len(PROMPTS), len(RULES), 1
    found = measure(loaded, PROMPTS, batch, MeasureOptions(curved=1, ball=ball, resamples=2)).content
    passes = {name: (cost["forward"], cost["backward"]) for name, cost in found["cost"].items()}
    # A graph at theta for both forms, at two points for differences, and on the ball; a product is two passes back.
    graphs, products = 4 + ball, sum(each["products"] for each in found["curvature"])
    assert passes == {
        "gram": (n, n),
        "interactions": (0, 0),
        "sampling": (0, 0),
        "hidden": (n, 0),
        "fisher": (0, 0),
        "curvature": (graphs, graphs + 2 * products),
        "gains": (rules * (2 * n + n * n), rules * n),
    }
    assert found["cost"]["gram"]["bytes"] > 0
    with (costs := Costs()).part("features"):
        logit_features(loaded, batch)
    assert (costs.parts["features"]["forward"], costs.parts["features"]["backward"]) == (n, n * batch.shape[1])


def test_a_comparison_tells_what_each_part_took() -> None:
    settings = BridgeSettings(prompts=("5*7", "2+7"), steps=2, eta_scale=100.0)
    options = CompareOptions(
        (2,), checkpoints=1, step_rule_steps=2, sampled="paper:4", seeds=2, sampled_steps=3, resamples=20
    )
    told = []
    headline = compare(settings, options, known=lambda each: told.append(each.to_json()["cost"]))
    # Anchors at the start, in the middle and at the end.
    n, steps, anchors = 2, settings.steps, 3
    passes = {name: (cost["forward"], cost["backward"]) for name, cost in headline.cost.items()}
    # Every step measures all prompts' gradients beside its own one.
    run = (steps + 1) * n + steps
    assert passes["run"] == (run, run)
    assert passes["gram"] == (anchors * n, anchors * n)
    assert passes["measured"] == (n, 0)
    (gap,) = headline.gaps
    epochs = [each.tried for each in (gap.epoch_own, gap.epoch_mean) if each is not None]
    tries = sum(each.own.tried + n * each.mean.tried for each in gap.prompts if each.mean is not None)
    # Before and after all prompts, and for each its log-odds, its update and its log-odds again.
    assert passes["gaps"] == (n * (1 + n) + tries + sum(epochs) * 5 * n, n + sum(epochs) * n)
    # The Gram matrix, and three runs, of which two take one pass more at each step, for its size.
    each = 3 * n + 2
    assert passes["step rules"] == (n + 3 * each + 2 * 2,) * 2
    # All prompts before and after every step, and the drawn one in it.
    assert passes["sampled"] == (n + 2 * (4 * n + 3), n + 2 * 3)
    assert [list(cost) for cost in told] == [
        ["run", "gram", "measured", "gaps"],
        ["run", "gram", "measured", "gaps", "step rules"],
        ["run", "gram", "measured", "gaps", "step rules", "sampled"],
    ]
    assert all(cost["seconds"] > 0 for cost in headline.cost.values())
    assert headline.cost["gram"]["bytes"] == max(anchor.gram.cost["bytes"] for anchor in headline.comparison.anchors)
