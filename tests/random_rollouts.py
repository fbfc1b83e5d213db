"""Random rollouts with padding on both sides, and a model whose adapter does something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from perturbing import perturb

from llm_bridge.models import LoadedModel, load_model
from llm_bridge.sampled.rollouts import Rollouts

__all__ = ["as_rollouts", "perturbed", "random_rollouts"]


def perturbed(dtype: str = "float64", name: str = "tiny", **options: Any) -> LoadedModel:
    """A model with a perturbed adapter: with B = 0 the gradients of A would vanish."""
    return perturb(load_model(name, dtype=dtype, **options))


def as_rollouts(
    prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], *, pad: int = 0, extra: int = 0
) -> Rollouts:
    """Rollouts of these tokens: G completions a prompt, in order; ``extra`` columns of padding on either side."""
    group = len(completions) // len(prompts)
    width, length = (max(map(len, rows)) + extra for rows in (prompts, completions))
    left = [([pad] * (width - len(row)) + list(row), [0] * (width - len(row)) + [1] * len(row)) for row in prompts]
    right = [
        (list(row) + [pad] * (length - len(row)), [1] * len(row) + [0] * (length - len(row))) for row in completions
    ]
    ids, mask = (torch.tensor([pair[i] for pair in left]).repeat_interleave(group, dim=0) for i in (0, 1))
    return Rollouts(
        prompt_ids=ids,
        prompt_mask=mask,
        completion_ids=torch.tensor([tokens for tokens, _ in right]),
        completion_mask=torch.tensor([shown for _, shown in right]),
        texts=("",) * len(completions),
        group=group,
        ended=torch.ones(len(completions), dtype=torch.bool),
        entropy=torch.zeros(len(completions), dtype=torch.float64),
    )


def random_rollouts(
    vocabulary: int,
    n: int = 3,
    group: int = 4,
    *,
    longest: int = 6,
    seed: int = 0,
    same_length: bool = False,
    **more: int,
) -> Rollouts:
    """Random tokens of random lengths from 1 to ``longest``; ``same_length`` gives every completion the longest."""
    generator = torch.Generator().manual_seed(seed)

    def row(full: bool) -> list[int]:
        size = longest if full else int(torch.randint(1, longest + 1, (1,), generator=generator))
        return torch.randint(2, vocabulary, (size,), generator=generator).tolist()

    prompts = [row(False) for _ in range(n)]
    return as_rollouts(prompts, [row(same_length) for _ in range(n * group)], **more)
