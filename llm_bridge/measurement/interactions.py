"""Table 3 of the paper, M, R1 and R2 from a Gram matrix, with intervals, and what sampling in groups makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from llm_bridge.measurement.gram import AnswerGram
from llm_bridge.measurement.interaction_measures import gram_measures
from llm_bridge.measurement.intervals import intervals_over_prompts, pairs_of, split_half_of_grams
from simulator.random import ROLLOUT_STREAM, generator
from theory.cosines import cosine_statistics, gram_cosines
from theory.interaction import pair_constants

__all__ = ["gradient_gram", "interactions", "pair_arrays", "projections", "sampled_cosines"]

Floats = npt.NDArray[np.float64]


def gradient_gram(measured: AnswerGram) -> Floats:
    """``grad J_i . grad J_j``, ``(n, n)``."""
    return measured.combined(measured.coefficients)


def projections(measured: AnswerGram) -> Floats:
    """``||X_i grad J_j||^2 / ||X_i||^2`` in entry (i, j), the right side of Assumption 4; ``(n, n)``."""
    n, outputs = measured.logits.shape
    gram = measured.gram.reshape(n, outputs, n, outputs)
    images = np.einsum("ikjl,jl->ijk", gram, measured.coefficients)
    sizes = np.array([np.linalg.norm(gram[i, :, i, :], 2) for i in range(n)])
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(np.sum(images**2, axis=2) / sizes[:, None])


def pair_arrays(measured: AnswerGram) -> tuple[Floats, Floats]:
    """Cosines and least M of Assumption 4 of all pairs, both ``(n, n)`` and symmetric.

    A cosine is NaN where a gradient is 0; M serves both (i, j) and (j, i), and is inf where there is none.
    """
    gram = gradient_gram(measured)
    cosines = np.full(gram.shape, np.nan)
    upper = np.triu_indices(len(gram), k=1)
    cosines[upper] = cosines.T[upper] = gram_cosines(gram)
    needed = pair_constants(gram, projections(measured))
    return cosines, np.maximum(needed, needed.T)


def interactions(measured: AnswerGram, *, resamples: int = 999, seed: int = 0) -> dict[str, Any]:
    """The measures of ``gram_measures`` for all parameters and for each part, with intervals over prompts.

    Returns:
        By ``all`` and each part: the measures, and under ``intervals`` a pair ``[low, high]`` for each that has one.
        A part whose gradients all vanish (A at the start) has None throughout.
    """
    parts = {"all": measured}
    if len(measured.parts) > 1:
        parts |= {part: measured.restricted(part) for part in measured.parts}
    return {name: _with_intervals(each, resamples, seed) for name, each in parts.items()}


def _with_intervals(measured: AnswerGram, resamples: int, seed: int) -> dict[str, Any]:
    state = measured.odds
    found = gram_measures(gradient_gram(measured), np.sqrt(state.p * state.q), projections(measured))
    cosines, least = pair_arrays(measured)

    def statistics(index: npt.NDArray[np.int64]) -> dict[str, float | None]:
        pairs = pairs_of(index)
        values = cosines[pairs]
        chosen = least[pairs][np.isfinite(values)]
        finite = chosen[np.isfinite(chosen)]
        return {
            **cosine_statistics(values),
            "no_m_share": 1 - len(finite) / len(chosen) if len(chosen) else None,
            "m_median": float(np.median(finite)) if len(finite) else None,
        }

    # The largest M, R1 and R2 get no interval: a resample never exceeds the sample's own largest.
    told = intervals_over_prompts(statistics, measured.n, resamples=resamples, seed=seed)
    intervals = {name: [each.low, each.high] for name, each in told.items() if each.low is not None}
    return {**found, "intervals": intervals}


def sampled_cosines(measured: AnswerGram, group: int, *, trials: int = 20, seed: int = 0) -> dict[str, Any]:
    """What cosines look like when gradients are estimated from groups of G sampled answers, and what split halves mend.

    Answers are drawn from the exact policy. The estimate of a half of m = G / 2 answers is REINFORCE's with the mean of
    that half as baseline, ``1/m sum_g (r_g - mean r) grad log pi(o_g)``; raw cosines are those of the mean of both. All
    of it happens in the Gram matrix, so that a trial costs no pass through the model.

    Args:
        measured: the exact Gram matrix.
        group: G, even and at least 4.
        trials: independent draws of all groups.
        seed: of the draws.

    Returns:
        ``exact``, ``raw`` and ``corrected``: cosine statistics (means over trials); ``undefined_share`` of the pairs
        without a corrected cosine; ``error_raw`` and ``error_corrected``: root mean square against the exact cosines;
        ``reliability``, its median over prompts.
    """
    exact = gram_cosines(gradient_gram(measured))
    draws = generator(seed, run=group, stream=ROLLOUT_STREAM)
    rows: list[dict[str, Any]] = []
    for _ in range(trials):
        one, two = (_estimate(measured, group // 2, draws) for _ in range(2))
        rows.append(split_half_of_grams(*(_inner(measured, a, b) for a, b in ((one, one), (one, two), (two, two)))))
    raw, corrected = (np.array([row[name] for row in rows]) for name in ("raw", "cosines"))
    told = {
        name: _means([cosine_statistics(values) for values in table])
        for name, table in (("raw", raw), ("corrected", corrected))
    }
    with np.errstate(invalid="ignore"):
        reliability = np.array([row["reliability"] for row in rows])
    usable = reliability[np.isfinite(reliability)]
    return {
        "group": group,
        "exact": cosine_statistics(exact),
        **told,
        "undefined_share": float(np.mean(~np.isfinite(corrected))) if corrected.size else None,
        "error_raw": _rms(raw - exact),
        "error_corrected": _rms(corrected - exact),
        "reliability": float(np.median(usable)) if len(usable) else None,
    }


def _estimate(measured: AnswerGram, size: int, draws: np.random.Generator) -> Floats:
    """Coefficients of each prompt's rows in its estimated gradient from ``size`` sampled answers, ``(n, K)``."""
    pi = measured.policy
    counts = np.array([draws.multinomial(size, row / row.sum()) for row in pi], dtype=np.float64)
    reward = np.zeros_like(counts)
    reward[np.arange(measured.n), measured.answers] = 1.0
    mean = np.sum(counts * reward, axis=1, keepdims=True) / size
    weights = counts * (reward - mean) / size
    # sum_g A_g grad log pi(o_g) = sum_k weights_k (x_k - xbar), and the weights add up to 0.
    return np.asarray(weights)


def _inner(measured: AnswerGram, left: Floats, right: Floats) -> Floats:
    n, outputs = left.shape
    return np.einsum("ik,ikjl,jl->ij", left, measured.gram.reshape(n, outputs, n, outputs), right, optimize=True)


def _means(rows: list[dict[str, float | None]]) -> dict[str, float | None]:
    columns = {key: [row[key] for row in rows if row[key] is not None] for key in rows[0]}
    return {key: float(np.mean(values)) if values else None for key, values in columns.items()}  # type: ignore[arg-type]


def _rms(error: Floats) -> float | None:
    finite = error[np.isfinite(error)]
    return float(np.sqrt(np.mean(finite**2))) if len(finite) else None
