"""Sampled advantages: what trainers compute from the rewards of a group of G outputs.

Everything in which the published conventions differ is explicit: ``baseline``, ``scale``, ``ddof``, ``eps`` and
``zero_variance``. The text runs on numpy arrays and torch tensors alike (array API standard).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from array_api_compat import array_namespace

from theory.errors import expected

__all__ = ["PRESETS", "Convention", "advantages", "get_convention", "zero_variance_groups"]

Baseline = Literal["none", "mean", "leave_one_out"]
Scale = Literal["none", "group", "batch"]
ZeroVariance = Literal["zero", "divide"]


@dataclass(frozen=True)
class Convention:
    """One published way to turn rewards into advantages; call it on rewards of shape ``(N, G)``.

    Attributes:
        baseline: ``none``, ``mean`` of the group, or ``leave_one_out`` (mean of the other G - 1).
        scale: divide by nothing, by the standard deviation of the ``group`` or of the whole ``batch``.
        ddof: 0 divides the sum of squares by G, 1 by G - 1.
        eps: added to the standard deviation.
        zero_variance: in a group whose rewards are all equal, ``zero`` returns 0 by definition, ``divide`` applies
            the formula (and so needs eps > 0).
        source: where the convention is published.
    """

    baseline: Baseline
    scale: Scale
    ddof: int
    eps: float
    zero_variance: ZeroVariance
    source: str = ""

    def __call__(self, rewards: Any) -> Any:
        """Advantages of shape ``(N, G)``; see :func:`advantages`."""
        return advantages(
            rewards,
            baseline=self.baseline,
            scale=self.scale,
            ddof=self.ddof,
            eps=self.eps,
            zero_variance=self.zero_variance,
        )


PRESETS: dict[str, Convention] = {
    "paper": Convention("mean", "group", 0, 0.0, "zero", "paper, section 2.2 and eq. (4)"),
    "talk": Convention("mean", "group", 0, 0.0, "zero", "talk, sample variance with 1/K"),
    "no_std": Convention("mean", "none", 0, 0.0, "zero", "paper, section 4.4"),
    "trl": Convention("mean", "group", 1, 1e-4, "divide", "TRL GRPOTrainer, scale_rewards='group'"),
    "trl_batch": Convention("mean", "batch", 1, 1e-4, "divide", "TRL GRPOTrainer, scale_rewards='batch'"),
    "verl": Convention("mean", "group", 1, 1e-6, "divide", "verl compute_grpo_outcome_advantage"),
    "openrlhf": Convention("mean", "group", 1, 1e-9, "divide", "OpenRLHF group_norm"),
    "grpo_zero": Convention("mean", "group", 0, 1e-4, "divide", "GRPO-Zero"),
    "dr_grpo": Convention("mean", "none", 0, 0.0, "zero", "Dr. GRPO (understand-r1-zero)"),
    "rloo": Convention("leave_one_out", "none", 0, 0.0, "zero", "RLOO (Ahmadian et al., 2024)"),
    "plain": Convention("none", "none", 0, 0.0, "zero", "REINFORCE without baseline (Williams, 1992)"),
}


def get_convention(name: str) -> Convention:
    """The preset called ``name``.

    Raises:
        InputError: no such preset.
    """
    if name not in PRESETS:
        raise expected("advantage preset", name, f"one of {', '.join(PRESETS)}", "pick one of those")
    return PRESETS[name]


def zero_variance_groups(rewards: Any) -> Any:
    """Boolean ``(N,)``: groups whose rewards are all equal, by max = min (a computed std need not be exactly 0)."""
    xp = array_namespace(rewards)
    return xp.max(rewards, axis=-1) == xp.min(rewards, axis=-1)


def advantages(
    rewards: Any,
    *,
    baseline: Baseline = "mean",
    scale: Scale = "group",
    ddof: int = 0,
    eps: float = 0.0,
    zero_variance: ZeroVariance = "zero",
) -> Any:
    r"""Group-relative advantages ``(r - b) / (s + eps)``.

    Args:
        rewards: floating array ``(N, G)``, one row per prompt (numpy or torch).
        baseline: ``b``, 0, the group mean or the mean of the other G - 1 outputs.
        scale: ``s``, the standard deviation over the row (``group``) or over all of ``rewards`` (``batch``); with
            ``none`` the divisor is 1 and eps is not used.
        ddof: delta degrees of freedom of the standard deviation, 0 or 1.
        eps: non-negative, added to ``s``.
        zero_variance: ``zero`` or ``divide``, see :class:`Convention`.

    Returns:
        Array ``(N, G)`` of the same kind.

    Raises:
        InputError: wrong shape, a non-finite reward, a group too small for ddof or leave-one-out, or eps unusable.
    """
    xp = array_namespace(rewards)
    _check(xp, rewards, baseline, scale, ddof, eps, zero_variance)
    size = rewards.shape[-1]
    total = xp.sum(rewards, axis=-1, keepdims=True)
    others = (total - rewards) / max(size - 1, 1)
    centred = rewards - {"none": 0 * total, "mean": total / size, "leave_one_out": others}[baseline]
    if scale == "none":
        return centred
    if scale == "group":
        constant = zero_variance_groups(rewards)[:, None]
        std = xp.std(rewards, axis=-1, correction=ddof, keepdims=True)
    else:
        constant = (xp.max(rewards) == xp.min(rewards)) & (rewards == rewards)
        std = xp.std(rewards, correction=ddof) + xp.zeros_like(rewards)
    if zero_variance == "divide":
        return centred / (std + eps)
    # The divisor of a constant group is replaced before dividing, so that 0 / 0 is never formed.
    safe = xp.where(constant, xp.ones_like(std), std + eps)
    return xp.where(constant, xp.zeros_like(centred), centred / safe)


def _check(xp: Any, rewards: Any, baseline: str, scale: str, ddof: int, eps: float, zero_variance: str) -> None:
    if rewards.ndim != 2 or 0 in rewards.shape:
        raise expected("shape of rewards", tuple(rewards.shape), "(N, G), both at least 1", "pass one row per prompt")
    if not bool(xp.all(xp.isfinite(rewards))):
        raise expected("rewards", "not finite", "finite numbers", "remove NaN and infinity before normalising")
    if ddof not in (0, 1):
        raise expected("ddof", ddof, "0 or 1", "0 divides by G, 1 by G - 1")
    size = rewards.shape[-1]
    pooled = size if scale != "batch" else size * rewards.shape[0]
    if baseline == "leave_one_out" and size < 2:
        raise expected("group size G", size, "at least 2 for leave_one_out", "sample more outputs per prompt")
    if scale != "none" and pooled < 2:
        raise expected("group size G", size, "at least 2 to form a standard deviation", "sample more, or scale='none'")
    if not 0 <= eps < float("inf"):
        raise expected("eps", eps, "a finite number >= 0", "trainers use 1e-4 to 1e-9")
    if scale != "none" and zero_variance == "divide" and eps == 0:
        raise expected("eps", eps, "a positive number with zero_variance='divide'", "or choose zero_variance='zero'")
