"""What a model's adapter consists of, found in one walk: every step asks, and a walk through all layers of a small
model takes as long as a token does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from peft.tuners.lora import Linear

__all__ = ["AdapterLayers", "PlainLayer", "adapter_layers"]

_KNOWN: WeakKeyDictionary[Any, AdapterLayers] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class PlainLayer:
    """A LoRA layer, ``W x + b + (alpha / r) B A x``.

    Attributes:
        parent, name: ``parent._modules[name]`` is the layer.
        layer: peft's.
        base: the linear layer of W and b.
        down, up: the linear layers of A and B.
        adapter: name of the adapter.
    """

    parent: torch.nn.Module
    name: str
    layer: Any
    base: torch.nn.Linear
    down: torch.nn.Linear
    up: torch.nn.Linear
    adapter: str

    @property
    def scaling(self) -> float:
        """``alpha / r``."""
        return float(self.layer.scaling[self.adapter])

    def holds(self) -> bool:
        """Whether the layer is that formula and nothing more, as it stands."""
        layer = self.layer
        return (
            layer.active_adapters == [self.adapter]
            and len(layer.scaling) == 1
            and not layer.disable_adapters
            and not layer.merged
            and not layer.lora_variant
            and not layer.fan_in_fan_out
            and layer._modules["base_layer"] is self.base
            and self.up.bias is None
            and (not layer.training or type(layer.lora_dropout[self.adapter]) is torch.nn.Identity)
        )


class AdapterLayers:
    """The parameters of a model and its LoRA layers.

    Whether a parameter is trained, and whether a layer is a plain one, is looked up at every call.

    Args:
        model: a peft model.
    """

    def __init__(self, model: Any) -> None:
        """Walk through the model."""
        # By name, as they then come once each and in the order of `LoadedModel.parameters`.
        self._parameters = [value for _, value in model.named_parameters()]
        self.size = sum(value.numel() for value in self._parameters)
        found = (_plain_layer(parent, name) for parent in model.modules() for name in parent._modules)
        self._layers = [layer for layer in found if layer is not None]

    @property
    def trainable(self) -> list[torch.nn.Parameter]:
        """The trained parameters, in the order of ``LoadedModel.parameters``."""
        return [value for value in self._parameters if value.requires_grad]

    def plain(self) -> list[PlainLayer]:
        """The layers that are LoRA and nothing more."""
        return [layer for layer in self._layers if layer.holds()]


def adapter_layers(model: Any) -> AdapterLayers:
    """Those of a model. The walk is made once for each model, whose layers are then to stay the same objects."""
    found = _KNOWN.get(model)
    if found is None:
        found = _KNOWN[model] = AdapterLayers(model)
    return found


def _plain_layer(parent: Any, name: str) -> PlainLayer | None:
    layer = parent._modules[name]
    if type(layer) is not Linear or len(layer.lora_A) != 1:
        return None
    adapter = next(iter(layer.lora_A))
    base, down, up = layer.base_layer, layer.lora_A[adapter], layer.lora_B[adapter]
    if any(type(each) is not torch.nn.Linear for each in (base, down, up)):
        return None
    return PlainLayer(parent, name, layer, base, down, up, adapter)
