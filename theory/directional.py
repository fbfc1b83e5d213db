"""How far the outputs of a prompt lie apart along a direction, which bounds the curvature along it (X-DIRECTIONAL)."""

from __future__ import annotations

import numpy as np

from theory.exact import largest
from theory.policy import Array

__all__ = ["output_range", "wrong_range"]


def output_range(u: Array) -> Array:
    """``R = max_j u_j - min_j u_j``, shape ``(n,)``; floats or balls.

    Args:
        u: ``u_j = x_j . y`` of every output, ``(n, K)``.
    """
    return np.asarray(largest(u.T) + largest(-u.T))


def wrong_range(u: Array, answers: Array) -> Array:
    """``R_w``, the same over the wrong outputs alone, ``(n,)``; 0 with two outputs.

    Args:
        u: ``(n, K)``.
        answers: the right outputs, ``(n,)``.
    """
    wrong = np.arange(u.shape[1]) != np.asarray(answers)[:, None]
    return output_range(u[wrong].reshape(len(u), -1))
