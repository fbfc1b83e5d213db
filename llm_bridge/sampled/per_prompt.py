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

# Small products wait for others of the same shape, with which they are one call, as calls take longer than what they
# compute: products of so many numbers, until so many have come together.
_SMALL, _HELD = 2**15, 2**20


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
        # Products that are still to be taken, those of one shape together.
        self._pending: dict[Any, list[tuple[Any, torch.Tensor, torch.Tensor]]] = {}
        self._held = 0
        # Layers whose parts somebody else hands over, by `add`.
        self.apart: Collection[Any] = ()
        self._routed: list[Any] = []
        self._total: torch.Tensor | None = None
        self._pieces: dict[Any, torch.Tensor] = {}
        if isinstance(groups, torch.Tensor):
            self.set_rows(groups)

    def set_rows(self, rows: torch.Tensor) -> None:
        """Say of which prompt, 0 to N - 1, each row of the next batch is: int64 ``(B,)``.

        Raises:
            InputError: not of that shape, or out of range.
        """
        if rows.ndim != 1 or len(rows) == 0 or not 0 <= int(rows.min()) <= int(rows.max()) < self.n:
            raise expected("rows", rows.tolist(), f"one number from 0 to {self.n - 1} per row", "number the prompts")
        self._settle()
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
        self._settle()
        everything = list(prompts) == list(range(self.n))
        self._rows = None if everything else torch.tensor(prompts, device=self._modules[-1].weight.device)
        self._order, self._blocks, self._by_row, self._scale = None, len(prompts), False, scale

    def __enter__(self) -> PerPromptGradients:
        """Route the adapter's linear layers through this object."""
        self._routed = [module for module in self._modules if module not in self.apart]
        if self._routed:
            forward = self._recomputed_forward if _recomputed(self._all) else self._hooked_forward
            for module in self._routed:
                module.forward = partial(forward, module)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the layers their own forward pass back."""
        for module in self._routed:
            del module.forward

    def gradients(self) -> torch.Tensor:
        """``(N, d)``, in the parameters' dtype and order (``LoadedModel.parameters``); zeros before a backward pass.

        The tensor is this object's own: until :meth:`reset` it changes with every backward pass.
        """
        self._settle()
        return self._sums()

    def reset(self) -> None:
        """Start again at zero, in another tensor: the one that was handed out stays as it is."""
        self._pending, self._held, self._total = {}, 0, None

    def _sums(self) -> torch.Tensor:
        if self._total is None:
            last = self._modules[-1].weight
            self._total = torch.zeros(self.n, sum(self._sizes), dtype=last.dtype, device=last.device)
            self._pieces = dict(zip(self._modules, self._total.split(self._sizes, dim=1), strict=True))
        return self._total

    def _hooked_forward(self, module: Any, x: torch.Tensor) -> torch.Tensor:
        y = linear(x, module.weight)
        if y.requires_grad:
            y.register_hook(partial(self.add, module, x.detach()))
        return y

    def _recomputed_forward(self, module: Any, x: torch.Tensor) -> torch.Tensor:
        # A hook would hold on to x, which is to be computed again instead.
        return _Recorded.apply(x, module.weight, self, module)

    def add(self, module: Any, x: torch.Tensor, slope: torch.Tensor, factor: float = 1.0) -> None:
        """Add a layer's parts, ``factor slope^T x`` over each prompt's rows of ``(B, T, in)`` and ``(B, T, out)``.

        Raises:
            InputError: the rows are not those of the prompts, or there is no axis of tokens.
        """
        blocks, shape = self._blocks, x.shape
        if len(shape) < 3 or shape[0] % blocks or (self._by_row and shape[0] != blocks):
            wanted = f"{blocks} rows" if self._by_row else f"a multiple of {blocks} rows"
            remedy = "pass whole groups, padded and not packed"
            raise expected("shape of a batch", tuple(shape[:-1]), f"{wanted}, and tokens", remedy)
        if slope.requires_grad:
            # The parts are never differentiated themselves, whatever is done with the gradients of the run.
            slope = slope.detach()
        if self._order is not None:
            slope, x, blocks = slope[self._order], x[self._order], self.n
        # An axis of prompts, or of rows, in front of one of tokens.
        slope, x = slope.reshape(blocks, -1, slope.shape[-1]), x.reshape(blocks, -1, shape[-1])
        key = (slope.shape, x.shape, slope.dtype, x.dtype, factor)
        self._pending.setdefault(key, []).append((module, slope, x))
        size = slope.numel() + x.numel()
        self._held += size
        if size > _SMALL or self._held > _HELD:
            self._settle()

    @torch.no_grad()
    def _settle(self) -> None:
        """Take the products that are pending, and add them up."""
        pending, self._pending, self._held = self._pending, {}, 0
        for (*_, factor), several in pending.items():
            dtype, rows = self._sums().dtype, None if self._order is not None else self._rows
            slope, x = (_together([each[k] for each in several]).to(dtype) for k in (1, 2))
            # With the short side first the product takes half the time.
            wide = slope.shape[-1] > x.shape[-1]
            parts = torch.bmm(x.mT, slope).mT if wide else torch.bmm(slope.mT, x)
            parts = parts.mul_(factor * self._scale).reshape(len(several), -1, parts[0].numel())
            for (module, _, _), part in zip(several, parts.unbind(), strict=True):
                if rows is None:
                    self._pieces[module].add_(part)
                else:
                    self._pieces[module].index_add_(0, rows, part)


def _together(values: list[torch.Tensor]) -> torch.Tensor:
    """Several batches of matrices as one, without a copy of a single one."""
    return values[0] if len(values) == 1 else torch.cat(values)


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
            ctx.recorder.add(ctx.module, x.detach(), slope)
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
