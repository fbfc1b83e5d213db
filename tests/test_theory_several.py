"""Several right outputs: against the definition of softmax, and back to one where there is room for one only."""

from __future__ import annotations

import numpy as np
from compare import assert_agree
from hypothesis import given

from theory.exact import precision
from theory.instances import Instance
from theory.points import Point
from theory.several import SeveralBall, SeveralPoint, right_outputs
from theory.strategies import Limits, instances


@given(instances())
def test_probabilities_gradients_and_curvature_follow_from_softmax(instance: Instance) -> None:
    with precision(512):
        point = SeveralPoint(instance.exact())
        state = point.state
        for ours, theirs in zip(
            (state.p, state.gradient @ point.direction, state.hessian_form(point.direction)), point.jets, strict=True
        ):
            for a, b in zip(ours, theirs, strict=True):
                assert a.overlaps(b)
                assert float(abs(a - b).upper()) < 1e-120
        assert_agree(state.policy.sum(axis=1), np.ones(len(point.answers)), 1e-15, "sum of pi")
        assert_agree((state.policy * point.rewards).sum(axis=1), state.p, 1e-15, "p")


@given(instances(Limits(outputs=2)))
def test_with_two_outputs_one_is_right_and_nothing_changes(instance: Instance) -> None:
    several, one = SeveralPoint(instance), Point(instance)
    assert (right_outputs(instance).sum(axis=1) == 1).all()
    for name in ("p", "q", "gap", "grad_sq"):
        assert_agree(getattr(several.state, name), getattr(one.state, name), 1e-13, name, atol=1e-300)
    assert_agree(several.quadratic, one.quadratic, 1e-12, "form", atol=1e-300)


def test_the_ball_moves_each_prompt_by_its_own_radius() -> None:
    features = np.array([[[1.0], [0.0], [-1.0]]])
    instance = Instance(features, np.array([0]), np.zeros(1), np.ones(1), np.ones(1))
    ball = SeveralBall(instance)
    assert_agree(ball.state.p, [2 / 3], 1e-15)
    radius = np.sqrt(2 / 9) / np.sqrt(2)
    e = np.exp(radius * features[0, :, 0])
    assert_agree(ball.displaced[0].p, [(e[0] + e[1]) / e.sum()], 1e-14)
