r"""Sampling of completions: one forward pass a token, and every random number decided before the first.

Token t of a completion is the first v whose cumulative probability exceeds ``u_t``, with ``u_t`` uniform on [0, 1) from
the completion's own counter-based stream. So a completion depends on its seed, its prompt and the model, but neither on
the completions beside it nor on the process or device that draws it (but for rounding), and no global random state is
read. ``transformers``' own ``generate`` draws all rows of a batch from one stream, and lets a model's
``generation_config.json`` (repetition penalty, top-k, ...) change the distribution; none of it is used here, except for
the end-of-text tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from llm_bridge.models import full_precision
from llm_bridge.sampled.token_reader import TokenReader
from simulator.random import COMPLETION_STREAM, many_words
from theory.errors import expected

__all__ = [
    "Sampling",
    "choose_tokens",
    "end_tokens",
    "mask_to_first_end",
    "precision",
    "sample_tokens",
    "tokens_and_entropies",
    "uniforms",
]

# Rows that have ended are taken out of the batch once they are this share of it; taking out copies the cache.
_ENDED_SHARE = 0.25


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn; every field takes effect as it stands, whatever the model's own files say.

    Attributes:
        temperature: divides the logits; 0 takes the likeliest token (greedy).
        top_p: sample from the likeliest tokens that together have at least this probability; 1 for all of them.
        top_k: sample from the k likeliest tokens; 0 for all of them.
        max_new_tokens: tokens of a completion at most, the end token among them.

    Raises:
        InputError: a field is out of range.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        """Check the fields; see the class for what holds afterwards."""
        if not 0 <= self.temperature < float("inf"):
            raise expected("temperature", self.temperature, "a finite number from 0 on", "1 is the model's own policy")
        if not 0 < self.top_p <= 1:
            raise expected("top-p", self.top_p, "a number above 0, at most 1", "1 keeps every token")
        for name, value, least in (("top-k", self.top_k, 0), ("max-new-tokens", self.max_new_tokens, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise expected(name, value, f"an integer from {least} on", "0 keeps every token" if least == 0 else "")

    @property
    def on_policy(self) -> bool:
        """Whether completions come from the softmax whose log-probabilities the loss takes (no top-p, no top-k)."""
        return self.temperature > 0 and self.top_p == 1 and self.top_k == 0

    def filtered(self, scores: torch.Tensor) -> torch.Tensor:
        """Logits ``(rows, vocabulary)`` in float64 after temperature, top-k and top-p, in this order."""
        scores = scores.double()
        if self.temperature != 1:
            scores = TemperatureLogitsWarper(float(self.temperature))(None, scores)
        if self.top_k:
            scores = TopKLogitsWarper(min(self.top_k, scores.shape[-1]))(None, scores)
        if self.top_p < 1:
            scores = TopPLogitsWarper(float(self.top_p))(None, scores)
        return scores


def precision(dtype: str) -> AbstractContextManager[Any]:
    """The context in which a model of this dtype computes: float64 needs :func:`full_precision`, others nothing."""
    return full_precision() if dtype == "float64" else nullcontext()


def uniforms(seeds: npt.NDArray[np.uint64], count: int) -> torch.Tensor:
    """Uniform numbers on [0, 1) with 53 bits, float64 ``(rows, count)``; row r is the Philox stream of its seed."""
    drawn = many_words(seeds, count, stream=COMPLETION_STREAM)
    return torch.from_numpy((drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def choose_tokens(scores: torch.Tensor, uniform: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """The token of each row, int64 ``(rows,)``; see :func:`tokens_and_entropies`."""
    return tokens_and_entropies(scores, uniform, sampling)[0]


def tokens_and_entropies(
    scores: torch.Tensor, uniform: torch.Tensor, sampling: Sampling
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens by inversion of the cumulative distribution, and the distribution's entropy before top-k and top-p.

    Args:
        scores: logits ``(rows, vocabulary)``.
        uniform: ``(rows,)`` on [0, 1), float64.
        sampling: with temperature 0, the first token of largest logit; ``uniform`` is then not used, and the entropy is
            that at temperature 1.

    Returns:
        int64 ``(rows,)`` and float64 ``(rows,)``; the entropy is NaN where the logits are no distribution.
    """
    wide = scores.double()
    chances = torch.softmax(wide if sampling.temperature in (0, 1) else wide / sampling.temperature, dim=-1)
    entropy = torch.special.entr(chances).sum(dim=-1)
    if sampling.temperature == 0:
        return scores.argmax(dim=-1), entropy
    if not sampling.on_policy:
        chances = torch.softmax(sampling.filtered(scores), dim=-1)
    cumulative = chances.cumsum(dim=-1)
    total = cumulative[:, -1]
    # Below the total, and beyond all tokens of probability 0: neither is ever chosen.
    aim = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
    chosen = torch.searchsorted(cumulative, aim[:, None], right=True)[:, 0]
    # Beyond the last token only where the logits are not numbers, which the caller finds out.
    return chosen.clamp(max=scores.shape[-1] - 1), entropy


def end_tokens(loaded: Any) -> tuple[int, ...]:
    """Ids of all tokens that end a completion: the tokenizer's, and those the model's files name.

    Raises:
        InputError: there is none.
    """
    config = getattr(loaded.model, "generation_config", None)
    named = (loaded.tokenizer.eos_token_id, getattr(config, "eos_token_id", None), loaded.model.config.eos_token_id)
    found: set[int] = set()
    for value in named:
        if value is not None:
            found.update(int(each) for each in (value if isinstance(value, Iterable) else (value,)))
    if not found:
        raise expected("tokenizer eos_token", None, "an end-of-text token, which ends a completion", "set one")
    return tuple(sorted(found))


def mask_to_first_end(ids: torch.Tensor, ends: tuple[int, ...]) -> torch.Tensor:
    """1 up to and with the first end token of each row, 0 behind it; ``(rows, C)``, int64.

    Only the first end token counts: a padding token may well be the end token itself.
    """
    ended = torch.isin(ids, torch.tensor(ends, device=ids.device))
    return (ended.cumsum(dim=1) - ended.long() == 0).long()


def sample_tokens(
    loaded: Any,
    ids: torch.Tensor,
    mask: torch.Tensor,
    uniform: torch.Tensor,
    sampling: Sampling,
    pad: int,
    *,
    inference: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Completions of left-padded prompts, int64 ``(N G, C)`` with C the longest of them; ``pad`` behind the end.

    Each prompt is read once, whatever G; rows that have ended leave the batch. The second tensor, float64 ``(N G,)``,
    holds the entropies of the token distributions, summed over each completion.

    Args:
        loaded: the model, in eval mode.
        ids: prompts ``(N, P)``, padded on the left.
        mask: 1 on their tokens, ``(N, P)``.
        uniform: ``(N G, max_new_tokens)``; row ``i G + g`` belongs to prompt i.
        sampling: the rest of the settings.
        pad: the padding token.
        inference: read in torch's inference mode, where calls take less time. Layers that keep a tensor of a pass for
            later ones could then not be trained.
    """
    group, (n, longest) = len(uniform) // len(ids), uniform.shape
    ends = torch.tensor(end_tokens(loaded), device=ids.device)
    tokens = torch.full((n, longest), pad, dtype=torch.long, device=ids.device)
    entropy = torch.zeros(n, dtype=torch.float64, device=ids.device)
    # All rows as they stand, until some are taken out.
    rows: slice | torch.Tensor = slice(None)
    live = torch.ones(n, dtype=torch.bool, device=ids.device)
    with torch.inference_mode() if inference else torch.no_grad(), precision(loaded.dtype):
        reader = TokenReader(loaded.model, ids, mask)
        reader.repeat(group)
        for t in range(longest):
            chosen, spread = tokens_and_entropies(reader.scores, uniform[rows, t], sampling)
            chosen = torch.where(live, chosen, pad)
            tokens[rows, t] = chosen
            entropy[rows] += torch.where(live, spread, 0.0)
            live = live & (chosen != ends if len(ends) == 1 else ~torch.isin(chosen, ends))
            left, broken = torch.stack([live.sum(), spread.isnan().sum()]).tolist()
            if broken:
                remedy = "lower the step size (a run's last checkpoint is intact), or use another dtype"
                raise expected("logits of the model", "not finite", "finite numbers", remedy)
            if left == 0 or t + 1 == longest:
                break
            if left <= (1 - _ENDED_SHARE) * len(live):
                kept = torch.nonzero(live)[:, 0]
                reader.select(kept)
                rows = kept if isinstance(rows, slice) else rows[kept]
                chosen, live = chosen[kept], live[kept]
            reader.read(chosen)
    return tokens[:, : t + 1], entropy
