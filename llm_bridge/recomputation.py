"""Gradient checkpointing: keep a layer's input only, and compute the layer again when its gradient is wanted.

Memory for activations falls from all layers' to one layer's, for one more forward pass. The layers are wrapped here and
not by transformers' own switch, which works in train mode only (where dropout would be on) and switches the KV cache
off also where no gradient is taken.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from llm_bridge.precision import full_precision
from theory.errors import expected

__all__ = ["checkpoint_layers", "is_checkpointed"]


def checkpoint_layers(model: torch.nn.Module) -> None:
    """Wrap every layer that transformers marks as fit for it; values and gradients stay what they were.

    The wrapped layers are never re-entrant, so the gradients of LoRA parameters need no gradient of the input.

    Raises:
        InputError: the model has no such layer.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise expected("checkpointing", True, "a model with layers that can be checkpointed", "leave it out")
    for layer in layers:
        layer.forward = _recomputed(layer)


def is_checkpointed(model: torch.nn.Module) -> bool:
    """Whether `checkpoint_layers` was called on the model."""
    return any(hasattr(module.forward, "recomputed") for module in model.modules())


def _recomputed(layer: torch.nn.Module) -> Any:
    forward = layer.forward

    @wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        # A cache is written to in passing; computing again would write twice.
        if not torch.is_grad_enabled() or kwargs.get("past_key_values") is not None:
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, context_fn=_contexts(layer), **kwargs)

    run.recomputed = True  # type: ignore[attr-defined]
    return run


def _contexts(layer: torch.nn.Module) -> Any:
    """Both passes of a float64 layer in float64: the second one runs outside the caller's `full_precision`."""
    exact = next(layer.parameters()).dtype == torch.float64

    def pair() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return (full_precision(), full_precision()) if exact else (nullcontext(), nullcontext())

    return pair
