r"""The features of a language model in one pass each way: the gradients of all K answer logits of a prompt at once.

The K answers are separate rows of a batch and do not see each other, so the gradient of logit ``z_k`` is what row k
leaves in the weights. For a linear layer ``y = W x`` it is ``sum_t g_kt x_kt^T`` with ``g = d(sum_k z_k) / dy``: one
backward pass of ``sum_k z_k`` that stops at the layers' outputs gives every row, where ``logit_features`` takes K.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch

from llm_bridge.gradients import logit_features
from llm_bridge.models import LoadedModel
from llm_bridge.policies import AnswerBatch, answer_logits

__all__ = ["answer_rows"]

Rows = Callable[[str, torch.Tensor], None]


def answer_rows(
    loaded: LoadedModel, single: AnswerBatch, take: Rows, names: Collection[str] | None = None
) -> tuple[torch.Tensor, int]:
    """Compute the K logits of one prompt and hand over their gradients, parameter by parameter.

    Args:
        loaded: the model.
        single: the batch of one prompt.
        take: called with the name of a parameter and ``(K, size)``, the gradients of the logits with respect to it, in
            the parameter's dtype; once for each trainable parameter.
        names: parameters to compute; all trainable ones if left out.

    Returns:
        The logits, float64 ``(K,)``, detached; and the number of backward passes: 1, or K where a trainable parameter
        is not the weight of a linear layer, or the layers are checkpointed.
    """
    wanted = list(loaded.parameters) if names is None else [name for name in loaded.parameters if name in set(names)]
    layers = _layers(loaded)
    if layers is not None:
        logits = _by_layers(loaded, single, {name: layers[name] for name in wanted}, take)
        if logits is not None:
            return logits, 1
    z, x = logit_features(loaded, single)
    start = 0
    for name, parameter in loaded.parameters.items():
        if name in wanted:
            take(name, x[0, :, start : start + parameter.numel()].to(parameter.dtype))
        start += parameter.numel()
    return z[0], z.shape[1]


def _layers(loaded: LoadedModel) -> dict[str, torch.nn.Linear] | None:
    """The linear layer of every trainable weight; None if some trainable parameter is none."""
    found: dict[str, torch.nn.Linear] = {}
    for name, module in loaded.model.named_modules():
        if isinstance(module, torch.nn.Linear) and module.weight.requires_grad:
            found[f"{name}.weight"] = module
    return found if set(found) == set(loaded.parameters) else None


def _by_layers(
    loaded: LoadedModel, single: AnswerBatch, layers: dict[str, torch.nn.Linear], take: Rows
) -> torch.Tensor | None:
    """One pass each way; None if the layers' outputs are not part of the graph (gradient checkpointing)."""
    seen: list[tuple[str, torch.Tensor, torch.Tensor]] = []

    def remember(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: seen.append((name, inputs[0].detach(), output))

    handles = [layer.register_forward_hook(remember(name)) for name, layer in layers.items()]
    try:
        # One pass over the question for all answers would mix their gradients.
        z = answer_logits(loaded.model, single, share=False)[0]
    finally:
        for handle in handles:
            handle.remove()
    if not seen or not all(output.requires_grad for _, _, output in seen):
        return None
    slopes = torch.autograd.grad(z.sum(), [output for _, _, output in seen], allow_unused=True)
    rows: dict[str, torch.Tensor] = {}
    for (name, x, _), slope in zip(seen, slopes, strict=True):
        if slope is not None:
            piece = torch.einsum("kto,kti->koi", slope, x).flatten(1)
            # A layer that is used twice leaves two pieces.
            rows[name] = rows[name] + piece if name in rows else piece
    for name, layer in layers.items():
        zero = torch.zeros(len(z), layer.weight.numel(), dtype=layer.weight.dtype, device=layer.weight.device)
        take(name, rows.get(name, zero))
    return z.detach()
