"""A model along a line of its parameters: log-odds there, and the largest step that keeps a property."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from llm_bridge.models import LoadedModel
from llm_bridge.policies import AnswerBatch, answer_logits, log_odds
from theory.policy import Array

__all__ = ["Largest", "largest", "log_odds_at", "log_odds_direction"]

# Relative width at which a bisection stops.
WIDTH = 0.02


@dataclass(frozen=True)
class Largest:
    """The largest step that keeps a property, as far as it was looked for.

    Attributes:
        value: the largest step found to keep it; 0 if not even the first one tried does.
        open_end: whether the property still held at the largest step that was tried.
        tried: number of evaluations.
    """

    value: float
    open_end: bool
    tried: int


def largest(holds: Callable[[float], bool], start: float, most: float) -> Largest:
    """The first failure of ``holds`` on the grid ``start * 2^k`` up to ``most``, located to 2% by bisection of the log.

    Nothing is said about steps beyond the first failure, where the property may hold again, nor about failures
    between two grid points at both of which it holds.
    """
    good, bad, tried = 0.0, start, 0
    while True:
        tried += 1
        if not holds(bad):
            break
        good, bad = bad, 2 * bad
        if good >= most:
            return Largest(good, True, tried)
    if good == 0.0:
        return Largest(0.0, False, tried)
    while bad / good > 1 + WIDTH:
        middle = math.sqrt(good * bad)
        tried += 1
        if holds(middle):
            good = middle
        else:
            bad = middle
    return Largest(good, False, tried)


def log_odds_direction(loaded: LoadedModel, single: AnswerBatch) -> tuple[float, list[torch.Tensor]]:
    """``L = log(p / q)`` of one prompt and its gradient, parameter by parameter; one pass each way."""
    value = log_odds(answer_logits(loaded.model, single), single.correct)[0]
    return float(value.detach()), list(torch.autograd.grad(value, list(loaded.parameters.values())))


def log_odds_at(loaded: LoadedModel, batch: AnswerBatch) -> Array:
    """Log-odds of all prompts at the present parameters, ``(n,)``; one forward pass for each prompt."""
    with torch.no_grad():
        rows = [answer_logits(loaded.model, batch.prompt(i)) for i in range(batch.shape[0])]
    return np.asarray(log_odds(torch.cat(rows), batch.correct).cpu().numpy())
