"""The step-size gap: the search for the largest step, the product it is made of, and steps that look at the state."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from compare import assert_agree

from llm_bridge.comparing.directional import along_of, model_step
from llm_bridge.comparing.directional_runs import step_rule_runs
from llm_bridge.comparing.lines import WIDTH, largest, log_odds_at, log_odds_direction
from llm_bridge.comparing.step_gap import FACTORS, measure_gap
from llm_bridge.experiment import BridgeSettings, prepare
from llm_bridge.measurement.gram import answer_gram
from llm_bridge.measurement.moves import kept_parameters, move
from simulator.directional import Along
from theory.rules import GRPO, REINFORCE

SMALL = BridgeSettings(prompts=("5*7", "2+7"), steps=3)
WIDTH_RATIO = 1 + WIDTH


@cache
def _loaded() -> tuple[Any, Any, Any]:
    loaded, _, batch = prepare(SMALL)
    return loaded, batch, answer_gram(loaded, batch)


def _parameters(loaded: Any) -> np.ndarray:
    return torch.nn.utils.parameters_to_vector(loaded.parameters.values()).detach().numpy().copy()


@pytest.mark.parametrize("limit", [1e-3, 0.7, 5.0, 1234.5])
def test_the_largest_step_is_found_to_two_per_cent(limit: float) -> None:
    found = largest(lambda step: step <= limit, 1e-4, 1e9)
    assert limit / WIDTH_RATIO <= found.value <= limit
    assert not found.open_end
    assert found.tried < math.log2(limit / 1e-4) + 12


def test_a_property_that_never_fails_has_an_open_end_and_one_that_never_holds_gives_zero() -> None:
    always = largest(lambda step: True, 1.0, 100.0)
    assert always.open_end
    assert always.value >= 100.0
    assert largest(lambda step: False, 1.0, 100.0).value == 0.0


def test_the_first_failure_counts_even_if_the_property_comes_back() -> None:
    found = largest(lambda step: step < 3 or step > 10, 1.0, 1e6)
    assert 3 / WIDTH_RATIO <= found.value < 3


def test_parameters_come_back_bit_for_bit() -> None:
    loaded, batch, _ = _loaded()
    before = _parameters(loaded)
    _, direction = log_odds_direction(loaded, batch.prompt(0))
    with kept_parameters(loaded) as base:
        move(loaded, base, direction, 1e-3)
        assert not np.array_equal(_parameters(loaded), before)
    assert np.array_equal(_parameters(loaded), before)


def test_the_gram_matrix_gives_the_features_along_the_gradient() -> None:
    """u = G c equals the derivative of the logits along grad L, by finite differences."""
    loaded, batch, gram = _loaded()
    along = along_of(gram)
    value, direction = log_odds_direction(loaded, batch.prompt(1))
    assert_agree(along.gap_sq[1], sum(float((part**2).sum()) for part in direction), 1e-8)
    h = 1e-7
    with kept_parameters(loaded) as base:
        move(loaded, base, direction, h)
        slope = (log_odds_at(loaded, batch.prompt(1))[0] - value) / h
    assert_agree(slope, along.gap_sq[1], 1e-3)


@pytest.mark.parametrize("rule", [GRPO, REINFORCE], ids=lambda rule: rule.name)
def test_the_gap_is_the_product_of_its_factors(rule: Any) -> None:
    loaded, batch, gram = _loaded()
    before = _parameters(loaded)
    gap = measure_gap(loaded, batch, rule, gram, ("5*7", "2+7"), whole=False)
    assert np.array_equal(_parameters(loaded), before)
    constant = {"grpo": 4.0, "reinforce": 27**0.5}[rule.name]
    for each in gap.prompts:
        assert tuple(each.factors) == tuple(FACTORS)
        assert_agree(math.prod(each.factors.values()), each.own.value, 1e-9)
        assert_agree(each.factors["constants"], constant, 1e-9)
        assert all(each.factors[name] >= 1 - 1e-12 for name in ("centring", "worst prompt", "direction"))
        assert each.directional >= constant * (1 - 1e-9)
        assert each.own.value > 1
    assert gap.smallest == min(each.own.value for each in gap.prompts)
    assert_agree(sum(gap.features["layers"].values()), 1.0, 1e-6)
    # At the start B = 0, and all of it is B's.
    assert_agree(gap.features["parts"]["B"], 1.0, 1e-12)


@pytest.mark.deep
def test_epochs_and_the_mean_are_measured_when_asked_for() -> None:
    loaded, batch, gram = _loaded()
    gap = measure_gap(loaded, batch, GRPO, gram, ("5*7", "2+7"), whole=True)
    assert gap.epoch_own is not None
    assert gap.epoch_mean is not None
    assert 1 < gap.epoch_own.value <= gap.smallest * WIDTH_RATIO * 2
    assert all(each.mean is not None and each.mean.value > 1 for each in gap.prompts)


def test_a_directional_step_is_taken_and_gains_what_the_linear_picture_says() -> None:
    loaded, batch, gram = _loaded()
    along = along_of(gram)
    for name in ("directional", "peak"):
        size = model_step(name, GRPO)(loaded, batch.prompt(0))
        single = Along(along.u[:1], along.wrong[:1], along.answers[:1], along.p[:1], along.q[:1])
        assert size > 0
        assert_agree(size, float(_sizes(name, single)), 1e-6)


def _sizes(name: str, along: Along) -> float:
    from simulator.directional import step_rule

    return float(step_rule(name, GRPO).sizes(along)[0])


def test_runs_under_each_step_size_start_alike_and_the_directional_ones_go_further() -> None:
    runs = {run.name: run for run in step_rule_runs(SMALL)}
    assert list(runs) == ["theorem", "directional", "peak"]
    starts = np.array([run.record.J[0] for run in runs.values()])
    assert (starts == starts[0]).all()
    gains = {name: run.record.J[-1].mean() - run.record.J[0].mean() for name, run in runs.items()}
    assert gains["directional"] > 5 * gains["theorem"] > 0
    told = runs["directional"].to_json()
    assert told["times_theorem_least"] >= 4 * (1 - 1e-6)
    assert told["steps_that_lowered_the_drawn_J"] == 0
    assert "step_eta" not in runs["theorem"].record.extra
