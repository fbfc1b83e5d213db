r"""How a model reads the completions it is to score: row by row, each prompt once, or each group as one row.

A prompt with G completions is a tree, and most of a plain batch ``(N G, P + C)`` is the prompt again and padding behind
completions that have ended. There are two ways around it, and both leave every number what it is, to rounding:

* ``prompts``: one pass for the N prompts, a second one for the completions, which find keys and values in the cache.
* ``packed``: one pass for N rows, a prompt and all tokens of its G completions one behind the other
  (``sampled.packing``). It saves all padding between completions, but attention is over the whole row.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from transformers import DynamicCache

from llm_bridge.sampled.adapter_layers import adapter_layers
from llm_bridge.sampled.batches import Batch, read_rows
from llm_bridge.sampled.packing import keeps_all, read_packed, takes_packed
from llm_bridge.sampled.per_prompt import recomputes_activations
from llm_bridge.sampled.token_scores import backbone_of, base_of

__all__ = ["Reading", "hidden_states"]

Reading = Literal["rows", "prompts", "packed"]

# Work (multiplications and additions) above which it is quicker to read a prompt in a pass of its own, once for its
# group, than G times in one pass: about what the device could do in the time that one more pass takes to set up.
_PASS_WORTH = {"cpu": 1e9, "other": 1e12}

# Entries of the masks of packed rows, of which attention may hold several copies in the model's precision.
_LARGEST_MASK = 2**26


def hidden_states(model: Any, batch: Batch, reading: Reading | None = None) -> torch.Tensor:
    """The hidden state before every scored token, ``(tokens, H)``, in the order of ``batch.targets``.

    Args:
        model: a causal language model of transformers, with or without adapter.
        batch: what is read.
        reading: the way; None for the one that takes the least time. Row by row where the model does not allow it.
    """
    way = _cheapest(model, batch) if reading is None else reading
    if way == "packed" and takes_packed(model):
        return read_packed(model, batch)
    found = _read_prompts(model, batch) if way == "prompts" and batch.group > 1 else None
    return read_rows(model, batch) if found is None else found


def _cheapest(model: Any, batch: Batch) -> Reading:
    """The way with the least work for a forward and a backward pass, with what one more pass is worth."""
    config = base_of(model).config.get_text_config()
    n, group = len(batch.mask) // batch.group, batch.group
    prompt, longest = batch.prompt_ids.shape[1], batch.mask.shape[1] - 1
    together = int(batch.mask[:, 1:].reshape(n, -1).sum(dim=1).max())
    size = 6.0 * adapter_layers(model).size
    # Two products of H numbers for each pair of tokens and each layer.
    pair = 12.0 * getattr(config, "hidden_size", 0) * getattr(config, "num_hidden_layers", 0)

    def work(rows: int, width: int, before: int = 0) -> float:
        return rows * width * (size + pair * (width + before))

    device = batch.mask.device.type
    costs: dict[Reading, float] = {
        "rows": work(n * group, prompt + longest),
    }
    if group > 1 and not recomputes_activations(base_of(model)):
        again = _PASS_WORTH.get(device, _PASS_WORTH["other"])
        costs["prompts"] = work(n, prompt) + work(n * group, longest, prompt) + again
    if n * (prompt + together) ** 2 <= _room_for_masks(base_of(model).config) and takes_packed(model):
        costs["packed"] = work(n, prompt + together)
    return min(costs, key=lambda way: costs[way])


def _room_for_masks(config: Any) -> int:
    """Entries that the masks of packed rows may have: eager attention keeps as many for each head of each layer."""
    if getattr(config, "_attn_implementation", None) != "eager":
        return _LARGEST_MASK
    heads = getattr(config, "num_attention_heads", 1) * getattr(config, "num_hidden_layers", 1)
    return 4 * _LARGEST_MASK // max(1, heads)


def _read_prompts(model: Any, batch: Batch) -> torch.Tensor | None:
    """The hidden states with each prompt read in a pass before, once for its group; None if that cannot be.

    The keys and values of the prompt's pass stay in the graph, so the completions' gradients flow back through them.
    """
    base, backbone = base_of(model), backbone_of(model)
    # Layers that compute their activations again cannot also keep keys and values for another pass.
    if recomputes_activations(base):
        return None
    inputs, width = batch.inputs(), batch.prompt_ids.shape[1]
    prompts = {name: value[:: batch.group, :width] for name, value in inputs.items()}
    outputs = backbone(**prompts, use_cache=True, past_key_values=DynamicCache(config=base.config))
    cache = outputs.past_key_values
    if not keeps_all(cache):
        return None
    first = outputs.last_hidden_state[:, -1:].repeat_interleave(batch.group, dim=0)
    if batch.mask.shape[1] == 1:
        return first[batch.mask]
    cache.batch_repeat_interleave(batch.group)
    # The mask covers the cache too.
    rest = {name: value if name == "attention_mask" else value[:, width:] for name, value in inputs.items()}
    hidden = backbone(**rest, past_key_values=cache, use_cache=True).last_hidden_state
    return torch.cat([first, hidden], dim=1)[batch.mask]
