r"""A prompt and all its completions in one row, one behind the other.

Positions start again with each completion, and the attention mask lets a token see its prompt, its own completion so
far, and nothing else. Whether a model does as it is told is tried out.
"""

from __future__ import annotations

import math
from inspect import signature
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from llm_bridge.sampled.batches import Batch, read_rows
from llm_bridge.sampled.token_scores import backbone_of, base_of

__all__ = ["keeps_all", "read_packed", "takes_packed"]

# base model -> attention implementation -> whether packed rows come out right.
_TRIED: WeakKeyDictionary[Any, dict[str, bool]] = WeakKeyDictionary()
# How far results of the two ways may lie apart, relative to the largest; coarser numbers tell too little by that.
_ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-4}
# And relative to what reading packed rows like any others changes.
_LEFT = 0.1


def read_packed(model: Any, batch: Batch) -> torch.Tensor:
    """The hidden state before every scored token, ``(tokens, H)``; for a model of which :func:`takes_packed` holds."""
    rows, device = _packed(batch), batch.mask.device
    hidden = backbone_of(model)(
        input_ids=_packed_ids(batch, rows),
        attention_mask=_as_mask(torch.from_numpy(rows.seen).to(device), model),
        position_ids=torch.from_numpy(rows.positions).to(device),
        use_cache=False,
    ).last_hidden_state
    return hidden.flatten(0, 1)[torch.from_numpy(rows.places).to(device)]


def _packed_ids(batch: Batch, rows: _PackedRows) -> torch.Tensor:
    own = batch.completion_ids[:, :-1].reshape(len(rows.order), -1)
    ids = torch.cat([batch.prompt_ids[:: batch.group], own], dim=1)
    return ids.gather(1, torch.from_numpy(rows.order).to(ids.device))


class _PackedRows(NamedTuple):
    """How the tokens of N groups lie in N rows of T.

    order: ``(N, T)``, where each token stands in the row of the prompt and all columns of its completions. positions:
    ``(N, T)``. seen: bool ``(N, 1, T, T)``, whether a token sees another one. places: ``(tokens,)``, the tokens before
    those that are scored, rows end to end.
    """

    order: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    seen: npt.NDArray[np.bool_]
    places: npt.NDArray[np.int64]


def _packed(batch: Batch) -> _PackedRows:
    # Many small steps, which numpy takes in a fraction of torch's time.
    mask, prompt = batch.mask.cpu().numpy(), batch.prompt_mask[:: batch.group].cpu().numpy()
    n, width = prompt.shape
    # A token is read where another one follows that is scored: that of the next column.
    read = mask[:, 1:].reshape(n, -1)
    columns, count = max(1, mask.shape[1] - 1), read.sum(axis=1, keepdims=True)
    order = np.argsort(~read, axis=1, kind="stable")[:, : int(count.max())]
    behind = prompt.sum(axis=1, keepdims=True) + order % columns
    # 0 is the prompt, 1 to G its completions, -1 padding, which sees itself: rows without any entry would be NaN.
    part = np.where(np.arange(order.shape[1]) < count, order // columns + 1, -1)
    part = np.concatenate([prompt - 1, part], axis=1)
    seen = np.tril((part[:, :, None] == part[:, None]) | (part[:, None] == 0))
    # Before the first token of each completion stands the last one of its prompt.
    places = np.full(mask.shape, width - 1)
    places[:, 1:] += read.cumsum(axis=1).reshape(len(mask), -1)
    places += np.arange(n).repeat(batch.group)[:, None] * part.shape[1]
    return _PackedRows(
        order=np.concatenate([np.broadcast_to(np.arange(width), prompt.shape), order + width], axis=1),
        positions=np.concatenate([(prompt.cumsum(axis=1) - 1).clip(min=0), behind], axis=1),
        seen=seen[:, None],
        places=places[mask],
    )


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
    if not keeps_all(DynamicCache(config=base.config)):
        return False
    modes = [(module, module.training) for module in base.modules()]
    base.eval()
    try:
        with torch.no_grad():
            batch = _trial(model)
            alone, packed, plain = (read(model, batch) for read in (read_rows, read_packed, _read_plain))
    except (RuntimeError, TypeError, ValueError):
        # Models that look into the mask want one row of it for each row of tokens.
        return False
    finally:
        for module, training in modes:
            module.training = training
    # Read as any row is, completions see one another: what that changes is what must not be left of it.
    wrong, left = (float((each - alone).double().norm()) for each in (plain, packed))
    bound = _ROUNDING.get(alone.dtype, math.inf) * float(alone.abs().max())
    return left <= _LEFT * wrong and float((packed - alone).abs().max()) <= bound


def _read_plain(model: Any, batch: Batch) -> torch.Tensor:
    """What a model finds that heeds neither the mask nor the positions of packed rows."""
    rows = _packed(batch)
    hidden = backbone_of(model)(input_ids=_packed_ids(batch, rows), use_cache=False).last_hidden_state
    return hidden.flatten(0, 1)[torch.from_numpy(rows.places).to(hidden.device)]


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


def keeps_all(cache: Any) -> bool:
    """Whether every layer of a cache keeps all keys and values: none looks back over a window, or has a state."""
    return type(cache) is DynamicCache and all(type(layer) is DynamicLayer for layer in cache.layers)


def _as_mask(seen: torch.Tensor, model: Any) -> torch.Tensor:
    """The mask as the model's attention takes it: true where it looks, or what is added to scores."""
    base = base_of(model)
    if base.config._attn_implementation == "sdpa":
        return seen
    dtype = base.get_input_embeddings().weight.dtype
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)
