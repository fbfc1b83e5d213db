"""Steps, runs and groups with several right outputs: against definitions, and back to one of them."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_agree
from hypothesis import given

from simulator.expectations import ExpectedRun
from simulator.several import SeveralRun, SeveralStep
from simulator.steps import Step
from theory.advantages import PRESETS
from theory.exact import as_balls, as_floats, precision
from theory.instances import Instance
from theory.rules import GRPO
from theory.several import SeveralGroup, SeveralPoint
from theory.strategies import Limits, instances


def _instance(steps: int = 1) -> Instance:
    features = np.array(
        [[[1.0, 0.5], [0.25, -1.0], [-0.5, 0.75], [0.0, 1.0]], [[0.5, 1.0], [1.0, 0.0], [0.25, -1.0], [1, 1]]]
    )
    return Instance(features, np.array([0, 2]), np.array([0.5, -0.25]), np.array([1.0, -0.5]), np.zeros(2), steps, 3)


def _eta(constants: object) -> float:
    return 0.125


def test_the_step_is_what_softmax_gives() -> None:
    with precision(256):
        step = SeveralStep(_instance().exact(), GRPO, _eta)
        moved = [
            SeveralPoint(Instance(step.features, step.answers, theta, *[step.direction] * 2))
            for theta in step.instance.theta + step.move
        ]
        for gains, point in zip(step.gain, moved, strict=True):
            for gain, after, before in zip(gains, point.jets[0], step.jets[0], strict=True):
                assert (gain - (after - before)).contains(0)
                assert float(gain.rad()) < 1e-60
        rest = step.gain - step.slopes - step.remainders
        assert all(entry.contains(0) for entry in rest.flat)
        assert all(0 < float(v) < 0.25 for v in step.midway_variance.flat)
        exact = as_floats(step.gain)
    assert_agree(SeveralStep(_instance(), GRPO, _eta).gain, exact, 1e-12, "gain")


def test_the_run_moves_as_its_steps_do() -> None:
    with precision(256):
        run = SeveralRun(_instance(5).exact(), GRPO, _eta)
        for gain, before, after in zip(run.paths.gain, run.paths.p, run.paths.p[1:], strict=False):
            assert all((g - (b - a)).contains(0) for g, b, a in zip(gain, after, before, strict=True))
    floats = SeveralRun(_instance(5), GRPO, _eta)
    assert_agree(floats.paths.gain, as_floats(run.paths.gain), 1e-11, "gain")
    step = SeveralStep(_instance(), GRPO, _eta)
    assert_agree(floats.paths.gain[0], np.diagonal(step.gain), 1e-12, "first step")


@given(instances(Limits(outputs=2, steps=3)))
def test_with_two_outputs_nothing_changes(instance: Instance) -> None:
    for ours, theirs in ((SeveralRun, ExpectedRun), (SeveralStep, Step)):
        with precision(256), np.errstate(all="ignore"):
            one, other = ours(instance.exact(), GRPO, _eta), theirs(instance.exact(), GRPO, _eta)
            assert all(a.overlaps(b) for a, b in zip(one.gain.flat, other.gain.flat, strict=True))


@pytest.mark.parametrize("name", ["paper", "rloo"])
def test_groups_expect_a_multiple_of_the_gradient(name: str) -> None:
    with precision(256):
        group = SeveralGroup(_instance())
        left, right = group.expected_update(PRESETS[name]), group.weighted_gradient(PRESETS[name])
        assert all(a.overlaps(b) and float(abs(a)) > 1e-6 for a, b in zip(left.flat, right.flat, strict=True))


def test_the_hessian_times_a_vector_is_the_form() -> None:
    with precision(256):
        point = SeveralPoint(_instance().exact())
        y = as_balls(np.array([1.0, -0.5]))
        forms = point.state.hessian_vector(y) @ y
        assert all(a.overlaps(b) for a, b in zip(forms, point.jets[2], strict=True))
