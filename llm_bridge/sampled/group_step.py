"""What one step of a sampled rule draws: groups of completions, their rewards and advantages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from llm_bridge.asking.questions import Question, Task, rewards_of
from llm_bridge.models import LoadedModel
from llm_bridge.sampled.distributed import Processes
from llm_bridge.sampled.group_settings import GroupSettings
from llm_bridge.sampled.rollouts import Rollouts, Sampling, generate
from simulator.sampled import sample_words
from theory.advantages import zero_variance_groups

__all__ = ["Drawn", "GroupStep", "draw_groups", "draw_step"]

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Drawn:
    """Groups of completions and what is known of them; arrays are ``(N, G)``.

    Attributes:
        groups: one group for each prompt.
        rewards: 0 or 1.
        lengths: tokens of each completion.
        ended: 1 where a completion has an end token, 0 where it was cut off.
        entropy: of the token distributions, summed over each completion.
        tokens: ``(N,)``, prompt and completion tokens drawn for each prompt, groups that were drawn again included.
    """

    groups: tuple[Rollouts, ...]
    rewards: Floats
    lengths: Floats
    ended: Floats
    entropy: Floats
    tokens: Floats


@dataclass(frozen=True, eq=False)
class GroupStep(Drawn):
    """What the processes together drew at a step; arrays as in :class:`Drawn`, over all N prompts of the step.

    Attributes:
        groups: those of this process's prompts.
        own: positions of these prompts within the step.
        advantages: ``(N, G)`` by the rule's convention.
    """

    own: Sequence[int]
    advantages: Floats


def draw_groups(
    loaded: LoadedModel,
    task: Task,
    questions: Sequence[Question],
    group: int,
    sampling: Sampling,
    seeds: Words,
    *,
    rows_at_once: int = 0,
) -> Drawn:
    """G rewarded completions for each of N questions; ``seeds`` is ``(N, G)``.

    Raises:
        InputError: a reward is not 0 or 1, or a prompt is too long.
    """
    size = max(1, rows_at_once // group) if rows_at_once else max(1, len(questions))
    parts = [slice(start, start + size) for start in range(0, len(questions), size)]
    together = [generate(loaded, questions[part], group, sampling, seeds[part]) for part in parts]
    ids = [tokens for each in together for tokens in each.token_lists()]
    texts = [text for each in together for text in each.texts]

    def table(values: Iterable[Any]) -> Floats:
        return np.array(list(values), dtype=np.float64).reshape(len(questions), group)

    lengths = table(map(len, ids))
    prompts = [row for each in together for row in each.prompt_mask.sum(dim=1)[::group].tolist()]
    return Drawn(
        groups=tuple(one for each in together for one in each.split()),
        rewards=rewards_of(task, questions, group, texts, ids) if ids else table(()),
        lengths=lengths,
        ended=table(value for each in together for value in each.ended.tolist()),
        entropy=table(value for each in together for value in each.entropy.tolist()),
        tokens=lengths.sum(axis=1) + group * np.array(prompts, dtype=np.float64),
    )


def draw_step(
    loaded: LoadedModel,
    task: Task,
    settings: GroupSettings,
    chosen: npt.NDArray[np.int64],
    step: int,
    processes: Processes,
) -> GroupStep:
    """The groups of one step, its prompts shared out among the processes, with the advantages of all.

    The seeds are the words by which ``simulator.sampled`` draws the same prompt, output and attempt of the same step;
    they do not depend on the process. A rule that resamples draws a group without variance again, and keeps the last
    attempt where none is mixed: its advantages are then 0.

    Args:
        loaded: the model.
        task: its questions and reward.
        settings: of the run.
        chosen: numbers of the step's N questions.
        step: number of the step, from 0.
        processes: of the run.
    """
    rule, own = settings.sampled_rule, processes.share(len(chosen))
    asked = [task.questions[int(chosen[b])] for b in own]
    seeds = sample_words(rule, len(chosen), step, settings.seed, 0)

    def draw(which: list[int], attempt: int) -> Drawn:
        rows = seeds(attempt)[[own[i] for i in which]]
        some = [asked[i] for i in which]
        return draw_groups(loaded, task, some, rule.group, settings.sampling, rows, rows_at_once=settings.rollout_rows)

    drawn = draw(list(range(len(asked))), 0)
    for attempt in range(1, rule.resample + 1):
        constant = np.flatnonzero(zero_variance_groups(drawn.rewards)).tolist()
        if not constant:
            break
        drawn = _replaced(drawn, constant, draw(constant, attempt))
    return _shared(drawn, own, settings, len(chosen), processes)


def _replaced(drawn: Drawn, which: list[int], again: Drawn) -> Drawn:
    """The groups ``which`` taken from another draw; tokens add up."""
    groups = list(drawn.groups)
    for i, group in zip(which, again.groups, strict=True):
        groups[i] = group
    arrays = {name: getattr(drawn, name).copy() for name in ("rewards", "lengths", "ended", "entropy", "tokens")}
    for name, array in arrays.items():
        array[which] = getattr(again, name) + (array[which] if name == "tokens" else 0.0)
    return Drawn(tuple(groups), **arrays)


def _shared(drawn: Drawn, own: range, settings: GroupSettings, n: int, processes: Processes) -> GroupStep:
    names = ("rewards", "lengths", "ended", "entropy")
    group = settings.group
    table = np.zeros((n, 4 * group + 1))
    if len(own):
        table[list(own)] = np.column_stack([*(getattr(drawn, name) for name in names), drawn.tokens])
    table = processes.sum(torch.from_numpy(table)).numpy()
    arrays = {name: table[:, k * group : (k + 1) * group] for k, name in enumerate(names)}
    advantages = settings.sampled_rule.convention(np.ascontiguousarray(arrays["rewards"]))
    return GroupStep(own=own, groups=drawn.groups, tokens=table[:, -1], advantages=advantages, **arrays)
