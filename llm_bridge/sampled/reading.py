r"""How a model reads the completions it is to score: row by row, each prompt once, or each group as one row.

A prompt with G completions is a tree, and most of a plain batch ``(N G, P + C)`` is the prompt again and padding behind
completions that have ended. There are two ways around it, and both leave every number what it is, to rounding:

* ``prompts``: one pass for the N prompts, a second one for the completions, which find keys and values in the cache.
* ``packed``: one pass for N rows, a prompt and all tokens of its G completions one behind the other. Positions start
  again with each completion, and the attention mask lets a token see its prompt, its own completion so far, and nothing
  else. It saves all padding between completions, but attention is over the whole row.
"""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from llm_bridge.sampled.adapter_layers import adapter_layers
from llm_bridge.sampled.per_prompt import recomputes_activations
from llm_bridge.sampled.token_scores import backbone_of, base_of
from theory.errors import expected

if TYPE_CHECKING:
    from llm_bridge.sampled.rollouts import Rollouts

__all__ = ["Batch", "Reading", "hidden_states", "read_packed", "read_prompts", "read_rows", "takes_packed"]

Reading = Literal["rows", "prompts", "packed"]

# Work (multiplications and additions) above which it is quicker to read a prompt in a pass of its own, once for its
# group, than G times in one pass: about what the device could do in the time that one more pass takes to set up.
_PASS_WORTH = {"cpu": 1e9, "other": 1e12}

# base model -> attention implementation -> whether packed rows come out right.
_TRIED: WeakKeyDictionary[Any, dict[str, bool]] = WeakKeyDictionary()
# How far results of the two ways may lie apart, relative to the largest; another mask or position changes them by more.
_ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4}
_COARSE_ROUNDING = 0.05


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
    found = read_prompts(model, batch) if way == "prompts" and batch.group > 1 else None
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
        "prompts": work(n, prompt) + work(n * group, longest, prompt) + _PASS_WORTH.get(device, _PASS_WORTH["other"]),
    }
    if takes_packed(model):
        costs["packed"] = work(n, prompt + together)
    return min(costs, key=lambda way: costs[way])


def read_rows(model: Any, batch: Batch) -> torch.Tensor:
    """The hidden state before every scored token, ``(tokens, H)``, each row read by itself."""
    hidden = backbone_of(model)(**batch.inputs(), use_cache=False).last_hidden_state
    return hidden[:, -batch.mask.shape[1] :][batch.mask]


def read_prompts(model: Any, batch: Batch) -> torch.Tensor | None:
    """The same with each prompt read in a pass before, once for its group; None if that cannot be.

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
    if not _keeps_all(cache):
        return None
    first = outputs.last_hidden_state[:, -1:].repeat_interleave(batch.group, dim=0)
    if batch.mask.shape[1] == 1:
        return first[batch.mask]
    cache.batch_repeat_interleave(batch.group)
    # The mask covers the cache too.
    rest = {name: value if name == "attention_mask" else value[:, width:] for name, value in inputs.items()}
    hidden = backbone(**rest, past_key_values=cache, use_cache=True).last_hidden_state
    return torch.cat([first, hidden], dim=1)[batch.mask]


def read_packed(model: Any, batch: Batch) -> torch.Tensor:
    """The same from one pass in which each group is one row; for a model of which :func:`takes_packed` holds."""
    n, width = len(batch.mask) // batch.group, batch.prompt_ids.shape[1]
    prompt_mask = batch.prompt_mask[:: batch.group]
    # A token is read where another one follows that is scored: that of the next column.
    read = batch.mask[:, 1:].reshape(n, -1)
    columns = max(1, batch.mask.shape[1] - 1)
    count = read.sum(dim=1, keepdim=True)
    order = read.long().argsort(dim=1, descending=True, stable=True)[:, : int(count.max())]
    ids = torch.cat(
        [batch.prompt_ids[:: batch.group], batch.completion_ids[:, :-1].reshape(n, -1).gather(1, order)], dim=1
    )
    behind = prompt_mask.sum(dim=1, keepdim=True) + order % columns
    positions = torch.cat([(prompt_mask.cumsum(dim=1) - 1).clamp_(min=0), behind], dim=1)
    # 0 is the prompt, 1 to G its completions, -1 padding, which sees itself: rows without any entry would be NaN.
    filled = torch.arange(order.shape[1], device=order.device) < count
    part = torch.cat([prompt_mask - 1, torch.where(filled, order // columns + 1, -1)], dim=1)
    seen = ((part[:, :, None] == part[:, None]) | (part[:, None] == 0)).tril_()[:, None]
    hidden = backbone_of(model)(
        input_ids=ids, attention_mask=_as_mask(seen, model), position_ids=positions, use_cache=False
    ).last_hidden_state
    # Before the first token of each completion stands the last one of its prompt.
    places = (read.cumsum(dim=1) + width - 1).view(len(batch.mask), -1)
    places = torch.nn.functional.pad(places, (1, 0), value=width - 1)
    starts = torch.arange(n, device=order.device).repeat_interleave(batch.group) * ids.shape[1]
    return hidden.flatten(0, 1)[(places + starts[:, None])[batch.mask]]


def takes_packed(model: Any) -> bool:
    """Whether a model reads packed rows as it reads the completions one by one.

    It has to take positions and a mask of its own, and every layer has to look as far back as there are tokens. That it
    then does what it is told is tried out once, on a few tokens.
    """
    base = base_of(model)
    attention = getattr(base.config, "_attn_implementation", None)
    if attention not in ("eager", "sdpa"):
        return False
    tried = _TRIED.setdefault(base, {})
    if attention not in tried:
        tried[attention] = _reads_packed(model)
    return tried[attention]


def _reads_packed(model: Any) -> bool:
    base, backbone = base_of(model), backbone_of(model)
    if "position_ids" not in signature(backbone.forward).parameters:
        return False
    if not _keeps_all(DynamicCache(config=base.config)):
        return False
    modes = [(module, module.training) for module in base.modules()]
    base.eval()
    try:
        with torch.no_grad():
            batch = _trial(model)
            alone, packed = read_rows(model, batch), read_packed(model, batch)
    except (RuntimeError, TypeError, ValueError):
        # Models that look into the mask want one row of it for each row of tokens.
        return False
    finally:
        for module, training in modes:
            module.training = training
    bound = _ROUNDING.get(alone.dtype, _COARSE_ROUNDING) * float(alone.abs().max())
    return float((packed - alone).abs().max()) <= bound


def _trial(model: Any) -> Batch:
    """Two prompts of two completions each, of different lengths all."""
    device, vocabulary = next(model.parameters()).device, base_of(model).get_input_embeddings().num_embeddings
    tokens = torch.arange(4 * 8, device=device).view(4, 8) * 7 % vocabulary
    places = torch.arange(5, device=device)
    return Batch(
        prompt_ids=tokens[[0, 0, 1, 1], :3],
        prompt_mask=torch.tensor([[0, 1, 1]] * 2 + [[1, 1, 1]] * 2, device=device),
        completion_ids=tokens[:, 3:],
        mask=places < torch.tensor([[5], [3], [2], [4]], device=device),
        group=2,
    )


def _keeps_all(cache: Any) -> bool:
    """Whether every layer of a cache keeps all keys and values: none looks back over a window, or has a state."""
    return type(cache) is DynamicCache and all(type(layer) is DynamicLayer for layer in cache.layers)


def _as_mask(seen: torch.Tensor, model: Any) -> torch.Tensor:
    """The mask as the model's attention takes it: true where it looks, or what is added to scores."""
    base = base_of(model)
    if base.config._attn_implementation == "sdpa":
        return seen
    dtype = base.get_input_embeddings().weight.dtype
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)
