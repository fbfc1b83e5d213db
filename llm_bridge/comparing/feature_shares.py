"""What makes X_max as large as it is: the mean feature, one direction, a layer, A or B, long answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from llm_bridge.measurement.feature_sizes import place_of
from llm_bridge.measurement.gram import AnswerGram
from llm_bridge.policies import AnswerBatch
from simulator.directional import Along
from theory.policy import Array

__all__ = ["feature_shares", "largest_eigenvalues", "own_blocks"]


def own_blocks(gram: AnswerGram) -> Array:
    """``X_i X_i^T`` of every prompt, ``(n, K, K)``."""
    n, outputs = gram.logits.shape
    return np.asarray(gram.gram.reshape(n, outputs, n, outputs)[np.arange(n), :, np.arange(n), :])


def largest_eigenvalues(matrices: Array) -> Array:
    """Of symmetric matrices ``(n, K, K)``, ``(n,)``."""
    return np.array([np.linalg.eigvalsh(matrix)[-1] for matrix in matrices])


def feature_shares(gram: AnswerGram, batch: AnswerBatch, along: Along) -> dict[str, Any]:
    """What makes X_max as large as it is, at the prompt with the largest ``||X_i||^2``.

    Returns:
        ``common``: the mean feature's part of ``||X_i||_F^2``, which softmax ignores. ``top``: the part along the top
        direction. ``update``: ``||X_i g||^2 / (||X_i||^2 ||g||^2)`` along the gradient g, for every prompt. ``layers``:
        each layer's part of ``||X_i||_F^2``, largest first. ``parts``: LoRA's A and B. ``tokens``:
        correlation of ``||x_j||^2`` with the number of tokens of answer j, None if all answers have as many.
    """
    outputs = gram.logits.shape[1]
    own = own_blocks(gram)
    norms = largest_eigenvalues(own)
    worst = int(np.argmax(norms))
    total = float(np.trace(own[worst]))
    blocks = np.trace(gram.blocks[:, worst], axis1=1, axis2=2) / total
    layers: dict[str, float] = {}
    parts: dict[str, float] = {}
    for name, share in zip(gram.names, blocks, strict=True):
        place = place_of(name)
        layer, part = "other" if place["layer"] == "-" else f"layer {place['layer']}", place["part"]
        layers[layer] = layers.get(layer, 0.0) + float(share)
        parts[part] = parts.get(part, 0.0) + float(share)
    tokens = (batch.targets >= 0).sum(dim=1).cpu().numpy()
    sizes = np.diagonal(own, axis1=1, axis2=2).ravel()
    return {
        "prompt": worst,
        "common": float(own[worst].sum() / outputs / total),
        "top": float(norms[worst] / total),
        "update": [float(value) for value in np.sum(along.u**2, axis=1) / along.gap_sq / norms],
        "layers": dict(sorted(layers.items(), key=lambda item: -item[1])),
        "parts": parts,
        "tokens": float(np.corrcoef(tokens, sizes)[0, 1]) if len(set(tokens.tolist())) > 1 else None,
    }
