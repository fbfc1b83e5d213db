"""Log-probabilities and entropies of tokens from hidden states, without the ``(tokens, V)`` logits of all of them.

A LoRA run leaves the output head alone, so the gradient of a token's log-probability with respect to its hidden state,
``(W[token] - softmax(W h / T) W) / T``, can be formed while the logits of a chunk are at hand: the logits are computed
once, and what is kept is as large as the hidden states.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.autograd.function import once_differentiable

__all__ = ["backbone_of", "base_of", "frozen_head", "scores_from_hidden", "scores_from_logits"]

# Logits held at a time: 64 MiB in float32.
_CHUNK_LOGITS = 2**24

_PLAIN: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()

Pair = tuple[torch.Tensor, torch.Tensor | None]


def base_of(model: Any) -> Any:
    """The model of transformers within a peft model, its layers adapted; any other model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def backbone_of(model: Any) -> Any:
    """All of it but the output head."""
    return base_of(model).base_model


def frozen_head(model: Any) -> torch.nn.Linear | None:
    """The output head of a model whose logits are exactly ``head(hidden)`` with fixed weights; None for other models.

    Some models scale or cap their logits behind the head. Whether one does is tried out once, on one token.
    """
    base = base_of(model)
    head = base.get_output_embeddings() if hasattr(base, "get_output_embeddings") else None
    if type(head) is not torch.nn.Linear or any(value.requires_grad for value in head.parameters()):
        return None
    if base not in _PLAIN:
        _PLAIN[base] = _is_plain(base, head)
    return head if _PLAIN[base] else None


def _is_plain(base: Any, head: torch.nn.Linear) -> bool:
    token = torch.zeros(1, 1, dtype=torch.long, device=head.weight.device)
    modes = [(module, module.training) for module in base.modules()]
    base.eval()
    try:
        with torch.no_grad():
            hidden = base.base_model(input_ids=token, use_cache=False).last_hidden_state
            return torch.equal(head(hidden), base(input_ids=token, use_cache=False).logits)
    finally:
        for module, training in modes:
            module.training = training


def scores_from_hidden(
    head: torch.nn.Linear, hidden: torch.Tensor, targets: torch.Tensor, temperature: float, entropy: bool
) -> Pair:
    """``ln pi(token)`` of each target and, detached, the entropy of each distribution, ``(tokens,)`` both.

    Args:
        head: fixed output head.
        hidden: ``(tokens, H)``; the result can be differentiated once with respect to it.
        targets: ``(tokens,)`` token ids.
        temperature: divides the logits.
        entropy: whether entropies are wanted.
    """
    return _HeadScores.apply(hidden, head.weight, head.bias, targets, temperature, entropy)


def scores_from_logits(logits: torch.Tensor, targets: torch.Tensor, temperature: float, entropy: bool) -> Pair:
    """The same from logits ``(tokens, V)``, by plain autograd."""
    scaled = logits.to(_wide(logits.dtype)) / temperature
    log_probs = torch.log_softmax(scaled, dim=-1)
    chosen = log_probs.gather(1, targets[:, None])[:, 0]
    if not entropy:
        return chosen, None
    with torch.no_grad():
        return chosen, -(log_probs.exp() * log_probs).sum(dim=-1)


class _HeadScores(torch.autograd.Function):
    """See `scores_from_hidden`; the gradient is formed in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        temperature: float,
        entropy: bool,
    ) -> Pair:
        chunk = max(1, _CHUNK_LOGITS // len(weight))
        wide = _wide(hidden.dtype)
        log_probs = torch.empty(len(hidden), dtype=wide, device=hidden.device)
        entropies = torch.empty_like(log_probs) if entropy else None
        slopes = torch.empty(hidden.shape, dtype=wide, device=hidden.device) if ctx.needs_input_grad[0] else None
        for start in range(0, len(hidden), chunk):
            rows = slice(start, start + chunk)
            logits = torch.nn.functional.linear(hidden[rows], weight, bias).to(wide).div_(temperature)
            normaliser = torch.logsumexp(logits, dim=-1, keepdim=True)
            picked = targets[rows, None]
            log_probs[rows] = (logits.gather(1, picked) - normaliser)[:, 0]
            if entropies is None and slopes is None:
                continue
            probabilities = torch.exp(logits - normaliser) if entropy else logits.sub_(normaliser).exp_()
            if entropies is not None:
                entropies[rows] = normaliser[:, 0] - torch.linalg.vecdot(probabilities, logits)
            if slopes is not None:
                probabilities.scatter_add_(1, picked, torch.full_like(picked, -1, dtype=wide))
                slopes[rows] = (probabilities.to(weight.dtype) @ weight).to(wide).div_(-temperature)
        ctx.save_for_backward(slopes)
        ctx.dtype = hidden.dtype
        if entropies is not None:
            ctx.mark_non_differentiable(entropies)
        return log_probs, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor, _: torch.Tensor | None) -> Any:
        (slopes,) = ctx.saved_tensors
        return (gradient[:, None] * slopes).to(ctx.dtype), None, None, None, None, None


def _wide(dtype: torch.dtype) -> torch.dtype:
    """Scores are at least float32."""
    return torch.promote_types(dtype, torch.float32)
