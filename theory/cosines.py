"""How prompts lie to one another: cosines between their gradients, and how far their features are from orthogonal."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from theory.exact import as_floats
from theory.policy import Array

__all__ = ["cosine_statistics", "gradient_cosines", "gram_cosines", "orthogonality_defect", "pairs_of"]


def orthogonality_defect(features: Array) -> float:
    """``max_{i != j} ||X_i X_j^T||_F / (||X_i||_F ||X_j||_F)`` in [0, 1]; 0 is Assumption 2, exactly.

    Args:
        features: ``(n, K, d)``, floats or balls.
    """
    worst = 0.0
    for i in range(len(features)):
        for j in range(i + 1, len(features)):
            cross = features[i] @ features[j].T
            size = np.linalg.norm(as_floats(features[i])) * np.linalg.norm(as_floats(features[j]))
            if size > 0:
                worst = max(worst, float(np.linalg.norm(as_floats(cross)) / size))
    return worst


def gradient_cosines(gradients: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Cosines of all pairs i < j of per-prompt gradients; NaN where a gradient is 0.

    Args:
        gradients: ``(n, d)``.

    Returns:
        Shape ``(n (n - 1) / 2,)``.
    """
    g = np.asarray(gradients, dtype=np.float64)
    return gram_cosines(g @ g.T)


def gram_cosines(gram: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Cosines of all pairs i < j of vectors from their inner products; NaN where a vector is 0.

    Args:
        gram: ``(n, n)``.

    Returns:
        Shape ``(n (n - 1) / 2,)``.
    """
    products = np.asarray(gram, dtype=np.float64)
    norms = np.sqrt(np.diag(products))
    rows, columns = pairs_of(len(products))
    scale = norms[rows] * norms[columns]
    return np.divide(products[rows, columns], scale, out=np.full(len(rows), np.nan), where=scale > 0)


@lru_cache(maxsize=4)
def pairs_of(n: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Numbers i and j of all pairs i < j of n prompts, ``(n (n - 1) / 2,)`` each; read-only."""
    rows, columns = np.triu_indices(n, k=1)
    rows.setflags(write=False)
    columns.setflags(write=False)
    return rows, columns


def cosine_statistics(cosines: npt.NDArray[np.float64]) -> dict[str, float | None]:
    """Mean, std, share below 0.1 in absolute value and share above 0 (Table 3 of the paper); None without pairs."""
    finite = cosines[np.isfinite(cosines)]
    if not len(finite):
        return dict.fromkeys(("cosine_mean", "cosine_std", "cosine_small_share", "cosine_positive_share"))
    return {
        "cosine_mean": float(finite.mean()),
        "cosine_std": float(finite.std(ddof=0)),
        "cosine_small_share": float((np.abs(finite) < 0.1).mean()),
        "cosine_positive_share": float((finite > 0).mean()),
    }
