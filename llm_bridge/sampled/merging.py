"""The adapter folded into the base weights while completions are drawn: fewer and larger products for each token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from llm_bridge.sampled.adapter_layers import PlainLayer, adapter_layers

__all__ = ["merged_adapter"]

_PRECISE = (torch.float32, torch.float64)


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
    originals = {place.base: (place, place.base.weight.data) for place in places}
    try:
        with torch.no_grad():
            for base, (place, _) in originals.items():
                base.weight.data = _merged(place)
            for place in places:
                place.parent._modules[place.name] = place.base
        yield True
    finally:
        for place in places:
            place.parent._modules[place.name] = place.layer
        for base, (_, original) in originals.items():
            base.weight.data = original


def _merged(place: PlainLayer) -> torch.Tensor:
    weight = place.base.weight
    down, up = place.down.weight.to(weight.dtype), place.up.weight.to(weight.dtype)
    return torch.addmm(weight, up, down, alpha=place.scaling)


def _places(model: Any) -> list[PlainLayer] | None:
    """Everything the adapter changes; None if some of it cannot be merged."""
    adapter = adapter_layers(model)
    found = [place for place in adapter.plain() if place.base.weight.dtype in _PRECISE]
    adapted = sum(each.weight.requires_grad for each in {part for place in found for part in (place.down, place.up)})
    return found if found and adapted == len(adapter.trainable) else None
