"""Accuracy on held-out questions."""

from __future__ import annotations

import numpy as np
import torch

from llm_bridge.asking.questions import Task
from llm_bridge.models import LoadedModel
from llm_bridge.sampled.distributed import ALONE, Processes
from llm_bridge.sampled.group_settings import GroupSettings
from llm_bridge.sampled.group_step import draw_groups
from llm_bridge.sampled.metrics import Row
from simulator.random import SAMPLE_STREAM, words

__all__ = ["EVAL_ROWS", "evaluate"]

# Completions drawn at once where the settings do not bound them: held-out questions may be thousands.
EVAL_ROWS = 256
# Training draws the words of replica 0.
_REPLICA = 1


def evaluate(loaded: LoadedModel, task: Task, settings: GroupSettings, step: int, processes: Processes = ALONE) -> Row:
    """``eval_reward`` and the completions' lengths, over all questions and ``settings.eval_group`` completions each.

    Completions do not depend on the number of processes, nor on whether there was a measurement before.

    Args:
        loaded: the model.
        task: held-out questions.
        settings: ``eval_temperature``, ``eval_group``, ``max_new_tokens``, ``seed``.
        step: number of updates made; names the completions' seeds.
        processes: among which the questions are shared out.
    """
    n, group = len(task.questions), settings.eval_group
    own = list(processes.share(n))
    seeds = words(settings.seed, step * n * group, n * group, replica=_REPLICA, stream=SAMPLE_STREAM).reshape(n, group)
    rows = settings.rollout_rows or EVAL_ROWS
    asked = [task.questions[i] for i in own]
    drawn = draw_groups(loaded, task, asked, group, settings.eval_sampling, seeds[own], rows_at_once=rows)
    sums = [drawn.rewards.sum(), drawn.lengths.sum(), drawn.ended.sum()]
    reward, length, ended = (processes.sum(torch.from_numpy(np.array(sums))) / (n * group)).tolist()
    return {
        "eval_reward": reward,
        "eval_completions/mean_length": length,
        "eval_completions/clipped_ratio": 1 - ended,
    }
