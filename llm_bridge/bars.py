"""How long work reports how far it is: a function that a caller hands in, or silence."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

__all__ = ["Progress", "no_progress"]

# As `whynorm.console.progress`: a label and a total give a context, which gives a function that takes the number done.
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], Any]]]


def no_progress(label: str, total: int) -> AbstractContextManager[Callable[[int], Any]]:
    """Say nothing."""
    return nullcontext(lambda done: None)
