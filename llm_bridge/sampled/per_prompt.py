"""Every prompt's own LoRA gradient, from the backward pass that training does anyway.

A LoRA weight enters through ``y = x W^T`` alone, so its gradient is a sum over rows of ``(dloss/dy)^T x``, and each
row belongs to one prompt. Here that sum is taken prompt by prompt as well: exact for any network in which rows of a
batch do not see each other, for one small product per adapter weight and no pass more. What the optimizer gets stays
the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch.nn.functional import linear

from llm_bridge.recomputation import is_checkpointed
from theory.errors import expected

__all__ = ["PerPromptGradients", "recomputes_activations"]

# Tokens of a prompt below which products are short.
_SHORT = 32
# Numbers of all gradients together up to which a call takes longer than to hold them twice matters.
_LITTLE = 2**22


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

    Raises:
        InputError: other parameters are trainable, or N is below 1.
    """

    def __init__(self, model: Any, groups: int | torch.Tensor, *, n: int | None = None) -> None:
        """See the class."""
        self._modules = _adapter_layers(model)
        self._shapes = [module.weight.shape for module in self._modules]
        self._sizes = [shape.numel() for shape in self._shapes]
        # A walk through all modules takes as long as the products themselves do in a small model.
        self._all = list(model.modules())
        self.n = int(groups if n is None else n)
        if self.n < 1:
            raise expected("number of prompts", self.n, "at least 1", "pass the prompts of one batch")
        self._rows: torch.Tensor | None = None
        self._order: torch.Tensor | None = None
        self._blocks, self._by_row, self._scale = self.n, False, 1.0
        self._take_place()
        # Layers whose parts somebody else hands over, by `add`.
        self.apart: Collection[Any] = ()
        self._routed: list[Any] = []
        self._total: torch.Tensor | None = None
        # (N, out, in) of every layer that had a part in the passes since the total was taken.
        self._parts: dict[Any, torch.Tensor] = {}
        if isinstance(groups, torch.Tensor):
            self.set_rows(groups)

    def set_rows(self, rows: torch.Tensor) -> None:
        """Say of which prompt, 0 to N - 1, each row of the next batch is: int64 ``(B,)``.

        Raises:
            InputError: not of that shape, or out of range.
        """
        if rows.ndim != 1 or len(rows) == 0 or not 0 <= int(rows.min()) <= int(rows.max()) < self.n:
            raise expected("rows", rows.tolist(), f"one number from 0 to {self.n - 1} per row", "number the prompts")
        counts = torch.bincount(rows, minlength=self.n)
        self._rows, self._blocks, self._by_row, self._scale = rows, len(rows), True, 1.0
        # Whole groups in any order are sorted; the rest is added up row by row, which takes longer.
        self._order = torch.argsort(rows, stable=True) if bool((counts == counts[0]).all()) else None

    def set_groups(self, prompts: Sequence[int], scale: float = 1.0) -> None:
        """Say that the rows of the next batch are equal parts, one for each of these prompts, and scale what is added.

        Args:
            prompts: different numbers from 0 to N - 1, in the order of the batch.
            scale: what the gradients of the next backward pass are multiplied by.

        Raises:
            InputError: numbers are out of range, or not different.
        """
        wanted = f"different numbers from 0 to {self.n - 1}"
        if not prompts or len(set(prompts)) < len(prompts) or not 0 <= min(prompts) <= max(prompts) < self.n:
            raise expected("prompts", list(prompts), wanted, "number the prompts")
        everything = list(prompts) == list(range(self.n))
        self._rows = None if everything else torch.tensor(prompts, device=self._modules[-1].weight.device)
        self._order, self._blocks, self._by_row, self._scale = None, len(prompts), False, scale

    def __enter__(self) -> PerPromptGradients:
        """Route the adapter's linear layers through this object."""
        self._take_place()
        self._routed = [module for module in self._modules if module not in self.apart]
        if self._routed:
            forward = self._recomputed_forward if _recomputed(self._all) else self._hooked_forward
            for module in self._routed:
                module.forward = partial(forward, module)
        return self

    def _take_place(self) -> None:
        # A model may be moved, or converted, after this object was made.
        weight = self._modules[-1].weight
        self._dtype, self._nothing = weight.dtype, weight.detach().new_zeros(())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the layers their own forward pass back."""
        for module in self._routed:
            del module.forward

    def gradients(self) -> torch.Tensor:
        """``(N, d)``, in the parameters' dtype and order (``LoadedModel.parameters``); zeros before a backward pass.

        The tensor is this object's own: until :meth:`reset` what backward passes leave is added to it by the next call.
        """
        if self._parts or self._total is None:
            found = self._side_by_side()
            self._total = found if self._total is None else self._total.add_(found)
        return self._total

    def _side_by_side(self) -> torch.Tensor:
        """All parts as ``(N, d)``; they are given up meanwhile."""
        parts, self._parts = self._parts, {}
        if self.n * sum(self._sizes) <= _LITTLE:
            shapes = zip(self._modules, self._shapes, strict=True)
            pieces = (parts[m] if m in parts else self._nothing.new_zeros(self.n, *shape) for m, shape in shapes)
            return torch.cat([piece.reshape(self.n, -1) for piece in pieces], dim=1)
        # One by one, so that large parts are not held twice.
        found = self._nothing.new_zeros(self.n, sum(self._sizes))
        for module, place in zip(self._modules, found.split(self._sizes, dim=1), strict=True):
            if module in parts:
                place.copy_(parts.pop(module).reshape(self.n, -1))
        return found

    def reset(self) -> None:
        """Start again at zero, in another tensor: the one that was handed out stays as it is."""
        self._parts, self._total = {}, None

    def _hooked_forward(self, module: Any, x: torch.Tensor) -> torch.Tensor:
        y = linear(x, module.weight)
        if y.requires_grad:
            y.register_hook(partial(self._add_batch, module, x.detach()))
        return y

    def _recomputed_forward(self, module: Any, x: torch.Tensor) -> torch.Tensor:
        # A hook would hold on to x, which is to be computed again instead.
        return _Recorded.apply(x, module.weight, self, module)

    def _add_batch(self, module: Any, x: torch.Tensor, slope: torch.Tensor) -> None:
        # The parts are never differentiated themselves, whatever is done with the gradients of the run, and are sums
        # in the adapter's precision.
        rows, slopes = x.reshape(-1, x.shape[-1]), slope.detach().reshape(-1, slope.shape[-1])
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            self.add(module, rows, slopes, x.shape[:-1])

    def add(self, module: Any, x: torch.Tensor, slope: torch.Tensor, batch: Sequence[int], factor: float = 1.0) -> None:
        """Add a layer's parts, ``factor slope^T x`` over each prompt's rows of ``(rows, in)`` and ``(rows, out)``.

        Args:
            module: the layer.
            x, slope: what went in, and the gradient of what came out.
            batch: the axes that were flattened into rows, ``(B, T)``.
            factor: see above.

        Raises:
            InputError: the rows are not those of the prompts, or there is no axis of tokens.
        """
        blocks = self._blocks
        if len(batch) < 2 or batch[0] % blocks or (self._by_row and batch[0] != blocks):
            wanted = f"{blocks} rows" if self._by_row else f"a multiple of {blocks} rows"
            remedy = "pass whole groups, padded and not packed"
            raise expected("shape of a batch", tuple(batch), f"{wanted}, and tokens", remedy)
        width, height = slope.shape[-1], x.shape[-1]
        if self._order is not None:
            slope, x = (value.view(batch[0], -1, value.shape[-1])[self._order] for value in (slope, x))
            blocks = self.n
        if slope.dtype != self._dtype or x.dtype != self._dtype:
            slope, x = slope.to(self._dtype), x.to(self._dtype)
        # An axis of prompts, or of rows of the batch, in front of one of tokens.
        slope, x = slope.view(blocks, -1, width), x.view(blocks, -1, height)
        scale = factor * self._scale
        # With the short side first a long product takes half the time; a short one takes less than turning it around.
        if width <= height or slope.shape[1] < _SHORT:
            part = torch.baddbmm(self._nothing, slope.mT, x, beta=0, alpha=scale)
        else:
            part = torch.baddbmm(self._nothing, x.mT, slope, beta=0, alpha=scale).mT
        known = self._parts.get(module)
        if self._rows is not None and self._order is None:
            known = part.new_zeros(self.n, width, height) if known is None else known
            self._parts[module] = known.index_add_(0, self._rows, part)
        else:
            self._parts[module] = part if known is None else known.add_(part)


class _Recorded(torch.autograd.Function):
    """``x W^T``; its backward pass hands x, which checkpointing may have to compute again, to the recorder."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, recorder: PerPromptGradients, module: Any
    ) -> torch.Tensor:
        ctx.recorder, ctx.module, ctx.dtypes = recorder, module, (x.dtype, weight.dtype)
        kind = x.device.type
        if torch.is_autocast_enabled(kind):
            x, weight = (value.to(torch.get_autocast_dtype(kind)) for value in (x, weight))
        ctx.save_for_backward(x, weight)
        return linear(x, weight)

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> Any:
        x, weight = ctx.saved_tensors
        to_x, to_weight = ctx.dtypes
        below = total = None
        if ctx.needs_input_grad[0]:
            below = (slope @ weight).to(to_x)
        if ctx.needs_input_grad[1]:
            ctx.recorder._add_batch(ctx.module, x.detach(), slope)
            # The very product that the layer would form by itself: the run keeps its bits.
            total = (slope.flatten(0, -2).T @ x.flatten(0, -2)).to(to_weight)
        return below, total, None, None


def recomputes_activations(model: Any) -> bool:
    """Whether the model's next backward pass computes layers again (gradient checkpointing of either kind)."""
    return _recomputed(model.modules())


def _recomputed(modules: Iterable[Any]) -> bool:
    for module in modules:
        # Both kinds leave a mark on the module itself; looking at those alone costs next to nothing.
        own = vars(module)
        if own.get("gradient_checkpointing") and module.training:
            return True
        if "forward" in own and is_checkpointed(module):
            return True
    return False


def _adapter_layers(model: Any) -> list[Any]:
    """The adapter's linear layers in the order of the model's trainable parameters."""
    layers = {id(module.weight): module for module in model.modules() if type(module) is torch.nn.Linear}
    found = []
    for name, value in model.named_parameters():
        if not value.requires_grad:
            continue
        if id(value) not in layers or not (".lora_A." in name or ".lora_B." in name):
            wanted = "only weights of lora_A and lora_B of linear layers to be trained"
            raise expected("trainable parameter", name, wanted, "use a plain LoRA adapter")
        found.append(layers[id(value)])
    if not found:
        raise expected("trainable parameters", 0, "a LoRA adapter", "pass the peft model")
    return found
