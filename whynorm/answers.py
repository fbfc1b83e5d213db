"""Answers to SQL, as a table for people or pipes, and as JSON."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from theory.errors import expected

__all__ = ["answer_json", "print_answer"]

# Columns: wider than any row, for output that no screen bounds.
_UNBOUNDED = 10**9


def answer_json(answer: Any) -> str:
    """A list with an object per row; what is no finite number is null, also within lists and structs.

    Args:
        answer: a :class:`simulator.sweeps.results.Answer`.

    Raises:
        InputError: two columns have one name.
    """
    double = [name for name, count in Counter(answer.columns).items() if count > 1]
    if double:
        raise expected("column", double[0], "a name for one column only, as JSON has it once", "rename one with AS")
    rows = [dict(zip(answer.columns, map(_plain, row), strict=True)) for row in answer.rows]
    return json.dumps(rows, indent=2, default=str, allow_nan=False)


def print_answer(answer: Any) -> None:
    """Print a table: fitted into a terminal's width, and in full where the output is no terminal."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in answer.columns:
        table.add_column(Text(_printable(name)))
    for row in answer.rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    Console(width=None if sys.stdout.isatty() else _UNBOUNDED).print(table)


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity, and strings alone for keys."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else _printable(str(value))


def _printable(text: str) -> str:
    """Without what would steer a terminal, and on one line."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "" for c in text)
