"""X-SCALES: attained; from the definitions of softmax and Assumption 4 alone; false in the other order of a pair."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from compare import assert_agree

from simulator.checks import build_context
from simulator.families import make_problem
from theory.claims import load_registry
from theory.hypotheses import basis
from theory.instances import Instance
from theory.judge import Counterexample, compare, failed_assumptions, recheck

CLAIM = load_registry()["X-SCALES"]
BOUNDS = CLAIM.links[1:]


def _parts(instance: Instance) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """From the definitions: gradients, V, ``||X_i||^2`` and ``||X_i grad J_k||`` in entry ``[k, i]``."""
    weights = np.exp(instance.features @ instance.theta)
    policy = weights / weights.sum(axis=1, keepdims=True)
    rows = np.arange(len(policy))
    p = policy[rows, instance.answers]
    mean = (policy[:, None, :] @ instance.features)[:, 0]
    gradients = p[:, None] * (instance.features[rows, instance.answers] - mean)
    reach = np.linalg.norm(instance.features @ gradients.T, axis=1).T
    return gradients, p * (1 - p), np.linalg.norm(instance.features, ord=2, axis=(1, 2)) ** 2, reach


def _least_m(instance: Instance) -> np.ndarray:
    """What pairs ask of M: ``||X_i grad J_k||^2 / (||X_i||^2 grad J_i . grad J_k)`` in entry ``[k, i]``."""
    gradients, _, x_sq, reach = _parts(instance)
    return reach**2 / x_sq / (gradients @ gradients.T)


def _witness() -> Instance:
    assert CLAIM.witness is not None
    return CLAIM.witness()


def test_every_constant_is_attained_and_none_smaller_holds() -> None:
    step = build_context(CLAIM, _witness())
    assert failed_assumptions(CLAIM, step) == ()
    comparison = compare(CLAIM, step)
    assert not comparison.violated.any()
    for number, link in enumerate(BOUNDS, start=1):
        # M is chosen a little larger than needed.
        assert 1 - 1e-6 < comparison.worst_of(number) <= 1
        less = replace(link, right=lambda s, link=link: link.right(s) * (1 - 1e-6))
        assert isinstance(recheck(replace(CLAIM, chain=(less,), proof=None), build_context, _witness()), Counterexample)


@pytest.mark.parametrize("seed", range(4))
def test_the_sides_are_those_of_the_definitions(seed: int) -> None:
    problem = make_problem("shared-skill", 3, 3, p0=[0.02, 0.4, 0.97], seed=seed)
    instance = Instance(problem.features, problem.answers, problem.theta0, np.ones(problem.d), np.zeros(problem.d))
    gradients, v, x_sq, reach = _parts(instance)
    others = ~np.eye(3, dtype=bool)
    m = max(1.0, _least_m(instance)[others].max())
    step = build_context(CLAIM, instance)
    assert_agree(step.constants.M, m, 1e-6, "M")
    size = x_sq * v**2
    inner, smaller = gradients @ gradients.T, np.minimum(size[:, None], size)
    sides = [(inner, np.sqrt(2) * v * reach), (reach, np.sqrt(2) * m * x_sq * v + 0 * reach), (inner, 2 * m * smaller)]
    for link, (left, right) in zip(BOUNDS, sides, strict=True):
        assert_agree(link.left(step), left[others], 1e-10, link.name)
        assert_agree(link.right(step), right[others], 1e-6, link.name)
        assert (left <= right)[others].all()


def test_the_order_of_the_pair_matters() -> None:
    """M as one order of the pair asks for it says nothing of the scale of the other prompt."""
    (_, asked), (other, _) = _least_m(_witness())
    gradients, v, x_sq, _ = _parts(_witness())
    inner, size = gradients[0] @ gradients[1], x_sq * v**2
    # asked is [k, i] = [0, 1]: X_1 is applied to the gradient of prompt 0, and the scale is that of prompt 1.
    assert_agree(inner, 2 * asked * size[1], 1e-13)
    assert_agree(inner, 2 * other * size[0], 1e-13)
    assert inner > 2 * min(asked, other) * size.min()


def test_it_rests_on_assumption_4_alone_and_says_nothing_where_that_fails() -> None:
    assert basis(CLAIM, load_registry()).assumptions == {"A4"}
    conflict = replace(_witness(), answers=np.array([0, 1]))
    step = build_context(CLAIM, conflict)
    assert failed_assumptions(CLAIM, step) == ("A4",)
    without = replace(CLAIM, assumptions=CLAIM.assumptions[:1], proof=None)
    assert isinstance(recheck(without, build_context, conflict), Counterexample)
