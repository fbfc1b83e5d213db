"""The two sides of X-UNSCALED: of a step from each state of a run, and of its means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from theory.claims._runs import running_max, steps_column
from theory.claims._unscaled_sums import MOST_OTHERS, MOST_STEPS
from theory.exact import as_floats, maximum
from theory.interaction import MARGIN, States
from theory.policy import Array

__all__ = [
    "all_losses",
    "all_losses_bound",
    "covered",
    "descent",
    "drawn",
    "factor",
    "from_start",
    "least",
    "min_bound",
    "other_gain",
    "own_bound",
    "paired",
    "step_size",
    "sum_bound",
]


def factor(constants: Any) -> Any:
    """``max(1, 5M/8)``, the least f that Theorem 3.4 allows: R1 = R2 = 1."""
    return max(1.0, 5 * constants.M / 8)


def step_size(constants: Any) -> Any:
    """``1 / (2 f X_max^2)``."""
    return 1 / (2 * factor(constants) * constants.x_max_sq)


def _has_pairs(run: Any) -> bool:
    return bool(run.features.shape[1] == 2)


def paired(run: Any, side: Array) -> Array:
    """The side where a claim about K = 2 outputs speaks; else nothing."""
    return side if _has_pairs(run) else side[:0]


def covered(run: Any, side: Array) -> Array:
    """The rows T = 1, 2, ... of a side where the claim speaks: all with K = 2 or few other prompts, else the first.

    Runs of prompts that interact have one right output each. No more than n - 1 others take something from a prompt.
    """
    f = float(factor(run.constants))
    if _has_pairs(run) or run.n - 1 <= MOST_OTHERS * f:
        return side
    return side[: int(MOST_STEPS * f**2)]


def _scale(run: Any) -> Any:
    return run.n * factor(run.constants) * run.x_max_sq


def descent(run: Any) -> Array:
    """Right side of the one-step inequality, ``(T, n)``."""
    return np.asarray(3 * run.grad_sq[:-1] / (16 * _scale(run) * run.std_bound[:-1]))


def _room(run: Any) -> Array:
    """``2 n f (1 - p0) X_max^2 8/3`` for every T, ``(T, n)``."""
    return np.asarray(16 * _scale(run) * run.q[0] / 3 + 0 * run.grad_sq[:-1])


def sum_bound(run: Any) -> Array:
    """Right side of the cumulative bound, ``(T, n)``."""
    return _room(run) * running_max(run.std_bound[:-1])


def min_bound(run: Any) -> Array:
    """Right side of the rate, ``(T, n)``."""
    return _room(run) * run.std_bound[:-1].cumsum(axis=0) / steps_column(run) ** 2


def drawn(run: Any, side: Callable[[Any, Array], Array]) -> Array:
    """A side for the drawn prompts, from each state and the gains ``[state, drawn, observed]`` of its n steps."""
    own = np.arange(run.n)
    parts = [side(level, change[:, own, own]) for level, change in zip(run.levels, run.drawn_gain, strict=False)]
    return np.concatenate([np.ravel(part) for part in parts])


def _others(run: Any, side: Callable[..., Array]) -> Array:
    """A side for all pairs of a drawn prompt i and another one l: of V_i, V_l, the gain of i and that of l."""
    drawn, observed = np.nonzero(~np.eye(run.n, dtype=bool))
    parts = [
        side(level.variance[:, drawn], level.variance[:, observed], change[:, drawn, drawn], change[:, drawn, observed])
        for level, change in zip(run.levels, run.drawn_gain, strict=False)
    ]
    return np.concatenate([np.ravel(part) for part in parts])


def own_bound(run: Any) -> Array:
    """What the drawn prompt gains at least."""
    scale = 40 * factor(run.constants) * run.x_max_sq
    return drawn(run, lambda level, _: 17 * level.grad_sq / (scale * level.variance**0.5))


def other_gain(run: Any) -> Array:
    """What another prompt gains."""
    return _others(run, lambda v_i, v_l, own, other: other)


def least(run: Any, taken: Callable[..., Array], power: int = 1) -> Array:
    """Minus what another prompt can lose: what ``taken`` gives of V_i, V_l and the gain of i, over ``f^power``."""
    over = factor(run.constants) ** power
    return _others(run, lambda v_i, v_l, own, other: -taken(v_i, v_l, own) / over)


def from_start(v_i: Array, v_l: Array, own: Array) -> Array:
    """What the slope at the start of a step lets a prompt lose, times f."""
    std = v_i**0.5
    return np.asarray(own * maximum(v_l - 5 * std, 0 * v_l) / (6 * std))


def all_losses(run: Any) -> Array:
    """What all other prompts together take from each, from every state one draw of each."""
    parts = [-np.sum(maximum(-change, 0 * change), axis=1) for change in run.drawn_gain]
    return np.concatenate([np.ravel(part) for part in parts])


def all_losses_bound(run: Any) -> Array:
    """``-V_l^3 L / (95 f^2)``, L the largest sum of cosines at the state."""
    over = 95 * factor(run.constants) ** 2
    parts = [
        -(level.variance**3) * _largest_cosine_sum(level)[:, None] / over
        for level, _ in zip(run.levels, run.drawn_gain, strict=False)
    ]
    return np.concatenate([np.ravel(part) for part in parts])


def _largest_cosine_sum(level: States) -> Array:
    """``max_i sum_j |cos(grad J_i, grad J_j)|``, itself included, at each state; floats, a little more than that."""
    inner = np.abs(as_floats(level.inner))
    size = np.sqrt(np.einsum("kii->ki", inner))
    scale = size[:, :, None] * size[:, None, :]
    cosines = np.divide(inner, scale, out=np.zeros_like(inner), where=scale > 0)
    return np.asarray(cosines.sum(axis=2).max(axis=1) * MARGIN)
