"""The factors of Theorems 3.3 and 3.4, and the step sizes that are made of them."""

from __future__ import annotations

from typing import Any

__all__ = ["appendix_factor", "grpo_factor", "grpo_step", "reinforce_factor", "reinforce_step"]


def reinforce_factor(constants: Any) -> Any:
    """``max(1, M / 2)``."""
    return max(1.0, constants.M / 2)


def reinforce_step(constants: Any) -> Any:
    """Theorem 3.3: ``eta = 1 / (max(1, M/2) X_max^2)``."""
    return 1 / (reinforce_factor(constants) * constants.x_max_sq)


def grpo_factor(constants: Any) -> Any:
    """``max(R1, 5M/8) R2``."""
    return max(constants.R1, 5 * constants.M / 8) * constants.R2


def grpo_step(constants: Any) -> Any:
    """Theorem 3.4: ``eta = 1 / (2 max(R1, 5M/8) R2 X_max^2)``."""
    return 1 / (2 * grpo_factor(constants) * constants.x_max_sq)


def appendix_factor(constants: Any) -> Any:
    """``max(R1 R2, M/2)``, as eqs. (32), (33) and the last display of E.2 have it."""
    return max(constants.R1 * constants.R2, constants.M / 2)
