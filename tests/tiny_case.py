"""The packaged model with a perturbed adapter, so that gradients of A do not vanish: for tests of measurements."""

from __future__ import annotations

from functools import cache

from perturbing import perturb

from llm_bridge.measurement.gram import AnswerGram, answer_gram
from llm_bridge.models import LoadedModel, load_model
from llm_bridge.policies import AnswerBatch
from llm_bridge.tasks import Prompt, prompts_from_names

__all__ = ["PROMPTS", "case"]

PROMPTS: tuple[Prompt, ...] = prompts_from_names(["5*7", "57+32", "2+7", "39+32"])


@cache
def case() -> tuple[LoadedModel, AnswerBatch, AnswerGram]:
    """The model, its batch of ``PROMPTS`` and their Gram matrix; tests must leave the model as it is."""
    loaded = perturb(load_model("tiny"))
    batch = AnswerBatch.of(PROMPTS, loaded.tokenizer)
    return loaded, batch, answer_gram(loaded, batch)
