"""Gradients of a language model's exact policy with respect to its LoRA parameters.

Whatever the network, ``grad J_i = V_i grad L_i`` with the log-odds ``L_i = log(p / q)``: differentiating L instead of J
keeps all digits at p -> 0 and p -> 1. The gradients of the K logits of a prompt are its features ``X_i``: to first
order the network is the log-linear policy with these features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from llm_bridge.models import LoadedModel
from llm_bridge.policies import AnswerBatch, answer_logits, log_odds, p_and_q
from theory.rules import Rule

__all__ = ["log_odds_gradients", "logit_features", "surrogate_loss"]


def surrogate_loss(logits: torch.Tensor, correct: int | torch.Tensor, rule: Rule) -> torch.Tensor:
    r"""Loss whose negative gradient is the rule's update direction ``weight(p, q) grad J_i`` (eqs. 4 and 5).

    ``- sum_j sg(pi_j A_j) log pi_j`` with the exact advantage ``A_j = weight(p, q) (r_j - p)``; sg is the
    stop-gradient.

    Args:
        logits: ``(K,)`` of one prompt, differentiable.
        correct: index of the right answer.
        rule: the very object that the simulator runs.
    """
    answer = torch.as_tensor(correct, device=logits.device).reshape(1)
    with torch.no_grad():
        p, q = p_and_q(log_odds(logits[None, :], answer))
        reward = torch.nn.functional.one_hot(answer[0], len(logits)).to(logits.dtype)
        coefficient = torch.softmax(logits, dim=0) * rule.advantage(reward, p, q)
    return -(coefficient * torch.log_softmax(logits, dim=0)).sum()


def log_odds_gradients(loaded: LoadedModel, batch: AnswerBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits ``(n, K)`` and the gradients of the n log-odds, ``(n, d)``, in float64 on the CPU; one pass each way per
    prompt.
    """
    logits, rows = [], []
    for single in _prompts(batch):
        z = answer_logits(loaded.model, single)
        logits.append(z.detach().cpu())
        rows.append(_gradient(loaded, log_odds(z, single.correct)[0], keep=False))
    return torch.cat(logits), torch.stack(rows)


def logit_features(
    loaded: LoadedModel, batch: AnswerBatch, progress: Callable[[int], Any] = lambda done: None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits ``(n, K)`` and features ``X`` of shape ``(n, K, d)``: the gradient of every logit, float64 on the CPU.

    n forward and n K backward passes; ``progress`` is called with the number of backward passes done.
    """
    logits: list[torch.Tensor] = []
    features: list[torch.Tensor] = []
    for single in _prompts(batch):
        z = answer_logits(loaded.model, single)
        logits.append(z.detach().cpu())
        rows: list[torch.Tensor] = []
        for scalar in z[0]:
            rows.append(_gradient(loaded, scalar, keep=len(rows) + 1 < z.shape[1]))
            progress(len(features) * z.shape[1] + len(rows))
        features.append(torch.stack(rows))
    return torch.cat(logits), torch.stack(features)


def _prompts(batch: AnswerBatch) -> Iterator[AnswerBatch]:
    """One prompt at a time: a backward pass through one prompt's graph costs n times less than through all."""
    return (batch.prompt(i) for i in range(batch.shape[0]))


def _gradient(loaded: LoadedModel, scalar: torch.Tensor, keep: bool) -> torch.Tensor:
    """Gradient over the trainable parameters in their fixed order, flattened, float64 on the CPU."""
    parts = torch.autograd.grad(scalar, list(loaded.parameters.values()), retain_graph=keep)
    return torch.cat([part.detach().reshape(-1).cpu().double() for part in parts])
