r"""The gradient of one step, and every prompt's own.

A prompt's group gives ``g_i = (1/G) sum_g A_ig grad ln pi(o_ig | q_i)``, an estimate of ``w_G(p_i) grad J_i`` (claim
X-GROUP); the step's gradient is the mean of the N of them. Where they are asked for one by one, they are by-products of
the backward passes that the mean needs anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import numpy.typing as npt
import torch

from llm_bridge.models import LoadedModel
from llm_bridge.sampled.adapter_layers import adapter_layers
from llm_bridge.sampled.distributed import ALONE, Processes
from llm_bridge.sampled.fused_adapter import fused_adapter
from llm_bridge.sampled.group_loss import group_loss, score_rollouts
from llm_bridge.sampled.group_settings import GroupSettings
from llm_bridge.sampled.group_step import GroupStep
from llm_bridge.sampled.per_prompt import PerPromptGradients
from llm_bridge.sampled.rollouts import Rollouts, joined

__all__ = ["step_gradients", "sum_of_gradients"]

Floats = npt.NDArray[np.float64]


def step_gradients(
    loaded: LoadedModel,
    step: GroupStep,
    settings: GroupSettings,
    processes: Processes = ALONE,
    *,
    keep: bool = False,
    recorder: PerPromptGradients | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The step's gradient ``(1/N) sum_i g_i``, ``(d,)``, and with ``keep`` all ``g_i``, ``(N, d)``.

    A group whose advantages are all 0 is left out of the passes: its gradient is 0. The first result does not depend on
    ``keep``, not even in its last digit. Who takes many steps saves time by one ``recorder`` of N prompts for all.
    """
    n, group = step.advantages.shape
    parameters = adapter_layers(loaded.model).trainable
    total = torch.zeros(sum(value.numel() for value in parameters), dtype=parameters[0].dtype, device=loaded.device)
    if keep:
        recorder = recorder or PerPromptGradients(loaded.model, n)
        recorder.reset()
    for positions, batch, advantages in _micro_batches(step, settings.backward_rows):
        # Of G completions a part of the group holds batch.group. The loss falls where the objective rises.
        share = batch.group / group
        if keep and recorder is not None:
            recorder.set_groups(positions, -batch.n * share)
        gradient = sum_of_gradients(loaded, batch, advantages, settings.temperature, recorder if keep else None)
        total.add_(gradient, alpha=share)
    total = processes.sum(total) / n
    return total, processes.sum(recorder.gradients()) if keep and recorder is not None else None


def sum_of_gradients(
    loaded: LoadedModel,
    batch: Rollouts,
    advantages: Floats,
    temperature: float,
    recorder: PerPromptGradients | None = None,
) -> torch.Tensor:
    """``sum_i g_i`` over the prompts of a batch, ``(d,)``.

    Args:
        loaded: the model.
        batch: n prompts with g completions each.
        advantages: ``(n, g)``.
        temperature: at which the completions were sampled.
        recorder: takes the single gradients, of the loss ``-(1/n) sum_i g_i``, down; told of the batch's prompts.
    """
    adapter = adapter_layers(loaded.model)
    with fused_adapter(loaded.model, recorder), recorder or nullcontext():
        scores = score_rollouts(loaded.model, batch, temperature)
        loss = group_loss(scores.log_probs, advantages)
        # A layer may not have been used at all, as experts that no token was sent to.
        pieces = torch.autograd.grad(loss, adapter.trainable, materialize_grads=True)
    # The loss is a mean over prompts, and it falls where the objective rises.
    return torch.cat([piece.reshape(-1) for piece in pieces]).mul_(-batch.n)


def _micro_batches(step: GroupStep, rows_at_once: int) -> Iterator[tuple[list[int], Rollouts, Floats]]:
    """Positions of prompts within the step, their completions and advantages; at most ``rows_at_once`` completions."""
    group = step.advantages.shape[1]
    moving = [k for k, b in enumerate(step.own) if np.any(step.advantages[b])]
    if 0 < rows_at_once < group:
        for k in moving:
            b = step.own[k]
            for start in range(0, group, rows_at_once):
                stop = min(start + rows_at_once, group)
                if np.any(step.advantages[b, start:stop]):
                    yield [b], step.groups[k].rows(start, stop), step.advantages[[b], start:stop]
        return
    size = max(1, rows_at_once // group or len(moving))
    for start in range(0, len(moving), size):
        some = moving[start : start + size]
        positions = [step.own[k] for k in some]
        yield positions, joined([step.groups[k] for k in some]), step.advantages[positions]
