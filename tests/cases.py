"""The case table: points and rules that every implementation of the policy and of the rules goes through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from theory.rules import GRPO, REINFORCE, Rule, power

__all__ = ["POINTS", "RULES", "PointCase"]


@dataclass(frozen=True)
class PointCase:
    """A prompt at a point: features ``(1, K, d)``, the right output, theta, a direction."""

    name: str
    features: np.ndarray
    answers: np.ndarray
    theta: np.ndarray
    direction: np.ndarray


def _at_log_odds(name: str, log_odds: float, outputs: int, seed: int) -> PointCase:
    """K outputs with generic features, theta chosen so that the success log-odds are about ``log_odds``."""
    rng = np.random.default_rng(seed)
    d = outputs + 1
    features = rng.standard_normal((1, outputs, d))
    logits = rng.standard_normal(outputs)
    logits[0] = log_odds + np.log(np.exp(logits[1:]).sum())
    theta = np.linalg.lstsq(features[0], logits, rcond=None)[0]
    return PointCase(name, features, np.array([0]), theta, rng.standard_normal(d))


POINTS = [
    _at_log_odds("even odds, K = 2", 0.0, 2, 1),
    _at_log_odds("even odds, K = 7", 0.0, 7, 2),
    _at_log_odds("hard, p = 1e-12", -27.6, 5, 3),
    _at_log_odds("easy, q = 1e-12", 27.6, 5, 4),
    _at_log_odds("hopeless, p = 1e-300", -690.7, 3, 5),
    _at_log_odds("solved, q = 1e-300", 690.7, 3, 6),
    _at_log_odds("hopeless, K = 2", -690.7, 2, 7),
    _at_log_odds("solved, K = 2", 690.7, 2, 8),
]
RULES: list[Rule] = [REINFORCE, GRPO, power(0.0), power(0.25), power(0.5), power(1.0)]
