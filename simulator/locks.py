"""One process at a time in a directory: the lock of sweeps, of sampled runs, of fetches and of every ``--out``."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from theory.errors import expected

__all__ = ["held"]

_NAME = "whynorm.lock"


@contextlib.contextmanager
def held(
    directory: Path, name: str = _NAME, *, told: str = "output directory", wait: Callable[[], Any] | None = None
) -> Iterator[None]:
    """Be the only process that works in a directory, which exists.

    The lock is the kernel's: it does not outlive its process, however that ends. Its file does where a process is
    killed, and means nothing by itself. Processes that are started anew do not inherit the lock, forked ones do.

    Args:
        directory: what is to be held.
        name: of the lock's file in it; a name for each part of the directory that is held by itself.
        told: what messages call the directory.
        wait: called once before waiting until the lock is free; None not to wait.

    Raises:
        InputError: another process is at work there, or nothing can be locked there.
    """
    path = directory / name
    try:
        handle = _take(path, wait)
    except BlockingIOError:
        wanted = "one in which no other process is at work"
        raise expected(told, str(directory), wanted, "wait for it, or choose another") from None
    except OSError as error:
        wanted = f"a writable place whose files can be locked ({error.strerror})"
        raise expected(told, str(directory), wanted, "choose another") from None
    with handle:
        try:
            yield
        finally:
            # Only the holder removes it, so that nobody can hold a file of this name that is gone.
            with contextlib.suppress(OSError):
                path.unlink()


def _take(path: Path, wait: Callable[[], Any] | None) -> IO[str]:
    """The locked file; BlockingIOError if another process holds it."""
    while True:
        handle = path.open("a")
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if wait is None:
                    raise
                wait()
                fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_there(handle, path):
                return handle
        except BaseException:
            handle.close()
            raise
        # The holder before has removed the file meanwhile: another one of that name counts now.
        handle.close()


def _is_there(handle: IO[str], path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    return False
