"""A model away from its start: there B = 0, so that the gradients of A vanish and half of the adapter does nothing."""

from __future__ import annotations

import torch

from llm_bridge.models import LoadedModel

__all__ = ["perturb"]


def perturb(loaded: LoadedModel, size: float = 0.02, seed: int = 3) -> LoadedModel:
    """Add normal noise of this size to the adapter, the same in every dtype; returns the model, for module fixtures.

    It also sets one thread, as such fixtures come before the one of conftest that does.
    """
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in loaded.parameters.values():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter += size * noise.to(parameter)
    return loaded
