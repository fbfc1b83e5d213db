"""Algorithms 1 and 2 of the paper on a language model: finite answer sets, exact gradients, plain SGD."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from llm_bridge.comparing.directional import ModelStep
from llm_bridge.gradients import log_odds_gradients, surrogate_loss
from llm_bridge.models import LoadedModel
from llm_bridge.policies import AnswerBatch, answer_logits, log_odds, p_and_q
from simulator.problems import check_step
from simulator.random import uniform_order
from simulator.records import Record, stable_difference
from theory.cosines import gradient_cosines
from theory.rules import Rule

__all__ = ["train"]


def train(
    loaded: LoadedModel,
    batch: AnswerBatch,
    rule: Rule,
    eta: float | ModelStep,
    steps: int,
    *,
    x_max_sq: float,
    seed: int = 0,
    progress: Callable[[int], Any] = lambda step: None,
) -> Record:
    """Run ``theta <- theta + eta * weight(p, q) * grad J_i(theta)`` on the LoRA parameters, measuring every step.

    The model's adapter is changed in place. The prompt order is the one that the simulator draws for the same seed.

    Args:
        loaded: the model.
        batch: n prompts with K answers each.
        rule: the update rule, a ``theory.rules.Rule``.
        eta: step size, above 0; or what gives one for the drawn prompt at every step, see ``comparing.directional``.
            The record then has their median as ``eta`` and all of them in ``extra["step_eta"]``, ``(T,)``.
        steps: number of updates T.
        x_max_sq: ``X_max^2`` by which the theorem's bounds are computed.
        seed: of the prompt order.
        progress: called with t after each step.

    Returns:
        A record with every step as a snapshot; ``extra`` holds ``cosines`` of shape ``(T + 1, n (n - 1) / 2)``.

    Raises:
        InputError: eta or steps out of range.
    """
    check_step(1.0 if callable(eta) else eta, steps)
    n = batch.shape[0]
    order = uniform_order(n, steps, seed)
    optimizer = torch.optim.SGD(loaded.parameters.values(), lr=1.0 if callable(eta) else eta)
    snapshots = [_measure(loaded, batch)]
    taken = np.full(steps, 0.0 if callable(eta) else eta)
    for step, i in enumerate(order):
        if callable(eta):
            taken[step] = optimizer.param_groups[0]["lr"] = eta(loaded, batch.prompt(int(i)))
        optimizer.zero_grad(set_to_none=True)
        surrogate_loss(answer_logits(loaded.model, batch.prompt(int(i)))[0], batch.correct[i], rule).backward()
        optimizer.step()
        snapshots.append(_measure(loaded, batch))
        progress(step + 1)
    record = _record(loaded, rule, float(np.median(taken)), x_max_sq, order, snapshots)
    if callable(eta):
        record.extra["step_eta"] = taken
    return record


def _measure(loaded: LoadedModel, batch: AnswerBatch) -> dict[str, np.ndarray]:
    """Success, failure, gradient norms and cosines of all prompts at the present parameters."""
    logits, gap = log_odds_gradients(loaded, batch)
    p, q = p_and_q(log_odds(logits, batch.correct.cpu()))
    variance = (p * q).numpy()
    gradients = gap.numpy()
    return {
        "p": p.numpy(),
        "q": q.numpy(),
        "grad_sq": variance**2 * np.sum(gradients * gradients, axis=1),
        # Cosines do not see the positive factor V between grad J and grad L.
        "cosines": gradient_cosines(gradients),
    }


def _record(
    loaded: LoadedModel, rule: Rule, eta: float, x_max_sq: float, order: np.ndarray, snapshots: list[dict[str, Any]]
) -> Record:
    p, q, grad_sq, cosines = (np.array([s[key] for s in snapshots]) for key in ("p", "q", "grad_sq", "cosines"))
    steps = len(order)
    before, drawn = np.arange(steps), order
    return Record(
        origin="language model",
        problem=loaded.name,
        rule=rule.name,
        eta=float(eta),
        x_max_sq=float(x_max_sq),
        order=order,
        t=np.arange(steps + 1),
        J=p,
        q=q,
        grad_sq=grad_sq,
        theta=np.empty((steps + 1, 0)),
        step_gain=stable_difference(p[before, drawn], q[before, drawn], p[before + 1, drawn], q[before + 1, drawn]),
        step_grad_sq=grad_sq[before, drawn],
        step_std=np.sqrt(p * q)[before, drawn],
        extra={"cosines": cosines},
    )
