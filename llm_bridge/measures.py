"""The theory's constants, measured on a language model at one checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from llm_bridge.measurement.feature_sizes import feature_sizes
from llm_bridge.measurement.gram import AnswerGram, answer_gram
from llm_bridge.models import LoadedModel
from llm_bridge.policies import AnswerBatch
from simulator.problems import Problem
from theory.cosines import cosine_statistics, gram_cosines, orthogonality_defect

__all__ = ["Geometry", "geometry_of", "measure_geometry", "prompt_gram"]


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
    """Measure at the model's present parameters; n passes each way.

    Raises:
        InputError: the logits are not in the range of the Gram matrix (fewer parameters than answers).
    """
    return geometry_of(answer_gram(loaded, batch, progress=progress), loaded.name)


def geometry_of(measured: AnswerGram, name: str) -> Geometry:
    """The same from a Gram matrix that is at hand; ``name`` is the model's."""
    surrogate = measured.problem(f"{name} linearised")
    # Within a prompt, inner products are exact also where those between prompts are sketched.
    sizes = feature_sizes(measured)
    return Geometry(
        parameters=sum(measured.sizes),
        x_max_sq=sizes["raw"]["x_max_sq"],
        x_max_sq_centred=sizes["centred"]["x_max_sq"],
        # The surrogate has the same Gram matrix in n K dimensions instead of d.
        orthogonality_defect=orthogonality_defect(surrogate.features),
        # Cosines do not see the positive factor V between grad J and the gradient of the log-odds.
        **cosine_statistics(gram_cosines(prompt_gram(measured))),
        p=tuple(float(value) for value in measured.odds.p),
        surrogate=surrogate,
    )


def prompt_gram(measured: AnswerGram) -> npt.NDArray[np.float64]:
    """Inner products of the gradients of the n log-odds, ``(n, n)``."""
    return measured.combined(measured.gap_coefficients)
