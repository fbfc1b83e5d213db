"""A model's pass rate on a question: exactly, from a finite answer set, or from sampled completions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from llm_bridge.asking.finite_sets import exact_prompts
from llm_bridge.asking.questions import Question, Task
from llm_bridge.asking.split import PassRate, Sampler, measure_rate
from llm_bridge.models import LoadedModel
from llm_bridge.policies import AnswerBatch, answer_logits, log_odds, p_and_q
from llm_bridge.sampled.decoding import Sampling
from llm_bridge.sampled.rollouts import generate
from simulator.random import COMPLETION_STREAM, words
from theory.errors import expected

__all__ = ["exact_batch", "exact_rate", "model_sampler", "sampled_rate"]

Rate = Callable[[int, Question], PassRate]


def exact_batch(loaded: LoadedModel, questions: Sequence[Question]) -> AnswerBatch:
    """Questions with their finite answer sets, put in the form in which completions of them are sampled.

    Raises:
        InputError: see :func:`llm_bridge.asking.finite_sets.exact_prompts`; or the questions are put in several forms.
    """
    forms = sorted({question.form for question in questions})
    if len(forms) != 1:
        raise expected("forms of the questions", forms, "one form for all", "put them alike, or in several batches")
    return AnswerBatch.of(exact_prompts(questions), loaded.tokenizer, form=forms[0], device=loaded.device)


def exact_rate(loaded: LoadedModel) -> Rate:
    """The exact probability of the right answer within the question's answer set, as in exact mode."""

    def rate(index: int, question: Question) -> PassRate:
        batch = exact_batch(loaded, [question])
        with torch.no_grad():
            p, _ = p_and_q(log_odds(answer_logits(loaded.model, batch), batch.correct))
        value = float(p[0])
        return PassRate(question.name, value, value, value)

    return rate


def model_sampler(loaded: LoadedModel, sampling: Sampling) -> Sampler:
    """Completions of a model; see :func:`llm_bridge.sampled.rollouts.generate`."""

    def sample(question: Question, samples: int, seed: int) -> tuple[Sequence[str], Sequence[Sequence[int]]]:
        rollouts = generate(loaded, [question], samples, sampling, seed)
        return rollouts.texts, rollouts.token_lists()

    return sample


def sampled_rate(
    task: Task, sampler: Sampler, samples: int, *, seed: int = 0, interval: str = "wilson", confidence: float = 0.95
) -> Rate:
    """The share of right completions; question i has a seed of its own, so a rate depends on no other question."""

    def rate(index: int, question: Question) -> PassRate:
        own = int(words(seed, index, 1, stream=COMPLETION_STREAM)[0])
        return measure_rate(task, question, sampler, samples, own, interval, confidence)

    return rate
