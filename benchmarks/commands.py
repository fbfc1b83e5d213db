"""The command that a result names: what a shell would have to read to run the same again."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

__all__ = ["module_command"]


def module_command(module: str, arguments: Sequence[object] | None = None) -> str:
    """``python -m benchmarks.MODULE ...``, quoted so that a shell reads the arguments as they were given.

    Args:
        module: name within ``benchmarks``.
        arguments: of the command; None for those of this process.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return shlex.join(["python", "-m", f"benchmarks.{module}", *map(str, given)])
