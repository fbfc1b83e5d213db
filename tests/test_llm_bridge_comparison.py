"""Predictions anchored anew: exact where features are fixed, measured as defined, and run on the packaged model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from compare import assert_agree

from llm_bridge.comparing.comparison import Anchor, Comparison, Prediction, compare_run, predict
from llm_bridge.experiment import BridgeSettings
from simulator.families import make_problem
from simulator.problems import Problem
from simulator.records import Record
from simulator.reference import simulate
from theory.errors import InputError
from theory.rules import GRPO

SMALL = BridgeSettings(prompts=("5*7", "2+7"), steps=6, eta_scale=100.0, seed=3)


def _log_linear(steps: int) -> tuple[Problem, Record, tuple[Anchor, ...]]:
    """A model whose features are fixed: a bandit, with an anchor at every step."""
    problem = make_problem("shared-skill", 3, 4, p0=np.array([0.1, 0.3, 0.6]), seed=1)
    record = simulate(problem, GRPO, 0.8, steps, seed=5, record="full")
    anchors = tuple(
        Anchor(t, None, replace(problem, theta0=theta), 0.0)  # type: ignore[arg-type]
        for t, theta in enumerate(record.theta)
    )
    return problem, record, anchors


@pytest.mark.parametrize("period", [None, 1, 4, 7, 50])
def test_a_log_linear_model_is_predicted_exactly_from_any_anchor(period: int | None) -> None:
    _, record, anchors = _log_linear(12)
    found = predict(anchors, GRPO, record, period)
    assert_agree(found.J, record.J, 1e-12)
    assert found.anchor_of[0] == 0
    assert (found.horizon[1:] >= 1).all()
    assert found.horizon.max() == min(period or 12, 12)


def test_an_anchor_shows_the_end_of_the_stretch_before_it() -> None:
    """Wrong features: at t = 4 the prediction is the one from t = 0, although there is an anchor at 4."""
    problem, record, anchors = _log_linear(8)
    off = tuple(replace(each, problem=replace(each.problem, features=0.5 * problem.features)) for each in anchors)
    found = predict(off, GRPO, record, 4)
    assert found.anchor_of.tolist() == [0, 0, 0, 0, 0, 4, 4, 4, 4]
    assert np.abs(found.J[4] - record.J[4]).max() > 1e-3
    assert_agree(found.J[0], record.J[0], 0.0)


def _comparison(measured: list[list[float]], predicted: list[list[float]], anchor_of: list[int]) -> Comparison:
    J = np.array(measured)
    record = Record(
        origin="language model", problem="m", rule="grpo", eta=1.0, x_max_sq=2.0, order=np.zeros(len(J) - 1, dtype=int),
        t=np.arange(len(J)), J=J, q=1 - J, grad_sq=J, theta=np.empty((len(J), 0)), step_gain=J[1:, 0],
        step_grad_sq=J[1:, 0], step_std=J[1:, 0],
    )  # fmt: skip
    prediction = Prediction(2, np.array(predicted), np.array(anchor_of))
    return Comparison(BridgeSettings(), ("a", "b"), 0.05, record, (prediction,), ())


def test_errors_breaks_and_skill_are_what_they_say() -> None:
    found = _comparison(
        [[0.2, 0.5], [0.3, 0.5], [0.4, 0.6], [0.4, 0.9], [0.5, 0.9]],
        [[0.2, 0.5], [0.3, 0.5], [0.46, 0.6], [0.4, 0.8], [0.5, 0.84]],
        [0, 0, 0, 2, 2],
    )
    only = found.predictions[0]
    assert found.breaks(only) == [[2, None], [None, 1]]
    table = found.by_horizon(only)
    assert_agree(table["mean"], [0.1 / 4, (0.06 + 0.06) / 4], 1e-12)
    assert_agree(table["most"], [0.1, 0.06], 1e-12)
    assert_agree(table["still"], [(0.1 + 0 + 0 + 0.3) / 4, (0.2 + 0.1 + 0.1 + 0.3) / 4], 1e-12)
    moved = 0.1**2 + 0.3**2 + 0.2**2 + 0.1**2 + 0.1**2 + 0.3**2
    assert_agree(found.skill(only), 1 - (0.06**2 + 0.1**2 + 0.06**2) / moved, 1e-12)
    row = found.to_json()["predictions"][0]
    assert row["first_break"] == 1
    assert row["stretches_that_break"] == 0.5
    assert row["largest_error_of_prompt"] == pytest.approx([0.06, 0.1])


def test_a_model_that_stands_still_has_no_skill_to_show() -> None:
    found = _comparison([[0.2, 0.5]] * 3, [[0.2, 0.5]] * 3, [0, 0, 0])
    assert found.skill(found.predictions[0]) is None


def test_the_packaged_model_is_predicted_better_from_nearer_anchors() -> None:
    seen: list[int] = []
    found = compare_run(SMALL, periods=(3, 2), also=(6,), visit=lambda step, *rest: seen.append(step))
    assert seen == [0, 2, 3, 4, 6]
    assert [each.period for each in found.predictions] == [None, 3, 2]
    errors = [np.abs(found.error(each)).mean() for each in found.predictions]
    assert errors[2] < errors[0]
    assert [anchor.turned > 0 for anchor in found.anchors] == [False, True, True, True, True]
    # One step from an anchor the only error is second order in the step.
    first = found.predictions[0]
    assert_agree(
        first.J[1], found.measured.J[1], 0.0, atol=0.1 * np.abs(found.measured.J[1] - found.measured.J[0]).max()
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"periods": (0,)}, "anchor period is 0"),
        ({"tolerance": 0.0}, "tolerance is 0"),
        ({"tolerance": 2.0}, "tolerance"),
    ],
)
def test_unusable_options_are_refused_before_a_model_is_loaded(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        compare_run(replace(SMALL, model="no such model"), **options)
