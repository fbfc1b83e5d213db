"""Rollouts as a model reads them: prompts and completions side by side, and what is scored of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from llm_bridge.sampled.token_scores import backbone_of
from theory.errors import expected

if TYPE_CHECKING:
    from llm_bridge.sampled.rollouts import Rollouts

__all__ = ["Batch", "read_rows"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Rollouts without the columns that are padding in every row, and with positions counted from each row's start.

    Attributes:
        prompt_ids, prompt_mask: int64 ``(N G, P)``, padded on the left.
        completion_ids: int64 ``(N G, C)``, padded on the right.
        mask: bool ``(N G, C)``, the tokens of completions that are scored.
        group: G.
    """

    prompt_ids: torch.Tensor
    prompt_mask: torch.Tensor
    completion_ids: torch.Tensor
    mask: torch.Tensor
    group: int

    @classmethod
    def of(cls, rollouts: Rollouts) -> Batch:
        """Those of rollouts.

        Raises:
            InputError: the rows of a group have different prompts.
        """
        ids, mask = rollouts.prompt_ids, rollouts.prompt_mask
        for name, value in (("prompt_ids", ids), ("prompt_mask", mask)):
            grouped = value.view(-1, rollouts.group, value.shape[1])
            if not bool((grouped == grouped[:, :1]).all()):
                raise expected(name, "different within a group", f"{rollouts.group} equal rows", "order rows by prompt")
        width = int(mask.sum(dim=1).max())
        length = int(rollouts.completion_mask.sum(dim=1).max())
        return cls(
            prompt_ids=ids[:, ids.shape[1] - width :],
            prompt_mask=mask[:, mask.shape[1] - width :],
            completion_ids=rollouts.completion_ids[:, :length],
            mask=rollouts.completion_mask[:, :length].bool(),
            group=rollouts.group,
        )

    @property
    def targets(self) -> torch.Tensor:
        """The tokens that are scored, one after the other, ``(tokens,)``."""
        return self.completion_ids[self.mask]

    def inputs(self) -> dict[str, torch.Tensor]:
        """Prompt and completion of every row but its last token, behind which nothing is scored.

        Where no row starts with padding there is nothing to be masked: causal layers do not see what stands behind.
        """
        ids = torch.cat([self.prompt_ids, self.completion_ids[:, :-1]], dim=1)
        if bool(self.prompt_mask.all()):
            return {"input_ids": ids}
        attention = torch.cat([self.prompt_mask, self.mask[:, :-1].to(self.prompt_mask)], dim=1)
        return {
            "input_ids": ids,
            "attention_mask": attention,
            "position_ids": (attention.cumsum(dim=1) - 1).clamp(min=0),
        }


def read_rows(model: Any, batch: Batch) -> torch.Tensor:
    """The hidden state before every scored token, ``(tokens, H)``, each row read by itself."""
    hidden = backbone_of(model)(**batch.inputs(), use_cache=False).last_hidden_state
    return hidden[:, -batch.mask.shape[1] :][batch.mask]
