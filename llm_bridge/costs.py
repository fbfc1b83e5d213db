"""What parts of a measurement cost: seconds, and passes through the model.

A pass is one prompt's answers through the model, all K at once, ``forward`` or ``backward``; a Hessian-vector product
counts as two backward passes. They are counted where they happen, so that no formula has to keep up with the code.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch

__all__ = ["Costs", "cost_part", "count_passes", "counted_as"]


class Costs:
    """Costs by part, of what is done within :meth:`part`. A part within another one counts as that part alone.

    Attributes:
        parts: by name, in the order in which they begin: ``seconds``, ``forward``, ``backward``.
    """

    def __init__(self) -> None:
        """Nothing is done yet."""
        self.parts: dict[str, dict[str, Any]] = {}
        self._open: str | None = None
        self._since = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What is done within belongs to this part, also if it was there before."""
        outer = self._open
        active = _ACTIVE.set(self)
        self._switch(name)
        try:
            yield
        finally:
            self._switch(outer)
            _ACTIVE.reset(active)

    def add(self, forward: int = 0, backward: int = 0) -> None:
        """Count passes of the part that is open; a gradient taken when none is belongs to nobody."""
        if self._open is not None:
            self.parts[self._open]["forward"] += forward
            self.parts[self._open]["backward"] += backward

    @contextmanager
    def counted_as(self, forward: int = 0, backward: int = 0) -> Iterator[None]:
        """What is done within, which opens no part, counts as so many passes."""
        assert self._open is not None
        before = dict(self.parts[self._open])
        yield
        self.parts[self._open] |= {"forward": before["forward"] + forward, "backward": before["backward"] + backward}

    def to_json(self) -> dict[str, dict[str, Any]]:
        """A copy of what is known now."""
        return {name: dict(cost) for name, cost in self.parts.items()}

    def _switch(self, name: str | None) -> None:
        now = time.perf_counter()
        if self._open is not None:
            self.parts[self._open]["seconds"] += now - self._since
        self._open, self._since = name, now
        if name is not None:
            self.parts.setdefault(name, {"seconds": 0.0, "forward": 0, "backward": 0})


# Passes happen deep below what asks for their number.
_ACTIVE: ContextVar[Costs | None] = ContextVar("costs", default=None)


@contextmanager
def cost_part(name: str) -> Iterator[None]:
    """A part of whatever costs are being counted, if any are."""
    costs = _ACTIVE.get()
    with nullcontext() if costs is None else costs.part(name):
        yield


@contextmanager
def counted_as(forward: int = 0, backward: int = 0) -> Iterator[None]:
    """What is done within counts as so many passes, whatever :func:`count_passes` sees of it."""
    costs = _ACTIVE.get()
    with nullcontext() if costs is None else costs.counted_as(forward, backward):
        yield


def count_passes(logits: torch.Tensor) -> torch.Tensor:
    """Count logits ``(n, K)`` as n passes forward, and as n backward each time that a gradient comes back to them."""
    costs = _ACTIVE.get()
    if costs is not None:
        count = len(logits)
        costs.add(forward=count)
        if logits.requires_grad:
            logits.register_hook(lambda _: costs.add(backward=count))
    return logits
