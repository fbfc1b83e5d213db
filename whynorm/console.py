"""What a person sees while a command works, a progress bar on a terminal, plain lines elsewhere; ratios as text."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

__all__ = ["console", "progress", "ratio_text", "say"]

# Messages go to stderr, so that stdout holds results only.
console = Console(stderr=True, highlight=False)


def say(message: str) -> None:
    """One line of news, as it is: no markup, no emoji codes, and no line breaks within a path."""
    console.print(Text(message), soft_wrap=True)


def ratio_text(value: float | None) -> str:
    """A ratio to 3 significant digits, and to up to 6 where fewer would show 1: whether it is above is what counts."""
    if value is None:
        return ""
    texts = (f"{value:.{digits}g}" for digits in range(3, 7))
    return next((text for text in texts if float(text) != 1), "1")


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A callback that takes the number of units done; off a terminal, a line about every ten seconds."""
    if console.is_terminal:
        text = TextColumn("{task.description}", markup=False)
        with Progress(
            text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console, transient=True
        ) as bars:
            task = bars.add_task(label, total=total)
            yield lambda done: bars.update(task, completed=done)
        return
    start = last = time.monotonic()

    def plain(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= 10 or (done == total and now - start >= 10):
            last = now
            print(f"{label}: {done} of {total}, {now - start:.0f} s", file=sys.stderr, flush=True)

    yield plain
