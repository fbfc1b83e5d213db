"""The model at other parameters for a moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from llm_bridge.models import LoadedModel

__all__ = ["kept_parameters", "move", "moved"]

Result = TypeVar("Result")


@contextmanager
def kept_parameters(loaded: LoadedModel) -> Iterator[list[torch.Tensor]]:
    """Put the trainable parameters back at the end, bit for bit; yields what they were."""
    before = [value.detach().clone() for value in loaded.parameters.values()]
    try:
        yield before
    finally:
        with torch.no_grad():
            for value, kept in zip(loaded.parameters.values(), before, strict=True):
                value.copy_(kept)


def move(loaded: LoadedModel, start: Sequence[torch.Tensor], direction: Sequence[torch.Tensor], tau: float) -> None:
    """Set the trainable parameters to ``start + tau direction``."""
    with torch.no_grad():
        for value, base, way in zip(loaded.parameters.values(), start, direction, strict=True):
            value.copy_(base + tau * way)


def moved(loaded: LoadedModel, way: npt.NDArray[np.float64], call: Callable[[], Result]) -> Result:
    """What ``call`` returns with ``way`` ``(d,)`` added to the parameters, which are put back bit for bit."""
    with kept_parameters(loaded) as start:
        flat = torch.from_numpy(way).split([value.numel() for value in start])
        move(loaded, start, [piece.reshape(value.shape).to(value) for piece, value in zip(flat, start, strict=True)], 1)
        return call()
