"""Every prompt's own LoRA gradient, from the backward pass that training does anyway.

A LoRA weight enters through ``y = x W^T`` alone, so its gradient is a sum over rows of ``(dloss/dy)^T x``, and each
row belongs to one prompt. Here that sum is taken prompt by prompt; the sum of the parts is what the optimizer needs.
This is exact for any network in which rows of a batch do not see each other, and costs no pass and no product more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from theory.errors import expected

__all__ = ["PerPromptGradients"]


class PerPromptGradients:
    """A context in which forward and backward passes of a model leave the gradient of every prompt.

    ::

        with PerPromptGradients(model, groups=N) as parts:
            group_loss(sequence_log_probs(model, rollouts, 1.0), advantages).backward()
        parts.gradients()  # (N, d); its sum over N is the gradient of the loss

    What several backward passes leave is added up, as in ``.grad``. Gradient checkpointing works, reentrant or not.

    Args:
        model: a peft model whose trainable parameters are all weights of ``lora_A`` and ``lora_B``.
        groups: N: the rows of every batch are N equal parts, one prompt after the other (also where a prompt's tokens
            run once for its whole group). Or int64 ``(B,)``: the prompt of every row, as for :meth:`set_rows`.
        n: number of prompts N if ``groups`` is a tensor.
        same_bits: form the gradient for the optimizer by the very product that the model would form without this
            context, and not as the sum over prompts, which differs in the last digit; costs that product once more.

    Raises:
        InputError: other parameters are trainable, or N is below 1.
    """

    def __init__(
        self, model: Any, groups: int | torch.Tensor, *, n: int | None = None, same_bits: bool = False
    ) -> None:
        """See the class."""
        self._slots = _slots(model)
        self._same_bits = same_bits
        self.n = int(groups if n is None else n)
        if self.n < 1:
            raise expected("number of prompts", self.n, "at least 1", "pass the prompts of one batch")
        self._blocks: list[tuple[int, torch.Tensor]] | None = None
        self._total: torch.Tensor | None = None
        if isinstance(groups, torch.Tensor):
            self.set_rows(groups)

    def set_rows(self, rows: torch.Tensor) -> None:
        """Say of which prompt, 0 to N - 1, each row of the next batch is: int64 ``(B,)``.

        Raises:
            InputError: not of that shape, or out of range.
        """
        if rows.ndim != 1 or len(rows) == 0 or not 0 <= int(rows.min()) <= int(rows.max()) < self.n:
            raise expected("rows", rows.tolist(), f"one number from 0 to {self.n - 1} per row", "number the prompts")
        self._blocks = [(i, torch.nonzero(rows == i)[:, 0]) for i in rows.unique().tolist()]

    def __enter__(self) -> PerPromptGradients:
        """Route the adapter's linear layers through this object."""
        for slot in self._slots:
            slot.module.forward = self._forward(slot)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the layers their own forward pass back."""
        for slot in self._slots:
            del slot.module.forward

    def gradients(self) -> torch.Tensor:
        """``(N, d)``, in the parameters' dtype and order (``LoadedModel.parameters``); zeros before a backward pass.

        The tensor is this object's own: it changes with the next backward pass.
        """
        if self._total is None:
            last, weight = self._slots[-1], self._slots[-1].module.weight
            self._total = torch.zeros(self.n, last.end, dtype=weight.dtype, device=weight.device)
        return self._total

    def reset(self) -> None:
        """Start again at zero."""
        if self._total is not None:
            self._total.zero_()

    def _forward(self, slot: _Slot) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: _Recorded.apply(x, slot.module.weight, self, slot)

    def add(self, slot: _Slot, slope: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Add a layer's parts, from ``slope`` ``(B, T, out)`` and ``x`` ``(B, T, in)``, and return the sum."""
        target = self.gradients()[:, slot.start : slot.end]
        parts = _parts(slope, x, self._blocks, self.n)
        target += parts.reshape(self.n, -1)
        return slope.flatten(0, -2).T @ x.flatten(0, -2) if self._same_bits else parts.sum(dim=0)


@dataclass(frozen=True, eq=False)
class _Slot:
    """A linear layer of the adapter and its place among the d parameters."""

    module: Any
    start: int
    end: int


class _Recorded(torch.autograd.Function):
    """``x W^T``; its backward pass also hands (slope, x) to the recorder. Saved tensors obey checkpointing."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, recorder: PerPromptGradients, slot: _Slot
    ) -> torch.Tensor:
        ctx.recorder, ctx.slot, ctx.dtypes = recorder, slot, (x.dtype, weight.dtype)
        kind = x.device.type
        if torch.is_autocast_enabled(kind):
            x, weight = (value.to(torch.get_autocast_dtype(kind)) for value in (x, weight))
        ctx.save_for_backward(x, weight)
        return linear(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: torch.Tensor) -> Any:
        x, weight = ctx.saved_tensors
        total = ctx.recorder.add(ctx.slot, slope, x) if ctx.needs_input_grad[1] else None
        below = slope @ weight if ctx.needs_input_grad[0] else None
        to_x, to_weight = ctx.dtypes
        return (
            None if below is None else below.to(to_x),
            None if total is None else total.to(to_weight),
            None,
            None,
        )


def _slots(model: Any) -> list[_Slot]:
    """The adapter's layers in the order of the model's trainable parameters."""
    layers = {id(module.weight): module for module in model.modules() if type(module) is torch.nn.Linear}
    slots: list[_Slot] = []
    start = 0
    for name, value in model.named_parameters():
        if not value.requires_grad:
            continue
        if id(value) not in layers or not (".lora_A." in name or ".lora_B." in name) or not name.endswith(".weight"):
            wanted = "only weights of lora_A and lora_B of linear layers to be trained"
            raise expected("trainable parameter", name, wanted, "use a plain LoRA adapter")
        slots.append(_Slot(layers[id(value)], start, start + value.numel()))
        start += value.numel()
    if not slots:
        raise expected("trainable parameters", 0, "a LoRA adapter", "pass the peft model")
    return slots


def _parts(slope: torch.Tensor, x: torch.Tensor, blocks: list[tuple[int, torch.Tensor]] | None, n: int) -> torch.Tensor:
    """``(N, out, in)``: the sums of ``slope^T x`` over each prompt's rows, N equal blocks if none are given."""
    rows = n if blocks is None else sum(len(own) for _, own in blocks)
    if x.ndim < 3 or (len(x) % n if blocks is None else len(x) != rows):
        wanted = f"{'a multiple of ' if blocks is None else ''}{rows} rows, and tokens"
        raise expected("shape of a batch", tuple(x.shape[:-1]), wanted, "pass whole groups, padded and not packed")
    if blocks is None:
        slope, x = (value.reshape(n, -1, value.shape[-1]) for value in (slope, x))
        return slope.transpose(1, 2) @ x
    parts = slope.new_zeros(n, slope.shape[-1], x.shape[-1])
    for i, own in blocks:
        parts[i] = slope[own].flatten(0, -2).T @ x[own].flatten(0, -2)
    return parts
