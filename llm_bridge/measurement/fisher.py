r"""Fisher information against reward variance (section 4.3 and Table 1 of the paper), exactly over the answer set.

The paper draws one response a prompt and takes ``h = B grad L * grad L`` with ``L`` the mean log-likelihood of the B
responses, an unbiased estimate of the diagonal of the Fisher matrix. For one prompt (B = 1) its expectation is
``diag F_i = sum_k pi_k (grad log pi_k)^2``; in exact mode that sum is at hand, and its trace follows from the Gram
matrix:

    tr F_i = sum_k pi_k ||x_k - sum_l pi_l x_l||^2.

"Prompt-level Fisher entries" leaves open what is correlated with what. Here: across prompts, ``tr F_i(t)`` with
``V_i(s)``, for s = t and for all s != t, averaged over pairs of checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import permutations
from math import factorial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import rankdata

from llm_bridge.measurement.answer_rows import answer_rows
from llm_bridge.measurement.gram import AnswerGram
from llm_bridge.measurement.intervals import intervals_over_prompts
from llm_bridge.models import LoadedModel
from llm_bridge.policies import AnswerBatch
from simulator.random import PERMUTATION_STREAM, generator
from theory.errors import expected

__all__ = ["fisher_against_variance", "fisher_diagonal", "fisher_traces", "orders_in_words"]

Floats = npt.NDArray[np.float64]
# Random orders of the prompts; of up to 7 prompts there are no more than that, and all are taken.
_ORDERS = 9999
# Two prompts always lie on a line.
_LEAST = 3


def fisher_traces(measured: AnswerGram) -> Floats:
    """``tr F_i`` of every prompt, ``(n,)``."""
    pi = measured.policy
    blocks = measured.blocks.sum(axis=0)
    second = np.sum(pi * np.diagonal(blocks, axis1=1, axis2=2), axis=1)
    return np.asarray(second - np.einsum("nk,nkl,nl->n", pi, blocks, pi))


def fisher_diagonal(loaded: LoadedModel, single: AnswerBatch) -> Floats:
    """``diag F_i`` of one prompt, ``(d,)``; one pass each way."""
    pieces: dict[str, torch.Tensor] = {}
    logits, _ = answer_rows(loaded, single, lambda name, rows: pieces.update({name: rows.detach().double().cpu()}))
    pi = torch.softmax(logits.cpu(), dim=0)
    rows = torch.cat([pieces[name] for name in loaded.parameters], dim=1)
    score = rows - pi @ rows
    return np.asarray((pi @ (score * score)).numpy())


def fisher_against_variance(
    traces: npt.ArrayLike, variances: npt.ArrayLike, *, resamples: int = 999, seed: int = 0
) -> dict[str, Any]:
    """Table 1 of the paper, with p-values that do not take checkpoints for independent.

    The p-values are two-sided and come from permuting the prompts of the variances, the same way at all checkpoints:
    what is tested is whether a prompt's Fisher information has to do with *its own* variance. With o orders of which e
    give a value at least as far from 0 as the observed one, ``p = e / o`` if these are all orders there are (the
    observed one among them), and ``(1 + e) / (1 + o)`` if they are random ones.

    Args:
        traces: ``(T, n)``, ``tr F_i`` at T checkpoints.
        variances: ``(T, n)``, ``V_i`` at the same.
        resamples: of the bootstrap over prompts.
        seed: of permutations and resamples.

    Returns:
        For ``pearson`` and ``spearman``: ``same`` iteration, ``different`` iterations (same prompts), each with
        ``value``, ``low``, ``high``, ``p``; ``other_prompts``, the mean over all pairings of *different* prompts at
        different iterations, which is ``-different / (n - 1)``: about 0 by construction, and what one measures if the
        mini-batches of different iterations hold different prompts; and ``within``, the mean over prompts of the
        correlation along the run. None where there are fewer than 3 prompts or too few checkpoints. And
        ``permutations``: ``orders`` is o, ``all`` whether there are no others; None with fewer than 3 prompts.

    Raises:
        InputError: shapes differ or are not (T, n).
    """
    f, v = np.asarray(traces, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    if f.shape != v.shape or f.ndim != 2 or 0 in f.shape:
        raise expected(
            "shapes of traces and variances", f"{f.shape} and {v.shape}", "(T, n) twice", "pass one row each"
        )
    n = f.shape[1]
    orders, every = _orders(n, seed)
    return {
        "pearson": _table(f, v, orders, every, resamples, seed, lambda rows: rows),
        "spearman": _table(f, v, orders, every, resamples, seed, lambda rows: rankdata(rows, axis=1)),
        "permutations": None if n < _LEAST else {"orders": len(orders), "all": every},
        "checkpoints": len(f),
        "prompts": n,
    }


def orders_in_words(found: Mapping[str, Any]) -> str:
    """Which orders of the prompts the p-values of :func:`fisher_against_variance` are from.

    Empty if there are none, or nothing is said of them, as in results of earlier versions.
    """
    told = found.get("permutations")
    return (
        ""
        if told is None
        else f"{'all ' if told['all'] else ''}{told['orders']}{'' if told['all'] else ' random'} orders"
    )


def _orders(n: int, seed: int) -> tuple[npt.NDArray[np.int64], bool]:
    """Orders of n prompts, ``(o, n)``, and whether these are all: random ones if there are more than ``_ORDERS``."""
    if factorial(n) <= _ORDERS:
        return np.array(list(permutations(range(n)))), True
    draws = generator(seed, stream=PERMUTATION_STREAM)
    return draws.permuted(np.tile(np.arange(n), (_ORDERS, 1)), axis=1), False


def _table(
    f: Floats,
    v: Floats,
    orders: npt.NDArray[np.int64],
    every: bool,
    resamples: int,
    seed: int,
    change: Callable[[Floats], Floats],
) -> dict[str, Any]:
    steps, n = f.shape
    found: dict[str, Any] = dict.fromkeys(("same", "different", "other_prompts", "within"))
    if n < _LEAST:
        return found

    def correlations(index: npt.NDArray[np.int64]) -> dict[str, float | None]:
        a, b = _standard(change(f[:, index])), _standard(change(v[:, index]))
        return {name: float(value[0]) for name, value in _means(a, b, np.arange(len(index))[None]).items()}

    shuffled = _means(_standard(change(f)), _standard(change(v)), orders)
    for name, interval in intervals_over_prompts(correlations, n, resamples=resamples, seed=seed).items():
        if interval.value is not None:
            # 1e-12: permutations that give the observed value again may differ from it by rounding.
            extreme = int(np.sum(np.abs(shuffled[name]) >= abs(interval.value) - 1e-12))
            # The observed order is one of all; beside random ones it is counted, lest p be 0.
            p = extreme / len(orders) if every else (1 + extreme) / (1 + len(orders))
            found[name] = {"value": interval.value, "low": interval.low, "high": interval.high, "p": p}
    if found["different"] is not None:
        found["other_prompts"] = -found["different"]["value"] / (n - 1)
    if steps > 2:
        along = np.clip(np.sum(_standard(change(f.T)) * _standard(change(v.T)), axis=1), -1.0, 1.0)
        found["within"] = float(np.nanmean(along)) if np.isfinite(along).any() else None
    return found


def _standard(rows: Floats) -> Floats:
    """Each row with mean 0 and norm 1; NaN for a constant row, which correlates with nothing."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    tiny = norms <= 1e-13 * np.abs(rows).max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(tiny, np.nan, centred / norms)


def _means(a: Floats, b: Floats, orders: npt.NDArray[np.int64]) -> dict[str, Floats]:
    """Mean correlation at equal and at different checkpoints with the prompts of b in each of the given orders.

    Checkpoints at which a row is constant are left out.
    """
    good_a, good_b = np.isfinite(a).all(axis=1), np.isfinite(b).all(axis=1)
    a, b = np.nan_to_num(a), np.nan_to_num(b)
    both = int(np.sum(good_a & good_b))
    apart = int(good_a.sum()) * int(good_b.sum()) - both
    place = np.arange(a.shape[1])
    equal = (a.T @ b)[place, orders].sum(axis=1)
    every = np.outer(a.sum(axis=0), b.sum(axis=0))[place, orders].sum(axis=1)
    nothing = np.full(len(orders), np.nan)
    means = {"same": equal / both if both else nothing, "different": (every - equal) / apart if apart else nothing}
    # Rounding leads out of where correlations lie.
    return {name: np.clip(values, -1.0, 1.0) for name, values in means.items()}
