"""The adapter folded into the base weights while completions are drawn: fewer and larger products for each token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora import Linear

__all__ = ["merged_adapter"]


@contextmanager
def merged_adapter(model: Any) -> Iterator[bool]:
    """Within the block every adapted layer is one linear layer with the weight ``W + (alpha / r) B A``.

    The function is the same to rounding. Afterwards the very same layers and weights are in place again: nothing is
    subtracted, so nothing drifts. Needs memory for a second copy of the adapted weights.

    Args:
        model: a peft model.

    Yields:
        Whether it was done: only for plain LoRA on plain linear layers in float32 or float64, as small changes of a
        weight in half precision would be rounded away.
    """
    places = _places(model)
    if places is None:
        yield False
        return
    originals = [layer.base_layer.weight.data for _, _, layer in places]
    try:
        with torch.no_grad():
            for parent, name, layer in places:
                layer.base_layer.weight.data = layer.base_layer.weight.data + layer.get_delta_weight(
                    layer.active_adapters[0]
                )
                parent._modules[name] = layer.base_layer
        yield True
    finally:
        for (parent, name, layer), original in zip(places, originals, strict=True):
            parent._modules[name] = layer
            layer.base_layer.weight.data = original


def _places(model: Any) -> list[tuple[torch.nn.Module, str, Any]] | None:
    """Parent, name and layer of everything the adapter changes; None if some of it cannot be merged."""
    found: list[tuple[torch.nn.Module, str, Any]] = []
    trainable = adapted = 0
    # One walk: it is made for every batch of completions.
    for parent in model.modules():
        trainable += sum(value is not None and value.requires_grad for value in parent._parameters.values())
        for name, layer in parent._modules.items():
            if type(layer) is Linear and _plain(layer):
                found.append((parent, name, layer))
                adapted += sum(value.requires_grad for value in layer.parameters())
    return found if found and adapted == trainable else None


def _plain(layer: Any) -> bool:
    """Whether the layer is ``W x + (alpha / r) B A x`` and nothing more, in a precision that keeps small changes."""
    base = layer.base_layer
    return (
        type(base) is torch.nn.Linear
        and base.weight.dtype in (torch.float32, torch.float64)
        and len(layer.active_adapters) == 1
        and not layer.disable_adapters
        and not layer.merged
        and not getattr(layer, "lora_variant", {})
    )
