"""The command as it was given; light, since every start of `whynorm` comes by."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["command_line", "given_arguments"]

_GIVEN: ContextVar[Sequence[str] | None] = ContextVar("given", default=None)


@contextmanager
def given_arguments(arguments: Sequence[str] | None) -> Iterator[None]:
    """Within the block the command has these arguments; None for those of the process."""
    token = _GIVEN.set(arguments)
    try:
        yield
    finally:
        _GIVEN.reset(token)


def command_line() -> str:
    """The command that is being run, quoted so that a shell reads it as it was given.

    A program that calls `whynorm.cli.main` with arguments of its own has another command line than these.
    """
    given = _GIVEN.get()
    return shlex.join(["whynorm", *(sys.argv[1:] if given is None else given)])
