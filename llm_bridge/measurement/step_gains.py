"""One step of a rule from the present parameters, for each prompt: what it gains, and what its theorem promised."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from llm_bridge.gradients import surrogate_loss
from llm_bridge.measurement.moves import moved
from llm_bridge.models import LoadedModel
from llm_bridge.policies import AnswerBatch, answer_logits
from simulator.records import change_of_success
from theory.policy import odds
from theory.rules import Rule

__all__ = ["step_gains"]

# A gain is trusted where it exceeds this many rounding units of the logits that it is the difference of.
_UNITS = 1e3
# Prompts that are scored in one pass.
_AT_ONCE = 16


def step_gains(loaded: LoadedModel, batch: AnswerBatch, rule: Rule, x_max_sq: float) -> dict[str, Any]:
    """Draw each prompt once at the theorem's step size, and set the change of every ``J_i`` against the descent bound.

    The bounds are those of Theorem 3.1 (REINFORCE) and 3.2 (GRPO) in the form that holds: a gain of *at least*
    ``||grad J||^2 / (2 X^2)`` or ``3 ||grad J||^2 / (16 X^2 sqrt(V))`` for the prompt drawn, none for the others.

    Args:
        loaded: the model; left as it was.
        batch: n prompts.
        rule: a rule with a theorem.
        x_max_sq: ``X_max^2`` of the model at these parameters.

    Returns:
        ``eta``; by prompt drawn: ``gain`` of its own J, ``bound``, ``ratio`` (gain / bound; 2 for REINFORCE and 8/3 for
        GRPO where J is linear; None where the gain is lost in rounding), ``worst_other`` (least gain of another prompt,
        in units of the drawn one's), ``minimum_ratio``, and ``unresolved``, how many gains rounding hides.
    """
    assert rule.step_size is not None
    assert rule.guarantee is not None
    eta, answers = float(rule.step_size(x_max_sq)), batch.correct.cpu().numpy()
    start = _logits(loaded, batch)
    before = odds(start.copy(), answers)
    # Logits are sums of log-probabilities: their rounding is that of the model's own numbers.
    unit = float(torch.finfo(torch.float64 if loaded.dtype == "float64" else torch.float32).eps)
    table: dict[str, list[Any]] = {"gain": [], "bound": [], "ratio": [], "worst_other": []}
    for i in range(len(answers)):
        direction = _direction(loaded, batch.prompt(i), rule)
        p, q = float(before.p[i]), float(before.q[i])
        weight = float(rule.weight(p, q))
        grad_sq = float(direction @ direction) / weight**2
        bound = float(rule.guarantee(grad_sq, (p * q) ** 0.5, x_max_sq))
        end = moved(loaded, eta * direction, lambda: _logits(loaded, batch))
        after = odds(end.copy(), answers)
        change = end - start
        margins = change - change[np.arange(len(answers)), answers][:, None]
        gains = change_of_success(before.wrong, margins, (before.p, before.q), (after.p, after.q))
        resolved = abs(gains[i]) > _UNITS * unit * np.abs(start[i]).max() * p * q
        others = np.delete(gains, i)
        table["gain"].append(float(gains[i]))
        table["bound"].append(bound)
        table["ratio"].append(float(gains[i]) / bound if resolved and bound > 0 else None)
        table["worst_other"].append(float(others.min() / gains[i]) if len(others) and resolved else None)
    ratios = [ratio for ratio in table["ratio"] if ratio is not None]
    return {
        "rule": rule.name,
        "eta": eta,
        **table,
        "minimum_ratio": min(ratios) if ratios else None,
        "unresolved": len(answers) - len(ratios),
    }


def _logits(loaded: LoadedModel, batch: AnswerBatch) -> np.ndarray[Any, np.dtype[np.float64]]:
    with torch.no_grad():
        rows = [answer_logits(loaded.model, some) for some in batch.pieces(_AT_ONCE)]
    return np.asarray(torch.cat(rows).cpu().numpy())


def _direction(loaded: LoadedModel, single: AnswerBatch, rule: Rule) -> np.ndarray[Any, np.dtype[np.float64]]:
    """``weight(p, q) grad J``, ``(d,)``."""
    loss = surrogate_loss(answer_logits(loaded.model, single)[0], single.correct[0], rule)
    pieces = torch.autograd.grad(loss, list(loaded.parameters.values()))
    return -np.concatenate([piece.detach().double().cpu().numpy().ravel() for piece in pieces])
