r"""LoRA layers whose forward and backward passes are one node each of autograd's graph.

As peft writes it, ``y = W x + b + s B (A x)`` with ``s = alpha / r`` is three layers called by a fourth, and six nodes.
Most of a small model's time goes into calling them. Here it is the same products, and with ``delta = dloss/dy``

    dloss/dx = W^T delta + s A^T u,    u = B^T delta,    dloss/dA = s u x^T,    dloss/dB = s delta (A x)^T,

where the last two are sums over rows, which a recorder can take prompt by prompt while they are at hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from llm_bridge.sampled.adapter_layers import PlainLayer, adapter_layers
from llm_bridge.sampled.per_prompt import PerPromptGradients

__all__ = ["fused_adapter"]


@contextmanager
def fused_adapter(model: Any, recorder: PerPromptGradients | None = None) -> Iterator[None]:
    """Within the block plain LoRA layers are one node each; values and first derivatives are the same to rounding.

    Layers that are more than that (DoRA, dropout, several adapters, quantized weights, hooks) keep their own passes.
    Second derivatives are refused by autograd. The block is to hold the backward pass too where layers are computed
    again in it.

    Args:
        model: a peft model.
        recorder: takes the gradients of every prompt down; to be entered within, for the layers left as they are.
    """
    # A layer may stand at several places.
    plain = adapter_layers(model).plain()
    # Under autocast peft's layers and autograd agree on dtypes among themselves.
    usable = plain if plain and not torch.is_autocast_enabled(plain[0].base.weight.device.type) else []
    layers = {place.layer: place for place in usable if _can_be_fused(place)}.values()
    for place in layers:
        # As `module.forward = ...` does, which looks for parameters and submodules of that name first.
        vars(place.layer)["forward"] = partial(_forward, place, place.scaling, recorder)
    if recorder is not None:
        recorder.apart = {part for place in layers for part in (place.down, place.up)}
    try:
        yield
    finally:
        if recorder is not None:
            recorder.apart = ()
        for place in layers:
            del vars(place.layer)["forward"]


def _can_be_fused(place: PlainLayer) -> bool:
    """Whether nobody listens to the layer's parts or has put something else in the place of their passes."""
    if "forward" in vars(place.layer):
        return False
    if any(value is not None and value.requires_grad for value in place.base._parameters.values()):
        return False
    return not (_watched(place.base) or _watched(place.down) or _watched(place.up))


def _watched(module: Any) -> bool:
    own = vars(module)
    return bool(
        "forward" in own
        or own["_forward_hooks"]
        or own["_forward_pre_hooks"]
        or own["_backward_hooks"]
        or own["_backward_pre_hooks"]
    )


def _forward(place: PlainLayer, scaling: float, recorder: PerPromptGradients | None, x: torch.Tensor) -> Any:
    base = place.base
    return _LoraLinear.apply(x, place.down.weight, place.up.weight, base.weight, base.bias, scaling, recorder, place)


class _LoraLinear(torch.autograd.Function):
    """``x W^T + b + s (x A^T) B^T``; rows of x are the last axis."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        down: torch.Tensor,
        up: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        scaling: float,
        recorder: PerPromptGradients | None,
        place: PlainLayer,
    ) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        y = linear(rows, weight, bias)
        # An adapter of a half-precision model is kept in float32, and so are its products.
        inner = linear(rows.to(down.dtype), down)
        if y.dtype == up.dtype:
            y.addmm_(inner, up.T, alpha=scaling)
        else:
            y = (y + scaling * linear(inner, up)).to(y.dtype)
        ctx.save_for_backward(x, inner, down, up, weight)
        ctx.scaling, ctx.recorder, ctx.place = scaling, recorder, place
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: torch.Tensor) -> Any:
        x, inner, down, up, weight = ctx.saved_tensors
        scaling, recorder, place = ctx.scaling, ctx.recorder, ctx.place
        narrow = slope.reshape(-1, slope.shape[-1])
        wide, rows = narrow.to(up.dtype), x.reshape(-1, x.shape[-1]).to(down.dtype)
        inner_slope = torch.mm(wide, up)
        below = to_down = to_up = None
        if ctx.needs_input_grad[0]:
            below = _below(narrow, weight, inner_slope, down, scaling).view(x.shape)
        # One call for a product and its factor: beta = 0 leaves the first argument out.
        if ctx.needs_input_grad[1]:
            to_down = torch.addmm(down, inner_slope.T, rows, beta=0, alpha=scaling)
        if ctx.needs_input_grad[2]:
            # With the short side first the product takes half the time.
            to_up = torch.addmm(up.T, inner.T, wide, beta=0, alpha=scaling).T
        if recorder is not None:
            if to_down is not None:
                recorder.add(place.down, rows, inner_slope, x.shape[:-1], scaling)
            if to_up is not None:
                recorder.add(place.up, inner, wide, x.shape[:-1], scaling)
        return below, to_down, to_up, None, None, None, None, None


def _below(
    slope: torch.Tensor, weight: torch.Tensor, inner_slope: torch.Tensor, down: torch.Tensor, scaling: float
) -> torch.Tensor:
    rows = torch.mm(slope, weight)
    if rows.dtype == down.dtype:
        return rows.addmm_(inner_slope, down, alpha=scaling)
    return (rows + scaling * torch.mm(inner_slope, down)).to(rows.dtype)
