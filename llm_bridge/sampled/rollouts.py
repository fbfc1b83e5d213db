"""Rollouts: G sampled completions for each of N prompts, with the masks by which a loss is taken of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from llm_bridge.chat import many_prompt_ids
from llm_bridge.models import LoadedModel
from llm_bridge.sampled.adapter_layers import adapter_layers
from llm_bridge.sampled.decoding import Sampling, end_tokens, mask_to_first_end, sample_tokens, uniforms
from llm_bridge.sampled.merging import merged_adapter
from simulator.random import COMPLETION_STREAM, words
from theory.errors import expected

__all__ = ["Rollouts", "Sampling", "evaluating", "generate", "joined", "prompt_tokens"]

# Parameters below which a CPU spends more time between products than in them.
_SMALL = 20_000_000


@dataclass(frozen=True, eq=False)
class Rollouts:
    """N prompts with G completions each; row ``i G + g`` is completion g of prompt i.

    Attributes:
        prompt_ids, prompt_mask: int64 ``(N G, P)``, padded on the left; the mask is 1 on tokens of the prompt.
        completion_ids, completion_mask: int64 ``(N G, C)``, padded on the right; the mask is 1 up to and with the first
            end token, everywhere if there is none (the completion was cut off).
        texts: the completions without special tokens.
        group: G.
        ended: bool ``(N G,)``, whether a completion has an end token.
        entropy: float64 ``(N G,)``, the entropies of the token distributions at the sampling temperature (before top-k
            and top-p), summed over a completion.
    """

    prompt_ids: torch.Tensor
    prompt_mask: torch.Tensor
    completion_ids: torch.Tensor
    completion_mask: torch.Tensor
    texts: tuple[str, ...]
    group: int
    ended: torch.Tensor
    entropy: torch.Tensor

    @property
    def n(self) -> int:
        """N, the number of prompts."""
        return len(self.prompt_ids) // self.group

    def model_inputs(self) -> dict[str, torch.Tensor]:
        """``input_ids``, ``attention_mask`` and ``position_ids`` ``(N G, P + C)``; a row's first token is at 0."""
        mask = torch.cat([self.prompt_mask, self.completion_mask], dim=1)
        return {
            "input_ids": torch.cat([self.prompt_ids, self.completion_ids], dim=1),
            "attention_mask": mask,
            "position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0),
        }

    def token_lists(self) -> list[list[int]]:
        """Each completion's tokens up to and with its end token, as TRL hands them to reward functions."""
        lengths = self.completion_mask.sum(dim=1).tolist()
        return [ids[:length] for ids, length in zip(self.completion_ids.tolist(), lengths, strict=True)]

    def prompt(self, i: int) -> Rollouts:
        """The group of prompt i alone, without columns that are padding in all its rows."""
        return self.rows(i * self.group, (i + 1) * self.group)

    def rows(self, start: int, stop: int) -> Rollouts:
        """Some completions of one prompt as a group of their own, without columns that are padding in all of them."""
        sizes = (int(mask[start:stop].sum(dim=1).max()) for mask in (self.prompt_mask, self.completion_mask))
        return self._part(slice(start, stop), *sizes)

    def split(self) -> tuple[Rollouts, ...]:
        """The groups of all prompts, each as :meth:`prompt` has it."""
        masks = (self.prompt_mask, self.completion_mask)
        sizes = torch.stack([mask.sum(dim=1).view(-1, self.group).amax(dim=1) for mask in masks], dim=1).tolist()
        return tuple(self._part(slice(i * self.group, (i + 1) * self.group), *size) for i, size in enumerate(sizes))

    def _part(self, rows: slice, width: int, length: int) -> Rollouts:
        start = self.prompt_ids.shape[1] - width
        return Rollouts(
            prompt_ids=self.prompt_ids[rows, start:],
            prompt_mask=self.prompt_mask[rows, start:],
            completion_ids=self.completion_ids[rows, :length],
            completion_mask=self.completion_mask[rows, :length],
            texts=self.texts[rows],
            group=rows.stop - rows.start,
            ended=self.ended[rows],
            entropy=self.entropy[rows],
        )


def joined(groups: Sequence[Rollouts]) -> Rollouts:
    """Rollouts of several prompts as one; all have the same G."""

    def rows(name: str, side: str) -> torch.Tensor:
        parts = [getattr(each, name) for each in groups]
        width = max(part.shape[1] for part in parts)
        for k, part in enumerate(parts):
            missing = width - part.shape[1]
            if missing:
                # What is filled in is masked, so any token will do.
                parts[k] = torch.nn.functional.pad(part, (missing, 0) if side == "left" else (0, missing))
        return torch.cat(parts)

    return Rollouts(
        prompt_ids=rows("prompt_ids", "left"),
        prompt_mask=rows("prompt_mask", "left"),
        completion_ids=rows("completion_ids", "right"),
        completion_mask=rows("completion_mask", "right"),
        texts=tuple(text for each in groups for text in each.texts),
        group=groups[0].group,
        ended=torch.cat([each.ended for each in groups]),
        entropy=torch.cat([each.entropy for each in groups]),
    )


def prompt_tokens(tokenizer: Any, prompts: Sequence[Any]) -> list[list[int]]:
    """Token ids of prompts: texts as the tokenizer reads them, messages through the chat template.

    Raises:
        InputError: a prompt has no tokens, or the tokenizer has no chat template for messages.
    """
    found = many_prompt_ids(tokenizer, prompts)
    for prompt, ids in zip(prompts, found, strict=True):
        # Some tokenizers close every text with the end token; a prompt goes on.
        while isinstance(prompt, str) and ids and ids[-1] == tokenizer.eos_token_id:
            ids.pop()
        if not ids:
            raise expected("prompt", prompt, "a text of at least one token", "remove the empty prompt")
    return found


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode (no dropout) within the block; the mode before is restored."""
    if not model.training:
        # A walk through all layers costs as much as a token of a small model.
        yield
        return
    model.eval()
    try:
        yield
    finally:
        model.train()


def generate(
    loaded: LoadedModel,
    questions: Sequence[Any],
    group: int,
    sampling: Sampling,
    generator_seed: int | npt.NDArray[np.uint64],
    *,
    merge: bool | None = None,
) -> Rollouts:
    """Draw G completions for each question from the model as it stands.

    Args:
        loaded: the model; it is put into evaluation mode for the time being.
        questions: N questions (``llm_bridge.asking.questions.Question``); their ``prompt`` is all that is read.
        group: G.
        sampling: temperature, top-p, top-k, longest completion.
        generator_seed: an integer, of whose Philox stream word ``i G + g`` is the seed of completion g of question i;
            or these seeds themselves, uint64 ``(N, G)``.
        merge: fold the adapter into the base weights meanwhile (see ``sampled.merging``); None for where that saves
            time: on accelerators, and for small models.

    Raises:
        InputError: no questions, G below 1, a prompt that leaves no room for the completion, or no end token.
    """
    n = len(questions)
    if n == 0 or group < 1:
        raise expected("rollout size (N, G)", (n, group), "at least one prompt and one completion", "ask for more")
    if isinstance(generator_seed, np.ndarray):
        seeds = generator_seed.reshape(n * group)
    else:
        seeds = words(generator_seed, 0, n * group, stream=COMPLETION_STREAM)
    prompts = prompt_tokens(loaded.tokenizer, [question.prompt for question in questions])
    _check_room(loaded, prompts, sampling)
    device, ends = loaded.device, end_tokens(loaded)
    pad = loaded.tokenizer.pad_token_id if loaded.tokenizer.pad_token_id is not None else ends[0]
    ids, mask = (each.to(device) for each in _padded_left(prompts, pad))
    if merge is None:
        merge = device.type != "cpu" or adapter_layers(loaded.model).size < _SMALL
    with evaluating(loaded.model), merged_adapter(loaded.model) if merge else nullcontext(False) as merged:
        drawn = uniforms(seeds, sampling.max_new_tokens).to(device)
        # What is merged are plain layers throughout, which keep nothing.
        tokens, entropy = sample_tokens(loaded, ids, mask, drawn, sampling, pad, inference=merged)
    completion_mask = mask_to_first_end(tokens, ends)
    return Rollouts(
        prompt_ids=ids.repeat_interleave(group, dim=0),
        prompt_mask=mask.repeat_interleave(group, dim=0),
        completion_ids=torch.where(completion_mask.bool(), tokens, pad),
        completion_mask=completion_mask,
        texts=_texts(loaded.tokenizer, tokens, completion_mask),
        group=group,
        ended=torch.isin(tokens, torch.tensor(ends, device=device)).any(dim=1),
        entropy=entropy,
    )


def _texts(tokenizer: Any, tokens: torch.Tensor, mask: torch.Tensor) -> tuple[str, ...]:
    """The text of each row without special tokens; rows are often the same, and then decoded once."""
    lengths = mask.sum(dim=1).tolist()
    rows = [tuple(row[:length]) for row, length in zip(tokens.tolist(), lengths, strict=True)]
    different = list(dict.fromkeys(rows))
    texts = tokenizer.batch_decode([list(row) for row in different], skip_special_tokens=True)
    text = dict(zip(different, texts, strict=True))
    return tuple(text[row] for row in rows)


def _check_room(loaded: LoadedModel, prompts: list[list[int]], sampling: Sampling) -> None:
    room = getattr(loaded.model.config, "max_position_embeddings", None)
    longest = max(map(len, prompts)) + sampling.max_new_tokens
    if room is not None and longest > room:
        wanted = f"at most {room} tokens, prompt and completion together, for {loaded.name}"
        raise expected("longest sequence", longest, wanted, "lower max-new-tokens or shorten the prompts")


def _padded_left(rows: list[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask
