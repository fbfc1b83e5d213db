"""Output directories that exist only if something was put into them, one process in each, and the cores."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from simulator.files import prepare_directory
from simulator.locks import held

__all__ = ["created_directory", "output_directory", "usable_cores"]


@contextlib.contextmanager
def output_directory(path: Path | None) -> Iterator[None]:
    """Create a directory as :func:`created_directory` does, and be the only process that fills it.

    Args:
        path: the directory, or None for nothing to do.

    Raises:
        InputError: it cannot be created or written, or another process is at work in it.
    """
    with created_directory(path), contextlib.nullcontext() if path is None else held(path):
        yield


@contextlib.contextmanager
def created_directory(path: Path | None) -> Iterator[None]:
    """Create a directory (and those above it) for the work within; if that fails, remove those that stayed empty.

    Args:
        path: the directory, or None for nothing to do.

    Raises:
        InputError: it cannot be created or written.
    """
    missing = [] if path is None else [each for each in (path, *path.parents) if not each.exists()]
    try:
        if path is not None:
            prepare_directory(path)
        yield
    except BaseException:
        for each in missing:
            with contextlib.suppress(OSError):
                each.rmdir()
        raise


def usable_cores() -> int:
    """Cores that this process may run on; where the system does not say, all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
