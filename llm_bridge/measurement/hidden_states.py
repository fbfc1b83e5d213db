"""Cosines between the prompts' hidden states (section 4.1 and Fig. 1 of the paper), raw and centred.

The paper takes the penultimate layer's hidden states of a question, pools them into one embedding, and looks at
absolute cosines of pairs of questions. How it pools is not said: here the mean over the question's tokens, and its last
token. Embeddings of a language model share a large common direction, so the cosines after subtracting the mean over
prompts are reported beside the raw ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from llm_bridge.costs import counted_as
from llm_bridge.measurement.intervals import intervals_over_prompts, pairs_of
from llm_bridge.models import LoadedModel, full_precision
from llm_bridge.policies import AnswerBatch
from theory.cosines import gram_cosines
from theory.errors import expected

__all__ = ["POOLINGS", "hidden_cosines", "hidden_states"]

POOLINGS = ("mean", "last")
# What Fig. 1 gives the share below of.
NEAR = 0.15

Floats = npt.NDArray[np.float64]


def hidden_states(loaded: LoadedModel, batch: AnswerBatch, layer: int = -2) -> dict[str, Floats]:
    """One embedding of each prompt's question for each pooling, ``(n, width)``; one forward pass a question.

    Args:
        loaded: the model.
        batch: the prompts, of which the tokens before the answers are taken; in a chat form those of the template too.
        layer: place among embeddings, layer 1, ..., layer L; -2 is the output of layer L - 1 (the penultimate).

    Raises:
        InputError: the model has no such layer.
    """
    rows: dict[str, list[Floats]] = {pooling: [] for pooling in POOLINGS}
    for i in range(batch.shape[0]):
        single = batch.prompt(i)
        length = single.start + int((single.targets[0] >= 0).nonzero()[0, 0])
        with torch.no_grad(), full_precision(), counted_as(forward=1):
            states = loaded.model(
                input_ids=single.input_ids[:1, :length], use_cache=False, output_hidden_states=True, logits_to_keep=1
            ).hidden_states
        if not -len(states) <= layer < len(states):
            raise expected("layer", layer, f"{-len(states)} to {len(states) - 1}", "-2 is the penultimate")
        tokens = states[layer][0].double().cpu().numpy()
        rows["mean"].append(tokens.mean(axis=0))
        rows["last"].append(tokens[-1])
    return {pooling: np.array(vectors) for pooling, vectors in rows.items()}


def hidden_cosines(vectors: dict[str, Floats], *, resamples: int = 999, seed: int = 0) -> dict[str, Any]:
    """Statistics of the absolute cosines of all pairs, by pooling and by ``raw`` or ``centred``.

    Args:
        vectors: embeddings ``(n, width)`` by pooling.
        resamples: of the bootstrap over prompts.
        seed: of the same.

    Returns:
        ``mean`` and ``std`` of ``|cos|``, ``below`` (the share below 0.15) and ``signed_mean``, each ``[value, low,
        high]``; and ``pairs``.
    """
    found: dict[str, Any] = {}
    for pooling, rows in vectors.items():
        found[pooling] = {
            name: _statistics(_matrix(each), resamples, seed)
            for name, each in (("raw", rows), ("centred", rows - rows.mean(axis=0)))
        }
    return found


def _matrix(rows: Floats) -> Floats:
    """Cosines, ``(n, n)``; NaN on the diagonal."""
    cosines = np.full((len(rows), len(rows)), np.nan)
    upper = np.triu_indices(len(rows), k=1)
    cosines[upper] = cosines.T[upper] = gram_cosines(rows @ rows.T)
    return cosines


def _statistics(cosines: Floats, resamples: int, seed: int) -> dict[str, Any]:
    n = len(cosines)

    def statistics(index: npt.NDArray[np.int64]) -> dict[str, float | None]:
        signed = cosines[pairs_of(index)]
        signed = signed[np.isfinite(signed)]
        if not len(signed):
            return dict.fromkeys(("mean", "std", "below", "signed_mean"))
        size = np.abs(signed)
        return {
            "mean": float(size.mean()),
            "std": float(size.std(ddof=0)),
            "below": float((size < NEAR).mean()),
            "signed_mean": float(signed.mean()),
        }

    told = intervals_over_prompts(statistics, n, resamples=resamples, seed=seed)
    return {**{name: each.to_json() for name, each in told.items()}, "pairs": n * (n - 1) // 2}
