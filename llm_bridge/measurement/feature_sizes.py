r"""``X_max``: how large the features of each prompt are, raw and centred, and which layers and modules make them so."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from llm_bridge.measurement.gram import AnswerGram, part_of

__all__ = ["feature_sizes", "place_of"]

Floats = npt.NDArray[np.float64]


def place_of(name: str) -> dict[str, str]:
    """The layer's number, the module and the part of a parameter, from its name; ``-`` where it has none."""
    layer = re.search(r"\.(\d+)\.", name)
    before = re.split(r"\.lora_|\.weight|\.bias", name)[0]
    return {"layer": layer[1] if layer else "-", "module": before.split(".")[-1], "part": part_of(name)}


def feature_sizes(measured: AnswerGram) -> dict[str, Any]:
    """``||X_i||^2`` of every prompt, and what the largest is made of.

    Centred features have their mean over the answers of the prompt subtracted, which changes no probability and no
    gradient: only they matter to the policy, while the theorems' step sizes use the raw ones.

    With the unit vector ``v`` at which the largest ``||X_i^T v||^2`` is attained, parameter m contributes
    ``||X_i^(m)T v||^2``; the contributions add up to ``X_max^2``.

    Returns:
        For ``raw`` and ``centred``: ``x_sq`` ``(n,)``, ``x_max_sq``, ``prompt`` (its number), and ``shares`` of
        ``X_max^2`` by ``layer``, ``module``, ``part`` and ``layer_part`` (such as ``3 B``), largest first.
    """
    outputs = measured.logits.shape[1]
    mean = np.full((outputs, outputs), 1 / outputs)
    return {
        "raw": _sizes(measured, np.eye(outputs)),
        "centred": _sizes(measured, np.eye(outputs) - mean),
    }


def _sizes(measured: AnswerGram, change: Floats) -> dict[str, Any]:
    total = change @ measured.blocks.sum(axis=0) @ change
    values, vectors = np.linalg.eigh((total + total.transpose(0, 2, 1)) / 2)
    x_sq = values[:, -1]
    prompt = int(np.argmax(x_sq))
    direction = change @ vectors[prompt, :, -1]
    each = np.einsum("k,mkl,l->m", direction, measured.blocks[:, prompt], direction)
    shares: dict[str, dict[str, float]] = {"layer": {}, "module": {}, "part": {}, "layer_part": {}}
    for name, amount in zip(measured.names, each / max(x_sq[prompt], 1e-300), strict=True):
        place = place_of(name)
        place["layer_part"] = f"{place['layer']} {place['part']}"
        for kind, table in shares.items():
            table[place[kind]] = table.get(place[kind], 0.0) + float(amount)
    ordered = {kind: dict(sorted(table.items(), key=lambda item: -item[1])) for kind, table in shares.items()}
    return {
        "x_sq": [float(value) for value in x_sq],
        "x_max_sq": float(x_sq[prompt]),
        "prompt": prompt,
        "shares": ordered,
    }
