r"""How the prompts of a model act on one another, from their gradients alone: Table 3 of the paper, M, R1 and R2.

Assumption 4 asks of every ordered pair of prompts ``M grad J_i . grad J_j >= ||X_i grad J_j||^2 / ||X_i||^2``. No M
does that for a pair whose inner product is negative, as ``X_i grad J_j`` is not 0 there: the share of such pairs is
reported beside M, which is the least one for all other pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from theory.cosines import cosine_statistics, gram_cosines, pairs_of
from theory.errors import expected
from theory.interaction import pair_constants

__all__ = ["gram_measures", "gram_of", "interaction_measures"]

# Entries converted to float64 at a time, so that they stay in the processor's cache until they are multiplied:
# gradients may have millions of them, and be in half precision.
_CHUNK = 2**15

Floats = npt.NDArray[np.float64]


def interaction_measures(
    gradients: torch.Tensor,
    std: torch.Tensor | Floats | None = None,
    *,
    weights: torch.Tensor | Floats | None = None,
) -> dict[str, float | None]:
    """Cosines, M, R1 and R2 of per-prompt gradients at one step; the cost is one ``(N, N)`` Gram matrix.

    Args:
        gradients: ``(N, d)``, the gradient of each prompt's ``J_i`` or an estimate of it.
        std: ``(N,)``, each prompt's standard deviation of rewards; without it there is no R2.
        weights: ``(N,)``, what the update rule multiplied each ``grad J_i`` by in ``gradients``; divided out again.
            Cosines and the share of pairs without M do not depend on it, M and R1 do.

    Returns:
        As :func:`gram_measures`; M is then the upper bound without features.

    Raises:
        InputError: shapes do not fit, or an entry is not finite.
    """
    if gradients.ndim != 2 or len(gradients) == 0:
        raise expected("shape of gradients", tuple(gradients.shape), "(N, d) with N >= 1", "pass one row per prompt")
    gram = gram_of(gradients)
    if weights is not None:
        weight = _vector("weights", weights, len(gram))
        inverse = np.divide(1.0, weight, out=np.zeros(len(gram)), where=weight != 0)
        gram = gram * np.outer(inverse, inverse)
    return gram_measures(gram, None if std is None else _vector("std", std, len(gram)))


def gram_measures(
    gram: Floats, std: Floats | None = None, projections: Floats | None = None
) -> dict[str, float | None]:
    """The same measures from the Gram matrix of the gradients.

    Args:
        gram: ``(N, N)``, inner products ``grad J_i . grad J_j``.
        std: ``(N,)``, ``sqrt(V_i)``.
        projections: ``(N, N)``, ``||X_i grad J_j||^2 / ||X_i||^2`` in entry (i, j). Without it the largest value that
            it can have, ``||grad J_j||^2``, takes its place: M is then enough whatever the features are.

    Returns:
        ``cosine_mean``, ``cosine_std``, ``cosine_positive_share``, ``cosine_small_share`` (``|cos| < 0.1``);
        ``m`` and ``m_median``, largest and median over the pairs (i < j) that have one of the least M that serves both
        (i, j) and (j, i); ``no_m_share`` of pairs for which no M exists; ``r1``; ``r2``; ``pairs``; and
        ``zero_gradients``, the number of prompts left out because their gradient is 0 (groups of equal rewards).
        None where there is nothing to take a value from; R1 and R2 too are over the prompts that are left.
    """
    if not np.isfinite(gram).all():
        raise expected("gradients", "not finite", "finite numbers", "lower the step size")
    kept = gram.diagonal() > 0
    if not kept.all():
        some = np.ix_(kept, kept)
        gram, projections = gram[some], None if projections is None else projections[some]
    least = _least(gram, projections)
    found = least[np.isfinite(least)]
    sizes, deviations = np.sqrt(gram.diagonal()), None if std is None else std[kept]
    return {
        **cosine_statistics(gram_cosines(gram)),
        "m": float(found.max()) if len(found) else None,
        "m_median": float(np.median(found)) if len(found) else None,
        "no_m_share": float(1 - len(found) / len(least)) if len(least) else None,
        "r1": _ratio(sizes),
        "r2": None if deviations is None else _ratio(deviations),
        "pairs": float(len(least)),
        "zero_gradients": float(np.sum(~kept)),
    }


def gram_of(rows: torch.Tensor) -> Floats:
    """``rows rows^T`` of a tensor ``(N, d)`` of any dtype and device, accumulated in float64 piece by piece."""
    rows = rows.detach()
    n, d = rows.shape
    width = max(1, min(d, max(1024, _CHUNK // n)))
    # One place for all pieces: memory that is new to the process takes longer to be had than to be filled.
    place, total = rows.new_empty((n, width), dtype=torch.float64), rows.new_zeros((n, n), dtype=torch.float64)
    for start in range(0, d, width):
        piece = rows[:, start : start + width]
        wide = place[:, : piece.shape[1]].copy_(piece)
        total.addmm_(wide, wide.T)
    return np.asarray(total.cpu().numpy())


def _ratio(values: Floats) -> float | None:
    """Largest over smallest; None of nothing, and where one is not positive."""
    return float(values.max() / values.min()) if len(values) and values.min() > 0 else None


def _least(inner: Floats, projections: Floats | None) -> Floats:
    """The least M of every pair i < j, in both orders; inf where there is none."""
    largest = np.broadcast_to(inner.diagonal(), inner.shape)
    needed = pair_constants(inner, largest if projections is None else projections)
    rows, columns = pairs_of(len(inner))
    return np.maximum(needed, needed.T)[rows, columns]


def _vector(name: str, values: Any, size: int) -> Floats:
    if isinstance(values, torch.Tensor):
        values = values.detach().double().cpu().numpy()
    vector = np.asarray(values, dtype=np.float64)
    if vector.shape != (size,):
        raise expected(f"shape of {name}", vector.shape, f"({size},), one per prompt", "pass one number per prompt")
    return vector
