r"""The two halves of every group: what of a measured gradient is gradient, and what is the noise of sampling.

Noise makes every measured ``||g_i||^2`` too large, and cosines between prompts too small. The inner product of two
independent estimates of the same vector has no noise in its mean. But the halves of a group that use the advantages of
the whole group share its mean and standard deviation. With k right ones of G completions:

* Given the rewards, completions are independent, with ``E grad ln pi = grad J / p`` for a right one, ``- grad J / q``
  for a wrong one. The advantages of a group add up to 0, so the mean of ``g`` given the rewards is ``b grad L``, with L
  the log-odds and ``b = mean(r) (1 - mean(r)) (A_right - A_wrong)``: known, so ``g / b`` estimates ``grad L`` without
  bias, whatever the rewards and the rule, also where groups are drawn again.
* Halves with ``k_1`` and ``k_2`` right ones are independent too, but they have the same mean only where ``k_1 = k_2``:
  ``<h_1, h_2>`` is too small by the share ``((k_1 - k_2) (q - mean(r)) / (G mean(r) (1 - mean(r))))^2``.
* Halves by number hide that: for advantages ``r - mean(r)``, and with groups of equal rewards counted as zeros,
  ``E <h_1, h_2> = (1 - 2/G + 2/G^2) ||grad J||^2`` is ``||E g||^2`` times ``1 + 1/(G-1)^2`` only. But where such groups
  are left out, squares are divided by the probability P of a mixed one, and products of two prompts by both: cosines
  would come out too large by ``1 / sqrt(P_i P_j)``.
* So right and wrong completions are dealt out to the halves by turns. Where k is even, the advantages of the group are
  those that each half has by itself, and nothing is to be corrected; where it is odd, what is lost of the square is at
  most ``1 / min(k, G - k)^2``.

So a prompt counts where its group has two right and two wrong completions at least. (Advantages without baseline do not
add up to 0: the rule ``plain`` estimates ``grad L`` times ``q / (1 - mean(r))``, a positive number, in both halves.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from llm_bridge.measurement.interaction_measures import gram_measures, gram_of
from llm_bridge.measurement.intervals import Interval, intervals_over_prompts
from llm_bridge.sampled.group_step import GroupStep
from llm_bridge.sampled.rollouts import Rollouts
from theory.errors import expected

__all__ = ["check_halves", "halved", "measures_of_halves", "over_steps", "reward_halves", "weighted_cosines"]

_MEANS = ("log_odds_product", "log_odds_sq", "log_odds_sq_corrected")

Floats = npt.NDArray[np.float64]


def check_halves(group: int) -> None:
    """Raise InputError unless groups of this size have two halves with a right and a wrong completion each."""
    if group < 4 or group % 2:
        raise expected("group size G", group, "even and at least 4 for two halves", "pick another G, or leave it out")


def reward_halves(rewards: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Numbers of the completions in each half, ``(N, 2, G/2)``: right and wrong ones dealt out by turns.

    Of an odd number of right ones the first half gets one more, and the second half one more wrong one.
    """
    table = np.asarray(rewards, dtype=np.float64)
    check_halves(table.shape[1])
    order = np.argsort(-table, axis=1, kind="stable")
    return np.stack([order[:, 0::2], order[:, 1::2]], axis=1)


def halved(step: GroupStep) -> GroupStep:
    """The same step with every half of a group as a group of its own: 2N prompts with G/2 completions each.

    Halves 2 i and 2 i + 1 are those of prompt i, with the advantages that their completions have in the whole group, so
    that the gradient of the step stays what it is, to rounding.
    """
    n, group = step.rewards.shape
    chosen = reward_halves(step.rewards)
    rows = chosen.reshape(n, group)

    def dealt(table: Floats) -> Floats:
        return np.take_along_axis(table, rows, axis=1).reshape(2 * n, group // 2)

    arrays = {name: dealt(getattr(step, name)) for name in ("rewards", "lengths", "ended", "entropy", "advantages")}
    halves = [_picked(each, half) for b, each in zip(step.own, step.groups, strict=True) for half in chosen[b]]
    own = [2 * b + half for b in step.own for half in (0, 1)]
    return replace(step, own=own, groups=tuple(halves), tokens=np.repeat(step.tokens / 2, 2), **arrays)


def _picked(rollouts: Rollouts, rows: npt.NDArray[np.int64]) -> Rollouts:
    """Some completions of one prompt, in this order."""
    index = torch.from_numpy(rows).to(rollouts.prompt_ids.device)
    names = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "ended", "entropy")
    texts = tuple(rollouts.texts[int(row)] for row in rows)
    return replace(rollouts, group=len(rows), texts=texts, **{name: getattr(rollouts, name)[index] for name in names})


def measures_of_halves(halves: torch.Tensor, rewards: Floats, gap: Floats) -> dict[str, float | None]:
    r"""Everything that :func:`interaction_measures` tells of the prompts' gradients, and what of it is noise.

    Args:
        halves: ``(N, 2, d)``, gradients of the halves of each group; ``g_i`` is the mean of the two.
        rewards: ``(N, G)``, 0 or 1.
        gap: ``(N,)``, the advantage of a right completion over that of a wrong one.

    Returns:
        The measures of ``g_i / gap_i``, as always; ``halved_prompts``, how many can be halved; and over these,
        with ``D_i = g_i / b_i`` the estimate of ``grad L_i`` (see the module) and ``D_i^1``, ``D_i^2`` its halves:

        * ``log_odds_product``: mean over pairs of ``<D_i, D_j>``, unbiased for ``<grad L_i, grad L_j>``;
        * ``log_odds_sq``: mean of ``||D_i||^2``, noise included;
        * ``log_odds_sq_corrected``: mean of ``<D_i^1, D_i^2>``, unbiased for ``||grad L_i||^2``;
        * what :func:`weighted_cosines` makes of the three.

        None where there are not two such prompts.
    """
    n, _, size = halves.shape
    gram = gram_of(halves.reshape(2 * n, size)).reshape(n, 2, n, 2)
    p = rewards.mean(axis=1)
    variance = p * (1 - p)
    inverse = np.divide(1.0, gap, out=np.zeros(n), where=gap > 0)
    found = gram_measures(gram.mean(axis=(1, 3)) * np.outer(inverse, inverse), np.sqrt(variance))
    right = rewards.sum(axis=1)
    kept = (right >= 2) & (rewards.shape[1] - right >= 2) & (gap > 0)
    scale = inverse[kept] / variance[kept]
    part = gram[kept][:, :, kept] * scale[:, None, None, None] * scale[:, None]
    means = dict.fromkeys(_MEANS, None) if len(part) < 2 else _means(part)
    return {**found, "halved_prompts": float(len(part)), **means, **weighted_cosines(means)}


def _means(gram: Floats) -> dict[str, float | None]:
    """From the inner products ``(n, 2, n, 2)`` of the halves' estimates."""
    n, whole = len(gram), gram.mean(axis=(1, 3))
    square, shared = float(np.trace(whole)), float(np.trace(gram[:, 0, :, 1]))
    return dict(zip(_MEANS, ((float(whole.sum()) - square) / (n * (n - 1)), square / n, shared / n), strict=True))


def weighted_cosines(means: Mapping[str, float | None]) -> dict[str, float | None]:
    r"""Ratios of the three means that :func:`measures_of_halves` tells, of one step or averaged over many.

    Returns:
        ``cosine_weighted``: product over square as measured, the mean cosine weighted by lengths, which noise pulls
        towards 0; ``cosine_weighted_corrected``: product over corrected square, None where the noise outweighs the
        gradients; ``split_half_reliability``: corrected over measured square, 1 without noise.
    """
    product, square, shared = (means[name] for name in _MEANS)
    if product is None or square is None or shared is None:
        return dict.fromkeys(("cosine_weighted", "cosine_weighted_corrected", "split_half_reliability"))
    return {
        "cosine_weighted": product / square,
        "cosine_weighted_corrected": product / shared if shared > 0 else None,
        "split_half_reliability": shared / square,
    }


def over_steps(rows: Sequence[Mapping[str, float | int | None]], *, seed: int = 0) -> dict[str, Interval]:
    """The ratios of :func:`weighted_cosines` from the means of all logged steps, with intervals over steps.

    Products and squares are unbiased, their ratios are not: of one step they are mostly noise, and so is their average.
    """
    usable = [row for row in rows if row.get(f"theory/{_MEANS[0]}") is not None]
    if not usable:
        return {}
    table = np.array([[row[f"theory/{name}"] for name in _MEANS] for row in usable], dtype=np.float64)

    def ratios(index: npt.NDArray[np.int64]) -> dict[str, float | None]:
        return weighted_cosines(dict(zip(_MEANS, table[index].mean(axis=0).tolist(), strict=True)))

    return intervals_over_prompts(ratios, len(table), seed=seed)
