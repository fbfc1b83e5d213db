"""State-dependent step sizes on a language model: the K numbers along the drawn gradient from its own Gram matrix.

``u = X g`` with ``g = X^T c`` (``c`` the slopes of the log-odds in the logits) is ``G c``, so one pass each way over
the prompt's answers gives all that ``simulator.directional`` asks for, at the price of one more update. What it says is
about the linear picture; the network's own curvature along the line is not in it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from llm_bridge.comparing.feature_shares import own_blocks
from llm_bridge.measurement.gram import AnswerGram, answer_gram
from llm_bridge.models import LoadedModel
from llm_bridge.policies import AnswerBatch
from simulator.directional import Along, step_rule
from theory.policy import Array
from theory.rules import Rule

__all__ = ["ModelStep", "along_of", "model_step"]

ModelStep = Callable[[LoadedModel, AnswerBatch], float]


def along_of(gram: AnswerGram) -> Along:
    """Every prompt along its own gradient of the log-odds."""
    u: Array = np.einsum("ikl,il->ik", own_blocks(gram), gram.gap_coefficients)
    state = gram.odds
    return Along(u, state.wrong, gram.answers, state.p, state.q)


def model_step(name: str, rule: Rule) -> ModelStep:
    """The step size of that name (see ``simulator.directional.STATE_FORMS``) for the prompt that is drawn.

    Raises:
        InputError: no such name, or it is not proved for the rule.
    """
    chosen = step_rule(name, rule)

    def size(loaded: LoadedModel, single: AnswerBatch) -> float:
        return float(chosen.sizes(along_of(answer_gram(loaded, single)))[0])

    return size
