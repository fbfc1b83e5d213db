"""Halves of groups along whole runs: nothing changes, means over steps, which steps are observed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compare import assert_agree
from test_llm_bridge_halves import MEANS, TASK

from llm_bridge.models import load_model
from llm_bridge.sampled.group_settings import GroupSettings
from llm_bridge.sampled.group_training import train_groups
from llm_bridge.sampled.halves import over_steps, weighted_cosines
from llm_bridge.sampled.observers import Interaction, SplitInteraction
from theory.errors import InputError


def test_over_steps_divides_means_and_gives_intervals() -> None:
    rng = np.random.default_rng(2)
    table = np.array([2.0, 8.0, 4.0]) + rng.normal(size=(60, 3))
    rows = [{f"theory/{name}": float(x) for name, x in zip(MEANS, row, strict=True)} for row in table]
    found = over_steps([*rows, {"theory/log_odds_product": None}, {"step": 3}])
    means = dict(zip(MEANS, table.mean(axis=0), strict=True))
    for name, value in weighted_cosines(means).items():
        assert found[name].value == pytest.approx(value)
    told = found["cosine_weighted_corrected"]
    assert told.low is not None
    assert told.high is not None
    assert told.low < 0.5 < told.high


def test_a_run_with_halves_is_the_same_to_rounding() -> None:
    settings = GroupSettings(rule="trl:4", steps=3, eta=0.05, batch=4, temperature=1.3, max_new_tokens=4, seed=2)
    seen = []

    def length(_: int, gradients: torch.Tensor, __: np.ndarray) -> dict[str, float | None]:
        seen.append(gradients)
        return {"length": float(gradients.mean(dim=0).norm())}

    one, two = load_model("tiny"), load_model("tiny")
    plain = train_groups(one, TASK, settings, observers=[length])
    watching = [SplitInteraction(settings.sampled_rule)]
    split = train_groups(two, TASK, settings, observers=[length], half_observers=watching)
    for ours, theirs in zip(one.parameters.values(), two.parameters.values(), strict=True):
        assert_agree(ours.detach(), theirs.detach(), 0.0, atol=1e-12)
    for first, second in zip(plain.rows, split.rows, strict=True):
        assert {"theory/split_half_reliability", "theory/cosine_mean"} <= set(second)
        assert second["theory/length"] == pytest.approx(first["theory/length"], rel=1e-9)
        assert second["theory/length"] == pytest.approx(second["grad_norm"], rel=1e-9)
    # What observers were given stays as it was.
    assert_agree(seen[0], seen[3], 0.0, atol=1e-12)
    assert not torch.equal(seen[0], seen[1])


def test_some_steps_only_are_observed() -> None:
    settings = GroupSettings(rule="paper:8", steps=4, eta=0.05, batch=4, temperature=2.0, max_new_tokens=3)
    often, seldom = (
        train_groups(
            load_model("tiny", dtype="float32"),
            TASK,
            settings,
            observers=[Interaction(settings.sampled_rule)],
            observe_every=every,
        ).rows
        for every in (1, 3)
    )
    told = [{name: value for name, value in row.items() if name != "step_time"} for row in often]
    for row, whole in zip(seldom, told, strict=True):
        assert ("theory/pairs" in row) == (row["step"] in (1, 4))
        assert {name: whole[name] for name in row if name != "step_time"}.items() <= dict(row).items()
    with pytest.raises(InputError, match="diagnostics-every is 0"):
        train_groups(load_model("tiny"), TASK, settings, observe_every=0)


@pytest.mark.parametrize("group", [2, 5])
def test_groups_without_halves_are_refused(group: int) -> None:
    settings = GroupSettings(rule=f"paper:{group}", steps=1)
    with pytest.raises(InputError, match=f"group size G is {group}; expected even and at least 4"):
        SplitInteraction(settings.sampled_rule)
    with pytest.raises(InputError, match="even and at least 4"):
        train_groups(load_model("tiny"), TASK, settings, half_observers=[lambda *_: {}])
