"""Every rule, run by numpy, sympy, balls and torch from its one text; all must agree."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
import torch
from cases import POINTS, RULES, PointCase
from compare import assert_agree
from hypothesis import given
from hypothesis import strategies as st

from llm_bridge.gradients import surrogate_loss
from theory.errors import InputError
from theory.exact import as_balls, as_floats, precision
from theory.policy import evaluate
from theory.rules import GRPO, REINFORCE, Rule, get_rule, power

MODERATE = [case for case in POINTS if "1e-300" not in case.name and "K = 2" not in case.name]


def _sympy_direction(rule: Rule, case: PointCase) -> np.ndarray:
    """``weight * grad J`` by symbolic differentiation of softmax, evaluated with 60 digits."""
    d = case.theta.size
    theta = sp.symbols(f"t0:{d}")
    logits = [sum(sp.Rational(float(x)) * t for x, t in zip(row, theta, strict=True)) for row in case.features[0]]
    a = int(case.answers[0])
    p = 1 / sum(sp.exp(z - logits[a]) for z in logits)
    q = sum(sp.exp(z - logits[a]) for j, z in enumerate(logits) if j != a) * p
    at = {t: sp.Rational(float(v)) for t, v in zip(theta, case.theta, strict=True)}
    weight = sp.nsimplify(rule.weight(p, q), rational=True)
    return np.array([float(sp.N((weight * sp.diff(p, t)).subs(at), 60)) for t in theta])


def _torch_direction(rule: Rule, case: PointCase) -> np.ndarray:
    """Minus the gradient that autograd finds for the surrogate loss."""
    theta = torch.tensor(case.theta, requires_grad=True)
    logits = torch.tensor(case.features[0]) @ theta
    surrogate_loss(logits, int(case.answers[0]), rule).backward()
    assert theta.grad is not None
    return -theta.grad.numpy()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("case", MODERATE, ids=lambda case: case.name)
def test_numpy_balls_sympy_and_autograd_agree(case: PointCase, rule: Rule) -> None:
    state = evaluate(case.features, case.answers, case.theta)
    reference = (rule.weight(state.p, state.q) * state.gradient[0]).ravel()
    scale = float(np.linalg.norm(reference))
    with precision(256):
        exact = evaluate(as_balls(case.features), case.answers, as_balls(case.theta))
        balls = as_floats((rule.weight(exact.p, exact.q) * exact.gradient[0]).ravel())
    assert_agree(reference, balls, 0.0, "numpy against balls", atol=1e-12 * scale)
    assert_agree(_sympy_direction(rule, case), balls, 0.0, "sympy against balls", atol=1e-13 * scale)
    # The surrogate's gradient is a sum of terms of size weight * V that partly cancel, hence the looser tolerance.
    size = float(np.max(rule.weight(state.p, state.q) * state.variance)) * np.linalg.norm(case.features[0])
    assert_agree(_torch_direction(rule, case), balls, 0.0, "autograd against balls", atol=1e-13 * size + 1e-12 * scale)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_mean_advantage_is_zero_and_the_spread_is_the_weight(rule: Rule) -> None:
    p = np.array([1e-12, 0.1, 0.5, 0.9, 1 - 2.0**-40])
    q = 1 - p
    right, wrong = rule.advantage(1, p, q), rule.advantage(0, p, q)
    assert_agree(p * right, -q * wrong, 1e-14, "mean")
    assert_agree(right - wrong, rule.weight(p, q) * np.ones(5), 1e-14, "spread")


def test_grpo_advantages_have_unit_variance() -> None:
    p = np.linspace(0.01, 0.99, 25)
    q = 1 - p
    assert_agree(p * GRPO.advantage(1, p, q) ** 2 + q * GRPO.advantage(0, p, q) ** 2, np.ones(25), 1e-13)


@given(st.floats(0.0, 1.0), st.floats(1e-9, 1 - 1e-9))
def test_the_power_family_interpolates(alpha: float, p: float) -> None:
    q = 1 - p
    assert power(0.0).weight(p, q) == REINFORCE.weight(p, q) == 1
    assert power(0.5).weight(p, q) == GRPO.weight(p, q)
    assert 1 <= power(alpha).weight(p, q) <= power(1.0).weight(p, q) * (1 + 1e-12)


def test_one_ascends_the_log_odds() -> None:
    case = POINTS[1]
    state = evaluate(case.features, case.answers, case.theta)
    assert_agree(power(1.0).weight(state.p, state.q) * state.gradient[0], state.gap[0], 1e-14)


@pytest.mark.parametrize("name", ["adam", "power", "power:", "power:x", "power:-0.1", "power:1.1", "power:nan", ""])
def test_unknown_rules_are_refused_by_name(name: str) -> None:
    with pytest.raises(InputError) as caught:
        get_rule(name)
    assert "\n" not in str(caught.value)
    assert name.removeprefix("power:") in str(caught.value)


def test_rules_are_found_by_name() -> None:
    assert get_rule("grpo") is GRPO
    assert get_rule("reinforce") is REINFORCE
    assert get_rule("power:0.25").weight(0.5, 0.5) == 0.25**-0.25
