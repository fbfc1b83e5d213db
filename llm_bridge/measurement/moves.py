"""The model at other parameters for a moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from llm_bridge.models import LoadedModel

__all__ = ["moved"]

Result = TypeVar("Result")


def moved(loaded: LoadedModel, move: npt.NDArray[np.float64], call: Callable[[], Result]) -> Result:
    """What ``call`` returns with ``move`` ``(d,)`` added to the parameters, which are put back bit for bit."""
    before = [parameter.detach().clone() for parameter in loaded.parameters.values()]
    try:
        with torch.no_grad():
            start = 0
            for parameter in loaded.parameters.values():
                piece = torch.as_tensor(move[start : start + parameter.numel()]).reshape(parameter.shape)
                parameter.add_(piece.to(parameter))
                start += parameter.numel()
        return call()
    finally:
        with torch.no_grad():
            for parameter, value in zip(loaded.parameters.values(), before, strict=True):
                parameter.copy_(value)
