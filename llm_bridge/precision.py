"""float64 models that really compute in float64."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["full_precision"]


class _KeepFloat64(TorchFunctionMode):
    """Ignores requests to go from float64 down to float32."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run func, minus a cast of a float64 tensor to float32."""
        kwargs = dict(kwargs or {})
        if args and isinstance(args[0], torch.Tensor) and args[0].dtype == torch.float64:
            if func is torch.Tensor.float:
                return args[0]
            if func is torch.Tensor.to and (torch.float32 in args or kwargs.get("dtype") == torch.float32):
                args = tuple(torch.float64 if value is torch.float32 else value for value in args)
                if "dtype" in kwargs:
                    kwargs["dtype"] = torch.float64
            elif kwargs.get("dtype") == torch.float32:
                # softmax(x, dim, dtype=float32) and its kin.
                kwargs["dtype"] = torch.float64
        return func(*args, **kwargs)


def full_precision() -> TorchFunctionMode:
    """A context in which a float64 model really computes in float64: `with full_precision(): model(...)`.

    The layers of transformers cast to float32 inside (RMS norm, attention softmax), which is meant for half precision
    but would round a float64 model to about 1e-7: too coarse for exact gradients, and enough to make a score depend on
    its batch. Models of other dtypes compute as they would without it. Results can be differentiated outside.
    """
    return _KeepFloat64()
