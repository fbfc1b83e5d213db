"""A model that reads many rows at once, token by token, and keeps keys and values of what it has read."""

from __future__ import annotations

from typing import Any

import torch

from llm_bridge.sampled.token_scores import backbone_of, base_of, frozen_head

__all__ = ["TokenReader"]


class TokenReader:
    """Rows that a model reads; ``scores`` holds the logits of what comes next, ``(rows, V)``.

    Args:
        model: a causal language model of transformers, with or without adapter.
        ids, mask: the rows to begin with, padded on the left.
    """

    def __init__(self, model: Any, ids: torch.Tensor, mask: torch.Tensor) -> None:
        """Read the prompts."""
        self._head = frozen_head(model)
        self._model = base_of(model) if self._head is None else backbone_of(model)
        self._cache: Any = None
        self.scores: torch.Tensor
        # Without padding nothing is masked, and positions are counted by the cache.
        self._mask = None if bool(mask.all()) else mask
        self._position = mask.cumsum(dim=1) - 1
        self._advance(ids, self._position.clamp(min=0))
        self._position = self._position[:, -1:]

    def repeat(self, times: int) -> None:
        """Every row that many times, one after the other."""
        self._cache.batch_repeat_interleave(times)
        self.scores = self.scores.repeat_interleave(times, dim=0)
        if self._mask is not None:
            self._mask, self._position = (each.repeat_interleave(times, dim=0) for each in (self._mask, self._position))

    def select(self, rows: torch.Tensor) -> None:
        """Go on with some rows, int64."""
        self._cache.batch_select_indices(rows)
        if self._mask is not None:
            self._mask, self._position = self._mask[rows], self._position[rows]

    def read(self, tokens: torch.Tensor) -> None:
        """One more token of every row, ``(rows,)``."""
        if self._mask is not None:
            self._mask, self._position = torch.nn.functional.pad(self._mask, (0, 1), value=1), self._position + 1
        self._advance(tokens[:, None], self._position)

    def _advance(self, ids: torch.Tensor, positions: torch.Tensor) -> None:
        places = {} if self._mask is None else {"attention_mask": self._mask, "position_ids": positions}
        keep = {"logits_to_keep": 1} if self._head is None else {}
        output = self._model(input_ids=ids, past_key_values=self._cache, use_cache=True, **places, **keep)
        self._cache = output.past_key_values
        self.scores = output.logits[:, -1] if self._head is None else self._head(output.last_hidden_state[:, -1])
