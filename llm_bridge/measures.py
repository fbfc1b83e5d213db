"""The theory's constants, measured on a language model at one checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from llm_bridge.gradients import logit_features
from llm_bridge.models import LoadedModel
from llm_bridge.policies import AnswerBatch, log_odds, p_and_q
from simulator.problems import Problem
from theory.assumptions import cosine_statistics, gradient_cosines, orthogonality_defect

__all__ = ["Geometry", "measure_geometry"]


@dataclass(frozen=True)
class Geometry:
    """What the linear picture of a model looks like at one checkpoint.

    Attributes:
        parameters: number of trainable parameters d.
        x_max_sq: ``X_max^2`` with the features as they are.
        x_max_sq_centred: the same after subtracting, within each prompt, the mean feature (which softmax ignores).
        orthogonality_defect: ``max ||X_i X_j^T||_F / (||X_i||_F ||X_j||_F)``; Assumption 2 says 0.
        cosine_mean, cosine_std: of the gradients' pairwise cosines.
        cosine_small_share: share of pairs with ``|cos| < 0.1``.
        cosine_positive_share: share of pairs with ``cos > 0``.
        p: success probabilities.
        surrogate: the bandit with the same Gram matrix and logits.
    """

    parameters: int
    x_max_sq: float
    x_max_sq_centred: float
    orthogonality_defect: float
    cosine_mean: float | None
    cosine_std: float | None
    cosine_small_share: float | None
    cosine_positive_share: float | None
    p: tuple[float, ...]
    surrogate: Problem

    def to_json(self) -> dict[str, Any]:
        """Scalars only."""
        content = asdict(self)
        content.pop("surrogate")
        return {**content, "p": list(self.p)}


def measure_geometry(
    loaded: LoadedModel, batch: AnswerBatch, progress: Callable[[int], Any] = lambda done: None
) -> Geometry:
    """Measure at the model's present parameters; one forward pass and n K backward passes.

    Raises:
        InputError: the logits are not in the range of the Gram matrix (fewer parameters than answers).
    """
    logits, features = logit_features(loaded, batch, progress)
    x = features.numpy()
    n, outputs, d = x.shape
    values = log_odds(logits, batch.correct)
    p, _ = p_and_q(values)
    gradients = _gap(features, logits, batch.correct)
    flat = x.reshape(n * outputs, d)
    surrogate = Problem.from_gram(
        flat @ flat.T, logits.numpy(), batch.correct.numpy(), name=f"{loaded.name} linearised"
    )
    # The surrogate has the same Gram matrix in n K dimensions instead of d, so norms are read off it at no cost.
    centred = surrogate.features - surrogate.features.mean(axis=1, keepdims=True)
    cosines = gradient_cosines(gradients)
    return Geometry(
        parameters=d,
        x_max_sq=surrogate.x_max_sq,
        x_max_sq_centred=max(float(np.linalg.norm(c, 2) ** 2) for c in centred),
        orthogonality_defect=orthogonality_defect(surrogate.features),
        **cosine_statistics(cosines),
        p=tuple(float(value) for value in p),
        surrogate=surrogate,
    )


def _gap(features: torch.Tensor, logits: torch.Tensor, correct: torch.Tensor) -> npt.NDArray[np.float64]:
    """Gradients of the log-odds from the features: ``x_a - sum_j w_j x_j``, ``(n, d)``."""
    rows = torch.arange(len(correct))
    masked = logits.clone()
    masked[rows, correct] = float("-inf")
    wrong = torch.softmax(masked, dim=1)
    return (features[rows, correct] - torch.einsum("nk,nkd->nd", wrong, features)).numpy()
